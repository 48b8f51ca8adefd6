"""A flood of unknown names through a real Envoy: what visitors of known names notice, and what it leaves behind.

First the rate is found at which random unknown names saturate this machine, all of whose cores Envoy may use. Then half of that rate, for
as long as visitors come at a rate of their own, and without it, in turns. Visitors sit elsewhere, so what their client waits for a core
here is taken off their latencies; what `serve`, Envoy and the store wait is not.
"""

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from bench.load import hello_client, visitor_client
from bench.load.edge import Edge, edge
from bench.load.process_time import cpu_seconds, waited_seconds
from bench.load.stand import Served, Stand, answered, stand
from bench.processes import resident_bytes
from bench.section import Options, Promise, Section, Table
from bench.tables import milliseconds, percentile, ratio

_P99_RATIO = 2.0
_FLAT = 1.1
_LINES_A_SECOND = 1.2
_ONBOARDED_SECONDS = 1.0

_KNOWN = 200
_VISITS_A_SECOND = 100.0
_SECONDS = 8.0
_SATURATING_SECONDS = 4.0
_SATURATING_AT_ONCE = 64
_REPEATED = 200
_TIMES = 5
_REFUSED, _SERVED = "alert 40", "server hello"
_LOOKED_UP = "certplane_secret_lookup_names_total"
_DEADLINE_SECONDS = 20.0
_CLIENT = "client of the flood"


@dataclass(slots=True)
class _Load:
    """What processes did in some rounds, in seconds: CPU time, and time in which threads had no core; `unknown` names came meanwhile."""

    seconds: float = 0.0
    cpu: dict[str, float] = field(default_factory=dict)
    waited: dict[str, float] = field(default_factory=dict)
    unknown: int = 0

    def share(self, name: str) -> float:
        """Returns how much of a core a process took."""
        return self.cpu[name] / self.seconds


@dataclass(slots=True)
class _Found:
    """What was measured, in seconds and bytes; `cpu` is the CPU time of one unknown name, by process, at saturation."""

    saturating_rate: float = 0.0
    cpu: dict[str, float] = field(default_factory=dict)
    quiet: list[list[float]] = field(default_factory=list)
    flooded: list[list[float]] = field(default_factory=list)
    quiet_load: _Load = field(default_factory=_Load)
    flooded_load: _Load = field(default_factory=_Load)
    client_waited: list[float] = field(default_factory=list)
    unknown: list[float] = field(default_factory=list)
    failed: int = 0
    lines: int = 0
    flood_seconds: float = 0.0
    before: dict[str, int] = field(default_factory=dict)
    after: dict[str, int] = field(default_factory=dict)
    repeated_lookups: float = 0.0
    onboarded: float = 0.0

    def cpu_at_half(self, name: str) -> float:
        """Returns the CPU time of one unknown name at half of the saturating rate, without what the process does for the visitors."""
        return (self.flooded_load.share(name) - self.quiet_load.share(name)) * self.flooded_load.seconds / self.flooded_load.unknown


def measure(options: Options) -> Section:
    """Measures it."""
    found = asyncio.run(_measure(options))
    quiet, flooded = (median(percentile(each, 99) for each in rounds) for rounds in (found.quiet, found.flooded))
    growth = {name: found.after[name] / found.before[name] for name in found.before}
    lines = found.lines / found.flood_seconds
    tables = [
        Table(
            f"Visitors of known names ({_VISITS_A_SECOND:.0f} a second, verified) while unknown names arrive",
            ("", "p50", "p99", "failed"),
            [
                ("no flood", milliseconds(_p50(found.quiet)), milliseconds(quiet), "0"),
                (
                    f"{found.saturating_rate / 2:,.0f} unknown names a second",
                    milliseconds(_p50(found.flooded)),
                    milliseconds(flooded),
                    f"{found.failed}",
                ),
                (
                    "the unknown names themselves",
                    milliseconds(percentile(found.unknown, 50)),
                    milliseconds(percentile(found.unknown, 99)),
                    "all refused",
                ),
            ],
            f"{found.saturating_rate:,.0f} unknown names a second saturate this machine; half of them arrive here."
            " Latencies are without what the visitors' client waited for a core, which was"
            f" {milliseconds(percentile(found.client_waited, 99))} at p99 during the flood.",
        ),
        Table(
            "What an unknown name costs",
            ("process", "CPU for one, saturated", "at half of it", "of a core then", "waited for a core"),
            [_cost(found, name) for name in found.cpu],
            "At half the rate fewer names come in one turn of an event loop, so each costs more, and the machine is more than half busy."
            " *Waited for a core*: how long threads could have run but did not, all of the process together, of the time that passed.",
        ),
        Table(
            "What a flood of unknown names leaves behind",
            ("process", "memory before", "after", "ratio"),
            [(name, *(f"{each[name] / 1e6:.0f} MB" for each in (found.before, found.after)), ratio(growth[name])) for name in growth],
            f"`serve` wrote {found.lines} lines to its log in {found.flood_seconds:.0f} s of flood."
            f" {_REPEATED * _TIMES:,} repetitions of {_REPEATED} unknown names cost {found.repeated_lookups:.0f} look-ups in the store."
            f" A name that was asked for again and again before it was onboarded was served {milliseconds(found.onboarded)} after it was.",
        ),
    ]
    promises = [
        Promise("known names' p99 with it against without", flooded / quiet, _P99_RATIO),
        Promise("failed handshakes of known names", found.failed, 0.0),
        *(Promise(f"memory of {name} after against before", value, _FLAT) for name, value in growth.items()),
        Promise("log lines a second", lines, _LINES_A_SECOND),
        Promise("look-ups for repeated misses", found.repeated_lookups, 0.0),
        Promise("onboarded after a miss, of 1 s", found.onboarded / _ONBOARDED_SECONDS, 1.0),
    ]
    return Section("Floods of unknown names", tables, promises, asdict(found))


def _cost(found: _Found, name: str) -> tuple[str, ...]:
    load = found.flooded_load
    waited = f"{load.waited[name] / load.seconds:.0%}" if name in load.waited else "–"
    return name, *(f"{cpu * 1e6:.0f} µs" for cpu in (found.cpu[name], found.cpu_at_half(name))), f"{load.share(name):.0%}", waited


async def _measure(options: Options) -> _Found:
    found = _Found()
    async with stand() as made:
        names = await made.fill_many(_KNOWN)
        known = _listed(made, "known", names)
        async with made.serve() as served, edge(made, served, concurrency=os.cpu_count() or 1) as front:
            await _hello(front, _SERVED, names_file=str(known))
            pids = {"Envoy": front.process.pid, "serve": served.process.pid, "Valkey": made.valkey.process.pid}
            await _saturate(found, pids, front, 1.0 if options.quick else _SATURATING_SECONDS)
            found.before = {name: resident_bytes(pids[name]) for name in ("serve", "Envoy")}
            seconds = 2.0 if options.quick else _SECONDS
            visits = visitor_client.Work(front.https_port, str(front.roots), str(known), _VISITS_A_SECOND, seconds)
            for index in range(options.repeats):
                for flooded in (True, False) if index % 2 else (False, True):
                    await _visit(found, pids, served, front, visits, flooded=flooded)
            found.after = {name: resident_bytes(pids[name]) for name in found.before}
            await _repeat(found, made, served, front)
            await _onboard(found, made, front)
    return found


async def _saturate(found: _Found, pids: Mapping[str, int], front: Edge, seconds: float) -> None:
    """Finds the rate at which unknown names saturate the machine, and what one costs then."""
    before = _of_each(pids, cpu_seconds)
    done = await _hello(front, _REFUSED, seconds=seconds, at_once=_SATURATING_AT_ONCE)
    count = len(done["latencies"])
    found.cpu = {name: (cpu_seconds(pid) - before[name]) / count for name, pid in pids.items()}
    found.cpu[_CLIENT] = done["client_cpu_seconds"] / count
    found.saturating_rate = count / done["seconds"]


async def _visit(found: _Found, pids: Mapping[str, int], served: Served, front: Edge, work: visitor_client.Work, *, flooded: bool) -> None:
    """Lets visitors come, with half the saturating rate of unknown names or without."""
    load = found.flooded_load if flooded else found.quiet_load
    begun, cpu, waited = time.perf_counter(), _of_each(pids, cpu_seconds), _of_each(pids, waited_seconds)
    visiting = asyncio.ensure_future(answered(visitor_client.__name__, work))
    flood_cpu = 0.0
    if flooded:
        lines = _lines(served)
        # A little longer than the visitors, who take a moment to start and to end.
        done = await _hello(front, _REFUSED, seconds=work.seconds + 1.0, rate=found.saturating_rate / 2)
        found.unknown += done["latencies"]
        found.lines += _lines(served) - lines
        found.flood_seconds += time.perf_counter() - begun
        load.unknown += len(done["latencies"])
        flood_cpu = done["client_cpu_seconds"]
    outcome = await visiting
    load.seconds += time.perf_counter() - begun
    for name in pids:
        load.cpu[name] = load.cpu.get(name, 0.0) + cpu_seconds(pids[name]) - cpu[name]
        load.waited[name] = load.waited.get(name, 0.0) + waited_seconds(pids[name]) - waited[name]
    load.cpu[_CLIENT] = load.cpu.get(_CLIENT, 0.0) + flood_cpu
    found.failed += outcome["failed"]
    if flooded:
        found.client_waited += outcome["waited"]
    latencies = [latency - client for latency, client in zip(outcome["latencies"], outcome["waited"], strict=True)]
    (found.flooded if flooded else found.quiet).append(latencies)


def _of_each(pids: Mapping[str, int], measure_one: Callable[[int], float]) -> dict[str, float]:
    return {name: measure_one(pid) for name, pid in pids.items()}


async def _repeat(found: _Found, made: Stand, served: Served, front: Edge) -> None:
    """Counts the look-ups that repeated misses cost."""
    misses = str(_listed(made, "misses", [f"missing-{index}.bench.example.org" for index in range(_REPEATED)]))
    await _hello(front, _REFUSED, names_file=misses)
    before = (await served.counters())[_LOOKED_UP]
    for _ in range(_TIMES):
        await _hello(front, _REFUSED, names_file=misses)
    found.repeated_lookups = (await served.counters())[_LOOKED_UP] - before


async def _onboard(found: _Found, made: Stand, front: Edge) -> None:
    """Onboards a name that is being asked for all the time, a second after that began; measures how long it then takes to be served."""
    name = "late.bench.example.org"
    late = str(_listed(made, "late", [name]))
    await _hello(front, _REFUSED, names_file=late)
    asking = asyncio.ensure_future(answered(hello_client.__name__, hello_client.Work(front.https_port, late, until=_SERVED, at_once=1)))
    await asyncio.sleep(1.0)
    await made.fill([name])
    onboarded = time.perf_counter()
    async with asyncio.timeout(_DEADLINE_SECONDS):
        done = await asking
    if done["verdicts"].get(_REFUSED, 0) < 1:
        raise AssertionError(f"the name was not asked for before it was onboarded: {done['verdicts']}")
    # It may be served in the very moment in which the write is over.
    found.onboarded = max(done["ended"] - onboarded, 0.0)


async def _hello(front: Edge, expected: str, **work: Any) -> dict[str, Any]:
    """Sends ClientHellos; all must get the same verdict."""
    done: dict[str, Any] = await answered(hello_client.__name__, hello_client.Work(front.https_port, **work))
    if set(done["verdicts"]) != {expected}:
        raise AssertionError(f"expected {expected} only: {done['verdicts']}")
    return done


def _listed(made: Stand, label: str, names: Sequence[str]) -> Path:
    path = made.directory / label
    path.write_text("\n".join(names))
    return path


def _lines(served: Served) -> int:
    return served.process.log_path.read_bytes().count(b"\n")


def _p50(rounds: Sequence[Sequence[float]]) -> float:
    return median(percentile(each, 50) for each in rounds)
