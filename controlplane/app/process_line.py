"""The private line between a process that supervises and one that serves: a pair of sockets, JSON in frames.

The one that serves has its end as standard input. It speaks first, once: that it has started, or why it cannot. From then on it only
answers questions. Either end closes when its process is gone, however it went.
"""

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Self

import structlog

from controlplane.core.errors import ConfigurationError, Unavailable

ALIVE: Final = "alive"
READINESS: Final = "readiness"
METRICS: Final = "metrics"
"""The questions."""

Answers = Mapping[str, Callable[[], Awaitable[Any]]]
"""What can be asked, and what gives the answer: something that JSON can say."""

_LENGTH: Final = struct.Struct("!I")
_MOST_BYTES: Final = 64 * 1024 * 1024
_STARTED: Final = "started"
_REFUSED: Final = "refused"
_GONE: Final = object()

_log = structlog.get_logger(__name__)


class AnsweringEnd:
    """The end of the process that serves."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def on_standard_input(cls) -> Self:
        """Takes the line that this process was started with.

        Raises:
            ConfigurationError: there is none: somebody else started the process.
        """
        try:
            reader, writer = await asyncio.open_unix_connection(sock=socket.socket(fileno=0))
        except (OSError, ValueError) as error:
            raise ConfigurationError("only `certplane serve --processes` starts a process with this option") from error
        return cls(reader, writer)

    async def tell_started(self) -> None:
        """Says that every listener answers."""
        with contextlib.suppress(OSError):  # Whoever is to hear it is gone, which the reader finds out.
            await _write(self._writer, {_STARTED: True})

    async def tell_refused(self, why: str) -> None:
        """Says why this process cannot start. `why` is for the operator and holds no secret."""
        await _write(self._writer, {_REFUSED: why})

    async def answer(self, answers: Answers) -> None:
        """Answers what is asked, each question by itself, until the other end is gone."""
        async with asyncio.TaskGroup() as tasks:
            while (question := await _read(self._reader)) is not None:
                tasks.create_task(self._answer(question["id"], question["ask"], answers))

    async def _answer(self, number: int, question: str, answers: Answers) -> None:
        try:
            answer = await answers[question]()
        except Exception:
            _log.exception("a question of the supervising process is not answered")
            return
        with contextlib.suppress(OSError):
            await _write(self._writer, {"id": number, "answer": answer})


class AskingEnd:
    """The end of the process that supervises. Make it with `open`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._asked = 0
        self._listening: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, end: socket.socket) -> Self:
        """Takes over one socket of the pair."""
        end.setblocking(False)
        reader, writer = await asyncio.open_unix_connection(sock=end)
        return cls(reader, writer)

    async def started(self) -> None:
        """Waits until the other end says that it has started. Call this once, before the first question.

        Raises:
            ConfigurationError: it says why it cannot.
            Unavailable: it ended without a word.
        """
        said = await _read(self._reader)
        if said is None:
            raise Unavailable("it ended before it was ready")
        if _REFUSED in said:
            raise ConfigurationError(said[_REFUSED])
        self._listening = asyncio.create_task(self._listen())

    async def ask(self, question: str, seconds: float) -> Any:
        """Returns the answer.

        Raises:
            Unavailable: there is none within so many seconds, or the other end is gone.
        """
        self._asked += 1
        number = self._asked
        waiter = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            if self._listening is None or self._listening.done():
                raise Unavailable("it has ended")
            async with asyncio.timeout(seconds):
                await _write(self._writer, {"id": number, "ask": question})
                answer = await waiter
        except (TimeoutError, OSError, RuntimeError) as error:
            # uvloop says RuntimeError when the other end is gone and the socket was closed because of that.
            raise Unavailable("it does not answer") from error
        finally:
            del self._waiting[number]
        if answer is _GONE:
            raise Unavailable("it has ended")
        return answer

    async def close(self) -> None:
        """Gives the socket back."""
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
        self._writer.close()

    async def _listen(self) -> None:
        try:
            while (said := await _read(self._reader)) is not None:
                waiter = self._waiting.get(said["id"])
                if waiter is not None and not waiter.done():
                    waiter.set_result(said["answer"])
        finally:
            for waiter in self._waiting.values():
                if not waiter.done():
                    waiter.set_result(_GONE)


async def _read(reader: asyncio.StreamReader) -> Any | None:
    """Returns what the next frame says, or None when the other end is gone."""
    try:
        (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        if length > _MOST_BYTES:
            return None
        return json.loads(await reader.readexactly(length))
    except (asyncio.IncompleteReadError, OSError):
        return None


async def _write(writer: asyncio.StreamWriter, what: Mapping[str, Any]) -> None:
    content = json.dumps(what).encode()
    writer.write(_LENGTH.pack(len(content)) + content)
    await writer.drain()
