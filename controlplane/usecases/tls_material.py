"""From a certificate record and its opened leaf key to what a TLS server loads."""

from base64 import b64encode
from collections.abc import Iterable
from typing import Protocol

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from controlplane.core.certificate import CertificateRecord
from controlplane.core.errors import SealingError
from controlplane.core.redacted import SecretBytes

_PEM_LINE = 64
"""Characters a line (RFC 7468 section 2)."""


class TlsCertificateSerialiser(Protocol):
    """Makes the message that a TLS server reads its certificate from: a port, since its format is the endpoint's matter."""

    def __call__(self, certificate_chain: bytes, private_key: SecretBytes) -> SecretBytes:
        """Returns the serialised message. `certificate_chain` is PEM, leaf first; `private_key` is PEM PKCS#8."""
        ...


def certificate_chain_pem(record: CertificateRecord) -> bytes:
    """Returns leaf and intermediates as PEM (RFC 7468), in chain order."""
    return b"".join(_pem_lines((record.leaf, *record.intermediates)))


def _pem_lines(certificates: Iterable[bytes]) -> Iterable[bytes]:
    for certificate in certificates:
        content = b64encode(certificate)
        yield b"-----BEGIN CERTIFICATE-----\n"
        for start in range(0, len(content), _PEM_LINE):
            yield content[start : start + _PEM_LINE]
            yield b"\n"
        yield b"-----END CERTIFICATE-----\n"


def private_key_pem(record: CertificateRecord, leaf_key: SecretBytes) -> SecretBytes:
    """Returns the leaf key as PEM PKCS#8, after a check that it is the key of the leaf certificate.

    A client refuses every secret of an answer that holds one with a wrong key, so a wrong key must never leave.

    Raises:
        SealingError: `leaf_key` is not a private key in DER PKCS#8, the leaf certificate is damaged, or they do not belong together.
    """
    try:
        key = serialization.load_der_private_key(leaf_key.reveal(), password=None)
        belongs = x509.load_der_x509_certificate(record.leaf).public_key() == key.public_key()
        pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # Without the cause: a parser's message may quote what it could not parse.
        raise SealingError("the opened leaf key or the leaf certificate cannot be read") from None
    if not belongs:
        raise SealingError("the opened leaf key is not the key of the leaf certificate")
    return SecretBytes(pem)
