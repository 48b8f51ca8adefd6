"""Memory of a process, by the kernel."""

import re
from pathlib import Path


def resident_bytes(pid: int) -> int:
    """Returns VmRSS of `/proc/PID/status` (proc(5)), which everybody may read, also of a process that forbids core dumps."""
    return _field(pid, "VmRSS")


def peak_resident_bytes(pid: int) -> int:
    """Returns VmHWM: the most that VmRSS has been."""
    return _field(pid, "VmHWM")


def _field(pid: int, name: str) -> int:
    match = re.search(rf"^{name}:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    if match is None:
        raise AssertionError(f"the kernel does not tell {name} of process {pid}")
    return int(match[1]) * 1024
