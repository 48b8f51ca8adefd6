"""Memory and CPU time of a process, by the kernel (proc(5)): readable too of a process that forbids core dumps."""

import os
import re
from pathlib import Path


def resident_bytes(pid: int) -> int:
    """Returns VmRSS."""
    return _status(pid, "VmRSS")


def peak_resident_bytes(pid: int) -> int:
    """Returns VmHWM: the most that VmRSS has been."""
    return _status(pid, "VmHWM")


def cpu_seconds(pid: int) -> float:
    """Returns the CPU time of all threads since the start, user and system; its unit is a hundredth of a second on most systems."""
    # The second field is the program's name in parentheses and may hold anything.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _status(pid: int, name: str) -> int:
    match = re.search(rf"^{name}:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    if match is None:
        raise AssertionError(f"the kernel does not tell {name} of process {pid}")
    return int(match[1]) * 1024
