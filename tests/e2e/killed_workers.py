"""Several real workers that issue for many domains while one after the other is killed, and what that cost at the CA."""

import asyncio
import random
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from controlplane.adapters import redis_keys as keys
from controlplane.adapters.key_files import load_key_directory
from controlplane.adapters.record_codec import decode_order
from controlplane.adapters.redis_client import connect
from controlplane.api.certplane.v1 import domain_service_pb2
from controlplane.core.order import Phase
from controlplane.embedded.child_process import ChildProcess
from controlplane.embedded.free_ports import free_ports
from tests.e2e.installation import ACTIVE, Installation, installation, started
from tests.faults.endpoints import Endpoint
from tests.faults.proxy import FaultProxy, fault_proxy

_CREATED_AT_A_TIME = 16


@dataclass(frozen=True, slots=True)
class Toll:
    """What it took: `kills`, and the orders whose newOrder a worker had sent, or was about to send, when it was killed (`in_doubt`).

    `repeated` are the newOrder requests that got an order again that the CA had already; `unfollowed` the orders that the CA took and that
    nobody ever asked for again.
    """

    certificates: int
    orders: int
    repeated: int
    finalized: int
    kills: int
    in_doubt: int
    unfollowed: int
    seconds: float

    @property
    def ratio(self) -> float:
        """Orders a certificate."""
        return self.orders / self.certificates


class Workers:
    """Workers behind a proxy, to be killed and started again."""

    def __init__(self, made: Installation, proxy: FaultProxy, count: int, concurrency: int) -> None:
        self._made = made
        self._options = (
            f"--acme-directory={proxy.directory_url}",
            f"--acme-ca-bundle={proxy.ca_bundle}",
            f"--concurrency={concurrency}",
        )
        self._ports = free_ports(count)
        self._processes: list[ChildProcess] = []

    async def start(self) -> None:
        """Starts all."""
        self._processes = await asyncio.gather(*(self._start(number) for number in range(len(self._ports))))

    async def stop(self) -> None:
        """Ends all."""
        await asyncio.gather(*(process.terminate() for process in self._processes))

    async def kill(self, number: int) -> int:
        """Kills one by SIGKILL and starts another in its place; returns how many orders were in doubt then."""
        pid = self._processes[number].pid
        await self._processes[number].kill()
        in_doubt = await self._in_doubt(pid)
        self._processes[number] = await self._start(number)
        return in_doubt

    async def _start(self, number: int) -> ChildProcess:
        # The last of equal options counts.
        argv = [*self._made.worker_argv(), *self._options, f"--metrics-address=127.0.0.1:{self._ports[number]}"]
        return await started(argv, self._made.directory / f"worker-{number}.log")

    async def _in_doubt(self, pid: int) -> int:
        """Counts the orders without a URL of domains that a process has leased."""
        client = connect(self._made.valkey.url)
        authenticator = load_key_directory(self._made.worker_keys).authenticator()
        try:
            leases = [key async for key in client.scan_iter(match=keys.LEASES_PATTERN, count=1000)]
            owners = await client.mget(leases) if leases else []
            names = [
                key.decode().rpartition(":")[2] for key, owner in zip(leases, owners, strict=True) if f"-{pid}-".encode() in (owner or b"")
            ]
            found = {name: await client.hget(keys.domain(name), "order") for name in names}
        finally:
            await client.aclose()
        orders = [decode_order(authenticator.unwrap("order", name, data)) for name, data in found.items() if isinstance(data, bytes)]
        return sum(order.phase is Phase.PREPARED for order in orders)


@asynccontextmanager
async def installation_without_worker(directory: Path) -> AsyncIterator[tuple[Installation, FaultProxy]]:
    """An installation whose workers are to be started, and the proxy by which they reach the CA."""
    async with installation(directory, worker=False) as made, fault_proxy(made.pebble, directory) as proxy:
        yield made, proxy


async def issue_amid_kills(
    made: Installation,
    proxy: FaultProxy,
    names: Sequence[str],
    *,
    workers: int,
    concurrency: int,
    pause: float,
    seconds: float,
    seed: int,
    most_kills: int = sys.maxsize,
) -> Toll:
    """Onboards domains and kills workers until all are ACTIVE.

    Args:
        made: without a worker.
        proxy: in front of its CA.
        names: the domains.
        workers: how many there are.
        concurrency: domains that each works on at a time.
        pause: mean seconds between one kill and the next.
        seconds: after which it fails.
        seed: decides who is killed and when.
        most_kills: after which nobody is killed any more.
    """
    chance = random.Random(seed)
    crew = Workers(made, proxy, workers, concurrency)
    await crew.start()
    begun, kills, in_doubt = time.monotonic(), 0, 0
    try:
        async with asyncio.TaskGroup() as group:
            issuing = group.create_task(_until_active(made, names, seconds))
            while not issuing.done():
                await asyncio.wait([issuing], timeout=pause * chance.uniform(0.5, 1.5))
                if not issuing.done() and kills < most_kills:
                    in_doubt += await crew.kill(chance.randrange(workers))
                    kills += 1
        taken = time.monotonic() - begun
    finally:
        await crew.stop()
    log = proxy.log
    orders = len(log.orders)
    repeated = log.accepted(Endpoint.NEW_ORDER) - orders
    return Toll(len(names), orders, repeated, log.accepted(Endpoint.FINALIZE), kills, in_doubt, log.unfollowed, taken)


async def _until_active(made: Installation, names: Sequence[str], seconds: float) -> None:
    """Creates the domains and watches until every one is ACTIVE."""
    missing = {f"domains/{name}" for name in names}
    watch = made.stub.WatchDomains(domain_service_pb2.WatchDomainsRequest())
    creating = asyncio.create_task(_create(made, names))
    try:
        async with asyncio.timeout(seconds):
            await creating
            while missing:
                domain = (await watch.read()).domain
                if domain.state == ACTIVE:
                    missing.discard(domain.name)
    except TimeoutError:
        said = [str(await made.get(name.removeprefix("domains/"))) for name in sorted(missing)[:1]]
        raise AssertionError(f"{len(missing)} of {len(names)} are not ACTIVE; the first: {said}") from None
    finally:
        creating.cancel()
        watch.cancel()


async def _create(made: Installation, names: Sequence[str]) -> None:
    for index in range(0, len(names), _CREATED_AT_A_TIME):
        await asyncio.gather(*(made.create(name) for name in names[index : index + _CREATED_AT_A_TIME]))
