"""Makes keys and puts each where it belongs: the private half with the role that opens, the public half with the one that seals."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from controlplane.adapters.exclusive_files import PRIVATE_MODE, PUBLIC_MODE, make_private_directory, write_file
from controlplane.adapters.key_file_format import KeyFile, PrivateKeyFile, PublicKeyFile, RecordKeyFile
from controlplane.adapters.key_files import LoadedKeys
from controlplane.adapters.recipient_keys import generate_recipient_key
from controlplane.adapters.record_hmac import RECORD_KEY_BYTES, record_key_id
from controlplane.adapters.rsa_keys import DEFAULT_BITS
from controlplane.core.errors import ConfigurationError
from controlplane.core.key_protection import NOTHING, Unlock
from controlplane.core.keyring import RecipientKey, RecordKey
from controlplane.core.redacted import SecretBytes
from controlplane.core.sealing import KeyClass, KeyPhase, Scheme


@dataclass(frozen=True, slots=True)
class KeyKind:
    """What kind of recipient key is made; `rsa_bits` matters to an RSA key only."""

    scheme: Scheme = Scheme.HPKE_X25519
    rsa_bits: int = DEFAULT_BITS


def generate_role_directories(
    serve_dir: Path, worker_dir: Path, kind: KeyKind, now: datetime, unlock: Unlock = NOTHING
) -> tuple[Path, ...]:
    """Makes all keys of a new installation, ACTIVE, and returns the files.

    `serve_dir` gets the private leaf key and a record key; `worker_dir` the public leaf key, the private account key and the
    same record key. Private recipient keys are protected by what `unlock` has. When a step fails, what was made before it is removed
    again.

    Raises:
        ConfigurationError: the directories are the same, one is not empty, or a file cannot be written.
    """
    if serve_dir.resolve() == worker_dir.resolve():
        raise ConfigurationError("`serve` and `worker` need a key directory each, so that neither can have the other's private key")
    for directory in (serve_dir, worker_dir):
        make_private_directory(directory)
    made: list[Path] = []
    try:
        made += add_recipient_key(
            KeyClass.LEAF, kind, now, private_dir=serve_dir, public_dir=worker_dir, phase=KeyPhase.ACTIVE, unlock=unlock
        )
        made += add_recipient_key(KeyClass.ACCOUNT, kind, now, private_dir=worker_dir, phase=KeyPhase.ACTIVE, unlock=unlock)
        made += add_record_key((serve_dir, worker_dir), now, phase=KeyPhase.ACTIVE)
    except BaseException:
        for path in made:
            path.unlink(missing_ok=True)
        raise
    return tuple(made)


def add_recipient_key(
    key_class: KeyClass,
    kind: KeyKind,
    now: datetime,
    *,
    private_dir: Path,
    public_dir: Path | None = None,
    phase: KeyPhase = KeyPhase.PREPARED,
    unlock: Unlock = NOTHING,
) -> tuple[Path, ...]:
    """Adds a new recipient key to existing directories and returns its files.

    The private half is written first, so that nobody ever seals to a key that nobody holds.

    Raises:
        ConfigurationError: a file cannot be written.
    """
    key = generate_recipient_key(kind.scheme, kind.rsa_bits)
    about = RecipientKey(key.public.key_id, key_class, kind.scheme, phase, now)
    files: list[tuple[Path, KeyFile]] = [(private_dir / f"{key_class}-{about.key_id}.private.pem", PrivateKeyFile(about, key))]
    if public_dir is not None:
        files.append((public_dir / f"{key_class}-{about.key_id}.public.pem", PublicKeyFile(about, key.public)))
    return _write(files, unlock)


def add_record_key(directories: Sequence[Path], now: datetime, *, phase: KeyPhase = KeyPhase.PREPARED) -> tuple[Path, ...]:
    """Adds one new record key to all directories and returns its files.

    Raises:
        ConfigurationError: a file cannot be written.
    """
    key = SecretBytes(secrets.token_bytes(RECORD_KEY_BYTES))
    file = RecordKeyFile(RecordKey(record_key_id(key), phase, now), key)
    return _write([(directory / f"record-{file.about.key_id}.key.pem", file) for directory in directories])


def export_public_keys(keys: LoadedKeys, target: Path) -> tuple[Path, ...]:
    """Writes the public half of every private recipient key to `target`, with the same phase, unless it is there; returns the files made.

    Raises:
        ConfigurationError: a file cannot be written.
    """
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    files: list[tuple[Path, KeyFile]] = []
    for _, file in keys.files:
        if isinstance(file, PrivateKeyFile):
            path = target / f"{file.about.key_class}-{file.about.key_id}.public.pem"
            if not path.exists():
                files.append((path, PublicKeyFile(file.about, file.key.public)))
    return _write(files)


def _write(files: Sequence[tuple[Path, KeyFile]], unlock: Unlock = NOTHING) -> tuple[Path, ...]:
    """Writes all files or none."""
    made: list[Path] = []
    try:
        for path, file in files:
            write_file(path, file.content(unlock).reveal(), PUBLIC_MODE if isinstance(file, PublicKeyFile) else PRIVATE_MODE)
            made.append(path)
    except BaseException:
        for path in made:
            path.unlink(missing_ok=True)
        raise
    return tuple(made)
