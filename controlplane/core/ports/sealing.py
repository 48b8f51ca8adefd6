"""Sealing, opening, and authenticating what is stored."""

from typing import Protocol

from controlplane.core.redacted import SecretBytes
from controlplane.core.sealing import Envelope, KeyClass, SealContext


class Sealer(Protocol):
    """Seals to the ACTIVE recipient key of a class. Needs public keys only."""

    def seal(self, plaintext: SecretBytes, context: SealContext) -> Envelope:
        """Returns a new envelope.

        Raises:
            SealingError: there is no ACTIVE recipient key of the context's class.
        """
        ...


class Opener(Protocol):
    """Opens envelopes of the classes whose private keys this process holds."""

    def open(self, envelope: Envelope, context: SealContext) -> SecretBytes:
        """Returns the plaintext.

        Raises:
            SealingError: unknown key, forbidden scheme, other context, or a damaged envelope; the text does not say which bytes.
        """
        ...


class RecordAuthenticator(Protocol):
    """HMAC-SHA256 over a record, under a key that the store never has."""

    def wrap(self, kind: str, key: str, payload: bytes) -> bytes:
        """Returns a serialised AuthenticatedRecord for `payload`, bound to its kind and its key in the store."""
        ...

    def unwrap(self, kind: str, key: str, data: bytes) -> bytes:
        """Returns the payload.

        Raises:
            RecordRejected: not authentic, made for another kind or key, or damaged.
        """
        ...

    def key_id_of(self, data: bytes) -> str:
        """Returns the id of the record key that a serialised AuthenticatedRecord says it was written under.

        Raises:
            RecordRejected: damaged.
        """
        ...


class PrivateKeyClasses(Protocol):
    """What a key directory holds, for the check that a role never has the other's."""

    def private_classes(self) -> frozenset[KeyClass]:
        """Returns the classes of which a private recipient key is present."""
        ...
