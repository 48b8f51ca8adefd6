"""From a certificate record and its opened leaf key to what a TLS server loads."""

from binascii import b2a_base64
from functools import lru_cache
from struct import Struct
from typing import Protocol

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from controlplane.core.certificate import ServableCertificate
from controlplane.core.errors import SealingError
from controlplane.core.leaf_spki import certificate_spki, p256_key_spki
from controlplane.core.redacted import SecretBytes

_PEM_LINE = 64
"""Characters a line (RFC 7468 section 2)."""


class TlsCertificateSerialiser(Protocol):
    """Makes the message that a TLS server reads its certificate from: a port, since its format is the endpoint's matter."""

    def __call__(self, certificate_chain: bytes, private_key: SecretBytes) -> SecretBytes:
        """Returns the serialised message. `certificate_chain` is PEM, leaf first; `private_key` is PEM PKCS#8."""
        ...


def certificate_chain_pem(record: ServableCertificate) -> bytes:
    """Returns leaf and intermediates as PEM (RFC 7468), in chain order."""
    return b"".join((_pem(b"CERTIFICATE", record.leaf), *map(_intermediate_pem, record.intermediates)))


@lru_cache(maxsize=64)
def _intermediate_pem(certificate: bytes) -> bytes:
    """Returns an intermediate certificate as PEM: a CA has a handful of them, and all its leaves share them."""
    return _pem(b"CERTIFICATE", certificate)


def _pem(label: bytes, content: bytes) -> bytes:
    text = b2a_base64(content, newline=False)
    return b"-----BEGIN %b-----\n%b\n-----END %b-----\n" % (label, b"\n".join(_lines(len(text)).unpack(text)), label)


@lru_cache(maxsize=256)
def _lines(characters: int) -> Struct:
    """Returns what cuts so many characters into lines, in half the time that slices take. Leaf certificates differ by a few bytes."""
    full, rest = divmod(characters, _PEM_LINE)
    return Struct(f"{_PEM_LINE}s" * full + (f"{rest}s" if rest else ""))


def private_key_pem(record: ServableCertificate, leaf_key: SecretBytes) -> SecretBytes:
    """Returns the leaf key as PEM PKCS#8, after a check that it is the key of the leaf certificate.

    A client refuses every secret of an answer that holds one with a wrong key, so a wrong key must never leave. What is checked is the
    public key that stands beside the private one in the opened PKCS#8, against the one in the leaf, whatever the rest of the record says.
    So a leaf key of an earlier certificate, or of another domain, is not served with this chain. That the private key is the one of the
    public key beside it is not computed anew each time: the worker wrote both in one go, and since then the AEAD and the HMAC protect them.

    Raises:
        SealingError: `leaf_key` is not a private key in DER PKCS#8, the leaf certificate is damaged, or they do not belong together.
    """
    try:
        belongs = _belongs(leaf_key, record.leaf)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # Without the cause: a parser's message may quote what it could not parse.
        raise SealingError("the opened leaf key or the leaf certificate cannot be read") from None
    if not belongs:
        raise SealingError("the opened leaf key is not the key of the leaf certificate")
    return SecretBytes(_pem(b"PRIVATE KEY", leaf_key.reveal()))


def _belongs(leaf_key: SecretBytes, leaf: bytes) -> bool:
    """Returns whether a private key is that of a leaf certificate."""
    spki = p256_key_spki(leaf_key.reveal())
    if spki is None:
        key = serialization.load_der_private_key(leaf_key.reveal(), password=None)
        spki = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return certificate_spki(leaf) == spki
