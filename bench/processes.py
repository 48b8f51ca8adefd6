"""Memory and CPU time of a process, by the kernel (proc(5)): readable too of a process that forbids core dumps."""

import re
import time
from pathlib import Path


def resident_bytes(pid: int) -> int:
    """Returns VmRSS."""
    return _status(pid, "VmRSS")


def peak_resident_bytes(pid: int) -> int:
    """Returns VmHWM: the most that VmRSS has been."""
    return _status(pid, "VmHWM")


def cpu_seconds(pid: int) -> float:
    """Returns the CPU time of all threads since the start, user and system, ended threads too; to the nanosecond."""
    # What clock_getcpuclockid(3) returns for a process on Linux, which Python does not offer: CPUCLOCK_SCHED is 2.
    return time.clock_gettime(~pid << 3 | 2)


def process_tree(pid: int) -> list[int]:
    """Returns `pid` and its descendants that run now."""
    found = [pid]
    for parent in found:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            found += [int(child) for child in children.read_text().split()]
    return found


def tree_cpu_seconds(pid: int) -> float:
    """Returns the CPU time of `pid` and the descendants that run now."""
    return sum(cpu_seconds(each) for each in process_tree(pid))


def memory_bytes(pid: int) -> int:
    """Returns what a server has in memory: VmRSS of one process; for a process with children the sum of their proportional set sizes.

    Forked processes share pages, and a sum of VmRSS would count those again for each.
    """
    pids = process_tree(pid)
    if len(pids) == 1:
        return resident_bytes(pid)
    return sum(int(_field(Path(f"/proc/{each}/smaps_rollup"), "Pss")) * 1024 for each in pids)


def _status(pid: int, name: str) -> int:
    return int(_field(Path(f"/proc/{pid}/status"), name)) * 1024


def _field(path: Path, name: str) -> str:
    """Returns the value of a line `NAME: VALUE kB`."""
    match = re.search(rf"^{name}:\s+(\d+) kB$", path.read_text(), re.MULTILINE)
    if match is None:
        raise AssertionError(f"the kernel does not tell {name} in {path}")
    return match[1]
