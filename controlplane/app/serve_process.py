"""One of several serving processes, as the process sees it that started it."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Mapping, Sequence
from typing import Any

from prometheus_client import Counter

from controlplane.app.process_line import ALIVE, METRICS, READINESS, AskingEnd
from controlplane.core.errors import Unavailable
from controlplane.endpoints.merged_metrics import Snapshot, from_json, lasting, merged

_START_SECONDS = 60.0
_DRAIN_SECONDS = 14.0
"""A little more than a process gives its clients, and less than `up` gives all of them."""
_EXIT_SECONDS = 5.0
"""For a process that has closed its line to be gone."""
_ANSWER_SECONDS = 3.0
"""For a question: more than the process gives its own checks."""

_ENDS = Counter("certplane_serve_process_ends_total", "Serving processes that ended by themselves, and were started again.")


class ServeProcess:
    """A child process that can be started again. What its former lives have counted stays in its metrics."""

    def __init__(self, number: int, argv: Sequence[str], environment: Mapping[str, str]) -> None:
        """Makes one that is not started.

        Args:
            number: from 1.
            argv: the command; it is told its number by one more option.
            environment: all of it; here are the secrets.
        """
        self.name = f"serve-{number}"
        self._argv = (*argv, f"--process={number}")
        self._environment = dict(environment)
        self._process: asyncio.subprocess.Process | None = None
        self._line: AskingEnd | None = None
        self._now: Snapshot = {}
        self._before: Snapshot = {}

    @property
    def pid(self) -> int | None:
        """The process id of its last life; None before the first."""
        return None if self._process is None else self._process.pid

    @property
    def serving(self) -> bool:
        """Whether it has started and runs."""
        return self._process is not None and self._process.returncode is None and self._line is not None

    async def start(self) -> None:
        """Starts it and returns once every listener of it answers.

        Raises:
            ConfigurationError: it says why it cannot.
            Unavailable: it ended, or did not become ready in time; its log says why.
        """
        await self._forget_life()
        try:
            async with asyncio.timeout(_START_SECONDS):
                line = await self._spawn()
                try:
                    await line.started()
                except BaseException:
                    await line.close()
                    raise
        except Unavailable as error:
            raise Unavailable(f"{self.name} ended with status {await self._end()} before it was ready") from error
        except TimeoutError as error:
            await self._end(0)
            raise Unavailable(f"{self.name} was not ready after {_START_SECONDS:g} seconds") from error
        except BaseException:
            await self._end(0)
            raise
        self._line = line

    async def _spawn(self) -> AskingEnd:
        here, there = socket.socketpair()
        try:
            with there:
                self._process = await asyncio.create_subprocess_exec(
                    *self._argv,
                    stdin=there.fileno(),
                    # Only the one who supervises says `ready`.
                    stdout=asyncio.subprocess.DEVNULL,
                    env=self._environment,
                    # A Ctrl-C in a terminal goes to the parent only, which then ends its children in order.
                    start_new_session=True,
                )
            return await AskingEnd.open(here)
        except BaseException:
            here.close()
            raise

    async def wait(self) -> int:
        """Waits until it ends by itself; returns the exit status."""
        status = await self._process.wait() if self._process is not None else 0
        if self._line is not None:
            _ENDS.inc()
        await self._forget_life()
        return status

    async def stop(self) -> None:
        """Ends it: SIGTERM, then SIGKILL when it does not drain in time."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            if self._process.returncode is None:
                self._process.send_signal(signal.SIGTERM)
        await self._end(_DRAIN_SECONDS)
        await self._forget_life()

    async def ping(self) -> None:
        """Returns when it answers.

        Raises:
            Unavailable: it does not.
        """
        await self._ask(ALIVE)

    async def failing(self) -> tuple[str, ...]:
        """Returns which of its readiness checks fail.

        Raises:
            Unavailable: it does not say.
        """
        return tuple(await self._ask(READINESS))

    async def metrics(self) -> Snapshot:
        """Returns what it and its former lives have counted, and what it has now. What it does not say is as it said last."""
        line = self._line
        with contextlib.suppress(Unavailable):
            told = from_json(await self._ask(METRICS))
            if line is self._line:
                # Else it has ended meanwhile, and what it had told before is counted as that of a former life already.
                self._now = told
        return merged((self._before, self._now))

    async def _ask(self, question: str) -> Any:
        if self._line is None:
            raise Unavailable(f"{self.name} does not run")
        return await self._line.ask(question, _ANSWER_SECONDS)

    async def _forget_life(self) -> None:
        line, self._line = self._line, None
        self._before, self._now = merged((self._before, lasting(self._now))), {}
        if line is not None:
            await line.close()

    async def _end(self, grace: float = _EXIT_SECONDS) -> int:
        """Waits so many seconds for its end, then kills it; returns the exit status."""
        if self._process is None:
            return 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                return await self._process.wait()
        with contextlib.suppress(ProcessLookupError):
            if self._process.returncode is None:
                self._process.kill()
        return await self._process.wait()
