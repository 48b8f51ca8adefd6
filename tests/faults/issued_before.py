"""Domains that have a certificate of the CA already."""

from cryptography import x509

from controlplane.core.names import DomainName
from tests.fakes.issuer import Issuer
from tests.faults.ari import certificate_id
from tests.faults.ending import add, attempts_until_issued, check_issued
from tests.faults.proxy import FaultProxy


async def issued_before(issuer: Issuer, proxy: FaultProxy) -> tuple[str, str]:
    """Issues for a new domain; returns its name and the certificate's unique identifier (RFC 9773 section 4.1)."""
    name = await add(issuer)
    check_issued(issuer, proxy, name, await attempts_until_issued(issuer, name, 1))
    certificate = issuer.work.certificate_of(DomainName(name))
    assert certificate is not None
    return name, certificate_id(x509.load_der_x509_certificate(certificate.leaf))
