"""A flood of ClientHellos, a process of its own: as many as are answered, or so many a second whatever happens.

It sends a ClientHello and reads the first bytes of the answer. With a good name that is after the server has done all its cryptography,
with an unknown one it is an alert; the client itself computes nothing. It is a loop around epoll(7), since on two cores what a client
costs is taken from the server: an event loop of Python's takes three times as much. `python -m bench.load.hello_client '{"port": …}'`
(see `Work`) prints one line of JSON (see `Outcome`).
"""

import json
import random
import select
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.e2e.client_hello import client_hello, verdict

_GRACE_SECONDS = 30.0
_TICK_SECONDS = 0.001
_VERDICT_BYTES = 7
_RESET = struct.pack("ii", 1, 0)
"""Closing resets: no connection lingers and takes a port away."""
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
    """`latencies` in seconds, TCP connection included, from when the connection was begun, which is late for lack of a core only.

    `verdicts` counts what came back, as `tests.e2e.client_hello.verdict` says it; `timed out` is one of them. `ended` is the moment of the
    end (`time.perf_counter`, the same clock for all processes on Linux).
    """

    seconds: float
    client_cpu_seconds: float
    latencies: list[float]
    verdicts: dict[str, int]
    ended: float


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


class _Open:
    """A connection under way."""

    __slots__ = ("begun", "hello", "received", "socket")

    def __init__(self, port: int, hello: bytes) -> None:
        self.begun = time.perf_counter()
        self.hello = hello
        self.received = b""
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.socket.connect_ex(("127.0.0.1", port))

    def step(self) -> bool:
        """Sends or receives what can be; returns whether the verdict is there."""
        try:
            if self.hello:
                self.hello = self.hello[self.socket.send(self.hello) :]
                return False
            data = self.socket.recv(4096)
        except BlockingIOError:
            return False
        except OSError:
            return True
        self.received += data
        return not data or len(self.received) >= _VERDICT_BYTES


class _Flood:
    """All connections under way, in the order in which they were begun."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._hellos = _Hellos()
        self._epoll = select.epoll()
        self._open: dict[int, _Open] = {}
        self.latencies: list[float] = []
        self.verdicts: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._open)

    def begin(self, name: str) -> None:
        """Begins a connection."""
        made = _Open(self._port, self._hellos.hello(name))
        number = made.socket.fileno()
        self._open[number] = made
        # Edges only: it is told of once when it can be written to, which on loopback is at once, and of each arrival after that.
        self._epoll.register(number, select.EPOLLIN | select.EPOLLOUT | select.EPOLLET)

    def turn(self, seconds: float) -> None:
        """Waits for so long at most, and goes on with what can go on."""
        for number, _ in self._epoll.poll(seconds):
            if self._open[number].step():
                self._end(number, verdict(self._open[number].received))
        late = time.perf_counter() - _GRACE_SECONDS
        while self._open and (oldest := next(iter(self._open.values()))).begun < late:
            self._end(oldest.socket.fileno(), "timed out")

    def _end(self, number: int, found: str) -> None:
        ended = self._open.pop(number)
        ended.socket.close()
        self.verdicts[found] += 1
        self.latencies.append(time.perf_counter() - ended.begun)


def run(work: Work) -> Outcome:
    """Does the work."""
    flood = _Flood(work.port)
    begun, cpu_begun = time.perf_counter(), time.process_time()
    names = _names(work, begun, flood.verdicts)
    (_at_rate if work.rate else _all_the_time)(work, names, flood)
    while flood:
        flood.turn(_TICK_SECONDS)
    ended = time.perf_counter()
    return Outcome(ended - begun, time.process_time() - cpu_begun, flood.latencies, dict(flood.verdicts), ended)


def _all_the_time(work: Work, names: Iterator[str], flood: _Flood) -> None:
    for name in names:
        flood.begin(name)
        while len(flood) >= work.at_once:
            flood.turn(_TICK_SECONDS)


def _at_rate(work: Work, names: Iterator[str], flood: _Flood) -> None:
    begun = time.perf_counter()
    for count, name in enumerate(names):
        due = begun + count / work.rate
        while (left := due - time.perf_counter()) > 0.0:
            flood.turn(min(left, _TICK_SECONDS))
        flood.begin(name)


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
    print(json.dumps(asdict(run(Work(**json.loads(sys.argv[1]))))))


if __name__ == "__main__":
    main()
