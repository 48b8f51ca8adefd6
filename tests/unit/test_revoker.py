"""Carrying out a revocation: which CA is asked, and what its answer leads to."""

from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest
import structlog

from controlplane.core.certificate import CertificateRecord
from controlplane.core.managed_domain import Actor, Domain, DomainState, DomainStatus, Revocation
from controlplane.core.ports import AcmeError, AcmeProblem, AcmeUnreachable, Work
from controlplane.core.revocation_plan import (
    AUTHORITY_NOT_CONFIGURED,
    LONGEST_OPERATOR_WAIT,
    REVOCATION_PROBLEMS,
    REVOCATION_REFUSED,
    RevocationReason,
    RevocationStep,
)
from controlplane.usecases.revocation import Revoker
from tests.fakes import samples
from tests.fakes.certificates import InMemoryCertificates, InMemorySealing
from tests.fakes.scripted_authority import ACME, ScriptedAuthority

SHOP = "shop.example.com"


@dataclass(slots=True)
class RevokingAuthority(ScriptedAuthority):
    """Notes what is revoked; the first `errors` are raised in turn."""

    errors: list[Exception] = field(default_factory=list)
    revoked: list[tuple[bytes, int]] = field(default_factory=list)

    async def revoke(self, leaf: bytes, reason: int) -> None:
        """See `CertificateAuthority`."""
        if self.errors:
            raise self.errors.pop(0)
        self.revoked.append((leaf, reason))


class World:
    """A domain with a certificate in force and one before it; a revocation that was asked for a minute ago."""

    def __init__(self, certificates: InMemoryCertificates, before: CertificateRecord, current: CertificateRecord) -> None:
        self.before, self.current = before, current
        self.now = samples.now()
        self.authority = RevokingAuthority(lambda: self.now)
        self.revoker = Revoker(certificates)

    def work(self, certificate: CertificateRecord | str, reason: int = 1) -> Work:
        """The work of a worker when this certificate is to be revoked."""
        identifier = certificate if isinstance(certificate, str) else certificate.id
        spec = replace(samples.spec(SHOP), revocation=Revocation(identifier, reason, self.now - timedelta(minutes=1)))
        return Work(Domain(spec, DomainStatus(DomainState.ACTIVE), 1), None, self.current)

    def authority_of(self, _record: CertificateRecord) -> RevokingAuthority:
        """The one CA."""
        return self.authority


@pytest.fixture
async def world() -> World:
    certificates = InMemoryCertificates(InMemorySealing())
    return World(certificates, await certificates.put(SHOP), await certificates.put(SHOP))


@pytest.mark.parametrize("reason", [RevocationReason.KEY_COMPROMISE, RevocationReason.CESSATION_OF_OPERATION])
async def test_revoked_at_once(world: World, reason: RevocationReason) -> None:
    """The certificate in force is revoked with the reason given; the request is done, and a new certificate is needed."""
    work = world.work(world.current, reason)
    result = await world.revoker.carry_out(world.authority_of, work, world.now)
    assert [(world.current.leaf, reason)] == world.authority.revoked
    assert (RevocationStep.REVOKE, True, None) == (result.step, result.new_certificate, result.failure)
    after = replace(work.domain, status=result.status_after(work.domain.status))
    assert None is after.pending_revocation


@pytest.mark.parametrize("reason", [RevocationReason.SUPERSEDED, RevocationReason.UNSPECIFIED])
async def test_issued_first(world: World, reason: RevocationReason) -> None:
    """A certificate that is merely replaced is not revoked while it is served, and stays to be revoked."""
    work = world.work(world.current, reason)
    result = await world.revoker.carry_out(world.authority_of, work, world.now)
    assert [] == world.authority.revoked
    assert (RevocationStep.ISSUE_FIRST, True, None) == (result.step, result.new_certificate, result.done_time)
    assert work.domain.status == result.status_after(work.domain.status)


@pytest.mark.parametrize("reason", RevocationReason)
async def test_previous_is_revoked(world: World, reason: RevocationReason) -> None:
    """The certificate before the present one is revoked whatever the reason, and needs no new one."""
    result = await world.revoker.carry_out(world.authority_of, world.work(world.before, reason), world.now)
    assert [(world.before.leaf, reason)] == world.authority.revoked
    assert (RevocationStep.REVOKE, False) == (result.step, result.new_certificate)


async def test_nothing_to_revoke(world: World) -> None:
    """A certificate that nobody has any more ends the request; no CA is asked."""
    work = world.work("f" * 32)
    with structlog.testing.capture_logs() as log:
        result = await world.revoker.carry_out(world.authority_of, work, world.now)
    assert [] == world.authority.revoked
    assert work.domain.spec.revocation is not None
    assert (RevocationStep.CLOSE, work.domain.spec.revocation.request_time) == (result.step, result.done_time)
    assert ["nothing to revoke"] == [line["event"] for line in log]


async def test_nothing_pending(world: World) -> None:
    """What was carried out is not carried out again; the new certificate may still be missing."""
    work = world.work(world.current)
    work = replace(work, domain=replace(work.domain, status=DomainStatus(revocation_done_time=world.now)))
    result = await world.revoker.carry_out(world.authority_of, work, world.now)
    assert (RevocationStep.NOTHING, True, []) == (result.step, result.new_certificate, world.authority.revoked)


def _error(code: str, status: int, retry_after: float | None = None) -> AcmeError:
    return AcmeError(AcmeProblem(ACME + code, f"it is {code}", status, retry_after))


@pytest.mark.parametrize(
    ("error", "problem", "actor"),
    [
        (AcmeUnreachable("connection refused", sent=False), "urn:certplane:error:authorityUnreachable", Actor.CA),
        (_error("serverInternal", 500), f"{ACME}serverInternal", Actor.CA),
        (_error("rateLimited", 429, 30), f"{ACME}rateLimited", Actor.NOBODY),
        (_error("unauthorized", 403), REVOCATION_REFUSED, Actor.OPERATOR),
        (_error("malformed", 400), REVOCATION_REFUSED, Actor.OPERATOR),
        (_error("badRevocationReason", 400), REVOCATION_REFUSED, Actor.OPERATOR),
        (_error("accountDoesNotExist", 400), f"{ACME}accountDoesNotExist", Actor.OPERATOR),
    ],
)
async def test_failure(world: World, error: Exception, problem: str, actor: Actor) -> None:
    """A CA at fault is asked again, a refusal is shown to the operator; the request stays, and the next try succeeds."""
    work = world.work(world.current)
    world.authority.errors.append(error)
    with structlog.testing.capture_logs() as log:
        result = await world.revoker.carry_out(world.authority_of, work, world.now)
    assert result.failure is not None
    assert (problem, actor) == (result.failure.problem.type, result.failure.problem.must_act)
    assert (None, True) == (result.done_time, result.new_certificate)
    assert ["error" if actor is Actor.OPERATOR else "warning"] == [line["log_level"] for line in log]
    status = result.status_after(work.domain.status)
    assert status.last_error is not None
    assert (True, actor) == (status.last_error.type in REVOCATION_PROBLEMS, status.last_error.must_act)
    assert result.failure.problem.detail in status.last_error.detail
    assert replace(work.domain, status=status).pending_revocation is not None
    assert result.retry_time is not None
    assert world.now + timedelta(minutes=1) <= result.retry_time <= world.now + timedelta(minutes=2)
    again = await world.revoker.carry_out(world.authority_of, work, result.retry_time)
    assert again.done_time is not None
    assert None is again.status_after(status).last_error


async def test_waits_by_who_must_act(world: World) -> None:
    """A day after the request an operator's fault is looked at every few hours, the CA's every half hour; a Retry-After is obeyed."""
    later = world.now + timedelta(days=1)

    async def wait(error: Exception) -> timedelta:
        world.authority.errors.append(error)
        result = await world.revoker.carry_out(world.authority_of, world.work(world.current), later)
        assert result.retry_time is not None
        return result.retry_time - later

    assert LONGEST_OPERATOR_WAIT <= await wait(_error("unauthorized", 403)) <= LONGEST_OPERATOR_WAIT * 1.2
    assert timedelta(minutes=30) <= await wait(_error("serverInternal", 500)) <= timedelta(minutes=36)
    assert timedelta(hours=7) <= await wait(_error("rateLimited", 429, 7 * 3600))


async def test_authority_that_is_not_configured(world: World) -> None:
    """A certificate of a CA that was taken out of the configuration is the operator's matter."""

    def nobody(_record: CertificateRecord) -> None:
        return None

    result = await world.revoker.carry_out(nobody, world.work(world.current), world.now)
    assert result.failure is not None
    assert (AUTHORITY_NOT_CONFIGURED, Actor.OPERATOR) == (result.failure.problem.type, result.failure.problem.must_act)
