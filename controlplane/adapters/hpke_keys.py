"""Recipient keys of the HPKE schemes (RFC 9180), as cryptography holds them.

A key is X25519, P-256, or ML-KEM-768 beside X25519 for the hybrid KEM (X-Wing, draft-connolly-cfrg-xwing-kem). Serialised for the key
id, the ML-KEM part comes first, as that draft lays it out. PEM blocks are PKCS#8 (RFC 5958) and SubjectPublicKeyInfo (RFC 5280), one a
component, in the same order.

A ciphertext is `enc` followed by the AEAD ciphertext: 48 bytes longer than the plaintext with X25519, 81 with P-256, 1,136 with the
hybrid. The AAD is empty.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, Never

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from controlplane.core.errors import ConfigurationError
from controlplane.core.keyring import recipient_key_id
from controlplane.core.redacted import SecretBytes
from controlplane.core.sealing import Scheme

PublicComponent = X25519PublicKey | MLKEM768PublicKey | ec.EllipticCurvePublicKey
PrivateComponent = X25519PrivateKey | MLKEM768PrivateKey | ec.EllipticCurvePrivateKey

_KEMS: Mapping[Scheme, hpke.KEM] = {
    Scheme.HPKE_X25519: hpke.KEM.X25519,
    Scheme.HPKE_P256: hpke.KEM.P256,
    Scheme.HPKE_MLKEM768_X25519: hpke.KEM.MLKEM768_X25519,
}


@cache
def suite(scheme: Scheme) -> hpke.Suite:
    """Returns the HPKE suite of a scheme: its KEM, HKDF-SHA256 and AES-256-GCM (RFC 9180 section 7)."""
    return hpke.Suite(_KEMS[scheme], hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)


@dataclass(frozen=True, eq=False)
class HpkePublicKey:
    """A `RecipientPublicKey` of an HPKE scheme; `components` are one key, or ML-KEM-768 and X25519."""

    scheme: Scheme
    components: tuple[PublicComponent, ...]

    @cached_property
    def key_id(self) -> str:
        """The id."""
        return recipient_key_id(b"".join(_raw(component) for component in self.components))

    @cached_property
    def for_hpke(self) -> Any:
        """The key in the form that the suite takes."""
        match self.components:
            case (MLKEM768PublicKey() as mlkem, X25519PublicKey() as x25519):
                return hpke.MLKEM768X25519PublicKey(mlkem, x25519)
            case (only, *_):
                return only

    def seal(self, plaintext: SecretBytes, info: bytes) -> bytes:
        """Returns a new ciphertext."""
        return suite(self.scheme).encrypt(plaintext.reveal(), self.for_hpke, info=info)

    def to_pem(self) -> bytes:
        """Returns one PUBLIC KEY block a component."""
        return b"".join(component.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo) for component in self.components)

    def __repr__(self) -> str:
        return f"HpkePublicKey({self.key_id}, {self.scheme.name})"


@dataclass(frozen=True, eq=False, repr=False)
class HpkePrivateKey:
    """A `RecipientPrivateKey` of an HPKE scheme; `components` as in the public half."""

    scheme: Scheme
    components: tuple[PrivateComponent, ...]

    @cached_property
    def public(self) -> HpkePublicKey:
        """The public half."""
        return HpkePublicKey(self.scheme, tuple(component.public_key() for component in self.components))

    @cached_property
    def for_hpke(self) -> Any:
        """The key in the form that the suite takes."""
        match self.components:
            case (MLKEM768PrivateKey() as mlkem, X25519PrivateKey() as x25519):
                return hpke.MLKEM768X25519PrivateKey(mlkem, x25519)
            case (only, *_):
                return only

    def open(self, ciphertext: bytes, info: bytes) -> SecretBytes:
        """Returns the plaintext; see `RecipientPrivateKey.open`."""
        try:
            return SecretBytes(suite(self.scheme).decrypt(ciphertext, self.for_hpke, info=info))
        except InvalidTag:
            raise ValueError("does not open") from None

    def to_pem(self, passphrase: SecretBytes | None = None) -> SecretBytes:
        """Returns one PKCS#8 block a component."""
        encryption = NoEncryption() if passphrase is None else BestAvailableEncryption(passphrase.reveal())
        return SecretBytes(
            b"".join(component.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption) for component in self.components)
        )

    def __repr__(self) -> str:
        return f"HpkePrivateKey({self.public.key_id}, redacted)"

    def __reduce__(self) -> Never:
        raise TypeError("a private key is not pickled")


def generate(scheme: Scheme) -> HpkePrivateKey:
    """Makes a new key.

    Raises:
        ConfigurationError: the OpenSSL that cryptography was built with lacks ML-KEM.
    """
    match scheme:
        case Scheme.HPKE_X25519:
            return HpkePrivateKey(scheme, (X25519PrivateKey.generate(),))
        case Scheme.HPKE_P256:
            return HpkePrivateKey(scheme, (ec.generate_private_key(ec.SECP256R1()),))
        case Scheme.HPKE_MLKEM768_X25519:
            try:
                return HpkePrivateKey(scheme, (MLKEM768PrivateKey.generate(), X25519PrivateKey.generate()))
            except UnsupportedAlgorithm:
                raise ConfigurationError("this build of cryptography has no ML-KEM; use the scheme hpke-x25519") from None
        case _:
            raise AssertionError(f"{scheme.name} is no HPKE scheme")


def private_key(keys: Sequence[object]) -> HpkePrivateKey | None:
    """Returns the recipient key that these components make, or None."""
    match keys:
        case [X25519PrivateKey() as x25519]:
            return HpkePrivateKey(Scheme.HPKE_X25519, (x25519,))
        case [MLKEM768PrivateKey() as mlkem, X25519PrivateKey() as x25519]:
            return HpkePrivateKey(Scheme.HPKE_MLKEM768_X25519, (mlkem, x25519))
        case [ec.EllipticCurvePrivateKey(curve=ec.SECP256R1()) as p256]:
            return HpkePrivateKey(Scheme.HPKE_P256, (p256,))
    return None


def public_key(keys: Sequence[object]) -> HpkePublicKey | None:
    """Returns the recipient key that these components make, or None."""
    match keys:
        case [X25519PublicKey() as x25519]:
            return HpkePublicKey(Scheme.HPKE_X25519, (x25519,))
        case [MLKEM768PublicKey() as mlkem, X25519PublicKey() as x25519]:
            return HpkePublicKey(Scheme.HPKE_MLKEM768_X25519, (mlkem, x25519))
        case [ec.EllipticCurvePublicKey(curve=ec.SECP256R1()) as p256]:
            return HpkePublicKey(Scheme.HPKE_P256, (p256,))
    return None


def _raw(component: PublicComponent) -> bytes:
    """Returns a component as HPKE serialises it (RFC 9180 section 7.1.1: a point on P-256 is uncompressed)."""
    if isinstance(component, ec.EllipticCurvePublicKey):
        return component.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return component.public_bytes_raw()
