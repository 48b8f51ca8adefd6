"""A child process that never outlives its parent, logs to a file, and explains itself when it fails.

The kernel ends the child when the parent dies, however that happens (`PR_SET_PDEATHSIG`). A one-line Python program sets that and
then becomes the child: unlike `preexec_fn` it needs no fork of a process that has threads.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

from controlplane.core.errors import CertplaneError

# PR_SET_PDEATHSIG is 1. The parent may have died before the call: then there is another parent, and nothing is started.
_WRAPPER = (
    "import ctypes, os, signal, sys\n"
    "ctypes.CDLL(None).prctl(1, signal.SIGKILL)\n"
    "os.getppid() == int(sys.argv[1]) or os._exit(1)\n"
    "os.execv(sys.argv[2], sys.argv[2:])\n"
)

_POLL_SECONDS = 0.01
_LOG_LINES = 15


class ChildFailed(CertplaneError):
    """A child process ended or did not become ready. The text holds the last lines of its log."""


class ChildProcess:
    """One running child process. Make it with `start`; end it with `terminate`, or use it as an async context manager."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log_path: Path) -> None:
        self._name = name
        self._process = process
        self.log_path = log_path

    @classmethod
    async def start(cls, argv: Sequence[str], log_path: Path, env: Mapping[str, str] | None = None, *, name: str = "") -> Self:
        """Starts `argv`; standard output and error are appended to `log_path`, standard input is empty.

        Args:
            argv: the program by absolute path, and its arguments.
            log_path: is made with mode 0600 if it is not there.
            env: the child's whole environment; None: this process's own.
            name: for messages; by default the program's name.

        Raises:
            ChildFailed: there is no such program.
        """
        program = Path(argv[0])
        if not (program.is_absolute() and os.access(program, os.X_OK)):
            raise ChildFailed(f"{program} is not an executable file given by its absolute path")
        log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", "-c", _WRAPPER, str(os.getpid()), *argv),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=env,
                # A Ctrl-C in a terminal goes to the parent only, which then ends its children in order.
                start_new_session=True,
            )
        finally:
            os.close(log)
        return cls(name or program.name, process, log_path)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        return self._process.returncode

    async def wait(self) -> int:
        """Waits until it ends, for as long as that takes; returns the exit status."""
        return await self._process.wait()

    async def wait_until_ready(self, ready: Callable[[], Awaitable[bool]], timeout: float) -> None:  # noqa: ASYNC109 (named in the error)
        """Asks `ready` again and again until it says true; an OSError from it counts as "not yet".

        Raises:
            ChildFailed: it ended, or `timeout` seconds passed.
        """
        try:
            async with asyncio.timeout(timeout):
                while True:
                    if self._process.returncode is not None:
                        raise self.failure(f"ended with status {self._process.returncode} before it was ready")
                    with contextlib.suppress(OSError):
                        if await ready():
                            return
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError as error:
            raise self.failure(f"was not ready after {timeout:g} seconds") from error

    async def terminate(self, grace: float = 5.0) -> int:
        """Sends SIGTERM, after `grace` seconds SIGKILL; returns the exit status. Does nothing when it has ended already."""
        with contextlib.suppress(ProcessLookupError):
            if self._process.returncode is None:
                self._process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(grace):
                return await self._process.wait()
        except TimeoutError:
            await self.kill()
            return await self._process.wait()

    async def kill(self) -> None:
        """Sends SIGKILL and waits for the end."""
        with contextlib.suppress(ProcessLookupError):
            if self._process.returncode is None:
                self._process.kill()
        await self._process.wait()

    def failure(self, what: str) -> ChildFailed:
        """Returns an error that says `what` about this child, with the last lines of its log."""
        lines = self.log_path.read_text(errors="replace").splitlines()[-_LOG_LINES:]
        said = "".join(f"\n  | {line}" for line in lines) or " (its log is empty)"
        return ChildFailed(f"{self._name} {what}{said}")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.terminate()
