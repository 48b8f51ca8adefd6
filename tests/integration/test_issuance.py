"""Issuing against a real Pebble: what is stored, renewed, left out and put off."""

import asyncio
from dataclasses import replace
from datetime import timedelta

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_private_key

from controlplane.core.certificate import CertificateRecord, leaf_seal_context
from controlplane.core.managed_domain import DomainState, DomainStatus
from controlplane.core.names import DomainName
from controlplane.core.order import Phase
from controlplane.usecases.issuance_metrics import Outcome
from tests.fakes import samples
from tests.fakes.issuer import LEASE, Issuer
from tests.fakes.preflight import failing
from tests.fakes.work import Write, utc_now

ACME = "urn:ietf:params:acme:error:"
SHOP, WWW = "shop.example.com", "www.shop.example.com"


def public_bytes(holder) -> bytes:
    return holder.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def stored(issuer: Issuer, name: str = SHOP) -> CertificateRecord:
    certificate = issuer.work.certificate_of(DomainName(name))
    assert certificate is not None
    return certificate


def in_force(name: str = SHOP, *additional: str, left: timedelta = timedelta(days=60)) -> tuple[CertificateRecord, DomainStatus]:
    """A certificate from elsewhere, so that the CA has no authorization for its names, and the status that belongs to it."""
    end = utc_now() + left
    begin = end - timedelta(days=90)
    certificate = replace(samples.certificate(name, *additional), not_before=begin, not_after=end, issue_time=begin)
    return certificate, DomainStatus(state=DomainState.ACTIVE, certificate_id=certificate.id, expire_time=end)


async def test_a_domain_is_issued_for_all_its_names(issuer: Issuer) -> None:
    """One attempt takes a new domain to ACTIVE: a chain for all names, its key sealed and openable for these names only."""
    await issuer.work.add(samples.spec(SHOP, WWW))
    assert await issuer.attempt(SHOP) is Outcome.ISSUED
    certificate, status = stored(issuer), issuer.status(SHOP)
    leaf = x509.load_der_x509_certificate(certificate.leaf)
    key = load_der_private_key(issuer.opener.open(certificate.sealed_leaf_key, certificate.seal_context).reveal(), None)
    assert public_bytes(leaf) == public_bytes(key)  # type: ignore[arg-type]
    assert (SHOP, WWW) == certificate.names
    assert leaf_seal_context(certificate.spki_digest, (WWW, SHOP)) == certificate.seal_context
    leaf.verify_directly_issued_by(x509.load_der_x509_certificate(certificate.intermediates[0]))
    expected = DomainStatus(
        state=DomainState.ACTIVE,
        certificate_id=certificate.id,
        serial_number=f"{leaf.serial_number:x}",
        issue_time=certificate.issue_time,
        expire_time=leaf.not_valid_after_utc,
        renew_time=status.renew_time,
        next_attempt_time=status.renew_time,
        certificate_authority="pebble",
        checked_time=certificate.issue_time,
    )
    assert expected == status
    assert (issuer.directory_url, issuer.authority.account_url, "") == (
        certificate.directory_url,
        certificate.account_url,
        certificate.profile,
    )
    assert issuer.work.order_of(DomainName(SHOP)) is None


async def test_a_slow_ca_is_shown_as_such(issuer: Issuer) -> None:
    """While the CA takes its time to sign, people see the step `download`."""
    await issuer.work.add(samples.spec(SHOP))
    issuer.authority.signing_seconds = 0.6
    assert await issuer.attempt(SHOP) is Outcome.ISSUED
    steps = list(dict.fromkeys(write.status.current_step for write in issuer.work.history if write.status))
    assert ["preflight", "order", "challenge", "finalize", "download", ""] == steps


async def test_each_step_is_persisted_before_it_is_taken(issuer: Issuer) -> None:
    """The history of writes is preflight, order, challenge, finalize, then the certificate with ACTIVE in the same write."""
    await issuer.work.add(samples.spec(SHOP))
    await issuer.attempt(SHOP)
    steps = list(dict.fromkeys(write.status.current_step for write in issuer.work.history if write.status))
    assert ["preflight", "order", "challenge", "finalize", ""] == steps
    assert [Phase.PREPARED, Phase.PLACED, Phase.FINALIZING] == list(
        dict.fromkeys(write.order.phase for write in issuer.work.history if write.order)
    )
    assert ("certificate", DomainState.ACTIVE) == (issuer.work.history[-1].kind, issuer.work.history[-1].status.state)  # type: ignore[union-attr]


async def test_no_token_outlives_its_challenge(issuer: Issuer) -> None:
    """Probe and challenge tokens answer for all names of the domain, for an hour at most, and are withdrawn at the end."""
    await issuer.work.add(samples.spec(SHOP, WWW))
    await issuer.attempt(SHOP)
    assert {(SHOP, WWW)} == {record.names for record in issuer.tokens.planted}
    assert max(record.expire_time for record in issuer.tokens.planted) <= utc_now() + timedelta(hours=1)
    assert {} == issuer.tokens.records


async def test_the_probe_is_withdrawn_before_the_order_is_placed(issuer: Issuer) -> None:
    """No probe token is left when the order of the names that passed reaches the CA."""
    left: list[int] = []
    new_order = issuer.authority.real.new_order

    async def watched(names, **options):
        left.append(len(issuer.tokens.records))
        return await new_order(names, **options)

    issuer.authority.real.new_order = watched  # type: ignore[method-assign]
    await issuer.work.add(samples.spec(SHOP, WWW))
    await issuer.attempt(SHOP)
    assert [0] == left


async def test_twenty_concurrent_issuances_share_one_account(issuer: Issuer) -> None:
    """Twenty domains at once, at Pebble's usual rate of rejected nonces, are all issued under one account."""
    names = [f"shop{number}.example.com" for number in range(20)]
    for name in names:
        await issuer.work.add(samples.spec(name))
    async with asyncio.timeout(60):
        outcomes = await asyncio.gather(*(issuer.attempt(name) for name in names))
    assert [Outcome.ISSUED] * 20 == outcomes
    assert 1 == issuer.accounts.created


async def test_a_failed_renewal_keeps_the_certificate(issuer: Issuer) -> None:
    """A renewal that fails leaves the certificate in force in place, DEGRADED, and says who must act."""
    certificate, status = in_force(left=timedelta(days=20))
    await issuer.pebble.add_a(SHOP, "127.0.0.2")
    await issuer.work.add(samples.spec(SHOP), status, certificate)
    assert await issuer.attempt(SHOP) is Outcome.FAILED_CUSTOMER
    assert certificate == stored(issuer)
    after = issuer.status(SHOP)
    assert (DomainState.DEGRADED, certificate.id, False) == (after.state, after.certificate_id, after.reconciling)


async def test_a_failed_renewal_of_an_expired_certificate_is_a_failure(issuer: Issuer) -> None:
    """Once the certificate in force has expired there is nothing to serve: FAILED."""
    certificate, status = in_force(left=timedelta(seconds=-1))
    issuer.preflight.verdicts[SHOP] = failing(SHOP)
    await issuer.work.add(samples.spec(SHOP), status, certificate)
    await issuer.attempt(SHOP)
    assert DomainState.FAILED is issuer.status(SHOP).state


async def test_a_renewal_shows_that_it_is_under_way(issuer: Issuer) -> None:
    """While a renewal goes on the domain stays ACTIVE, with `reconciling`; afterwards the new certificate is in force."""
    certificate, status = in_force(left=timedelta(days=20))
    await issuer.work.add(samples.spec(SHOP), status, certificate)
    assert await issuer.attempt(SHOP) is Outcome.ISSUED
    during = {(w.status.state, w.status.reconciling) for w in issuer.work.history[:-1] if w.status}
    assert {(DomainState.ACTIVE, True)} == during
    assert certificate.id != stored(issuer).id
    assert certificate.generation < stored(issuer).generation


async def test_a_requested_renewal_is_done_once(issuer: Issuer) -> None:
    """A renewal request renews a young certificate and is then satisfied; nothing is left to do."""
    certificate, status = in_force()
    await issuer.work.add(samples.spec(SHOP), status, certificate)
    await issuer.work.request_renewal(DomainName(SHOP))
    assert await issuer.attempt(SHOP) is Outcome.ISSUED
    domain = issuer.work.domain(DomainName(SHOP))
    assert domain.spec.renewal_request_time == domain.status.renewal_done_time
    assert await issuer.attempt(SHOP) is Outcome.NOTHING_TO_DO


async def test_a_request_during_the_work_keeps_the_domain_due(issuer: Issuer) -> None:
    """A renewal asked for while one is under way is not satisfied by it."""
    name = DomainName(SHOP)
    certificate, status = in_force()
    await issuer.work.add(samples.spec(SHOP), status, certificate)
    await issuer.work.request_renewal(name)
    lease = await issuer.work.acquire(name, "worker", LEASE)
    assert lease is not None
    asked_again = False

    def ask_again(write: Write) -> None:
        nonlocal asked_again
        if not asked_again and write.order is not None:
            asked_again = True
            row = issuer.work._rows[name]
            row.domain, row.woken = replace(row.domain, spec=replace(row.domain.spec, renewal_request_time=utc_now())), True

    issuer.work.before_write = ask_again
    await issuer.issuance().carry_out(lease)
    due = issuer.work.due_of(name)
    assert issuer.work.domain(name).renewal_requested
    assert due is not None
    assert due <= utc_now()


async def test_nothing_to_do_is_rescheduled(issuer: Issuer) -> None:
    """A young certificate for all names spends no order; its next attempt is its renewal, and it is looked at in between."""
    certificate, status = in_force()
    await issuer.work.add(samples.spec(SHOP), status, certificate)
    assert await issuer.attempt(SHOP) is Outcome.NOTHING_TO_DO
    assert ([], []) == (issuer.preflight.checked, issuer.authority.ordered)
    due, again = issuer.work.due_of(DomainName(SHOP)), issuer.status(SHOP).next_attempt_time
    assert due is not None
    assert again is not None
    assert timedelta(days=30) <= certificate.not_after - again <= timedelta(days=35)
    assert due <= utc_now() + timedelta(days=2)


async def test_a_failing_preflight_spends_no_order(issuer: Issuer) -> None:
    """A conclusive failure of the own name ends FAILED with the pre-flight's words, is tried again in seconds, and spends no order."""
    issuer.preflight.verdicts[SHOP] = failing(SHOP)
    await issuer.work.add(samples.spec(SHOP))
    before = utc_now()
    assert await issuer.attempt(SHOP) is Outcome.FAILED_CUSTOMER
    status = issuer.status(SHOP)
    assert [] == issuer.authority.ordered
    assert issuer.preflight.verdicts[SHOP].problem == status.last_error
    assert {} == issuer.tokens.records
    assert status.next_attempt_time is not None
    assert timedelta(seconds=10) <= status.next_attempt_time - before < timedelta(seconds=20)


async def test_an_inconclusive_preflight_delays_twice_and_no_more(issuer: Issuer) -> None:
    """What may be our own view delays two attempts, without calling the domain FAILED; the third places the order."""
    issuer.preflight.verdicts[SHOP] = failing(SHOP, conclusive=False)
    await issuer.work.add(samples.spec(SHOP))
    states = [(await issuer.attempt(SHOP), issuer.status(SHOP).state) for _ in range(3)]
    assert [
        (Outcome.DELAYED, DomainState.PENDING),
        (Outcome.DELAYED, DomainState.PENDING),
        (Outcome.ISSUED, DomainState.ACTIVE),
    ] == states


async def test_an_additional_name_that_fails_is_left_out_and_added_later(issuer: Issuer) -> None:
    """A failing additional name never blocks the own name: DEGRADED without it, looked at again soon, ACTIVE with it once it passes."""
    issuer.preflight.verdicts[WWW] = failing(WWW)
    await issuer.work.add(samples.spec(SHOP, WWW))
    assert await issuer.attempt(SHOP) is Outcome.ISSUED_IN_PART
    status = issuer.status(SHOP)
    assert (DomainState.DEGRADED, (DomainName(WWW),), 1) == (status.state, status.omitted_names, status.attempt_count)
    assert issuer.preflight.verdicts[WWW].problem == status.last_error
    assert status.next_attempt_time is not None
    assert status.renew_time is not None
    assert status.next_attempt_time < status.renew_time

    assert await issuer.attempt(SHOP) is Outcome.FAILED_CUSTOMER
    assert ((SHOP,), 2) == (stored(issuer).names, issuer.status(SHOP).attempt_count)

    del issuer.preflight.verdicts[WWW]
    assert await issuer.attempt(SHOP) is Outcome.ISSUED
    assert ((SHOP, WWW), ()) == (stored(issuer).names, issuer.status(SHOP).omitted_names)
    assert [(SHOP,), (SHOP, WWW)] == issuer.authority.ordered


async def test_an_additional_name_that_the_ca_refuses_is_left_out(issuer: Issuer) -> None:
    """When only an additional name fails at the CA, the own name is issued without it in the same attempt."""
    await issuer.pebble.add_a(WWW, "127.0.0.2")
    await issuer.work.add(samples.spec(SHOP, WWW))
    assert await issuer.attempt(SHOP) is Outcome.ISSUED_IN_PART
    status = issuer.status(SHOP)
    assert ((SHOP,), DomainState.DEGRADED) == (stored(issuer).names, status.state)
    assert status.last_error is not None
    assert (f"{ACME}connection", WWW) == (status.last_error.type, status.last_error.failed_name)


async def test_a_renewal_does_not_drop_a_name_at_the_first_failure(issuer: Issuer) -> None:
    """An additional name on the certificate in force that fails for a moment is kept: the renewal is tried again instead."""
    certificate, status = in_force(SHOP, WWW, left=timedelta(days=25))
    issuer.preflight.verdicts[WWW] = failing(WWW)
    await issuer.work.add(samples.spec(SHOP, WWW), status, certificate)
    assert await issuer.attempt(SHOP) is Outcome.FAILED_CUSTOMER
    assert certificate == stored(issuer)
    assert [] == issuer.authority.ordered


async def test_a_renewal_drops_a_name_rather_than_expire(issuer: Issuer) -> None:
    """With half of the renewal's time gone, the own name is renewed without the failing one."""
    certificate, status = in_force(SHOP, WWW, left=timedelta(days=14))
    issuer.preflight.verdicts[WWW] = failing(WWW)
    await issuer.work.add(samples.spec(SHOP, WWW), status, certificate)
    assert await issuer.attempt(SHOP) is Outcome.ISSUED_IN_PART
    assert (SHOP,) == stored(issuer).names


async def test_a_paused_domain_is_left_alone(issuer: Issuer) -> None:
    """A paused domain is neither checked nor ordered, and is never due by itself."""
    await issuer.work.add(samples.spec(SHOP), DomainStatus(state=DomainState.PAUSED))
    assert await issuer.attempt(SHOP) is Outcome.NOTHING_TO_DO
    assert (None, []) == (issuer.work.due_of(DomainName(SHOP)), issuer.preflight.checked)
