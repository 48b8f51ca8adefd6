"""The client of the reconnect, a process of its own: Envoys that come back all at once and say which versions they hold.

`python -m bench.load.reconnect_client '{"address": …}'` (see `Work`) prints one line of JSON: for each stream the seconds from its first
request to the last of the answers that it waits for. `collect` makes the file that says what an Envoy holds.
"""

import asyncio
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import uvloop

from bench.load.holding import HoldingStream, all_answered
from bench.load.wire import Answer, names_and_versions, resource_fields

_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Work:
    """What to do: come back with `streams` streams to `address` (HOST:PORT) that hold what `versions_file` says (JSON, name → version).

    `expected`: how many of these names each stream must be told something about. `collect` is a file of names (one a line): one stream
    without versions asks for them instead, and `versions_file` is written.
    """

    address: str
    streams: int
    versions_file: str
    expected: int = 0
    collect: str = ""


async def run(work: Work) -> list[float]:
    """Does the work."""
    path = Path(work.versions_file)
    if work.collect:
        path.write_text(json.dumps(await _versions(work.address, Path(work.collect).read_text().split())))
        return []
    versions: dict[str, str] = json.loads(path.read_text())
    names = list(versions)
    arrivals: list[float] = []

    def arrived(_found: Answer, _data: bytes, now: float) -> None:
        arrivals.append(now)

    async with asyncio.timeout(_SECONDS):
        streams = [
            await HoldingStream(f"back-{index}", names, versions=versions, expected=work.expected, arrived=arrived).connect(work.address)
            for index in range(work.streams)
        ]
        begun = time.perf_counter()
        await all_answered(streams)
    for stream in streams:
        stream.close()
    if len(arrivals) != work.streams * work.expected:
        raise AssertionError(f"{len(arrivals)} answers")
    return [now - begun for now in arrivals]


async def _versions(address: str, names: list[str]) -> dict[str, str]:
    """Returns what one stream is told of all names, in their order."""
    fields: list[bytes] = []
    stream = HoldingStream("first", names, arrived=lambda _found, data, _now: fields.extend(resource_fields(data)))
    await stream.connect(address)
    async with asyncio.timeout(_SECONDS):
        await all_answered([stream])
    stream.close()
    told = names_and_versions(fields)
    return {name: told[name] for name in names}


def main() -> None:
    """Runs it from the command line."""
    print(json.dumps(uvloop.run(run(Work(**json.loads(sys.argv[1]))))))


if __name__ == "__main__":
    main()
