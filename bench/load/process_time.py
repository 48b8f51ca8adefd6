"""CPU time of a process to the nanosecond (proc(5), `schedstat` of each thread): some of what is measured takes a third of a second."""

import contextlib
from pathlib import Path


def cpu_seconds(pid: int) -> float:
    """Returns the CPU time of all threads that live now, user and system, in seconds."""
    nanoseconds = 0
    for path in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            nanoseconds += int((path / "schedstat").read_text().split()[0])
    return nanoseconds / 1e9
