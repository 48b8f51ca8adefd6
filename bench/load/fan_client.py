"""The client of the fan-out, a process of its own: many streams that hold the same names, and when each is told of a renewal.

`python -m bench.load.fan_client '{"address": …}'` (see `Work`) prints `holding` once every stream has its names, then a line of JSON for
each renewal: when it arrived at each stream (`time.perf_counter`, the same clock for all processes on Linux).
"""

import asyncio
import json
import sys
from dataclasses import dataclass

import uvloop

from bench.load.holding import HoldingStream, all_answered
from bench.load.wire import Answer

_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Work:
    """What to do: hold `names` on each of `streams` streams to `address` (HOST:PORT), and report `renewals` renewals of one of them."""

    address: str
    streams: int
    names: list[str]
    renewals: int


async def run(work: Work) -> None:
    """Does the work."""
    arrivals: asyncio.Queue[float] = asyncio.Queue()
    holding = False

    def arrived(_found: Answer, _data: bytes, now: float) -> None:
        if holding:
            arrivals.put_nowait(now)

    async with asyncio.timeout(_SECONDS):
        streams = [await HoldingStream(f"fan-{index}", work.names, arrived=arrived).connect(work.address) for index in range(work.streams)]
        await all_answered(streams)
        holding = True
        print("holding", flush=True)
        for _ in range(work.renewals):
            print(json.dumps([await arrivals.get() for _ in streams]), flush=True)
        if not arrivals.empty():
            raise AssertionError(f"{arrivals.qsize()} answers more than renewals")
    for stream in streams:
        stream.close()


def main() -> None:
    """Runs it from the command line."""
    uvloop.run(run(Work(**json.loads(sys.argv[1]))))


if __name__ == "__main__":
    main()
