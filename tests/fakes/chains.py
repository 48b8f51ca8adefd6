"""A CA in memory that signs whatever chain a test wants."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from controlplane.core.sealing import spki_digest

Key = ec.EllipticCurvePrivateKey


def new_key() -> Key:
    """A new P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def digest_of(key: Key) -> bytes:
    """The digest of the public half."""
    return spki_digest(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


class ChainMaker:
    """A root, an intermediate, and leaves."""

    def __init__(self, now: datetime, name: str = "test") -> None:
        self._now = now
        self._root_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name} root")])
        self._intermediate_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name} intermediate")])
        self._root_key, self._intermediate_key = new_key(), new_key()
        self.root = self._sign(self._root_name, self._root_key, self._root_name, self._root_key, ca=True)
        self.intermediate = self._sign(self._intermediate_name, self._intermediate_key, self._root_name, self._root_key, ca=True)

    def leaf(
        self,
        names: Sequence[str],
        key: Key,
        *,
        starts_in: timedelta = timedelta(0),
        lifetime: timedelta = timedelta(days=90),
        ca: bool = False,
    ) -> bytes:
        """A leaf certificate under the intermediate, DER."""
        return self._sign(
            x509.Name([]), key, self._intermediate_name, self._intermediate_key, names=names, starts_in=starts_in, lifetime=lifetime, ca=ca
        )

    def _sign(
        self,
        subject: x509.Name,
        key: Key,
        issuer: x509.Name,
        issuer_key: Key,
        *,
        names: Sequence[str] = (),
        starts_in: timedelta = timedelta(0),
        lifetime: timedelta = timedelta(days=90),
        ca: bool,
    ) -> bytes:
        start = self._now + starts_in
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + lifetime)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=True)
        return builder.sign(issuer_key, SHA256()).public_bytes(Encoding.DER)
