"""Values of sealing: schemes, key classes, envelopes, and what an envelope is bound to.

Sealing is single-shot HPKE in base mode (RFC 9180). The `info` input binds the key class and the place of the secret, so an
envelope that somebody moves to another record does not open. HPKE does not say who sealed: records are authenticated too
(`RecordAuthenticator` in `ports`). One scheme is not HPKE: RSA-OAEP around an AES key, which older systems wrote. It binds the same
bytes, as additional authenticated data.
"""

import hashlib
from dataclasses import dataclass
from enum import IntEnum, StrEnum


class Scheme(IntEnum):
    """Values of `certplane.store.v1.Scheme`."""

    HPKE_X25519 = 1
    HPKE_MLKEM768_X25519 = 2
    HPKE_P256 = 3
    RSA_OAEP_AES256GCM = 4


ALL_SCHEMES = frozenset(Scheme)
"""Every scheme that this build opens."""

LEGACY_SCHEMES = frozenset({Scheme.RSA_OAEP_AES256GCM})
"""Schemes that are opened and re-sealed, but that nothing new is sealed with unless an operator says so."""


class KeyClass(StrEnum):
    """Who may open: `serve` holds private `leaf` keys, `worker` private `account` keys, neither the other's."""

    LEAF = "leaf"
    ACCOUNT = "account"


class KeyPhase(StrEnum):
    """The life of a recipient key. PREPARED: every replica can open with it; ACTIVE: new seals use it; RETIRING; RETIRED."""

    PREPARED = "PREPARED"
    ACTIVE = "ACTIVE"
    RETIRING = "RETIRING"
    RETIRED = "RETIRED"


@dataclass(frozen=True, slots=True)
class Envelope:
    """A sealed secret. `ciphertext` is the encapsulated key followed by the AEAD ciphertext."""

    recipient_key_id: str
    scheme: Scheme
    ciphertext: bytes


@dataclass(frozen=True, slots=True)
class SealContext:
    """What an envelope is bound to.

    `spki_digest` is SHA-256 over the sealed key's SubjectPublicKeyInfo (DER); `names` are the DNS names of a leaf key, or the
    directory URL of an account key.
    """

    key_class: KeyClass
    spki_digest: bytes
    names: tuple[str, ...]

    def info(self) -> bytes:
        """Returns the HPKE `info`: length-prefixed fields under a version label, so that no two contexts give the same bytes."""
        info = _INFO_HEADS[self.key_class] + _prefixed(self.spki_digest)
        for name in self.names:
            info += _prefixed(name.encode())
        return info


def _prefixed(content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + content


_INFO_HEADS = {key_class: _prefixed(b"certplane/seal/v1") + _prefixed(key_class.encode()) for key_class in KeyClass}
"""The first two fields, which every open needs."""


def spki_digest(spki_der: bytes) -> bytes:
    """Returns SHA-256 over a DER SubjectPublicKeyInfo: 32 bytes."""
    return hashlib.sha256(spki_der).digest()
