"""The client of the checks, a process of its own: unary calls as fast as they are answered, or at a given rate whatever happens.

`python -m bench.load.check_client '{"address": …}'` (see `Work`) prints one line of JSON (see `Outcome`).
"""

import asyncio
import itertools
import json
import os
import sys
import time
from base64 import b64decode, b64encode
from dataclasses import asdict, dataclass
from functools import partial

import uvloop

from bench.load.process_time import cpu_seconds
from bench.load.unary import UnaryCalls

_GRACE_SECONDS = 20.0
_TICK_SECONDS = 0.001


@dataclass(frozen=True, slots=True)
class Work:
    """What to do: call `path` at `address` (HOST:PORT) with `request` (base64) for `seconds`, on so many connections.

    `server_pid`: whose CPU time is measured. `rate`: calls a second, due at even distances; 0: always `at_once` calls under way.
    """

    address: str
    server_pid: int
    path: str
    request: str
    seconds: float
    connections: int = 8
    at_once: int = 64
    rate: float = 0.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """`latencies` in seconds: with a rate from when the call was due, else from when it was sent. All answers were equal to `answer`."""

    seconds: float
    server_cpu_seconds: float
    client_cpu_seconds: float
    latencies: list[float]
    answer: str


class _Caller:
    """Calls on several connections in turn."""

    def __init__(self, work: Work) -> None:
        self._request = b64decode(work.request)
        self.failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._connections = [UnaryCalls(work.path, self._fail) for _ in range(work.connections)]
        self._turns = itertools.cycle(self._connections)
        self.latencies: list[float] = []
        self.answer: bytes | None = None
        self.closing = False

    async def connect(self, address: str) -> None:
        host, port = address.split(":")
        for connection in self._connections:
            await asyncio.get_running_loop().create_connection(partial(_itself, connection), host, int(port))
            await connection.greeted

    def call(self, begun: float) -> asyncio.Future[None]:
        """Calls, and returns what is set when the answer is there; its latency counts from `begun`."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def answered(data: bytes, now: float) -> None:
            self.latencies.append(now - begun)
            if self.answer is None:
                self.answer = data
            elif self.answer != data:
                self._fail(f"another answer than before: {data!r}")
            if not done.done():
                done.set_result(None)

        next(self._turns).call(self._request, answered)
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
    begun, server_begun, client_begun = time.perf_counter(), cpu_seconds(work.server_pid), time.process_time()
    async with asyncio.timeout(work.seconds + _GRACE_SECONDS):
        await asyncio.wait((calling, caller.failure), return_when=asyncio.FIRST_COMPLETED)
    if caller.failure.done():
        caller.failure.result()
    calling.result()
    seconds, server_end, client_end = time.perf_counter() - begun, cpu_seconds(work.server_pid), time.process_time()
    caller.close()
    return Outcome(
        seconds, server_end - server_begun, client_end - client_begun, caller.latencies, b64encode(caller.answer or b"").decode()
    )


async def _closed(caller: _Caller, work: Work) -> None:
    end = time.perf_counter() + work.seconds

    async def one_after_the_other() -> None:
        while (now := time.perf_counter()) < end:
            await caller.call(now)

    await asyncio.gather(*(one_after_the_other() for _ in range(work.at_once)))


async def _at_rate(caller: _Caller, work: Work) -> None:
    begun = time.perf_counter()
    due = [begun + index / work.rate for index in range(int(work.seconds * work.rate))]
    calls, sent = [], 0
    while sent < len(due):
        now = time.perf_counter()
        while sent < len(due) and due[sent] <= now:
            calls.append(caller.call(due[sent]))
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
