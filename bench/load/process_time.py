"""CPU time of a process to the nanosecond, and how long it waited for a core (proc(5), `schedstat` of each thread).

Some of what is measured takes a third of a second; and what a process waits for is another's work, which a latency does not tell.
"""

import asyncio
import contextlib
from pathlib import Path

_SETTLING_SECONDS = 0.2
_BUSY = 0.02


def cpu_seconds(pid: int) -> float:
    """Returns the CPU time of all threads that live now, user and system, in seconds."""
    return _nanoseconds(pid, 0) / 1e9


def waited_seconds(pid: int) -> float:
    """Returns how long all threads that live now could have run but had no core, in seconds."""
    return _nanoseconds(pid, 1) / 1e9


def _nanoseconds(pid: int, column: int) -> int:
    nanoseconds = 0
    for path in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            nanoseconds += int((path / "schedstat").read_text().split()[column])
    return nanoseconds


async def settled(pid: int) -> None:
    """Returns when a process has come to rest: it does what it does beside its start after it said that it is ready."""
    before = cpu_seconds(pid)
    while True:
        await asyncio.sleep(_SETTLING_SECONDS)
        now = cpu_seconds(pid)
        if now - before < _BUSY * _SETTLING_SECONDS:
            return
        before = now
