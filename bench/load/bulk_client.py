"""The client of the bulk measurements, a process of its own: many streams that ask for many names at once and count what comes.

`python -m bench.load.bulk_client '{"address": …}'` (see `Work`) prints one line of JSON (see `Outcome`). Each stream has a connection of
its own, as each Envoy has. Every answer is acknowledged. All connections stand before the clock starts.
"""

import asyncio
import json
import random
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import uvloop

from bench.load.holding import HoldingStream, all_answered
from bench.load.process_time import cpu_seconds
from bench.load.wire import Answer, recording
from bench.processes import resident_bytes

_SECONDS = 240.0


@dataclass(frozen=True, slots=True)
class Work:
    """What to do: `streams` streams to `address` (HOST:PORT), each asks for the names in `names_file` (one a line).

    `server_pid`: whose CPU time is measured. `warm`: one more stream asks for everything first, before the clock starts. `disjoint`: each
    stream asks for its own share of the names. `shuffled`: each asks in an order of its own. `record`: a file that gets the answers that
    the first stream received (see `recording`).
    """

    address: str
    server_pid: int
    streams: int
    names_file: str
    warm: bool = False
    disjoint: bool = False
    shuffled: bool = False
    record: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came. `seconds` from the first request to the last answer; the CPU seconds are of that time, `resident_bytes` of its end."""

    seconds: float
    server_cpu_seconds: float
    client_cpu_seconds: float
    resources: int
    answers: int
    received_bytes: int
    resident_bytes: int


async def run(work: Work) -> Outcome:
    """Does the work."""
    names = Path(work.names_file).read_text().split()
    recorded: list[bytes] | None = [] if work.record else None
    async with asyncio.timeout(_SECONDS):
        if work.warm:
            first = await _stream(-1, names).connect(work.address)
            await all_answered([first])
            first.close()
        shares = [_share(work, names, index) for index in range(work.streams)]
        streams = [await _stream(index, share, None if index else recorded).connect(work.address) for index, share in enumerate(shares)]
        begun, server_begun, client_begun = time.perf_counter(), cpu_seconds(work.server_pid), _own_cpu_seconds()
        await all_answered(streams)
        seconds, server_end, client_end = time.perf_counter() - begun, cpu_seconds(work.server_pid), _own_cpu_seconds()
        resident = resident_bytes(work.server_pid)
        for stream in streams:
            stream.close()
    if recorded is not None:
        Path(work.record).write_bytes(recording(recorded))
    return Outcome(
        seconds,
        server_end - server_begun,
        client_end - client_begun,
        sum(stream.resources for stream in streams),
        sum(stream.answers for stream in streams),
        sum(stream.received_bytes for stream in streams),
        resident,
    )


def _share(work: Work, names: Sequence[str], index: int) -> Sequence[str]:
    """Returns the names that a stream asks for."""
    if work.disjoint:
        return names[index :: work.streams]
    return random.Random(index).sample(names, len(names)) if work.shuffled else names


def _stream(index: int, names: Sequence[str], recorded: list[bytes] | None = None) -> HoldingStream:
    """Returns a stream that fails when a name is unknown, and keeps what it receives in `recorded`."""

    def arrived(found: Answer, data: bytes, _: float) -> None:
        if found.removed:
            stream.fail("a name is unknown")
        if recorded is not None:
            recorded.append(data)

    stream = HoldingStream(f"bulk-{index}", names, arrived=arrived)
    return stream


def _own_cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Runs it from the command line."""
    print(json.dumps(asdict(uvloop.run(run(Work(**json.loads(sys.argv[1])))))))


if __name__ == "__main__":
    main()
