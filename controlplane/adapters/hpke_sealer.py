"""Seals and opens envelopes with single-shot HPKE in base mode (RFC 9180 section 6.1), under cryptography's implementation.

A new envelope is `enc` followed by the AEAD ciphertext: 48 bytes longer than the plaintext with X25519, 1,136 with the hybrid.
The `info` input is the seal context; the AAD is empty. Error texts never say which byte is wrong, and never repeat an id that
came with an envelope unless it looks like one: envelopes come from the store, which others may write to.
"""

import re
from collections.abc import Iterable, Mapping

from cryptography.exceptions import InvalidTag

from controlplane.adapters.hpke_keys import RecipientPrivateKey, RecipientPublicKey, suite
from controlplane.core.errors import SealingError
from controlplane.core.redacted import SecretBytes
from controlplane.core.sealing import Envelope, KeyClass, Scheme, SealContext

ALL_SCHEMES = frozenset(Scheme)
"""Every scheme that this build opens."""

_KEY_ID = re.compile(r"[0-9a-f]{16}")


class HpkeSealer:
    """A `Sealer` for the ACTIVE public key of each class."""

    def __init__(self, active: Mapping[KeyClass, RecipientPublicKey]) -> None:
        self._active = {key_class: (key.key_id, key.scheme, key.for_hpke()) for key_class, key in active.items()}

    def seal(self, plaintext: SecretBytes, context: SealContext) -> Envelope:
        """Returns a new envelope; see `core.ports.Sealer`."""
        found = self._active.get(context.key_class)
        if found is None:
            raise SealingError(f"there is no ACTIVE `{context.key_class}` recipient key to seal to")
        key_id, scheme, public_key = found
        return Envelope(key_id, scheme, suite(scheme).encrypt(plaintext.reveal(), public_key, info=context.info()))

    def __repr__(self) -> str:
        return f"HpkeSealer({', '.join(f'{key_class}={key_id}' for key_class, (key_id, _, _) in self._active.items())})"


class HpkeOpener:
    """An `Opener` for the private keys given, each for its own class only, and for the schemes that policy allows."""

    def __init__(self, keys: Iterable[tuple[KeyClass, RecipientPrivateKey]], allowed_schemes: frozenset[Scheme] = ALL_SCHEMES) -> None:
        self._allowed = allowed_schemes
        self._keys = {key.public.key_id: (key_class, key.public.scheme, key.for_hpke()) for key_class, key in keys}

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
            return SecretBytes(suite(scheme).decrypt(envelope.ciphertext, private_key, info=context.info()))
        except (InvalidTag, ValueError):
            # One text for damage, another context and another key: a forger learns nothing from the difference.
            raise SealingError(
                f"the envelope does not open with the recipient key {envelope.recipient_key_id}:"
                " it is damaged or was sealed for another record"
            ) from None

    def __repr__(self) -> str:
        return f"HpkeOpener({', '.join(f'{key_class}={key_id}' for key_id, (key_class, _, _) in self._keys.items())})"
