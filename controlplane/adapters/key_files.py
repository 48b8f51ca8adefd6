"""Key directories: one file a key, read whole at start.

`serve` and `worker` have a directory each; neither is given the other's. Files named with a leading dot are left alone (a
mounted volume has such), every other one must be a key file: a key that was put aside in the directory is found, not forgotten.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from controlplane.adapters.envelope_sealer import EnvelopeOpener, EnvelopeSealer
from controlplane.adapters.key_file_format import KeyFile, PrivateKeyFile, PublicKeyFile, RecordKeyFile, parse_key_file
from controlplane.adapters.recipient_keys import RecipientPublicKey
from controlplane.adapters.record_hmac import RecordHmac
from controlplane.core import keyring
from controlplane.core.errors import ConfigurationError
from controlplane.core.key_protection import NOTHING, Unlock
from controlplane.core.keyring import KeyInventory
from controlplane.core.redacted import SecretBytes
from controlplane.core.sealing import ALL_SCHEMES, KeyClass, KeyPhase, Scheme

_LARGEST_FILE = 65_536
"""Bytes. The largest key file, with a hybrid public key, is under 2,500."""

_OTHERS_READ = stat.S_IRWXG | stat.S_IRWXO
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class LoadedKeys:
    """The keys of one directory. Never shows their content."""

    directory: Path
    files: tuple[tuple[Path, KeyFile], ...]

    @property
    def inventory(self) -> KeyInventory:
        """What is known of the keys without their content."""
        return KeyInventory(
            location=str(self.directory),
            private=tuple(file.about for _, file in self.files if isinstance(file, PrivateKeyFile)),
            public=tuple(file.about for _, file in self.files if isinstance(file, PublicKeyFile)),
            record=tuple(file.about for _, file in self.files if isinstance(file, RecordKeyFile)),
        )

    def private_classes(self) -> frozenset[KeyClass]:
        """Returns the classes of which a private recipient key is present (`core.ports.PrivateKeyClasses`)."""
        return self.inventory.private_classes()

    def sealer(self) -> EnvelopeSealer:
        """Returns a sealer to the ACTIVE key of every class that has one.

        Raises:
            ConfigurationError: a class has more than one.
        """
        inventory = self.inventory
        active: dict[KeyClass, RecipientPublicKey] = {}
        for key_class in KeyClass:
            if inventory.active(key_class):
                active[key_class] = self._public_key(keyring.sealing_key(inventory, key_class).key_id)
        return EnvelopeSealer(active)

    def opener(self, allowed_schemes: frozenset[Scheme] = ALL_SCHEMES) -> EnvelopeOpener:
        """Returns an opener with every private key that is not RETIRED, for the schemes that policy allows."""
        return EnvelopeOpener(
            (
                (file.about.key_class, file.key)
                for _, file in self.files
                if isinstance(file, PrivateKeyFile) and file.about.phase is not KeyPhase.RETIRED
            ),
            allowed_schemes,
        )

    def authenticator(self) -> RecordHmac:
        """Returns an authenticator that writes with the ACTIVE record key and believes all that are not RETIRED.

        Raises:
            ConfigurationError: there is not exactly one ACTIVE record key.
        """
        known = {
            file.about.key_id: file.key
            for _, file in self.files
            if isinstance(file, RecordKeyFile) and file.about.phase is not KeyPhase.RETIRED
        }
        return RecordHmac(known, keyring.writing_record_key(self.inventory).key_id)

    def _public_key(self, key_id: str) -> RecipientPublicKey:
        for _, file in self.files:
            if isinstance(file, PrivateKeyFile) and file.about.key_id == key_id:
                return file.key.public
            if isinstance(file, PublicKeyFile) and file.about.key_id == key_id:
                return file.key
        raise KeyError(key_id)

    def __repr__(self) -> str:
        return f"LoadedKeys({str(self.directory)!r}, {len(self.files)} keys, redacted)"


def load_key_directory(path: Path, unlock: Unlock = NOTHING) -> LoadedKeys:
    """Reads every key file of a directory; `unlock` unlocks private keys that are encrypted or wrapped.

    Raises:
        ConfigurationError: the directory or a file cannot be read, is open to others, or is not sound; the text says which
            and what to do.
    """
    files: list[tuple[Path, KeyFile]] = []
    seen: dict[str, Path] = {}
    for file_path in _key_paths(path):
        file = _read(file_path, unlock)
        other = seen.setdefault(file.about.key_id, file_path)
        if other != file_path:
            raise ConfigurationError(f"{file_path} and {other} hold the same key {file.about.key_id}: remove one of them")
        files.append((file_path, file))
    if not files:
        raise ConfigurationError(f"{path} has no key files: make them with `certplane keys generate --serve-dir DIR --worker-dir DIR`")
    return LoadedKeys(path, tuple(files))


def _key_paths(directory: Path) -> Iterator[Path]:
    try:
        mode = directory.stat().st_mode
        entries = sorted(directory.iterdir())
    except OSError as error:
        raise ConfigurationError(f"cannot read the key directory {directory}: {error.strerror}") from error
    if mode & _OTHERS_WRITE:
        raise ConfigurationError(f"others than its owner can add keys to {directory}: run `chmod 700 {directory}`")
    return (entry for entry in entries if not entry.name.startswith("."))


def _read(path: Path, unlock: Unlock) -> KeyFile:
    try:
        # The mode is asked of what was opened, so the file cannot be exchanged in between; a pipe does not block.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as opened:
            status = os.fstat(opened.fileno())
            content = SecretBytes(opened.read(_LARGEST_FILE + 1) if stat.S_ISREG(status.st_mode) else b"")
    except OSError as error:
        raise ConfigurationError(f"cannot read the key file {path}: {error.strerror}") from error
    if not stat.S_ISREG(status.st_mode) or status.st_size > _LARGEST_FILE:
        raise ConfigurationError(f"{path} is not a key file: move it out of the key directory")
    try:
        file = parse_key_file(content, unlock)
    except ValueError as error:
        raise ConfigurationError(f"the file {path} {error}") from None
    if status.st_mode & _OTHERS_WRITE:
        raise ConfigurationError(f"the key file {path} can be changed by others than its owner: run `chmod go-w {path}`")
    if not isinstance(file, PublicKeyFile) and status.st_mode & _OTHERS_READ:
        raise ConfigurationError(
            f"the key file {path} is secret, but its mode {stat.S_IMODE(status.st_mode):04o} lets others than its owner at it:"
            f" run `chmod 600 {path}`, and rotate the key if somebody may have read it"
        )
    return file
