"""Files that appear whole or not at all, with their mode from the first moment, and never in the place of another by accident."""

import contextlib
import os
import secrets
from pathlib import Path

from controlplane.core.errors import ConfigurationError

PRIVATE_MODE = 0o600
PUBLIC_MODE = 0o644
DIRECTORY_MODE = 0o700


def make_private_directory(path: Path) -> None:
    """Makes a directory for its owner only, with its parents, or takes one that is empty and closes it to others.

    Raises:
        ConfigurationError: it exists and is not an empty directory, or cannot be made.
    """
    try:
        path.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
        if any(path.iterdir()):
            raise ConfigurationError(f"{path} is not empty, and nothing in it is overwritten: name another directory")
        path.chmod(DIRECTORY_MODE)
    except OSError as error:
        raise ConfigurationError(f"cannot make the directory {path}: {error.strerror}") from error


def write_file(path: Path, content: bytes, mode: int, *, replace: bool = False) -> None:
    """Writes a file through a hidden neighbour that is flushed to disk and then put in place in one step.

    Raises:
        ConfigurationError: the file exists and `replace` is false, or it cannot be written.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE_MODE)
        try:
            with os.fdopen(descriptor, "wb") as file:
                os.fchmod(file.fileno(), mode)
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            if replace:
                draft.replace(path)
            else:
                # A link, unlike a rename, fails when the name is taken.
                path.hardlink_to(draft)
        finally:
            with contextlib.suppress(FileNotFoundError):
                draft.unlink()
        _flush_directory(path.parent)
    except FileExistsError as error:
        raise ConfigurationError(f"{path} exists already and is not overwritten") from error
    except OSError as error:
        raise ConfigurationError(f"cannot write {path}: {error.strerror}") from error


def _flush_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
