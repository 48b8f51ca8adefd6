"""A private CA: a root and an intermediate, P-256 throughout, as a public CA's chain would look."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_der_private_key
from cryptography.x509.oid import NameOID

from controlplane.core.leaf_key import LeafKey

_LIFETIME = timedelta(days=90)


class PrivateCa:
    """Signs leaf certificates; its keys stay in memory."""

    def __init__(self) -> None:
        self._start = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=5)
        root_key, self._key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        root_name, self._name = _name("bench root"), _name("bench intermediate")
        self._root = self._builder(root_name, root_name, root_key.public_key(), ca=True).sign(root_key, SHA256())
        self._intermediate = self._builder(self._name, root_name, self._key.public_key(), ca=True).sign(root_key, SHA256())

    @property
    def root_pem(self) -> bytes:
        """What clients trust."""
        return self._root.public_bytes(Encoding.PEM)

    def issue(self, names: Sequence[str], leaf_key: LeafKey) -> tuple[bytes, bytes]:
        """Returns leaf and intermediate, DER."""
        public_key = x509.load_der_x509_csr(leaf_key.csr).public_key()
        builder = self._builder(x509.Name([]), self._name, public_key, ca=False)
        alternative_names = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        leaf = builder.add_extension(alternative_names, critical=True).sign(self._key, SHA256())
        return leaf.public_bytes(Encoding.DER), self._intermediate.public_bytes(Encoding.DER)

    def _builder(self, subject: x509.Name, issuer: x509.Name, public_key, *, ca: bool) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._start)
            .not_valid_after(self._start + _LIFETIME)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )


def write_static_pair(chain: Sequence[bytes], leaf_key: LeafKey, directory: Path) -> tuple[Path, Path]:
    """Writes a chain and its key as the PEM files of a static TLS listener; returns their paths."""
    certificate_path, key_path = directory / "static.pem", directory / "static.key"
    certificate_path.write_bytes(b"".join(x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM) for der in chain))
    key_path.touch(mode=0o600)
    key = load_der_private_key(leaf_key.private_key.reveal(), None)
    key_path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return certificate_path, key_path


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
