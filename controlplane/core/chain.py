"""A chain is checked before it is stored: what a CA sends is trusted to be signed, not to be ours.

Checked are the leaf's key, names and validity, and that each certificate is signed by the next. Whether the root is trusted is the
matter of those who connect.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from controlplane.core.errors import CertplaneError
from controlplane.core.sealing import spki_digest

# CAs date certificates back by up to an hour; our clock or theirs may be as wrong.
SKEW = timedelta(hours=1)
MAX_CERTIFICATES = 10


class ChainRejected(CertplaneError):
    """A chain is not what was ordered; the text says why."""


class NotValidNow(ChainRejected):
    """The certificate is what was ordered, but not valid by our clock: that clock is wrong, or the CA's."""


@dataclass(frozen=True, slots=True)
class CheckedChain:
    """A chain that passed, with what the record needs from its leaf. `serial_number` is lower-case hexadecimal."""

    id: str
    leaf: bytes
    intermediates: tuple[bytes, ...]
    serial_number: str
    not_before: datetime
    not_after: datetime


def check_chain(chain: Sequence[bytes], names: Sequence[str], key_digest: bytes, now: datetime) -> CheckedChain:
    """Checks a chain, DER, leaf first.

    Args:
        chain: the certificates.
        names: the DNS names that were ordered; the leaf must have exactly these.
        key_digest: SHA-256 of the CSR's SubjectPublicKeyInfo.
        now: must lie within the leaf's validity, give or take an hour at its beginning.

    Raises:
        ChainRejected: it fails; the text says why. `NotValidNow` when nothing but the time is wrong.
    """
    if not 1 <= len(chain) <= MAX_CERTIFICATES:
        raise ChainRejected(f"the chain has {len(chain)} certificates")
    try:
        certificates = [x509.load_der_x509_certificate(der) for der in chain]
        leaf = certificates[0]
        _check_leaf(leaf, names, key_digest, now)
        for certificate, issuer in pairwise(certificates):
            _check_issued(certificate, issuer)
    except (ValueError, UnsupportedAlgorithm, x509.UnsupportedGeneralNameType, x509.DuplicateExtension) as error:
        raise ChainRejected("the chain holds something that is not a proper certificate") from error
    return CheckedChain(
        chain_id(chain),
        chain[0],
        tuple(chain[1:]),
        f"{leaf.serial_number:x}",
        leaf.not_valid_before_utc,
        leaf.not_valid_after_utc,
    )


def chain_id(chain: Sequence[bytes]) -> str:
    """Returns the identifier of a certificate: it follows from the chain's content only, so that the same chain always has the same."""
    digest = hashlib.sha256()
    for der in chain:
        digest.update(len(der).to_bytes(4, "big"))
        digest.update(der)
    return digest.hexdigest()[:32]


def csr_spki_digest(csr: bytes) -> bytes:
    """Returns SHA-256 over the SubjectPublicKeyInfo of a CSR, DER."""
    return _key_digest(x509.load_der_x509_csr(csr))


def _check_leaf(leaf: x509.Certificate, names: Sequence[str], key_digest: bytes, now: datetime) -> None:
    if _key_digest(leaf) != key_digest:
        raise ChainRejected("the certificate is for another key")
    if _is_ca(leaf):
        raise ChainRejected("the first certificate is a CA's")
    ordered = {name.casefold() for name in names}
    certified = _dns_names(leaf)
    if certified != ordered:
        raise ChainRejected(f"ordered were the names {_listed(ordered)}, but the certificate has {_listed(certified)}")
    if now + SKEW < leaf.not_valid_before_utc:
        raise NotValidNow(f"the certificate is not valid before {leaf.not_valid_before_utc:%Y-%m-%dT%H:%M:%SZ}")
    if leaf.not_valid_after_utc <= now:
        raise NotValidNow(f"the certificate expired at {leaf.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}")


def _check_issued(certificate: x509.Certificate, issuer: x509.Certificate) -> None:
    if not _is_ca(issuer):
        raise ChainRejected("a certificate of the chain that is not a CA's stands above another")
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError) as error:
        raise ChainRejected("a certificate of the chain is not signed by the next") from error


def _key_digest(holder: x509.Certificate | x509.CertificateSigningRequest) -> bytes:
    return spki_digest(holder.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _dns_names(certificate: x509.Certificate) -> set[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    return {str(name.value).casefold() for name in names}


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "none"
