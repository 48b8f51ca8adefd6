"""Seals and opens envelopes with the recipient keys of this process, each by its own scheme.

What an envelope is bound to is the seal context. Error texts never say which byte is wrong, and never repeat an id that came with an
envelope unless it looks like one: envelopes come from the store, which others may write to.
"""

import re
from collections.abc import Iterable, Mapping

from controlplane.adapters.recipient_keys import RecipientPrivateKey, RecipientPublicKey
from controlplane.core.errors import SealingError
from controlplane.core.redacted import SecretBytes
from controlplane.core.sealing import ALL_SCHEMES, Envelope, KeyClass, Scheme, SealContext

_KEY_ID = re.compile(r"[0-9a-f]{16}")


class EnvelopeSealer:
    """A `Sealer` for the ACTIVE public key of each class."""

    def __init__(self, active: Mapping[KeyClass, RecipientPublicKey]) -> None:
        self._active = dict(active)

    def seal(self, plaintext: SecretBytes, context: SealContext) -> Envelope:
        """Returns a new envelope; see `core.ports.Sealer`."""
        key = self._active.get(context.key_class)
        if key is None:
            raise SealingError(f"there is no ACTIVE `{context.key_class}` recipient key to seal to")
        return Envelope(key.key_id, key.scheme, key.seal(plaintext, context.info()))

    def __repr__(self) -> str:
        shown = ((key_class, key.key_id) for key_class, key in self._active.items())
        return f"EnvelopeSealer({', '.join(f'{key_class}={key_id}' for key_class, key_id in shown)})"


class EnvelopeOpener:
    """An `Opener` for the private keys given, each for its own class only, and for the schemes that policy allows."""

    def __init__(self, keys: Iterable[tuple[KeyClass, RecipientPrivateKey]], allowed_schemes: frozenset[Scheme] = ALL_SCHEMES) -> None:
        self._allowed = allowed_schemes
        self._keys = {key.public.key_id: (key_class, key.public.scheme, key) for key_class, key in keys}

    def open(self, envelope: Envelope, context: SealContext) -> SecretBytes:
        """Returns the plaintext; see `core.ports.Opener`."""
        if envelope.scheme not in self._allowed:
            raise SealingError(f"the envelope's scheme, number {int(envelope.scheme)}, is not one that policy allows to open")
        found = self._keys.get(envelope.recipient_key_id)
        if found is None:
            shown = envelope.recipient_key_id if _KEY_ID.fullmatch(envelope.recipient_key_id) else "with a malformed id"
            raise SealingError(f"the envelope is sealed to a recipient key {shown}, which is not among the private keys held here")
        key_class, scheme, private_key = found
        if key_class is not context.key_class or scheme is not envelope.scheme:
            raise SealingError(
                f"the envelope asks for the recipient key {envelope.recipient_key_id} in a class or scheme that is not the key's"
            )
        try:
            return private_key.open(envelope.ciphertext, context.info())
        except ValueError:
            # One text for damage, another context and another key: a forger learns nothing from the difference.
            raise SealingError(
                f"the envelope does not open with the recipient key {envelope.recipient_key_id}:"
                " it is damaged or was sealed for another record"
            ) from None

    def __repr__(self) -> str:
        return f"EnvelopeOpener({', '.join(f'{key_class}={key_id}' for key_id, (key_class, _, _) in self._keys.items())})"
