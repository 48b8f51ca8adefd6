"""The client of the checks, a process of its own: unary calls as fast as they are answered, or at a given rate whatever happens.

`python -m bench.load.check_client '{"address": …}'` (see `Work`) prints one line of JSON (see `Outcome`).
"""

import asyncio
import itertools
import json
import os
import secrets
import sys
import time
from base64 import b64decode, b64encode
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import uvloop

from bench.load.process_time import cpu_seconds, waited_seconds
from bench.load.unary import UnaryCalls

_GRACE_SECONDS = 20.0
_TICK_SECONDS = 0.001


_BLOCK = 200
_PLACES = 5
"""A CA asks for a token from several places within a moment, Let's Encrypt from five: a block of tokens is asked for so often in turn."""


@dataclass(frozen=True, slots=True)
class Work:
    """What to do: call `path` at `address` (HOST:PORT) with `request` (base64) for `seconds`, on so many connections.

    `server_pid`: whose CPU time is measured. `rate`: calls a second, due at even distances; 0: always `at_once` calls under way.
    `token`: what stands in the request for a token that differs from call to call: those in `tokens_file` (one a line, of the same length),
    or else random ones.
    """

    address: str
    server_pid: int
    path: str
    request: str
    seconds: float
    token: str = ""
    tokens_file: str = ""
    connections: int = 8
    at_once: int = 64
    rate: float = 0.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """`latencies` in seconds, from when a call was sent; `late` are the seconds from when it was due until it was sent.

    The client never waits for an answer before it sends what is due, so it is late for lack of a core only. `server_waited_seconds`: how
    long the server's threads could have run but had no core. All answers were equal to `answer`, but for the token in them.
    """

    seconds: float
    server_cpu_seconds: float
    server_waited_seconds: float
    client_cpu_seconds: float
    latencies: list[float]
    late: list[float]
    answer: str


class _Caller:
    """Calls on several connections in turn."""

    def __init__(self, work: Work) -> None:
        self._requests = _requests(work)
        self._token = work.token.encode()
        self.failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._connections = [UnaryCalls(work.path, self._fail) for _ in range(work.connections)]
        self._turns = itertools.cycle(self._connections)
        self.latencies: list[float] = []
        self.late: list[float] = []
        self.answer: bytes | None = None
        self.closing = False

    async def connect(self, address: str) -> None:
        host, port = address.split(":")
        for connection in self._connections:
            await asyncio.get_running_loop().create_connection(partial(_itself, connection), host, int(port))
            await connection.greeted

    def call(self) -> asyncio.Future[None]:
        """Calls, and returns what is set when the answer is there."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        request, token = next(self._requests)
        begun = time.perf_counter()

        def answered(data: bytes, now: float) -> None:
            self.latencies.append(now - begun)
            if token:
                data = data.replace(token, self._token)
            if self.answer is None:
                self.answer = data
            elif self.answer != data:
                self._fail(f"another answer than before: {data!r}")
            if not done.done():
                done.set_result(None)

        next(self._turns).call(request, answered)
        return done

    def close(self) -> None:
        self.closing = True
        for connection in self._connections:
            connection.close()

    def _fail(self, reason: str) -> None:
        if not self.closing and not self.failure.done():
            self.failure.set_exception(AssertionError(reason))


def _itself(connection: UnaryCalls) -> UnaryCalls:
    return connection


async def run(work: Work) -> Outcome:
    """Does the work."""
    caller = _Caller(work)
    await caller.connect(work.address)
    calling = asyncio.ensure_future(_at_rate(caller, work) if work.rate else _closed(caller, work))
    begun, client_begun = time.perf_counter(), time.process_time()
    server_begun, waited_begun = cpu_seconds(work.server_pid), waited_seconds(work.server_pid)
    async with asyncio.timeout(work.seconds + _GRACE_SECONDS):
        await asyncio.wait((calling, caller.failure), return_when=asyncio.FIRST_COMPLETED)
    if caller.failure.done():
        caller.failure.result()
    calling.result()
    seconds, client_end = time.perf_counter() - begun, time.process_time()
    server_end, waited_end = cpu_seconds(work.server_pid), waited_seconds(work.server_pid)
    caller.close()
    return Outcome(
        seconds,
        server_end - server_begun,
        waited_end - waited_begun,
        client_end - client_begun,
        caller.latencies,
        caller.late,
        b64encode(caller.answer or b"").decode(),
    )


def _requests(work: Work) -> Iterator[tuple[bytes, bytes]]:
    """Gives requests without end, each with the token in it; an empty one when they are all the same."""
    request, stand_in = b64decode(work.request), work.token.encode()
    if not stand_in:
        yield from itertools.repeat((request, b""))
    if not work.tokens_file:
        while True:
            token = secrets.token_urlsafe(len(stand_in))[: len(stand_in)].encode()
            yield request.replace(stand_in, token), token
    tokens = Path(work.tokens_file).read_bytes().split()
    for start in itertools.cycle(range(0, len(tokens), _BLOCK)):
        for token in tokens[start : start + _BLOCK] * _PLACES:
            yield request.replace(stand_in, token), token


async def _closed(caller: _Caller, work: Work) -> None:
    end = time.perf_counter() + work.seconds

    async def one_after_the_other() -> None:
        while time.perf_counter() < end:
            await caller.call()

    await asyncio.gather(*(one_after_the_other() for _ in range(work.at_once)))


async def _at_rate(caller: _Caller, work: Work) -> None:
    begun = time.perf_counter()
    due = [begun + index / work.rate for index in range(int(work.seconds * work.rate))]
    calls, sent = [], 0
    while sent < len(due):
        now = time.perf_counter()
        while sent < len(due) and due[sent] <= now:
            caller.late.append(now - due[sent])
            calls.append(caller.call())
            sent += 1
        await asyncio.sleep(_TICK_SECONDS)
    await asyncio.gather(*calls)


def main() -> None:
    """Runs it from the command line."""
    outcome = asdict(uvloop.run(run(Work(**json.loads(sys.argv[1])))))
    left = memoryview(json.dumps(outcome).encode())
    # By hand: a pipe takes 64 KiB at once, and the rest of a longer line was lost.
    os.set_blocking(1, True)
    while left:
        left = left[os.write(1, left) :]


if __name__ == "__main__":
    main()
