"""A flood of ClientHellos, a process of its own: as many as are answered, or so many a second whatever happens.

It sends a ClientHello and reads the first bytes of the answer. With a good name that is after the server has done all its cryptography,
with an unknown one it is an alert; the client itself computes nothing. `python -m bench.load.hello_client '{"port": …}'` (see `Work`)
prints one line of JSON (see `Outcome`).
"""

import asyncio
import json
import random
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import uvloop

from tests.e2e.client_hello import client_hello, verdict

_GRACE_SECONDS = 30.0
_TICK_SECONDS = 0.001
_RANDOM = "unknown-{:016x}.bench.example.org"


@dataclass(frozen=True, slots=True)
class Work:
    """What to do: send ClientHellos to a port of 127.0.0.1.

    With `names_file` (one a line) each name once, or again and again until one gets the verdict `until`; else random names that nobody
    knows for `seconds`. `rate`: connections a second, due at even distances; 0: always `at_once` under way.
    """

    port: int
    names_file: str = ""
    until: str = ""
    seconds: float = 0.0
    at_once: int = 32
    rate: float = 0.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """`latencies` in seconds, TCP connection included: from when the connection was due, without a rate from when it was begun.

    `verdicts` counts what came back, as `tests.e2e.client_hello.verdict` says it; `timed out` is one of them. `ended` is the moment of the
    end (`time.perf_counter`, the same clock for all processes on Linux).
    """

    seconds: float
    client_cpu_seconds: float
    latencies: list[float]
    verdicts: dict[str, int]
    ended: float


class _Hello(asyncio.Protocol):
    """One connection."""

    def __init__(self, hello: bytes, verdict_of: asyncio.Future[str]) -> None:
        self._hello = hello
        self._verdict = verdict_of
        self._received = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # the loop gives one that writes
        self._transport = transport
        transport.write(self._hello)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if len(self._received) >= 7:
            self._transport.abort()
            self._tell()

    def connection_lost(self, _error: Exception | None) -> None:
        self._tell()

    def _tell(self) -> None:
        if not self._verdict.done():
            self._verdict.set_result(verdict(self._received))


class _Hellos:
    """ClientHellos that differ in the name only: the template of each length is made once."""

    def __init__(self) -> None:
        self._templates: dict[int, tuple[bytes, bytes]] = {}

    def hello(self, name: str) -> bytes:
        size = len(name)
        if size not in self._templates:
            placeholder = b"#" * size
            before, _, after = client_hello(placeholder).partition(placeholder)
            self._templates[size] = before, after
        before, after = self._templates[size]
        return before + name.encode() + after


async def run(work: Work) -> Outcome:
    """Does the work."""
    loop, hellos = asyncio.get_running_loop(), _Hellos()
    latencies: list[float] = []
    verdicts: Counter[str] = Counter()
    begun, cpu_begun = time.perf_counter(), time.process_time()
    names = _names(work, begun, verdicts)

    async def one(name: str, since: float) -> None:
        connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        connection.setblocking(False)
        # Closing resets: no connection lingers and takes a port away.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        try:
            async with asyncio.timeout(_GRACE_SECONDS):
                await loop.sock_connect(connection, ("127.0.0.1", work.port))
                told: asyncio.Future[str] = loop.create_future()
                transport, _ = await loop.create_connection(lambda: _Hello(hellos.hello(name), told), sock=connection)
                try:
                    verdicts[await told] += 1
                finally:
                    transport.abort()
        except TimeoutError:
            connection.close()
            verdicts["timed out"] += 1
        latencies.append(time.perf_counter() - since)

    async def one_after_the_other() -> None:
        for name in names:
            await one(name, time.perf_counter())

    if work.rate:
        await _at_rate(work, names, one)
    else:
        await asyncio.gather(*(one_after_the_other() for _ in range(work.at_once)))
    ended = time.perf_counter()
    return Outcome(ended - begun, time.process_time() - cpu_begun, latencies, dict(verdicts), ended)


async def _at_rate(work: Work, names: Iterator[str], one: Callable[[str, float], Coroutine[None, None, None]]) -> None:
    begun = time.perf_counter()
    count = 0
    async with asyncio.TaskGroup() as tasks:
        for name in names:
            due = begun + count / work.rate
            count += 1
            while time.perf_counter() < due:
                await asyncio.sleep(_TICK_SECONDS)
            tasks.create_task(one(name, due))


def _names(work: Work, begun: float, verdicts: Mapping[str, int]) -> Iterator[str]:
    if work.names_file:
        names = Path(work.names_file).read_text().split()
        yield from names
        while work.until and work.until not in verdicts:
            yield from names
        return
    while time.perf_counter() < begun + work.seconds:
        yield _RANDOM.format(random.getrandbits(64))


def main() -> None:
    """Runs it from the command line."""
    print(json.dumps(asdict(uvloop.run(run(Work(**json.loads(sys.argv[1])))))))


if __name__ == "__main__":
    main()
