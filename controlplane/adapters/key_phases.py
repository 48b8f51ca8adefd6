"""Changes the phase in key files, one line of each, and nothing else: encrypted and wrapped keys are left as they are."""

import re
from collections.abc import Sequence
from pathlib import Path

from controlplane.adapters.exclusive_files import PRIVATE_MODE, PUBLIC_MODE, write_file
from controlplane.adapters.key_file_format import PublicKeyFile
from controlplane.adapters.key_files import LoadedKeys
from controlplane.core.errors import ConfigurationError
from controlplane.core.rotation import PhaseChange

_PHASE = re.compile(rb"^Phase:[ \t]*\S+[ \t]*$", re.MULTILINE)


def apply_phases(keys: LoadedKeys, changes: Sequence[PhaseChange]) -> tuple[Path, ...]:
    """Writes new phases into the files of a directory that has the keys, in order; returns the files changed.

    A file that says so already is left alone, so a run that was cut off can be repeated. A process that reads the directory between two
    files sees two ACTIVE keys or none, refuses that, and reads it again.

    Raises:
        ConfigurationError: a file cannot be written.
    """
    changed = []
    for change in changes:
        for path, file in keys.files:
            if file.about.key_id == change.key_id and file.about.phase is not change.phase:
                _rewrite(path, change, PUBLIC_MODE if isinstance(file, PublicKeyFile) else PRIVATE_MODE)
                changed.append(path)
    return tuple(changed)


def _rewrite(path: Path, change: PhaseChange, mode: int) -> None:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from error
    head, begin, blocks = content.partition(b"-----BEGIN ")
    head, count = _PHASE.subn(b"Phase: " + change.phase.encode(), head)
    if count != 1:
        raise ConfigurationError(f"{path} has {count} `Phase:` lines: it was edited meanwhile")
    write_file(path, head + begin + blocks, mode, replace=True)
