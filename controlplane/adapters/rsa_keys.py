"""Recipient keys of the scheme RSA_OAEP_AES256GCM, which systems before HPKE used: opened and re-sealed, not recommended.

A ciphertext is an AES-256 key under RSA-OAEP (RFC 8017 section 7.1) with SHA-256 for both hashes and no label, as long as the modulus;
a nonce of 12 bytes; and the plaintext under AES-256-GCM (NIST SP 800-38D), with what the envelope is bound to as additional
authenticated data. Opening costs three to twenty times an open with HPKE and P-256, by the size of the modulus (`bench.sealing`).
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Never

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
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

SIZES: Final = (2048, 3072, 4096)
"""Bits of a modulus that are taken."""

DEFAULT_BITS: Final = 3072

_OAEP = padding.OAEP(mgf=padding.MGF1(SHA256()), algorithm=SHA256(), label=None)
_AES_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12


@dataclass(frozen=True, eq=False, repr=False)
class RsaPublicKey:
    """A `RecipientPublicKey`."""

    rsa_key: rsa.RSAPublicKey
    scheme: Scheme = Scheme.RSA_OAEP_AES256GCM

    @cached_property
    def key_id(self) -> str:
        """The id: over the DER SubjectPublicKeyInfo, since RSA keys have no shorter form of their own."""
        return recipient_key_id(self.rsa_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))

    def seal(self, plaintext: SecretBytes, info: bytes) -> bytes:
        """Returns a new ciphertext."""
        aes_key, nonce = secrets.token_bytes(_AES_KEY_BYTES), secrets.token_bytes(_NONCE_BYTES)
        return self.rsa_key.encrypt(aes_key, _OAEP) + nonce + AESGCM(aes_key).encrypt(nonce, plaintext.reveal(), info)

    def to_pem(self) -> bytes:
        """Returns the PUBLIC KEY block."""
        return self.rsa_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def __repr__(self) -> str:
        return f"RsaPublicKey({self.key_id}, {self.rsa_key.key_size} bits)"


@dataclass(frozen=True, eq=False, repr=False)
class RsaPrivateKey:
    """A `RecipientPrivateKey`."""

    rsa_key: rsa.RSAPrivateKey

    @cached_property
    def public(self) -> RsaPublicKey:
        """The public half."""
        return RsaPublicKey(self.rsa_key.public_key())

    def open(self, ciphertext: bytes, info: bytes) -> SecretBytes:
        """Returns the plaintext; see `RecipientPrivateKey.open`."""
        wrapped_end = self.rsa_key.key_size // 8
        nonce_end = wrapped_end + _NONCE_BYTES
        if len(ciphertext) < nonce_end:
            raise ValueError("does not open")
        try:
            # A wrong padding and a wrong tag end alike: the sender must not learn which it was (RFC 8017 section 7.1.2).
            aes_key = self.rsa_key.decrypt(ciphertext[:wrapped_end], _OAEP)
            return SecretBytes(AESGCM(aes_key).decrypt(ciphertext[wrapped_end:nonce_end], ciphertext[nonce_end:], info))
        except (ValueError, InvalidTag):
            raise ValueError("does not open") from None

    def to_pem(self, passphrase: SecretBytes | None = None) -> SecretBytes:
        """Returns the PKCS#8 block."""
        encryption = NoEncryption() if passphrase is None else BestAvailableEncryption(passphrase.reveal())
        return SecretBytes(self.rsa_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))

    def __repr__(self) -> str:
        return f"RsaPrivateKey({self.public.key_id}, redacted)"

    def __reduce__(self) -> Never:
        raise TypeError("a private key is not pickled")


def generate(bits: int) -> RsaPrivateKey:
    """Makes a new key.

    Raises:
        ConfigurationError: `bits` is none of `SIZES`.
    """
    if bits not in SIZES:
        raise ConfigurationError(f"an RSA recipient key has {', '.join(map(str, SIZES))} bits, not {bits}")
    return RsaPrivateKey(rsa.generate_private_key(public_exponent=65537, key_size=bits))


def private_key(keys: Sequence[object]) -> RsaPrivateKey | None:
    """Returns the recipient key that the one key makes, or None."""
    match keys:
        case [rsa.RSAPrivateKey(key_size=2048 | 3072 | 4096) as key]:
            return RsaPrivateKey(key)
    return None


def public_key(keys: Sequence[object]) -> RsaPublicKey | None:
    """Returns the recipient key that the one key makes, or None."""
    match keys:
        case [rsa.RSAPublicKey(key_size=2048 | 3072 | 4096) as key]:
            return RsaPublicKey(key)
    return None
