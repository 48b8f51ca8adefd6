"""Bounded Envoys: many more names than the cap are touched, and many spellings of one name, through a real Envoy that would keep them all.

With a small cap visitors come at a rate of their own beside it, so that what they notice can be compared. With the default cap ten times as
many names are touched as an Envoy may hold, as fast as they are served.
"""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.load import hello_client, visitor_client
from bench.load.edge import Edge, edge
from bench.load.stand import Served, Stand, answered, stand
from bench.processes import resident_bytes
from bench.section import Options, Promise, Section, Table
from bench.tables import milliseconds, percentile, ratio

_FLAT = 1.1
_P99_RATIO = 2.0

_DEFAULT_CAP = 10_000
_NAMES = 100_000
_SMALL_CAP = 256
_FEW_NAMES = 2_000
_AT_ONCE = 16
_RATE = 150.0
_VISITS_A_SECOND = 50.0
_VISITED = 100
_FILLING = 1.1
"""Beyond the cap, so that the first memory that is compared is that of a full Envoy that has begun to give names up."""
_SERVED = "server hello"


@dataclass(slots=True)
class _Found:
    """What was measured with a cap: memory in bytes and certificates held by Envoy at each moment, latencies in seconds."""

    cap: int
    names: int
    memory: dict[str, dict[str, int]] = field(default_factory=dict)
    held: dict[str, int] = field(default_factory=dict)
    served: int = 0
    failed: int = 0
    touches: list[float] = field(default_factory=list)
    quiet: list[float] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)

    async def note(self, moment: str, served: Served, front: Edge) -> None:
        """Notes memory and certificates."""
        self.memory[moment] = {"Envoy": resident_bytes(front.process.pid), "serve": resident_bytes(served.process.pid)}
        self.held[moment] = await front.secrets()

    def growth(self, process: str) -> float:
        """How the memory at the end compares with that of the full Envoy."""
        return self.memory["spellings"][process] / self.memory["full"][process]


def measure(options: Options) -> Section:
    """Measures it."""
    small, large = asyncio.run(_measure(options))
    moments = {"full": "the cap and a tenth more names touched", "names": "all names touched", "spellings": "spellings of one name"}
    tables = [
        Table(
            f"An Envoy that may hold {found.cap:,}: {found.names:,} names, then {found.names:,} spellings of one",
            ("after", "certificates held", "memory of Envoy", "of serve", "against full"),
            [
                (
                    text,
                    f"{found.held[moment]:,}",
                    *(f"{found.memory[moment][process] / 1e6:.0f} MB" for process in ("Envoy", "serve")),
                    ratio(found.memory[moment]["Envoy"] / found.memory["full"]["Envoy"]),
                )
                for moment, text in moments.items()
            ],
            f"{found.served:,} ClientHellos were answered with a certificate, {found.failed} were not:"
            f" p50 {milliseconds(percentile(found.touches, 50))}, p99 {milliseconds(percentile(found.touches, 99))}."
            " A name that was given up is fetched again by its next visitor.",
        )
        for found in (small, large)
    ]
    p99 = {name: percentile(values, 99) for name, values in (("quiet", small.quiet), ("beside", small.beside))}
    tables.append(
        Table(
            f"Visitors of {_VISITED} names beside it, with the cap of {small.cap}",
            ("", "p50", "p99"),
            [
                ("alone", milliseconds(percentile(small.quiet, 50)), milliseconds(p99["quiet"])),
                (f"while {_RATE:.0f} others a second come", milliseconds(percentile(small.beside, 50)), milliseconds(p99["beside"])),
            ],
            "Their names are given up again and again; fetching one again is what they may notice.",
        )
    )
    promises = [Promise("visitors' p99 against alone", p99["beside"] / p99["quiet"], _P99_RATIO)]
    for found in (small, large):
        promises += [
            Promise(f"at {found.cap:,}: memory of Envoy against full", found.growth("Envoy"), _FLAT),
            Promise(f"at {found.cap:,}: memory of serve against full", found.growth("serve"), _FLAT),
            Promise(f"at {found.cap:,}: certificates held of the cap", max(found.held.values()) / found.cap, 1.0),
            Promise(f"at {found.cap:,}: failed handshakes", found.failed, 0.0),
        ]
    return Section("Bounded Envoys", tables, promises, {str(found.cap): asdict(found) for found in (small, large)})


async def _measure(options: Options) -> tuple[_Found, _Found]:
    large_cap, large_names, few = (400, 2_000, 600) if options.quick else (_DEFAULT_CAP, _NAMES, _FEW_NAMES)
    async with stand() as made:
        names = await made.fill_many(large_names)
        small = await _touch(made, _Found(_SMALL_CAP, few), names[:few], visits=True)
        large = await _touch(made, _Found(large_cap, large_names), names, visits=False)
    return small, large


async def _touch(made: Stand, found: _Found, names: Sequence[str], *, visits: bool) -> _Found:
    """Touches all names and spellings through an Envoy of its own, visitors beside it if asked for."""
    # The default is not stated: it is what is measured.
    options = () if found.cap == _DEFAULT_CAP else (f"--max-secrets-per-node={found.cap}",)
    visited = _listed(made, "visited", names[:_VISITED])
    first = round(found.cap * _FILLING)
    spellings = spelled(names[0], found.names)
    async with made.serve(*options, log_name=f"serve-{found.cap}.log") as served, edge(made, served) as front:
        await _hello(found, front, _listed(made, "first", names[:first]))
        await found.note("full", served, front)
        if visits:
            found.quiet = await _visited(found, front, visited, found.names / _RATE)
            visitors = asyncio.ensure_future(_visited(found, front, visited, 2 * found.names / _RATE))
        rate = _RATE if visits else 0.0
        await _hello(found, front, _listed(made, "names", names), rate)
        await found.note("names", served, front)
        await _hello(found, front, _listed(made, "spellings", spellings), rate)
        if visits:
            found.beside = await visitors
        await found.note("spellings", served, front)
    return found


def spelled(name: str, count: int) -> list[str]:
    """Returns `count` different spellings of a name, none of them canonical."""
    letters = [index for index, letter in enumerate(name) if letter.isalpha()]
    if 2 ** len(letters) - 1 < count:
        raise ValueError(f"{name} has not so many spellings")
    numbers = random.Random(0).sample(range(1, 2 ** min(len(letters), 24)), count)
    found = []
    for number in numbers:
        characters = list(name)
        for bit, index in enumerate(letters):
            if number >> bit & 1:
                characters[index] = characters[index].upper()
        found.append("".join(characters))
    return found


async def _hello(found: _Found, front: Edge, names: Path, rate: float = 0.0) -> None:
    work = hello_client.Work(front.https_port, str(names), at_once=_AT_ONCE, rate=rate)
    done: dict[str, Any] = await answered(hello_client.__name__, work)
    verdicts = done["verdicts"]
    found.served += verdicts.get(_SERVED, 0)
    found.failed += sum(count for verdict, count in verdicts.items() if verdict != _SERVED)
    found.touches += done["latencies"]


async def _visited(found: _Found, front: Edge, names: Path, seconds: float) -> list[float]:
    work = visitor_client.Work(front.https_port, str(front.roots), str(names), _VISITS_A_SECOND, seconds)
    done: dict[str, Any] = await answered(visitor_client.__name__, work)
    found.failed += done["failed"]
    latencies: list[float] = done["latencies"]
    return latencies


def _listed(made: Stand, label: str, names: Sequence[str]) -> Path:
    path = made.directory / label
    path.write_text("\n".join(names))
    return path
