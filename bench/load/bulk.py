"""Bulk delivery: one `serve` sends many streams many ready secrets, beside a bare loop that sends the same bytes from one process."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from bench.load import bulk_client, hpke_client, open_client
from bench.load.process_time import settled
from bench.load.stand import Served, Stand, answered, stand, started
from bench.processes import peak_resident_bytes
from bench.section import Options, Promise, Section, Table
from bench.tables import ratio
from controlplane.core.sealing import Scheme

_READY_PER_SECOND = 200_000
_OF_BARE_LOOP = 0.85
_OF_HPKE = 0.7
_RESIDENT_BYTES = 100_000_000
_NAMES = 1_000
_MANY_NAMES = 3_000
_STREAMS = 100
_COLD_STREAMS = 10
_OPENS = 10_000


@dataclass(slots=True)
class _Runs:
    """Rounds of one kind, as the client told them."""

    what: str
    rounds: list[dict[str, Any]] = field(default_factory=list)
    peak_bytes: int = 0

    def rate(self) -> float:
        """Secrets a second, the median of the rounds."""
        return float(median(each["resources"] / each["seconds"] for each in self.rounds))

    def cpu(self) -> float:
        """CPU seconds of the server for one secret, the median of the rounds."""
        return float(median(each["server_cpu_seconds"] / each["resources"] for each in self.rounds))

    def resident(self) -> int:
        """The most that the server had in memory at the end of a round, streams still open."""
        return int(max(each["resident_bytes"] for each in self.rounds))

    def cells(self, against: float) -> tuple[str, ...]:
        """Returns the row of the table."""
        client = median(each["client_cpu_seconds"] / each["resources"] for each in self.rounds)
        size = median(each["received_bytes"] / each["resources"] for each in self.rounds)
        return (
            self.what,
            f"{self.rate():,.0f}",
            ratio(self.rate() / against) if against else "–",
            _microseconds(self.cpu()),
            _microseconds(client),
            f"{size:,.0f} B",
            _megabytes(self.resident()),
            _megabytes(self.peak_bytes),
        )


def measure(options: Options) -> Section:
    """Measures it."""
    return asyncio.run(_measure(options))


async def _measure(options: Options) -> Section:
    names, many, streams, opens = (100, 200, 10, 500) if options.quick else (_NAMES, _MANY_NAMES, _STREAMS, _OPENS)
    async with stand() as made:
        all_names = await made.fill_many(many)
        few_file, many_file = made.directory / "few", made.directory / "many"
        few_file.write_text("\n".join(all_names[:names]))
        many_file.write_text("\n".join(all_names))
        ready, shuffled, bare = await _ready_beside_bare(made, few_file, streams, options.repeats)
        wide, shuffled_wide, bare_wide = await _ready_beside_bare(made, few_file, streams * 10, options.repeats)
        large = await _many_names(made, many_file, streams)
        cold, hpke, readied = await _cold_beside_hpke(made, many_file, options.repeats, opens)
    head = ("", "secrets/s", "of the bare loop", "CPU a secret", "client's CPU", "size", "memory", "most")
    pairs = [(runs, bare.rate()) for runs in (ready, shuffled, bare)]
    pairs += [(runs, bare_wide.rate()) for runs in (wide, shuffled_wide, bare_wide)]
    pairs += [(large, 0.0), (cold, 0.0)]
    per_open, per_ready = (median(each["cpu_seconds"] / each["opens"] for each in outcomes) for outcomes in (hpke, readied))
    of_hpke = per_open / cold.cpu()
    tables = [
        Table(
            "Secrets from one process",
            head,
            [runs.cells(against) for runs, against in pairs],
            "What a `serve` sends when many Envoys ask for many names at once, as after a restart. Envoy sends names sorted, so edges with"
            " the same names ask for the same; *shuffled* are streams that ask in an order of their own, which share nothing."
            " The bare loop joins ready bytes and hands them to grpc.aio, with the same answers in the same bytes: what is left for"
            " Certplane to win is the distance to it.",
        ),
        Table(
            "Secrets that must be opened first",
            ("", "CPU for one", "one core", "ratio"),
            [
                ("HPKE X25519 open, nothing else", _microseconds(per_open), f"{1 / per_open:,.0f}/s", "1.00"),
                (
                    "opened, checked and made ready, no more",
                    _microseconds(per_ready),
                    f"{1 / per_ready:,.0f}/s",
                    ratio(per_open / per_ready),
                ),
                ("looked up, opened and sent by `serve`", _microseconds(cold.cpu()), f"{1 / cold.cpu():,.0f}/s", ratio(of_hpke)),
            ],
            "Nothing is kept from before: each secret is read from the store, its record is authenticated, its key is opened and compared"
            " with the certificate, the chain becomes PEM, and all is sent.",
        ),
    ]
    promises = [
        Promise("ready secrets/s of 200,000", ready.rate() / _READY_PER_SECOND, 1.0, at_least=True),
        Promise("of the bare loop", ready.rate() / bare.rate(), _OF_BARE_LOOP, at_least=True),
        Promise("CPU of the bare loop's for a secret", bare.cpu() / ready.cpu(), _OF_BARE_LOOP, at_least=True),
        Promise(f"memory at {streams} × {many:,} of 100 MB", large.resident() / _RESIDENT_BYTES, 1.0),
        Promise("of the HPKE limit when each is opened", of_hpke, _OF_HPKE, at_least=True),
    ]
    raw = {runs.what: {"rounds": runs.rounds, "peak_bytes": runs.peak_bytes} for runs, _ in pairs} | {"hpke": hpke, "readied": readied}
    return Section("Bulk delivery", tables, promises, raw)


async def _ready_beside_bare(made: Stand, names_file: Path, streams: int, repeats: int) -> tuple[_Runs, _Runs, _Runs]:
    """Measures `serve`, with streams that ask for the same and with others, and the bare loop in turns."""
    what = f"{len(names_file.read_text().split()):,} names × {streams:,} streams"
    runs, shuffled, bare = _Runs(f"serve, {what}"), _Runs(f"serve, {what}, shuffled"), _Runs(f"bare loop, {what}")
    recording = made.directory / f"recording-{streams}"
    async with made.serve(log_name=f"serve-{streams}.log") as served:
        work = _work(served, 1, names_file, warm=True, record=str(recording))
        await answered(bulk_client.__name__, work)
        process, address = await started("bench.load.bare_server", [str(recording)], made.directory / f"bare-{streams}.log")
        async with process:
            for index in range(repeats):
                turns = [
                    (runs, _work(served, streams, names_file, warm=True)),
                    (shuffled, _work(served, streams, names_file, warm=True, shuffled=True)),
                    (bare, bulk_client.Work(address, process.pid, streams, str(names_file), warm=True)),
                ]
                for each, its_work in turns if index % 2 else reversed(turns):
                    each.rounds.append(await answered(bulk_client.__name__, its_work))
            bare.peak_bytes = peak_resident_bytes(process.pid)
        runs.peak_bytes = shuffled.peak_bytes = peak_resident_bytes(served.process.pid)
    return runs, shuffled, bare


async def _many_names(made: Stand, names_file: Path, streams: int) -> _Runs:
    """Measures the memory of a fresh `serve` whose streams hold many names each."""
    runs = _Runs(f"serve, {len(names_file.read_text().split()):,} names × {streams:,} streams")
    async with made.serve(log_name="serve-many.log") as served:
        runs.rounds.append(await answered(bulk_client.__name__, _work(served, streams, names_file)))
        runs.peak_bytes = peak_resident_bytes(served.process.pid)
    return runs


async def _cold_beside_hpke(
    made: Stand, names_file: Path, repeats: int, opens: int
) -> tuple[_Runs, Sequence[dict[str, Any]], Sequence[dict[str, Any]]]:
    """Measures a fresh `serve` that must open each secret it sends, opening alone, and all that makes a secret ready, in turns."""
    runs = _Runs(f"serve, {len(names_file.read_text().split()):,} names once, each opened")
    hpke, readied = [], []
    for _ in range(repeats):
        hpke.append(await answered(hpke_client.__name__, hpke_client.Work(int(Scheme.HPKE_X25519), opens)))
        readied.append(await answered(open_client.__name__, open_client.Work(opens // 5)))
        async with made.serve(log_name="serve-cold.log") as served:
            await settled(served.process.pid)
            runs.rounds.append(await answered(bulk_client.__name__, _work(served, _COLD_STREAMS, names_file, disjoint=True)))
            opened = (await served.counters())["certplane_secret_opens_total"]
            if opened != runs.rounds[-1]["resources"]:
                raise AssertionError(f"{opened:.0f} secrets were opened")
            runs.peak_bytes = max(runs.peak_bytes, peak_resident_bytes(served.process.pid))
    return runs, hpke, readied


def _work(served: Served, streams: int, names_file: Path, **more: Any) -> bulk_client.Work:
    return bulk_client.Work(served.xds, served.process.pid, streams, str(names_file), **more)


def _microseconds(seconds: float) -> str:
    return f"{seconds * 1e6:.1f} µs"


def _megabytes(value: float) -> str:
    return f"{value / 1e6:.0f} MB"
