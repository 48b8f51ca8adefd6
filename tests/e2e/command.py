"""A `certplane` command as a process whose output is read while it runs, and all that it starts in its turn."""

import asyncio
import os
import re
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

DEADLINE = 60.0


class Command:
    """A running command. Make it with `start`; as an async context manager it is killed at the end if it still runs."""

    def __init__(self, process: asyncio.subprocess.Process, directory: Path) -> None:
        self._process = process
        self._directory = directory

    @classmethod
    async def start(cls, argv: Sequence[str], directory: Path, env: Mapping[str, str] | None = None) -> Self:
        """Starts `argv`; standard output and error go to files in `directory`, which is made. `env` None: this process's own."""
        directory.mkdir()
        with (directory / "out").open("wb") as out, (directory / "err").open("wb") as err:
            process = await asyncio.create_subprocess_exec(*argv, stdin=asyncio.subprocess.DEVNULL, stdout=out, stderr=err, env=env)
        return cls(process, directory)

    @property
    def output(self) -> str:
        """Standard output up to now."""
        return (self._directory / "out").read_text(encoding="utf-8")

    @property
    def errors(self) -> str:
        """Standard error up to now."""
        return (self._directory / "err").read_text(encoding="utf-8")

    async def until_it_says(self, pattern: str) -> str:
        """Waits until a line of standard output matches; returns the match. Fails when the command ends first."""
        async with asyncio.timeout(DEADLINE):
            while True:
                ended = self._process.returncode is not None
                if found := re.search(pattern, self.output, re.MULTILINE):
                    return found[0]
                assert not ended, f"ended with {self._process.returncode}\n{self.output}\n{self.errors}"
                await asyncio.sleep(0.005)

    async def finished(self) -> int:
        """Waits for the end; returns the exit status."""
        async with asyncio.timeout(DEADLINE):
            return await self._process.wait()

    async def stop(self) -> int:
        """Sends SIGTERM and waits for the end; returns the exit status."""
        self._process.send_signal(signal.SIGTERM)
        return await self.finished()

    def family(self) -> dict[int, str]:
        """All descendants that run now: process id and command line."""
        processes = {int(entry.name): entry for entry in Path("/proc").iterdir() if entry.name.isdigit()}
        parents = {pid: parent for pid, entry in processes.items() if (parent := _parent(entry)) is not None}
        found, generation = {}, {self._process.pid}
        while generation := {pid for pid, parent in parents.items() if parent in generation}:
            found.update({pid: _command_line(processes[pid]) for pid in generation})
        return found

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()


def running(pids: Sequence[int]) -> list[int]:
    """Which of these processes still run; one that has ended and that nobody has waited for yet does not."""
    return [pid for pid in pids if (parent := _parent(Path("/proc", str(pid)))) is not None and parent >= 0]


def mentioning(path: Path) -> list[str]:
    """Command lines of processes that run now and name this path or one below it."""
    lines = [_command_line(entry) for entry in Path("/proc").iterdir() if entry.name.isdigit() and _parent(entry) is not None]
    return [line for line in lines if str(path) in line]


def environment(**options: object) -> dict[str, str]:
    """This environment without CERTPLANE_ variables, and with these options as such (`xds_address="..."`)."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("CERTPLANE_")}
    return own | {f"CERTPLANE_{name.upper()}": str(value) for name, value in options.items()}


def _parent(entry: Path) -> int | None:
    """The parent's process id (proc(5): the second word behind the command's name); None when there is no such process or a dead one."""
    try:
        words = (entry / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if words[0] in {"Z", "X"} else int(words[1])


def _command_line(entry: Path) -> str:
    try:
        return (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""
