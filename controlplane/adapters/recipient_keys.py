"""Recipient keys, whatever their scheme: made, named, read from PEM, and the two interfaces that sealing needs of them."""

from collections.abc import Sequence
from typing import Protocol

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from controlplane.adapters import hpke_keys, rsa_keys
from controlplane.core.redacted import SecretBytes
from controlplane.core.sealing import Scheme


class RecipientPublicKey(Protocol):
    """The public half of a recipient key: it seals."""

    @property
    def scheme(self) -> Scheme:
        """The scheme that this key is for."""
        ...

    @property
    def key_id(self) -> str:
        """The id: 16 hexadecimal digits."""
        ...

    def seal(self, plaintext: SecretBytes, info: bytes) -> bytes:
        """Returns a new ciphertext that is bound to `info`."""
        ...

    def to_pem(self) -> bytes:
        """Returns one PUBLIC KEY block a component."""
        ...


class RecipientPrivateKey(Protocol):
    """The private half of a recipient key: it opens. It never shows its content and is not pickled."""

    @property
    def public(self) -> RecipientPublicKey:
        """The public half."""
        ...

    def open(self, ciphertext: bytes, info: bytes) -> SecretBytes:
        """Returns the plaintext.

        Raises:
            ValueError: the ciphertext is damaged, was sealed to another key or bound to another `info`; it does not say which.
        """
        ...

    def to_pem(self, passphrase: SecretBytes | None = None) -> SecretBytes:
        """Returns one PKCS#8 block a component (RFC 5958): PRIVATE KEY, or ENCRYPTED PRIVATE KEY with a passphrase."""
        ...


def generate_recipient_key(scheme: Scheme, rsa_bits: int = rsa_keys.DEFAULT_BITS) -> RecipientPrivateKey:
    """Makes a new recipient key; `rsa_bits` matters to an RSA key only.

    Raises:
        ConfigurationError: the OpenSSL that cryptography was built with lacks ML-KEM, or `rsa_bits` is none of the sizes allowed.
    """
    if scheme is Scheme.RSA_OAEP_AES256GCM:
        return rsa_keys.generate(rsa_bits)
    return hpke_keys.generate(scheme)


def private_key_from_pem(blocks: Sequence[bytes], passphrase: SecretBytes | None = None) -> RecipientPrivateKey:
    """Reads PKCS#8 blocks, one a component. A passphrase must be given if, and only if, they are encrypted.

    Raises:
        ValueError: they do not make a recipient key. The text completes the sentence "the file ..."; neither it nor the chain holds
            anything of the content.
    """
    try:
        keys = [load_pem_private_key(block, password=None if passphrase is None else passphrase.reveal()) for block in blocks]
    except (ValueError, TypeError, UnsupportedAlgorithm):
        reason = "damaged, encrypted with another passphrase" if passphrase else "damaged"
        raise ValueError(f"has a PRIVATE KEY block that is {reason} or of a type that this build does not know") from None
    found = hpke_keys.private_key(keys) or rsa_keys.private_key(keys)
    if found is None:
        raise ValueError("has private key blocks that are no recipient key: X25519, ML-KEM-768 followed by X25519, P-256 or RSA")
    return found


def public_key_from_pem(blocks: Sequence[bytes]) -> RecipientPublicKey:
    """Reads PUBLIC KEY blocks, one a component.

    Raises:
        ValueError: they do not make a recipient key. The text completes the sentence "the file ...".
    """
    try:
        keys = [load_pem_public_key(block) for block in blocks]
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError("has a PUBLIC KEY block that is damaged or of a type that this build does not know") from None
    found = hpke_keys.public_key(keys) or rsa_keys.public_key(keys)
    if found is None:
        raise ValueError("has PUBLIC KEY blocks that are no recipient key: X25519, ML-KEM-768 followed by X25519, P-256 or RSA")
    return found
