"""How the content of a private recipient key lies in its file, and what unlocks it.

A private key is a few PEM blocks. In its file they stand as they are (the file's mode is the protection), encrypted under a passphrase
(PKCS#8, RFC 5958 section 3), or wrapped: encrypted as a whole under a key that never leaves a hardware token. A wrapped key is unwrapped
once, when the process starts; afterwards opening is as fast as ever, and a stolen disk opens nothing.
"""

from dataclasses import dataclass
from typing import Protocol

from controlplane.core.redacted import SecretBytes


class RecipientKeyProvider(Protocol):
    """Something outside of the key file that wraps private recipient keys: a hardware token."""

    def wrap(self, content: SecretBytes, bound_to: bytes) -> bytes:
        """Returns `content` encrypted and authenticated, together with `bound_to`.

        Raises:
            ConfigurationError: the token is not there or refuses.
        """
        ...

    def unwrap(self, wrapped: bytes, bound_to: bytes) -> SecretBytes:
        """Returns the content.

        Raises:
            ConfigurationError: the token is not there or refuses.
            ValueError: it was wrapped by another key or bound to something else, or is damaged.
        """
        ...


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Unlock:
    """What a process can unlock private key files with; it shows neither."""

    passphrase: SecretBytes | None = None
    provider: RecipientKeyProvider | None = None


NOTHING = Unlock()
