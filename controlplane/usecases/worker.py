"""The scheduler: takes leases of domains that are due and has their issuances carried out, several at a time.

Any number of workers share the store: a lease is what keeps them apart, and its fencing token what keeps a late one harmless.
"""

import asyncio
import time
from contextlib import suppress
from datetime import timedelta

import structlog
from prometheus_client import Gauge

from controlplane.core.errors import LeaseLost, RecordRejected, Unavailable
from controlplane.core.names import DomainName
from controlplane.core.ports import ChangeFeed, ChangeKind, ChangesLost, Clock, Lease, WorkStore
from controlplane.usecases.issuance import Issuance

_log = structlog.get_logger(__name__)

_DUE = Gauge("certplane_work_due", "Domains that were due and free at the last look, as far as this worker looked.")
_LAG = Gauge("certplane_work_lag_seconds", "How long the longest due domain has been due, as of the last look.")
_INFLIGHT = Gauge("certplane_work_inflight", "Domains that this worker works on.")

_KINDS = frozenset({ChangeKind.SPEC})
"""What the API asks for; what workers write themselves says when the domain is due again."""

_LONGEST_IDLE = 2.0
# A domain that came due between two questions, or that another worker holds.
_SHORT_IDLE = 0.25
# A look asks every shard of the store, and each step of every other worker wakes us.
_BETWEEN_LOOKS = 0.02
_FIRST_BACKOFF, _LONGEST_BACKOFF = 0.25, 10.0
_RELEASE_SECONDS = 2.0


class Worker:
    """One worker process's loop."""

    def __init__(
        self,
        *,
        work: WorkStore,
        issuance: Issuance,
        feed: ChangeFeed,
        clock: Clock,
        owner: str,
        concurrency: int = 16,
        lease_ttl: timedelta = timedelta(seconds=60),
        drain_grace: timedelta = timedelta(seconds=20),
    ) -> None:
        """Prepares a worker.

        Args:
            work: leases and the schedule.
            issuance: what is done under a lease.
            feed: wakes the worker when a domain is created or asked to renew.
            clock: the time.
            owner: names this process in leases.
            concurrency: domains at a time.
            lease_ttl: how long a dead worker's domains stay hidden; prolonged every third of it.
            drain_grace: how long a stop waits for work in progress.
        """
        self._work = work
        self._issuance = issuance
        self._feed = feed
        self._clock = clock
        self._owner = owner
        self._concurrency = concurrency
        self._lease_ttl = lease_ttl
        self._drain_grace = drain_grace
        self._wake = asyncio.Event()
        self._inflight: dict[DomainName, asyncio.Task[None]] = {}
        self._asked: dict[DomainName, None] = {}
        self._next_look = 0.0
        self._left_behind = False

    async def run(self, stop: asyncio.Event) -> None:
        """Works until `stop` is set; then takes nothing new, waits for what is in progress, and gives the rest back."""
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(self._watch())
            stopping = group.create_task(self._wake_at(stop))
            backoff = _FIRST_BACKOFF
            while not stop.is_set():
                self._wake.clear()
                try:
                    await self._take_asked(group)
                    if time.monotonic() >= self._next_look:
                        self._next_look = time.monotonic() + await self._take_due(group)
                    backoff = _FIRST_BACKOFF
                except Unavailable as error:
                    _log.warning("the store is away", reason=str(error))
                    self._next_look = time.monotonic() + max(backoff, error.retry_after)
                    backoff = min(backoff * 2, _LONGEST_BACKOFF)
                except Exception:
                    # Nothing that is found in the store may end the process.
                    _log.exception("the schedule could not be worked on")
                    self._next_look = time.monotonic() + backoff
                    backoff = min(backoff * 2, _LONGEST_BACKOFF)
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._next_look - time.monotonic()):
                        await self._wake.wait()
            stopping.cancel()
            await self._drain()
            await _end(watching)

    async def _take_asked(self, group: asyncio.TaskGroup) -> None:
        """Starts what the API has just asked for, without a look at the whole schedule; what finds no room is found by the next look."""
        asked, self._asked = self._asked, {}
        for name in asked:
            if len(self._inflight) >= self._concurrency:
                self._left_behind = True
                return
            await self._take(group, name)

    async def _take_due(self, group: asyncio.TaskGroup) -> float:
        """Starts what is due, as far as there is room; returns for how many seconds there is nothing to look for."""
        room = self._concurrency - len(self._inflight)
        self._left_behind = room <= 0
        if room <= 0:
            return _LONGEST_IDLE
        now = self._clock()
        # Others may be faster with the first ones.
        due = await self._work.due(now, room + self._concurrency)
        _DUE.set(len(due))
        for name in due:
            if len(self._inflight) >= self._concurrency:
                self._left_behind = True
                return _LONGEST_IDLE
            await self._take(group, name)
        following = await self._work.next_due()
        if following is None:
            _LAG.set(0)
            return _LONGEST_IDLE
        seconds = (following - self._clock()).total_seconds()
        _LAG.set(max(-seconds, 0))
        return min(seconds, _LONGEST_IDLE) if seconds > 0 else _SHORT_IDLE

    async def _take(self, group: asyncio.TaskGroup, name: DomainName) -> None:
        if name in self._inflight:
            # Asked for in the midst of an attempt: it is due again when that ends.
            self._left_behind = True
            return
        try:
            lease = await self._work.acquire(name, self._owner, self._lease_ttl)
        except RecordRejected as error:
            # What is wrong with one domain is that domain's.
            _log.error("domain cannot be leased", domain=name.value, reason=str(error))
            return
        if lease is not None:
            self._inflight[name] = group.create_task(self._carry_out(lease))
            _INFLIGHT.set(len(self._inflight))

    def _look_soon(self) -> None:
        """Has the schedule looked at again, not sooner than the last look's cost allows."""
        self._next_look = min(self._next_look, time.monotonic() + _BETWEEN_LOOKS)
        self._wake.set()

    async def _carry_out(self, lease: Lease) -> None:
        lost = False
        try:
            async with asyncio.TaskGroup() as group:
                prolonging = group.create_task(self._prolong(lease))
                await self._issuance.carry_out(lease)
                prolonging.cancel()
        except* LeaseLost:
            lost = True
            _log.info("lease lost", domain=lease.name.value)
        except* Unavailable as away:
            _log.warning("the store went away during an attempt", domain=lease.name.value, reason=str(away.exceptions[0]))
        except* Exception:
            # Only what was not even able to write its failure comes here; the domain stays due, a lease long hidden.
            lost = True
            _log.exception("unexpected error", domain=lease.name.value)
        finally:
            if not lost:
                await self._give_back(lease)
            self._inflight.pop(lease.name, None)
            _INFLIGHT.set(len(self._inflight))
            if self._left_behind:
                self._look_soon()

    async def _prolong(self, lease: Lease) -> None:
        """Keeps the lease until it is cancelled; raises `LeaseLost`, which ends the work, when it is somebody else's."""
        while True:
            await asyncio.sleep(self._lease_ttl.total_seconds() / 3)
            try:
                await self._work.extend(lease, self._lease_ttl)
            except Unavailable as error:
                _log.warning("the lease could not be prolonged", domain=lease.name.value, reason=str(error))

    async def _give_back(self, lease: Lease) -> None:
        with suppress(Unavailable, TimeoutError):
            async with asyncio.timeout(_RELEASE_SECONDS):
                await self._work.release(lease)

    async def _watch(self) -> None:
        """Wakes the loop for what the API asks for; workers' own writes say themselves when the domain is due again."""
        backoff = _FIRST_BACKOFF
        while True:
            try:
                async for change in self._feed.follow(kinds=_KINDS):
                    backoff = _FIRST_BACKOFF
                    if isinstance(change, ChangesLost):
                        self._look_soon()
                    else:
                        self._asked[DomainName(change.fqdn)] = None
                        self._wake.set()
            except Unavailable as error:
                _log.warning("the change feed is away", reason=str(error))
            except Exception:
                _log.exception("the change feed failed")
            await asyncio.sleep(backoff)
            backoff = min(backoff * 2, _LONGEST_BACKOFF)

    async def _wake_at(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._wake.set()

    async def _drain(self) -> None:
        tasks = list(self._inflight.values())
        if not tasks:
            return
        _log.info("draining", inflight=len(tasks))
        _, late = await asyncio.wait(tasks, timeout=self._drain_grace.total_seconds())
        for task in late:
            # What it has persisted is enough for a successor; its lease is given back on the way out.
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=2 * _RELEASE_SECONDS)


async def _end(task: asyncio.Task[None]) -> None:
    """Cancels a task until it has ended: a library below may take a cancellation for the end of its own wait."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=_RELEASE_SECONDS / 10)
