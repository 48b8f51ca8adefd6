"""Reconnect: Envoys that hold ten thousand secrets come back to a `serve` that was restarted, and say which versions they hold.

One certificate was renewed while they were away, the last in the order of their request. An Envoy that gets it has had all that it
holds compared: that is when the clock stops. Nothing else may be sent, and for nothing else a key be opened.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bench.load import reconnect_client
from bench.load.fan_out import Renewer
from bench.load.process_time import cpu_seconds
from bench.load.stand import Stand, answered, stand
from bench.processes import peak_resident_bytes
from bench.section import Options, Promise, Section, Table
from bench.tables import milliseconds, percentile

_ONE_SECONDS = 0.3
_ALL_SECONDS = 5.0
_NAMES = 10_000
_ENVOYS = 100
_OPENED = "certplane_secret_opens_total"
_SENT = 'certplane_xds_secrets_sent_total{variant="delta_ads"}'


def measure(options: Options) -> Section:
    """Measures it."""
    return asyncio.run(_measure(options))


async def _measure(options: Options) -> Section:
    names_count, envoys = (500, 5) if options.quick else (_NAMES, _ENVOYS)
    async with stand() as made:
        names = await made.fill_many(names_count)
        versions = await _collect(made, names)
        renewer = Renewer(made.valkey.url, made.worker_keys, made.authority)
        await renewer.renew(names[-1])
        await renewer.close()
        runs = {1: _Runs(), envoys: _Runs()}
        for _ in range(options.repeats):
            for count, found in runs.items():
                await found.add(made, versions, count)
    rows = [
        (
            f"{count:,} at once",
            milliseconds(percentile(found.last, 50)),
            milliseconds(percentile(found.each, 50)),
            milliseconds(percentile(found.cpu, 50)),
            f"{max(found.opens):.0f}",
            f"{max(found.peaks) / 1e6:.0f} MB",
        )
        for count, found in runs.items()
    ]
    table = Table(
        f"Envoys with {names_count:,} current secrets come back after a restart of `serve`",
        ("", "until the last is done", "each, p50", "CPU of serve", "keys opened", "most memory"),
        rows,
        "How long a restart of `serve` keeps new names waiting. Envoys serve what they hold all the while."
        " Only the one certificate that changed is opened and sent; what they hold already is not.",
    )
    promises = [
        Promise(f"one Envoy of {_ONE_SECONDS} s", percentile(runs[1].last, 50) / _ONE_SECONDS, 1.0),
        Promise(f"{envoys} Envoys of {_ALL_SECONDS:.0f} s", percentile(runs[envoys].last, 50) / _ALL_SECONDS, 1.0),
        Promise("keys opened for one renewed certificate", max(runs[1].opens), 1.0),
    ]
    return Section("Reconnect", [table], promises, {str(count): asdict(found) for count, found in runs.items()})


@dataclass(slots=True)
class _Runs:
    """What was measured with so many Envoys, in seconds and bytes; `last` is the slowest Envoy of each round."""

    each: list[float] = field(default_factory=list)
    last: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    opens: list[float] = field(default_factory=list)
    peaks: list[int] = field(default_factory=list)

    async def add(self, made: Stand, versions: Path, envoys: int) -> None:
        """Restarts `serve` and has the Envoys come back."""
        async with made.serve() as served:
            before = cpu_seconds(served.process.pid)
            work = reconnect_client.Work(served.xds, envoys, str(versions), expected=1)
            found = await answered(reconnect_client.__name__, work)
            self.cpu.append(cpu_seconds(served.process.pid) - before)
            self.peaks.append(peak_resident_bytes(served.process.pid))
            counters = await served.counters()
        self.each += found
        self.last.append(max(found))
        self.opens.append(counters[_OPENED])
        if counters[_SENT] != envoys:
            raise AssertionError(f"{counters[_SENT]:.0f} secrets were sent to {envoys} Envoys that lack one")


async def _collect(made: Stand, names: Sequence[str]) -> Path:
    """Returns a file that says which versions an Envoy holds that has touched all names."""
    names_file, versions = made.directory / "names", made.directory / "versions"
    names_file.write_text("\n".join(names))
    async with made.serve() as served:
        await answered(reconnect_client.__name__, reconnect_client.Work(served.xds, 1, str(versions), collect=str(names_file)))
    return versions
