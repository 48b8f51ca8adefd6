"""The section of the benchmark about a million domains: what is promised, and how much is done."""

import asyncio
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from bench.million import reports
from bench.million.dump import default_directory
from bench.million.measuring import CADDY, FEW, MANY, Found, Plan
from bench.million.measuring import measure as measure_all
from bench.section import Options, Promise, Section
from bench.tables import percentile

NAMES = 1_000_000
_QUICK_NAMES = 20_000

_READY_SECONDS = 1.5
_RESIDENT_BYTES = 120e6
_EACH_BYTES = 3000.0
_OVER_WARM_SECONDS = 0.001
# 0.40 ms of `serve` to 0.42 ms of Envoy, on the machine that the bound was set on.
_SERVE_TO_ENVOY = 0.95


def plan(options: Options, names: int | None = None, directory: Path | None = None) -> Plan:
    """Returns how much is done: `names` domains in the large store, whose dump is kept in `directory`."""
    place = directory or default_directory()
    if options.quick:
        return Plan(names or _QUICK_NAMES, place, repeats=1, starts=1, touched=200)
    return Plan(names or NAMES, place, repeats=options.repeats, starts=5, touched=1000)


def measure(options: Options) -> Section:
    """Measures the section; the first time it takes some minutes more, to make the dump."""
    return section(asyncio.run(measure_all(plan(options))))


def section(found: Found) -> Section:
    """Returns what was found, as tables and promises."""
    return Section(f"{found.plan.names:,} domains in the store", reports.tables(found), _promises(found), _raw(found))


def _promises(found: Found) -> list[Promise]:
    many, few = found.starts[MANY], found.starts[FEW]
    cold, warm = reports.durations(found.one, MANY)
    caddy, _ = reports.durations(found.one, CADDY)
    serve, envoy = reports.first_touch_cpu(found)
    return [
        Promise("`serve` ready, of 1.5 s", median(many.ready) / _READY_SECONDS, 1.0),
        Promise("memory of `serve` before any Envoy connects, of 120 MB", median(many.resident) / _RESIDENT_BYTES, 1.0),
        Promise(f"start to first handshake, against {found.few:,} domains", median(many.served) / median(few.served), 1.2),
        Promise("first touch, p50 over warm, of 1 ms", (percentile(cold, 50) - percentile(warm, 50)) / _OVER_WARM_SECONDS, 1.0),
        Promise("first touch, p99 against Caddy's", percentile(cold, 99) / percentile(caddy, 99), 1.0),
        Promise(
            "first touches a second, eight at a time, against Caddy's",
            reports.rate(found.several, MANY) / reports.rate(found.several, CADDY),
            0.9,
            at_least=True,
        ),
        Promise("CPU of `serve` for a first touch, against Envoy's own for it", serve / envoy, _SERVE_TO_ENVOY),
        Promise("a domain in the store, of 3 kB", found.size.each / _EACH_BYTES, 1.0),
    ]


def _raw(found: Found) -> dict[str, Any]:
    raw = asdict(found)
    raw["plan"] = {"names": found.plan.names, "repeats": found.plan.repeats, "starts": found.plan.starts, "touched": found.plan.touched}
    raw["dump"] = asdict(found.dump.filled)
    return raw
