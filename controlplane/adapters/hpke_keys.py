"""Recipient keys as cryptography holds them: made, named, serialised, and handed to HPKE.

A key is X25519 alone, or ML-KEM-768 beside X25519 for the hybrid KEM (X-Wing, draft-connolly-cfrg-xwing-kem). Serialised for
the key id, the ML-KEM part comes first, as that draft lays it out. PEM blocks are PKCS#8 (RFC 5958) and SubjectPublicKeyInfo
(RFC 5280), one a component, in the same order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Never

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from controlplane.core.errors import ConfigurationError
from controlplane.core.keyring import recipient_key_id
from controlplane.core.redacted import SecretBytes
from controlplane.core.sealing import Scheme


@cache
def suite(scheme: Scheme) -> hpke.Suite:
    """Returns the HPKE suite of a scheme: its KEM, HKDF-SHA256 and AES-256-GCM (RFC 9180 section 7)."""
    kem = hpke.KEM.X25519 if scheme is Scheme.HPKE_X25519 else hpke.KEM.MLKEM768_X25519
    return hpke.Suite(kem, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)


@dataclass(frozen=True, slots=True, eq=False)
class RecipientPublicKey:
    """The public half of a recipient key: it seals."""

    x25519: X25519PublicKey
    mlkem: MLKEM768PublicKey | None = None

    @property
    def scheme(self) -> Scheme:
        """The scheme that this key is for."""
        return Scheme.HPKE_X25519 if self.mlkem is None else Scheme.HPKE_MLKEM768_X25519

    @property
    def key_id(self) -> str:
        """The id: 16 hexadecimal digits."""
        mlkem = b"" if self.mlkem is None else self.mlkem.public_bytes_raw()
        return recipient_key_id(mlkem + self.x25519.public_bytes_raw())

    def for_hpke(self) -> X25519PublicKey | hpke.MLKEM768X25519PublicKey:
        """Returns the key in the form that `suite(scheme)` takes."""
        return self.x25519 if self.mlkem is None else hpke.MLKEM768X25519PublicKey(self.mlkem, self.x25519)

    def to_pem(self) -> bytes:
        """Returns one PUBLIC KEY block a component."""
        components = (self.x25519,) if self.mlkem is None else (self.mlkem, self.x25519)
        return b"".join(component.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo) for component in components)

    def __repr__(self) -> str:
        return f"RecipientPublicKey({self.key_id}, {self.scheme.name})"


@dataclass(frozen=True, slots=True, eq=False)
class RecipientPrivateKey:
    """The private half of a recipient key: it opens. It never shows its content and is not pickled."""

    x25519: X25519PrivateKey
    mlkem: MLKEM768PrivateKey | None = None

    @property
    def public(self) -> RecipientPublicKey:
        """The public half."""
        return RecipientPublicKey(self.x25519.public_key(), None if self.mlkem is None else self.mlkem.public_key())

    def for_hpke(self) -> X25519PrivateKey | hpke.MLKEM768X25519PrivateKey:
        """Returns the key in the form that `suite(scheme)` takes."""
        return self.x25519 if self.mlkem is None else hpke.MLKEM768X25519PrivateKey(self.mlkem, self.x25519)

    def to_pem(self) -> SecretBytes:
        """Returns one PRIVATE KEY block a component."""
        components = (self.x25519,) if self.mlkem is None else (self.mlkem, self.x25519)
        return SecretBytes(b"".join(component.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) for component in components))

    def __repr__(self) -> str:
        return f"RecipientPrivateKey({self.public.key_id}, redacted)"

    def __reduce__(self) -> Never:
        raise TypeError("a private key is not pickled")


def generate_recipient_key(scheme: Scheme) -> RecipientPrivateKey:
    """Makes a new recipient key.

    Raises:
        ConfigurationError: the OpenSSL that cryptography was built with lacks ML-KEM.
    """
    if scheme is Scheme.HPKE_X25519:
        return RecipientPrivateKey(X25519PrivateKey.generate())
    try:
        return RecipientPrivateKey(X25519PrivateKey.generate(), MLKEM768PrivateKey.generate())
    except UnsupportedAlgorithm:
        raise ConfigurationError("this build of cryptography has no ML-KEM; use the scheme hpke-x25519") from None


def private_key_from_pem(blocks: Sequence[bytes]) -> RecipientPrivateKey:
    """Reads PRIVATE KEY blocks, one a component.

    Raises:
        ValueError: they do not make a recipient key. The text completes the sentence "the file ..."; neither it nor the chain holds
            anything of the content.
    """
    try:
        keys = [load_pem_private_key(block, password=None) for block in blocks]
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError("has a PRIVATE KEY block that is damaged, encrypted or of a type that this build does not know") from None
    match keys:
        case [X25519PrivateKey() as x25519]:
            return RecipientPrivateKey(x25519)
        case [MLKEM768PrivateKey() as mlkem, X25519PrivateKey() as x25519]:
            return RecipientPrivateKey(x25519, mlkem)
    raise ValueError("has PRIVATE KEY blocks that are neither X25519 nor ML-KEM-768 followed by X25519")


def public_key_from_pem(blocks: Sequence[bytes]) -> RecipientPublicKey:
    """Reads PUBLIC KEY blocks, one a component.

    Raises:
        ValueError: they do not make a recipient key. The text completes the sentence "the file ...".
    """
    try:
        keys = [load_pem_public_key(block) for block in blocks]
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError("has a PUBLIC KEY block that is damaged or of a type that this build does not know") from None
    match keys:
        case [X25519PublicKey() as x25519]:
            return RecipientPublicKey(x25519)
        case [MLKEM768PublicKey() as mlkem, X25519PublicKey() as x25519]:
            return RecipientPublicKey(x25519, mlkem)
    raise ValueError("has PUBLIC KEY blocks that are neither X25519 nor ML-KEM-768 followed by X25519")
