"""Revocation against a real Pebble, which says what is revoked and why."""

import asyncio
import json
import ssl
import urllib.request
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog
from cryptography import x509

from controlplane.core.certificate import CertificateRecord
from controlplane.core.managed_domain import Actor, Domain, Revocation
from controlplane.core.names import DomainName
from controlplane.core.ports import Work
from controlplane.core.revocation_plan import REVOCATION_REFUSED, RevocationReason, RevocationStep
from controlplane.usecases.revocation import Revoker
from tests.fakes import samples
from tests.fakes.certificates import InMemoryCertificates, InMemorySealing
from tests.fakes.issuer import Issuer, running_issuer

SHOP = "shop.example.com"


@pytest.fixture
async def issuer(tmp_path: Path) -> AsyncIterator[Issuer]:
    """An issuer with one domain that has a certificate."""
    with structlog.testing.capture_logs():
        async with running_issuer(tmp_path) as running:
            await running.work.add(samples.spec(SHOP))
            await issue(running)
            yield running


async def issue(issuer: Issuer) -> None:
    """Attempts until there is a certificate that was not there before: Pebble may take its time to sign."""
    before = issuer.work.certificate_of(DomainName(SHOP))
    async with asyncio.timeout(30):
        while issuer.work.certificate_of(DomainName(SHOP)) == before:
            await issuer.attempt(SHOP)
            await asyncio.sleep(0.1)


def certificate(issuer: Issuer) -> CertificateRecord:
    """The certificate in force."""
    found = issuer.work.certificate_of(DomainName(SHOP))
    assert found is not None
    return found


def work(issuer: Issuer, record: CertificateRecord, reason: int) -> Work:
    """The work of a worker when this certificate is to be revoked."""
    domain: Domain = issuer.work.domain(DomainName(SHOP))
    asked = Revocation(record.id, reason, issuer.clock())
    return Work(replace(domain, spec=replace(domain.spec, revocation=asked)), None, certificate(issuer))


async def status(issuer: Issuer, record: CertificateRecord) -> tuple[str, int | None]:
    """What Pebble says of a certificate, and the reason of its revocation."""
    serial = x509.load_der_x509_certificate(record.leaf).serial_number
    url = f"{issuer.pebble.management_url}/cert-status-by-serial/{serial:x}"

    def read() -> Any:
        context = ssl.create_default_context(cafile=str(issuer.pebble.ca_bundle))
        with urllib.request.urlopen(url, context=context, timeout=10) as reply:
            return json.load(reply)

    found = await asyncio.to_thread(read)
    return found["Status"], found.get("Reason")


@pytest.mark.parametrize("reason", [RevocationReason.KEY_COMPROMISE, RevocationReason.CESSATION_OF_OPERATION])
async def test_certificate_in_force_is_revoked(issuer: Issuer, reason: RevocationReason) -> None:
    """The CA revokes it for the reason given; asked again, as a worker does whose predecessor was killed, it is done as well."""
    record, revoker = certificate(issuer), Revoker(InMemoryCertificates(InMemorySealing()))
    assert "Valid" == (await status(issuer, record))[0]
    for _ in range(2):
        result = await revoker.carry_out(lambda _: issuer.authority, work(issuer, record, reason), issuer.clock())
        assert (RevocationStep.REVOKE, None, True) == (result.step, result.failure, result.new_certificate)
        assert result.done_time is not None
        assert ("Revoked", reason) == await status(issuer, record)


async def test_superseded_certificate_is_revoked_after_the_next(issuer: Issuer) -> None:
    """While it is in force nothing is sent; when another is, it is revoked, and the other stays valid."""
    before, certificates = certificate(issuer), InMemoryCertificates(InMemorySealing())
    revoker = Revoker(certificates)
    waiting = await revoker.carry_out(lambda _: issuer.authority, work(issuer, before, RevocationReason.SUPERSEDED), issuer.clock())
    assert (RevocationStep.ISSUE_FIRST, "Valid") == (waiting.step, (await status(issuer, before))[0])
    await issuer.work.request_renewal(DomainName(SHOP))
    await issue(issuer)
    current = certificate(issuer)
    for record in (before, current):
        await certificates.put_record(record)
    done = await revoker.carry_out(lambda _: issuer.authority, work(issuer, before, RevocationReason.SUPERSEDED), issuer.clock())
    assert (RevocationStep.REVOKE, False) == (done.step, done.new_certificate)
    assert ("Revoked", RevocationReason.SUPERSEDED) == await status(issuer, before)
    assert "Valid" == (await status(issuer, current))[0]


async def test_certificate_of_another_ca_is_refused(issuer: Issuer) -> None:
    """A CA that does not know the certificate refuses it: the operator's matter, and nothing is called done."""
    foreign = samples.certificate(SHOP)
    asked = replace(work(issuer, foreign, 1), certificate=foreign)
    revoker = Revoker(InMemoryCertificates(InMemorySealing()))
    result = await revoker.carry_out(lambda _: issuer.authority, asked, issuer.clock())
    assert result.failure is not None
    assert (REVOCATION_REFUSED, Actor.OPERATOR, None) == (result.failure.problem.type, result.failure.problem.must_act, result.done_time)
