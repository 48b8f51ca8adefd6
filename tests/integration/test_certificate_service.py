"""certplane.v1.CertificateService, called over gRPC."""

import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, timedelta
from typing import Any

import grpc
import pytest
import structlog
from cryptography import x509
from google.rpc import error_details_pb2

from controlplane.api.certplane.v1 import certificate_pb2, certificate_service_pb2_grpc
from controlplane.api.certplane.v1 import certificate_service_pb2 as pb
from controlplane.core.certificate import CertificateRecord
from controlplane.core.managed_domain import DomainStatus, Revocation
from controlplane.core.names import DomainName
from tests.fakes import samples
from tests.fakes.domain_api import detail, failure_of, rich_status, violations
from tests.fakes.management_api import ManagementApi, management_api

SHOP = "shop.example.com"
WWW = "www.shop.example.com"
Reason = certificate_pb2.RevocationReason
State = certificate_pb2.Certificate.State


@pytest.fixture
async def api() -> AsyncIterator[ManagementApi]:
    """The API with nothing in it; its log goes nowhere."""
    with structlog.testing.capture_logs():
        async with management_api() as running:
            yield running


@pytest.fixture
async def stub(api: ManagementApi) -> AsyncIterator[Any]:
    """A client of the API."""
    async with grpc.aio.insecure_channel(api.address) as channel:
        yield certificate_service_pb2_grpc.CertificateServiceStub(channel)


def get(record: CertificateRecord, domain: str = "") -> pb.GetCertificateRequest:
    return pb.GetCertificateRequest(name=f"certificates/{record.id}", domain=domain)


def revoke(record: CertificateRecord, reason: int = 1, domain: str = f"domains/{SHOP}") -> pb.RevokeCertificateRequest:
    return pb.RevokeCertificateRequest(name=f"certificates/{record.id}", domain=domain, reason=reason)  # type: ignore[arg-type]


async def listed(stub: Any, **request: Any) -> list[str]:
    """The domains of all certificates, over all pages."""
    found: list[str] = []
    token = ""
    while True:
        response = await stub.ListCertificates(pb.ListCertificatesRequest(page_token=token, **request))
        found += [certificate.domain.removeprefix("domains/") for certificate in response.certificates]
        token = response.next_page_token
        if not token:
            return found


@pytest.mark.parametrize("domain", ["", f"domains/{SHOP}"])
async def test_certificate_in_force(api: ManagementApi, stub: Any, domain: str) -> None:
    """Everything that is known of it is shown, found by its id or under its domain."""
    before = await api.issue(SHOP)
    record = await api.issue(SHOP, WWW)
    await api.issue("other.example.com")
    found = await stub.GetCertificate(get(record, domain))
    leaf = x509.load_der_x509_certificate(record.leaf)
    assert (f"certificates/{record.id}", f"domains/{SHOP}", "acme", [SHOP, WWW]) == (
        found.name,
        found.domain,
        found.tenant,
        list(found.dns_names),
    )
    assert (State.Value("STATE_IN_FORCE"), "letsencrypt") == (found.state, found.certificate_authority)
    assert (leaf.serial_number, hashlib.sha256(record.leaf).hexdigest()) == (int(found.serial_number, 16), found.sha256_fingerprint)
    assert (record.not_before, record.not_after) == (found.not_before_time.ToDatetime(UTC), found.expire_time.ToDatetime(UTC))
    assert f"certificates/{before.id}" == found.previous_certificate
    assert [leaf, leaf] == x509.load_pem_x509_certificates(found.pem_chain.encode())
    assert not found.HasField("revocation")


@pytest.mark.parametrize("domain", ["", f"domains/{SHOP}"])
async def test_certificate_before(api: ManagementApi, stub: Any, domain: str) -> None:
    """The one that was in force before is found as well, without saying more than is known of it."""
    record = await api.issue(SHOP)
    await api.issue(SHOP)
    found = await stub.GetCertificate(get(record, domain))
    assert (State.Value("STATE_PREVIOUS"), "", "") == (found.state, found.certificate_authority, found.previous_certificate)


async def test_what_is_not_there(api: ManagementApi, stub: Any) -> None:
    """An unknown certificate and an unknown domain are NOT_FOUND, each under its own name."""
    record = await api.issue(SHOP)
    await api.issue(SHOP)
    await api.issue(SHOP)
    for request, kind, name in (
        (get(record), "Certificate", f"certificates/{record.id}"),
        (get(record, f"domains/{SHOP}"), "Certificate", f"certificates/{record.id}"),
        (get(record, "domains/other.example.com"), "Domain", "domains/other.example.com"),
    ):
        error = await failure_of(stub.GetCertificate(request))
        info = detail(error, error_details_pb2.ResourceInfo)
        assert (grpc.StatusCode.NOT_FOUND, f"certplane.v1.{kind}", name) == (error.code(), info.resource_type, info.resource_name)


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.GetCertificateRequest(name="certificates/xyz"), "name"),
        (pb.GetCertificateRequest(name="a" * 32), "name"),
        (pb.GetCertificateRequest(name=f"certificates/{'A' * 32}"), "name"),
        (pb.GetCertificateRequest(name=f"certificates/{'a' * 32}", domain=SHOP), "domain"),
        (pb.ListCertificatesRequest(page_size=-1), "page_size"),
        (pb.ListCertificatesRequest(page_token="x"), "page_token"),
        (pb.ListCertificatesRequest(filter="serial = 7"), "filter"),
        (pb.RevokeCertificateRequest(name=f"certificates/{'a' * 32}", reason=2), "reason"),  # type: ignore[arg-type]
        (pb.RevokeCertificateRequest(name="certificates/"), "name"),
    ],
)
async def test_bad_request(stub: Any, request_: Any, field: str) -> None:
    """What is wrong with a request is said by field."""
    call = getattr(stub, type(request_).__name__.removesuffix("Request"))
    error = await failure_of(call(request_))
    assert (grpc.StatusCode.INVALID_ARGUMENT, {field}) == (error.code(), set(violations(error)))


@pytest.mark.parametrize("page_size", [1, 3, 200])
async def test_list(api: ManagementApi, stub: Any, page_size: int) -> None:
    """The certificates in force are listed page by page, once each; domains without one, and certificates before, are not."""
    for number in range(7):
        await api.issue(
            f"d{number}.example.com", tenant="acme" if number % 2 else "other", authority="letsencrypt" if number else "zerossl"
        )
    await api.issue("d0.example.com", tenant="other", authority="zerossl")
    await api.domains.create(samples.spec("new.example.com"), DomainStatus())
    names = [f"d{number}.example.com" for number in range(7)]
    for text, expected in (
        ("", names),
        ('tenant = "other"', names[::2]),
        ("certificate_authority = zerossl", names[:1]),
        ("certificate_authority != zerossl AND tenant = other", names[2::2]),
        ('domain = "d3.example.com"', ["d3.example.com"]),
        ('domain = "D3.example.com" AND tenant = other', []),
        ('domain = "new.example.com"', []),
        ('domain = "nobody.example.com"', []),
        (f'expire_time < "{api.clock().isoformat()}"', []),
        (f'expire_time > "{api.clock().isoformat()}"', names),
    ):
        assert expected == await listed(stub, filter=text, page_size=page_size), text


async def test_list_says_less_than_get(api: ManagementApi, stub: Any) -> None:
    """A listing leaves the chain out, and is otherwise what is said of one certificate."""
    record = await api.issue(SHOP)
    (certificate,) = (await stub.ListCertificates(pb.ListCertificatesRequest())).certificates
    whole = await stub.GetCertificate(get(record))
    whole.ClearField("pem_chain")
    assert whole == certificate


async def test_page_token_belongs_to_its_filter(api: ManagementApi, stub: Any) -> None:
    """A token of another filter is refused."""
    await api.issue("a.example.com")
    await api.issue("b.example.com")
    page = await stub.ListCertificates(pb.ListCertificatesRequest(page_size=1))
    request = pb.ListCertificatesRequest(page_token=page.next_page_token, filter="tenant = acme")
    assert "another filter" in violations(await failure_of(stub.ListCertificates(request)))["page_token"]


async def test_revocation(api: ManagementApi, stub: Any) -> None:
    """A request is an intent in the store, shown with the certificate; repeating it changes nothing of it."""
    record = await api.issue(SHOP)
    shown = await stub.RevokeCertificate(revoke(record))
    assert (Reason.Value("REVOCATION_REASON_KEY_COMPROMISE"), False) == (shown.revocation.reason, shown.revocation.done)
    assert api.clock() == shown.revocation.request_time.ToDatetime(UTC)
    domain = await api.domains.get(DomainName(SHOP))
    assert domain is not None
    assert Revocation(record.id, 1, api.clock()) == domain.pending_revocation
    asked = shown.revocation.request_time
    api.clock.advance(hours=1)
    again = await stub.RevokeCertificate(revoke(record, domain=""))
    assert asked == again.revocation.request_time


async def test_revocation_of_the_certificate_before(api: ManagementApi, stub: Any) -> None:
    """It can be revoked as well, and the one in force shows no revocation."""
    record = await api.issue(SHOP)
    current = await api.issue(SHOP)
    shown = await stub.RevokeCertificate(revoke(record, reason=0))
    assert (f"certificates/{record.id}", 0) == (shown.name, shown.revocation.reason)
    assert not (await stub.GetCertificate(get(current))).HasField("revocation")


async def test_revocation_that_was_carried_out_is_shown(api: ManagementApi, stub: Any) -> None:
    """After a worker has done it the certificate says so, also when another is in force."""
    record = await api.issue(SHOP)
    await stub.RevokeCertificate(revoke(record, reason=4))
    await api.issue(SHOP)
    domain = await api.domains.get(DomainName(SHOP))
    assert domain is not None
    await api.domains.put_status(SHOP, replace(domain.status, revocation_done_time=api.clock()))
    shown = await stub.GetCertificate(get(record))
    assert (True, Reason.Value("REVOCATION_REASON_SUPERSEDED")) == (shown.revocation.done, shown.revocation.reason)


async def test_revocation_that_is_not_possible(api: ManagementApi, stub: Any) -> None:
    """A certificate that was replaced twice, one that has expired, and a second one at the same time are FAILED_PRECONDITION."""
    gone = await api.issue(SHOP)
    before, current = await api.issue(SHOP), await api.issue(SHOP)
    await stub.RevokeCertificate(revoke(before))
    for request, words in ((revoke(gone), "neither the certificate in force"), (revoke(current), "is being revoked")):
        error = await failure_of(stub.RevokeCertificate(request))
        assert grpc.StatusCode.FAILED_PRECONDITION == error.code()
        assert words in rich_status(error).message
    api.clock.advance(days=5000)
    error = await failure_of(stub.RevokeCertificate(revoke(current)))
    assert (grpc.StatusCode.FAILED_PRECONDITION, True) == (error.code(), "has expired" in rich_status(error).message)


async def test_revocation_of_what_is_not_there(api: ManagementApi, stub: Any) -> None:
    """Without a domain to look in, an unknown certificate is NOT_FOUND; so is an unknown domain."""
    record = await api.issue(SHOP)
    await api.issue(SHOP)
    await api.issue(SHOP)
    for domain in ("", "domains/other.example.com"):
        assert grpc.StatusCode.NOT_FOUND == (await failure_of(stub.RevokeCertificate(revoke(record, domain=domain)))).code()


async def test_damaged_record_is_left_out(api: ManagementApi, stub: Any) -> None:
    """A certificate that is not authentic is not shown; the others are."""
    record = await api.issue(SHOP)
    await api.issue("other.example.com")
    api.certificates.rejected.add(SHOP)
    assert ["other.example.com"] == await listed(stub)
    assert grpc.StatusCode.NOT_FOUND == (await failure_of(stub.GetCertificate(get(record)))).code()


async def test_store_that_is_away(api: ManagementApi, stub: Any) -> None:
    """A store that does not answer is UNAVAILABLE."""
    record = await api.issue(SHOP)
    api.certificates.away = True
    assert grpc.StatusCode.UNAVAILABLE == (await failure_of(stub.GetCertificate(get(record)))).code()
    assert (
        timedelta(0)
        < detail(await failure_of(stub.RevokeCertificate(revoke(record))), error_details_pb2.RetryInfo).retry_delay.ToTimedelta()
    )
