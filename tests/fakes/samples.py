"""Sample values for tests: specs, certificates with real keys, orders."""

import hashlib
import uuid
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from controlplane.core.certificate import CertificateRecord
from controlplane.core.managed_domain import DomainSpec
from controlplane.core.names import DomainName
from controlplane.core.order import OrderRecord, Phase
from controlplane.core.sealing import Envelope, Scheme, spki_digest


def now() -> datetime:
    """The time now in whole milliseconds, as the store keeps it."""
    return datetime.fromtimestamp(int(datetime.now(UTC).timestamp() * 1000) / 1000, UTC)


def spec(fqdn: str, *additional: str, tenant: str = "acme") -> DomainSpec:
    """A spec for `fqdn`."""
    return DomainSpec(DomainName(fqdn), uuid.uuid4().hex, now(), tenant, tuple(DomainName(name) for name in additional), {"tier": "gold"})


def sealed() -> Envelope:
    """An envelope that nothing opens."""
    return Envelope("00112233", Scheme.HPKE_X25519, b"\x01" * 80)


def certificate(fqdn: str, *additional: str) -> CertificateRecord:
    """A real self-signed certificate, which stands for its own intermediate too."""
    names = (fqdn, *additional)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([])
    start = now().replace(microsecond=0)
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=90))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=True)
        .sign(key, hashes.SHA256())
    )
    leaf = built.public_bytes(serialization.Encoding.DER)
    spki = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return CertificateRecord(
        id=hashlib.sha256(leaf).hexdigest()[:32],
        fqdn=fqdn,
        generation=0,
        names=names,
        leaf=leaf,
        intermediates=(leaf,),
        sealed_leaf_key=sealed(),
        spki_digest=spki_digest(spki),
        not_before=start,
        not_after=start + timedelta(days=90),
        issue_time=now(),
    )


def order(*names: str) -> OrderRecord:
    """An order in the phase PLACED."""
    return OrderRecord(
        phase=Phase.PLACED,
        names=names,
        csr=b"csr",
        sealed_leaf_key=sealed(),
        directory_url="https://ca.example/dir",
        start_time=now(),
        order_url="https://ca.example/o/1",
        finalize_url="https://ca.example/f/1",
        authorization_urls=("https://ca.example/a/1",),
        expire_time=now(),
    )
