"""A private CA and the certificates of mutual TLS between `serve`, Envoy, operators and workers.

For a trial or a small fleet: one CA key in a file, certificates for a year. Who has SPIRE, Vault or a CA of their own gives
certificates from there instead. Certificates follow RFC 5280; a role is named by a SPIFFE ID in the URI SAN, one a certificate
(X.509-SVID section 2).
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Never

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from controlplane.core.errors import ConfigurationError
from controlplane.core.redacted import SecretBytes

CA_LIFETIME = timedelta(days=3650)
LEAF_LIFETIME = timedelta(days=365)
TRUST_DOMAIN = "certplane"
"""The SPIFFE trust domain: roles are `spiffe://certplane/<role>`."""

DEFAULT_SERVE_HOSTS = ("localhost", "127.0.0.1", "::1")

_CLOCK_SKEW = timedelta(minutes=5)
"""Certificates begin this long ago, for a machine whose clock is behind."""


class PkiRole(StrEnum):
    """Who presents a certificate. `serve` is the TLS server, all others are clients of it."""

    SERVE = "serve"
    ENVOY = "envoy"
    OPERATOR = "operator"
    WORKER = "worker"

    @property
    def spiffe_id(self) -> str:
        """The URI SAN."""
        return f"spiffe://{TRUST_DOMAIN}/{self}"


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class TlsIdentity:
    """A certificate with its key, and the CA certificate that vouches for it; all PEM. `not_after` is aware, in UTC."""

    certificate: bytes
    private_key: SecretBytes
    ca_certificate: bytes
    not_after: datetime

    def __repr__(self) -> str:
        return f"TlsIdentity(until {self.not_after:%Y-%m-%d}, redacted)"


class PrivateCa:
    """A certificate authority whose key is held here. It never shows the key and is not pickled."""

    __slots__ = ("_certificate", "_key")

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self._certificate = certificate
        self._key = key

    @classmethod
    def create(cls, now: datetime, common_name: str = "Certplane private CA") -> "PrivateCa":
        """Makes a new CA: P-256, ten years, path length 0 (it issues no CAs)."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name(common_name)
        certificate = (
            _builder(name, name, key.public_key(), now, now + CA_LIFETIME)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(ca=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        return cls(certificate, key)

    @classmethod
    def from_pem(cls, certificate: bytes, private_key: SecretBytes) -> "PrivateCa":
        """Reads a CA.

        Raises:
            ConfigurationError: a part is damaged or the two do not belong together; nothing of the key is in the text.
        """
        try:
            parsed = x509.load_pem_x509_certificate(certificate)
            key = load_pem_private_key(private_key.reveal(), password=None)
        except (ValueError, TypeError):
            raise ConfigurationError("the CA's certificate or key is damaged or encrypted") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != parsed.public_key():
            raise ConfigurationError("the CA's key does not belong to the CA's certificate")
        return cls(parsed, key)

    @property
    def certificate(self) -> bytes:
        """The CA's certificate, PEM."""
        return self._certificate.public_bytes(Encoding.PEM)

    def private_key(self) -> SecretBytes:
        """Returns the CA's key, PEM (PKCS#8)."""
        return _pem(self._key)

    def issue(
        self,
        common_name: str,
        public_key: ec.EllipticCurvePublicKey,
        alternative_names: x509.SubjectAlternativeName,
        now: datetime,
        *,
        server: bool = False,
        client: bool = False,
        lifetime: timedelta = LEAF_LIFETIME,
    ) -> x509.Certificate:
        """Returns a certificate for `public_key`, which ends with the CA's own at the latest.

        Raises:
            ConfigurationError: the CA has expired.
        """
        end = min(now + lifetime, self._certificate.not_valid_after_utc)
        if end <= now:
            raise ConfigurationError("the private CA has expired: make a new one with `certplane pki init` in a new directory")
        usages = [ExtendedKeyUsageOID.SERVER_AUTH] * server + [ExtendedKeyUsageOID.CLIENT_AUTH] * client
        issuer_id = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(
            self._certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        )
        return (
            _builder(_name(common_name), self._certificate.subject, public_key, now, end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(ca=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(alternative_names, critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(issuer_id, critical=False)
            .sign(self._key, hashes.SHA256())
        )

    def __repr__(self) -> str:
        return "PrivateCa(redacted)"

    def __reduce__(self) -> Never:
        raise TypeError("a CA is not pickled")


def make_tls_identity(
    ca: PrivateCa,
    common_name: str,
    now: datetime,
    *,
    hosts: Sequence[str] = (),
    uris: Sequence[str] = (),
    server: bool = False,
    client: bool = False,
    lifetime: timedelta = LEAF_LIFETIME,
) -> TlsIdentity:
    """Makes a key and a certificate for it. `hosts` are DNS names and IP addresses, `uris` go into URI SANs.

    Raises:
        ConfigurationError: a host is neither a DNS name nor an IP address, there is no name at all, or the CA has expired.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    names = alternative_names(hosts, uris)
    certificate = ca.issue(common_name, key.public_key(), names, now, server=server, client=client, lifetime=lifetime)
    return TlsIdentity(certificate.public_bytes(Encoding.PEM), _pem(key), ca.certificate, certificate.not_valid_after_utc)


def role_identity(ca: PrivateCa, role: PkiRole, now: datetime, serve_hosts: Sequence[str] = DEFAULT_SERVE_HOSTS) -> TlsIdentity:
    """Makes the identity of a role: `serve` is a server at `serve_hosts`, every other role a client under its name.

    Raises:
        ConfigurationError: as `make_tls_identity`.
    """
    server = role is PkiRole.SERVE
    hosts = serve_hosts if server else (str(role),)
    return make_tls_identity(ca, str(role), now, hosts=hosts, uris=(role.spiffe_id,), server=server, client=not server)


def alternative_names(hosts: Sequence[str], uris: Sequence[str] = ()) -> x509.SubjectAlternativeName:
    """Returns the SANs for DNS names, IP addresses and URIs.

    Raises:
        ConfigurationError: a host is neither a DNS name nor an IP address, or there is nothing to name.
    """
    names: list[x509.GeneralName] = [_host_name(host) for host in dict.fromkeys(hosts)]
    names += [x509.UniformResourceIdentifier(uri) for uri in uris]
    if not names:
        raise ConfigurationError("a certificate needs at least one name")
    return x509.SubjectAlternativeName(names)


def _host_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host.removeprefix("[").removesuffix("]")))
    except ValueError:
        labels = host.removesuffix(".").split(".")
        if not all(label and len(label) <= 63 and label.isascii() and label.replace("-", "").isalnum() for label in labels):
            raise ConfigurationError(f"{host!r} is neither a DNS name in ASCII nor an IP address; give no port with it") from None
        return x509.DNSName(host.removesuffix(".").lower())


def _builder(
    subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey, now: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(end)
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _key_usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        key_cert_sign=ca,
        crl_sign=ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> SecretBytes:
    return SecretBytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
