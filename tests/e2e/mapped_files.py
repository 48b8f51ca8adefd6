"""The files that a process has mapped into its memory and that what it writes there reaches (proc(5), `maps`)."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from tests.e2e.secret_search import Place

_MAPPING = re.compile(r"(?P<range>[0-9a-f]+-[0-9a-f]+) (?P<permissions>\S{4}) \S+ \S+ (?P<inode>\d+)\s*(?P<path>.*)")


def mapped_files(pid: int) -> list[Place]:
    """Every regular file that is mapped shared and writable, deleted ones and those without a name too.

    Raises:
        PermissionError: the process forbids it to others of its user, and this one is not root.
    """
    found: dict[tuple[str, str], Place] = {}
    for mapping in _mappings(pid):
        if mapping["inode"] != "0" and mapping["permissions"][1] == "w" and mapping["permissions"][3] == "s":
            # By the mapping where that is allowed: the name may be gone, or be another file's by now.
            file = Path(f"/proc/{pid}/map_files/{mapping['range']}") if os.geteuid() == 0 else Path(mapping["path"])
            if file.is_file():
                found[mapping["inode"], mapping["path"]] = Place(f"{mapping['path']} mapped by {pid}", file.read_bytes())
    return list(found.values())


def may_look_into(pid: int) -> bool:
    """Whether this process may see what another has mapped: root may, others of the same user not when it forbids core dumps."""
    return os.access(f"/proc/{pid}/maps", os.R_OK) and next(_mappings(pid), None) is not None


def _mappings(pid: int) -> Iterator[re.Match[str]]:
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        match = _MAPPING.fullmatch(line)
        assert match is not None, line
        yield match
