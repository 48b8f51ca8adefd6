"""The keys of a process, as its key directory has them now: exchanged while it runs, without a restart and without a gap.

A directory that is being changed, or was changed wrongly, does not count: the keys before stay in use, and operators are told.
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import structlog
from prometheus_client import Gauge

from controlplane.adapters.key_files import LoadedKeys, load_key_directory
from controlplane.core import keyring
from controlplane.core.errors import ConfigurationError
from controlplane.core.key_protection import NOTHING, Unlock
from controlplane.core.keyring import RecipientKey, Role
from controlplane.core.redacted import SecretBytes
from controlplane.core.rotation import ReplicaKeys
from controlplane.core.sealing import ALL_SCHEMES, LEGACY_SCHEMES, Envelope, KeyClass, KeyPhase, Scheme, SealContext

_log = structlog.get_logger(__name__)

_UNSOUND = Gauge("certplane_key_directory_unsound", "1 while the key directory cannot be used and the keys before it stay in use.")

_Signature = tuple[tuple[str, int, int, int], ...]


class LiveKeys:
    """Implements `Sealer`, `Opener` and `RecordAuthenticator` with the keys of one directory."""

    def __init__(
        self,
        directory: Path,
        role: Role,
        unlock: Unlock = NOTHING,
        *,
        allowed_schemes: frozenset[Scheme] = ALL_SCHEMES,
        seal_with_legacy: bool = False,
    ) -> None:
        """Reads the directory.

        Args:
            directory: the key directory of the role.
            role: what it must hold, and must not.
            unlock: unlocks private keys that are encrypted or wrapped.
            allowed_schemes: what envelopes may be sealed by to be opened.
            seal_with_legacy: whether new seals may use a scheme that only older systems used.

        Raises:
            ConfigurationError: it cannot be read, or does not suit the role.
        """
        self._directory = directory
        self._role = role
        self._unlock = unlock
        self._allowed = allowed_schemes
        self._seal_with_legacy = seal_with_legacy
        self._signature = _signature(directory)
        self._use(self._load())

    def _load(self) -> LoadedKeys:
        loaded = load_key_directory(self._directory, self._unlock)
        keyring.check_role(loaded.inventory, self._role)
        if not self._seal_with_legacy:
            _check_sealing_schemes(loaded)
        return loaded

    def _use(self, loaded: LoadedKeys) -> None:
        sealer, opener, authenticator = loaded.sealer(), loaded.opener(self._allowed), loaded.authenticator()
        self._loaded, self._sealer, self._opener, self._authenticator = loaded, sealer, opener, authenticator

    def refresh(self) -> bool:
        """Reads the directory again if a file of it changed; returns whether other keys are in use now. Never raises."""
        try:
            signature = _signature(self._directory)
            if signature == self._signature:
                _UNSOUND.set(0)
                return False
            self._use(self._load())
        except ConfigurationError as error:
            _UNSOUND.set(1)
            _log.error("key directory cannot be used, the keys before stay in use", reason=str(error))
            return False
        self._signature = signature
        _UNSOUND.set(0)
        _log.info("keys exchanged", **self._ids())
        return True

    def seal(self, plaintext: SecretBytes, context: SealContext) -> Envelope:
        """See `core.ports.Sealer`."""
        return self._sealer.seal(plaintext, context)

    def open(self, envelope: Envelope, context: SealContext) -> SecretBytes:
        """See `core.ports.Opener`."""
        return self._opener.open(envelope, context)

    def wrap(self, kind: str, key: str, payload: bytes) -> bytes:
        """See `core.ports.RecordAuthenticator`."""
        return self._authenticator.wrap(kind, key, payload)

    def unwrap(self, kind: str, key: str, data: bytes) -> bytes:
        """See `core.ports.RecordAuthenticator`."""
        return self._authenticator.unwrap(kind, key, data)

    def key_id_of(self, data: bytes) -> str:
        """See `core.ports.RecordAuthenticator`."""
        return self._authenticator.key_id_of(data)

    def report(self, replica: str, now: datetime) -> ReplicaKeys:
        """Returns what this process says of its keys."""
        inventory = self._loaded.inventory
        opens = frozenset(key.key_id for key_class in KeyClass for key in inventory.opening(key_class))
        believes = frozenset(key.key_id for key in inventory.record if key.phase is not KeyPhase.RETIRED)
        writes = {keyring.writing_record_key(inventory).key_id}
        if self._role is not Role.SERVE:
            writes |= {key.key_id for key_class in KeyClass for key in inventory.active(key_class)}
        return ReplicaKeys(replica, self._role, opens, believes, frozenset(writes), now)

    def _ids(self) -> dict[str, Sequence[str]]:
        inventory = self._loaded.inventory
        return {
            "recipient_keys": [f"{key.key_id} {key.phase}" for key in (*inventory.private, *inventory.public)],
            "record_keys": [f"{key.key_id} {key.phase}" for key in inventory.record],
        }

    def __repr__(self) -> str:
        return f"LiveKeys({str(self._directory)!r}, redacted)"


def _check_sealing_schemes(loaded: LoadedKeys) -> None:
    inventory = loaded.inventory
    for key_class in KeyClass:
        for key in inventory.active(key_class):
            # `serve` has leaf keys of any scheme to open with, and seals nothing.
            if key in inventory.public or key_class is KeyClass.ACCOUNT:
                check_sealing_scheme(key, inventory.location)


def check_sealing_scheme(key: RecipientKey, location: str) -> None:
    """Checks that a key is for a scheme that new seals may use.

    Raises:
        ConfigurationError: it is for one that only older systems used.
    """
    if key.scheme in LEGACY_SCHEMES:
        raise ConfigurationError(
            f"the ACTIVE `{key.key_class}` key {key.key_id} in {location} is for {key.scheme.name}, which is opened for"
            " the sake of older data but not sealed with: add a key of another scheme with `certplane keys generate --add"
            f" {key.key_class}` and activate it, or say --seal-with-legacy-scheme"
        )


def _signature(directory: Path) -> _Signature:
    """Returns what changes when a file of the directory is added, removed, written or exchanged."""
    try:
        # Through links: a mounted volume exchanges what they point to.
        found = [(path.name, path.stat()) for path in sorted(directory.iterdir()) if not path.name.startswith(".")]
    except OSError as error:
        raise ConfigurationError(f"cannot read the key directory {directory}: {error.strerror}") from error
    return tuple((name, status.st_ino, status.st_mtime_ns, status.st_size) for name, status in found)
