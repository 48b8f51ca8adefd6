"""Fan-out: how long after a worker's write a renewed certificate has reached every stream that holds its name."""

import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

from bench.fill_store import stored_domain
from bench.load import fan_client
from bench.load.process_time import cpu_seconds
from bench.load.stand import Served, stand
from bench.private_ca import PrivateCa
from bench.section import Options, Promise, Section, Table
from bench.tables import milliseconds, percentile
from controlplane.adapters.key_files import load_key_directory
from controlplane.adapters.leaf_key import make_leaf_key
from controlplane.adapters.redis_client import connect
from controlplane.adapters.redis_work import RedisWorkStore
from controlplane.core.certificate import leaf_seal_context
from controlplane.core.chain import check_chain
from controlplane.core.names import DomainName

_P99_SECONDS = 0.25
_STREAMS = (1, 10, 100, 1_000)
_NAMES = 10
_RENEWALS = 10
_SECONDS = 60.0
_POLL_SECONDS = 0.1
_LEASE = timedelta(seconds=30)
_OPENED = "certplane_secret_opens_total"
_ACKNOWLEDGED = 'certplane_xds_acks_total{variant="delta_ads"}'


def measure(options: Options) -> Section:
    """Measures it."""
    return asyncio.run(_measure(options))


@dataclass(slots=True)
class _Found:
    """What renewals cost with so many streams, in seconds: until each message came, and the CPU time of one renewal by process."""

    latencies: list[float] = field(default_factory=list)
    serve_cpu: list[float] = field(default_factory=list)
    client_cpu: list[float] = field(default_factory=list)

    def cells(self, streams: int) -> tuple[str, ...]:
        """Returns the row of the table."""
        shown = (percentile(self.latencies, 50), percentile(self.latencies, 99), max(self.latencies))
        return (f"{streams:,} streams", *map(milliseconds, (*shown, median(self.serve_cpu), median(self.client_cpu))))


async def _measure(options: Options) -> Section:
    counts = (1, 10) if options.quick else _STREAMS
    renewals = 2 if options.quick else _RENEWALS
    found = {count: _Found() for count in counts}
    names = [f"shop{index}.bench.example.net" for index in range(_NAMES)]
    async with stand() as made:
        await made.fill(names)
        renewer = Renewer(made.valkey.url, made.worker_keys, made.authority)
        try:
            async with made.serve() as served:
                for _ in range(options.repeats):
                    for count in counts:
                        await _fan_out(found[count], served, renewer, count, names, renewals)
        finally:
            await renewer.close()
    most = counts[-1]
    table = Table(
        "From a worker's write to every Envoy",
        ("", "p50", "p99", "most", "CPU of serve", "client's CPU"),
        [each.cells(count) for count, each in found.items()],
        "From just before the worker's write to the store until the message with the new certificate is read from the stream;"
        " CPU is for one renewal to all of them, acknowledgements included. The key is opened once for all streams.",
    )
    promise = Promise(f"p99 at {most:,} streams of 250 ms", percentile(found[most].latencies, 99) / _P99_SECONDS, 1.0)
    return Section("Fan-out of a renewal", [table], [promise], {str(count): asdict(each) for count, each in found.items()})


async def _fan_out(found: _Found, served: Served, renewer: "Renewer", streams: int, names: list[str], renewals: int) -> None:
    """Renews so often, each time when all has come to rest, and notes how long it took to each stream."""
    work = fan_client.Work(served.xds, streams, names, renewals)
    argv = [sys.executable, "-m", fan_client.__name__, json.dumps(asdict(work))]
    client = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE, limit=2**20)
    try:
        async with asyncio.timeout(_SECONDS):
            await _line(client)
            counters = await served.counters()
            opened, acknowledged = counters[_OPENED], counters[_ACKNOWLEDGED]
            for index in range(renewals):
                before = cpu_seconds(served.process.pid), cpu_seconds(client.pid)
                written = await renewer.renew(names[index % len(names)])
                found.latencies += [arrived - written for arrived in json.loads(await _line(client))]
                acknowledged += streams
                # A scrape costs a few milliseconds itself.
                while (counters := await served.counters())[_ACKNOWLEDGED] < acknowledged:
                    await asyncio.sleep(_POLL_SECONDS)
                found.serve_cpu.append(cpu_seconds(served.process.pid) - before[0])
                if index < renewals - 1:
                    found.client_cpu.append(cpu_seconds(client.pid) - before[1])
            if counters[_OPENED] - opened != renewals or await client.wait():
                raise AssertionError(f"{counters[_OPENED] - opened:.0f} keys opened for {renewals} renewals; client: {client.returncode}")
    finally:
        if client.returncode is None:
            client.kill()
            await client.wait()


async def _line(client: asyncio.subprocess.Process) -> bytes:
    line = await client.stdout.readline() if client.stdout else b""
    if not line:
        raise AssertionError("the client ended early; its words are above")
    return line


class Renewer:
    """Renews certificates as a worker does: a new key and a new chain, written under a lease through the worker's store adapter."""

    def __init__(self, redis_url: str, worker_keys: Path, authority: PrivateCa) -> None:
        keys = load_key_directory(worker_keys)
        self._sealer = keys.sealer()
        self._client = connect(redis_url)
        self._work = RedisWorkStore(self._client, keys.authenticator())
        self._authority = authority

    async def renew(self, name: str) -> float:
        """Renews, and returns when the write began (`time.perf_counter`)."""
        now = datetime.now(UTC)
        leaf_key = make_leaf_key((name,))
        chain = check_chain(self._authority.issue((name,), leaf_key), (name,), leaf_key.spki_digest, now)
        sealed = self._sealer.seal(leaf_key.private_key, leaf_seal_context(leaf_key.spki_digest, (name,)))
        stored = stored_domain(name, chain, sealed, leaf_key.spki_digest, now)
        lease = await self._work.acquire(DomainName(name), "bench", _LEASE)
        if lease is None:
            raise AssertionError(f"somebody else works on {name}")
        work = await self._work.load(lease)
        generation = 0 if work.certificate is None else work.certificate.generation
        begun = time.perf_counter()
        await self._work.save_certificate(lease, replace(stored.record, generation=generation), stored.status, stored.due)
        await self._work.release(lease)
        return begun

    async def close(self) -> None:
        """Ends the connection to the store."""
        await self._client.aclose()
