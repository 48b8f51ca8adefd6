"""A private CA whose leaf certificates are as large as a public CA's, and a way to make many of them fast.

A leaf has what a public CA puts on one for TLS servers: key usages, authority key identifier, authority information access, policy, CRL
distribution point, and as many random bytes as two signed certificate timestamps take (RFC 6962), which nobody here could sign.

Leaves of one CA differ in four places of fixed length only: serial number, public key, name, and the timestamps. So the bytes to be signed
are those of one certificate with these four replaced (X.509 is DER, RFC 5280 section 4.1), and the signature is as real as any.
"""

import secrets
from dataclasses import dataclass, field
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

from bench.private_ca import PrivateCa
from controlplane.adapters.leaf_key import make_leaf_key

# The longest that RFC 5280 section 4.1.2.2 allows.
_SERIAL_BYTES = 20
# Two timestamps of 119 bytes, a length of two bytes before each and before both.
_TIMESTAMPS_BYTES = 2 + 2 * (2 + 119)
# Below the enterprise number for documentation (RFC 5612): nobody takes the bytes for real timestamps.
_TIMESTAMPS_STAND_IN = x509.ObjectIdentifier("1.3.6.1.4.1.32473.1")
_DOMAIN_VALIDATED = x509.ObjectIdentifier("2.23.140.1.2.1")


@dataclass(frozen=True, slots=True)
class LeafTemplate:
    """What leaves of one CA have in common. Holds the CA's key (DER PKCS#8): only processes of one run may hand it on.

    `pieces` are the bytes to be signed of `leaf`, cut where serial number, SubjectPublicKeyInfo, timestamps and name go, in the order
    `places`.
    """

    pieces: tuple[bytes, ...]
    places: tuple[str, ...]
    leaf: bytes
    name_length: int
    algorithm: bytes
    intermediate: bytes
    signing_key: bytes = field(repr=False)

    def signer(self) -> "LeafSigner":
        """Returns what makes leaves of it in this process."""
        return LeafSigner(self)


class LeafSigner:
    """Makes leaf certificates of a template."""

    def __init__(self, template: LeafTemplate) -> None:
        self._template = template
        key = load_der_private_key(template.signing_key, None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TypeError("the CA signs with ECDSA")
        self._key = key
        self._algorithm = ec.ECDSA(SHA256())

    def sign(self, name: str, spki: bytes) -> tuple[bytes, int]:
        """Returns a leaf (DER) for a name as long as the template's and a P-256 key (DER SubjectPublicKeyInfo), and its serial number."""
        template = self._template
        if len(name) != template.name_length:
            raise ValueError(f"the template is for names of {template.name_length} characters, not for {name}")
        # The first byte is neither 0, which would shorten it, nor above 127, which would lengthen it.
        serial = bytes([1 + secrets.randbelow(127)]) + secrets.token_bytes(_SERIAL_BYTES - 1)
        values = {"serial": serial, "spki": spki, "timestamps": secrets.token_bytes(_TIMESTAMPS_BYTES), "name": name.encode()}
        parts = [template.pieces[0]]
        for place, piece in zip(template.places, template.pieces[1:], strict=True):
            parts += (values[place], piece)
        to_be_signed = b"".join(parts)
        signature = self._key.sign(to_be_signed, self._algorithm)
        # No bit of the last byte is unused (the zero); two integers of a P-256 signature never fill it with more than 72 bytes.
        bits = b"\x03" + bytes([len(signature) + 1]) + b"\x00" + signature
        content = to_be_signed + template.algorithm + bits
        return b"\x30\x82" + len(content).to_bytes(2, "big") + content, int.from_bytes(serial, "big")


class LifelikeCa(PrivateCa):
    """Signs leaf certificates as large as a public CA's. No two have a name in common, so a client may trust several."""

    def __init__(self) -> None:
        self._organization = x509.NameAttribute(NameOID.ORGANIZATION_NAME, f"bench {secrets.token_hex(4)}")
        super().__init__()

    @property
    def expire_time(self) -> datetime:
        """When every certificate of this CA ends."""
        return self._intermediate.not_valid_after_utc

    def leaf_template(self, name: str) -> LeafTemplate:
        """Returns a template for names as long as `name`, cut from a certificate for it."""
        leaf, intermediate = self._leaf_with_long_serial_number(name)
        spki = leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        timestamps = leaf.extensions.get_extension_for_oid(_TIMESTAMPS_STAND_IN).value.public_bytes()
        serial = leaf.serial_number.to_bytes(_SERIAL_BYTES, "big")
        pieces, places = _cut(leaf.tbs_certificate_bytes, {"serial": serial, "spki": spki, "timestamps": timestamps, "name": name.encode()})
        whole, signed = leaf.public_bytes(Encoding.DER), leaf.tbs_certificate_bytes
        # Between what is signed and the signature, whose tag and length are two bytes and whose unused bits are told in one.
        algorithm = whole[whole.index(signed) + len(signed) : -(len(leaf.signature) + 3)]
        key = self._key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        return LeafTemplate(pieces, places, whole, len(name), algorithm, intermediate, key)

    def _leaf_with_long_serial_number(self, name: str) -> tuple[x509.Certificate, bytes]:
        while True:
            leaf_der, intermediate = self.issue((name,), make_leaf_key((name,)))
            leaf = x509.load_der_x509_certificate(leaf_der)
            if leaf.serial_number.bit_length() > 8 * (_SERIAL_BYTES - 1):
                return leaf, intermediate

    def _builder(
        self, subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey, *, ca: bool
    ) -> x509.CertificateBuilder:
        builder = super()._builder(self._full(subject), self._full(issuer), public_key, ca=ca)
        if ca:
            return builder
        usages = dict.fromkeys(
            ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "key_cert_sign", "crl_sign"), False
        )
        usage = x509.KeyUsage(digital_signature=True, encipher_only=False, decipher_only=False, **usages)
        issuers = x509.AccessDescription(
            AuthorityInformationAccessOID.CA_ISSUERS, x509.UniformResourceIdentifier("http://issuer.bench.example.net/")
        )
        revoked = x509.DistributionPoint([x509.UniformResourceIdentifier("http://crl.bench.example.net/107.crl")], None, None, None)
        return (
            builder.add_extension(usage, critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .add_extension(x509.AuthorityInformationAccess([issuers]), critical=False)
            .add_extension(x509.CertificatePolicies([x509.PolicyInformation(_DOMAIN_VALIDATED, None)]), critical=False)
            .add_extension(x509.CRLDistributionPoints([revoked]), critical=False)
            .add_extension(x509.UnrecognizedExtension(_TIMESTAMPS_STAND_IN, secrets.token_bytes(_TIMESTAMPS_BYTES)), critical=False)
        )

    def _full(self, name: x509.Name) -> x509.Name:
        return x509.Name([*name, self._organization]) if len(name.rdns) else name


def _cut(content: bytes, values: dict[str, bytes]) -> tuple[tuple[bytes, ...], tuple[str, ...]]:
    """Returns what lies around the values, each of which is in `content` exactly once, and the values' names in their order there."""
    for place, value in values.items():
        if content.count(value) != 1:
            raise AssertionError(f"the {place} is in the certificate {content.count(value)} times")
    places = sorted(values, key=lambda place: content.index(values[place]))
    pieces, position = [], 0
    for place in places:
        start = content.index(values[place])
        pieces.append(content[position:start])
        position = start + len(values[place])
    return (*pieces, content[position:]), tuple(places)
