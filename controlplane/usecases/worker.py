"""The scheduler: takes leases of domains that are due and has their issuances carried out, several at a time, lane by lane.

Any number of workers share the store: a lease is what keeps them apart, and its fencing token what keeps a late one harmless.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta

import structlog
from prometheus_client import Gauge

from controlplane.core.errors import DomainGone, LeaseLost, RecordRejected, Unavailable
from controlplane.core.jitter import fraction
from controlplane.core.lane import Lane
from controlplane.core.lane_shares import SHARES, LaneShares, Share
from controlplane.core.names import DomainName
from controlplane.core.ports import ChangeFeed, ChangeKind, ChangesLost, Clock, Lease, WorkStore
from controlplane.usecases.issuance import Issuance

_log = structlog.get_logger(__name__)

_INFLIGHT = Gauge("certplane_lane_inflight", "Domains that this worker works on, by lane.", ["lane"])

_KINDS = frozenset({ChangeKind.SPEC})
"""What the API asks for; what workers write themselves says when the domain is due again."""

_PLACES_ORDERS: Sequence[Lane] = (Lane.NEW,)
"""Lanes whose attempts wait when the CA's limits leave no order. A renewal is exempt from them, or must not wait behind new customers; sick
names seldom come as far as an order, and are looked at whatever others have used up."""

_LONGEST_IDLE = 2.0
# While there is work at hand, for what becomes due in a lane before it.
_BETWEEN_BUSY_LOOKS = 1.0
# A look asks every shard of the store.
_BETWEEN_LOOKS = 0.02
_ROOM_SECONDS = 1.0
_FIRST_BACKOFF, _LONGEST_BACKOFF = 0.25, 10.0
_RELEASE_SECONDS = 2.0


async def _unlimited() -> int | None:
    return None


def _now() -> float:
    """Returns the event loop's time in seconds: by it go all waits, in tests that let it skip as well."""
    return asyncio.get_running_loop().time()


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
        concurrency: int = 64,
        shares: Mapping[Lane, Share] = SHARES,
        room: Callable[[], Awaitable[int | None]] = _unlimited,
        completed: Callable[[Lane], None] = lambda _: None,
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
            concurrency: domains at a time; most of them wait for a customer's host, and fewer have an order open.
            shares: how the lanes share these places.
            room: tells how many new orders the CA's limits allow now, None for any number; it is asked about once a second, and no more is
                taken from the lanes whose attempts place such orders.
            completed: is told of every attempt that ends, by the lane that it came from.
            lease_ttl: how long a dead worker's domains stay hidden; prolonged every third of it.
            drain_grace: how long a stop waits for work in progress.
        """
        self._work = work
        self._issuance = issuance
        self._feed = feed
        self._clock = clock
        self._owner = owner
        self._places = LaneShares(concurrency, shares)
        self._ask_room = room
        self._completed = completed
        self._lease_ttl = lease_ttl
        self._drain_grace = drain_grace
        self._wake = asyncio.Event()
        self._inflight: dict[DomainName, asyncio.Task[None]] = {}
        self._asked: dict[DomainName, None] = {}
        self._again: set[DomainName] = set()
        self._ready: dict[Lane, deque[DomainName]] = {lane: deque() for lane in Lane}
        self._more: set[Lane] = set()
        self._paused: dict[Lane, datetime] = {}
        self._room: int | None = None
        self._next_room = 0.0
        self._looks = 0
        self._last_look = self._next_look = 0.0

    def pause(self, lane: Lane, until: datetime) -> None:
        """Takes nothing from a lane until a time; a time that is over ends the pause. What is in progress goes on."""
        self._paused[lane] = until
        self._next_look = 0.0
        self._wake.set()

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
                    if _now() >= self._next_look:
                        await self._look()
                    await self._take_ready(group)
                    backoff = _FIRST_BACKOFF
                except Unavailable as error:
                    _log.warning("the store is away", reason=str(error))
                    self._next_look = _now() + max(backoff, error.retry_after)
                    backoff = min(backoff * 2, _LONGEST_BACKOFF)
                except Exception:
                    # Nothing that is found in the store may end the process.
                    _log.exception("the schedule could not be worked on")
                    self._next_look = _now() + backoff
                    backoff = min(backoff * 2, _LONGEST_BACKOFF)
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(self._next_look):
                        await self._wake.wait()
            stopping.cancel()
            await self._drain()
            await _end(watching)

    async def _look(self) -> None:
        """Reads what is due, in all lanes that are not paused, and decides when to look again."""
        now = self._clock()
        self._paused = {lane: until for lane, until in self._paused.items() if until > now}
        # More than fit: others may be faster with the first ones. Where enough is at hand still, a long queue is not read again.
        limits = {lane: 2 * self._places.most(lane) for lane in Lane if lane not in self._paused and self._runs_low(lane)}
        self._last_look = _now()
        found = await self._work.due(now, limits)
        self._looks += 1
        for lane, names in found.ready.items():
            self._ready[lane] = deque(name for name in names if name not in self._inflight)
            self._more.discard(lane)
            if len(names) >= limits[lane]:
                self._more.add(lane)
                # Other workers read the same: each begins at another place, so that they do not all run for the first.
                self._ready[lane].rotate(int(len(self._ready[lane]) * fraction("look", self._owner, str(self._looks))))
        idle = _BETWEEN_BUSY_LOOKS if any(self._ready.values()) else _LONGEST_IDLE
        times = [*self._paused.values(), *([found.next_due_time] if found.next_due_time is not None else [])]
        wait = min([idle, *((until - now).total_seconds() for until in times)])
        self._next_look = self._last_look + max(wait, _BETWEEN_LOOKS)

    def _runs_low(self, lane: Lane) -> bool:
        return len(self._ready[lane]) < self._places.most(lane)

    async def _take_asked(self, group: asyncio.TaskGroup) -> None:
        """Starts what the API has just asked for, without a look at the whole schedule; what finds no place is found by the next look."""
        asked, self._asked = self._asked, {}
        if not asked:
            return
        await self._measure_room()
        for name in asked:
            if name in self._inflight:
                # It is due again when the attempt ends.
                self._again.add(name)
            elif self._is_open(Lane.NEW) and self._places.take(Lane.NEW):
                await self._start(group, name, Lane.NEW)
            else:
                self._look_soon()
                return

    async def _take_ready(self, group: asyncio.TaskGroup) -> None:
        """Starts what the last look has found, as far as there are places."""
        if any(self._ready[lane] for lane in _PLACES_ORDERS):
            await self._measure_room()
        while (lane := self._places.take_next([lane for lane in Lane if self._ready[lane] and self._is_open(lane)])) is not None:
            name = self._ready[lane].popleft()
            if name in self._inflight:
                self._places.give_back(lane)
            else:
                await self._start(group, name, lane)
        if any(not self._ready[lane] and self._is_open(lane) and self._places.admits(lane) for lane in self._more):
            self._look_soon()

    def _is_open(self, lane: Lane) -> bool:
        return lane not in self._paused and (lane not in _PLACES_ORDERS or self._room is None or self._room > 0)

    async def _measure_room(self) -> None:
        if _now() >= self._next_room:
            room = await self._ask_room()
            # Who is at work has not taken what he needs yet, as far as we know.
            self._room = None if room is None else room - sum(map(self._places.taken, _PLACES_ORDERS))
            self._next_room = _now() + _ROOM_SECONDS

    async def _start(self, group: asyncio.TaskGroup, name: DomainName, lane: Lane) -> None:
        """Starts work on a domain, for which a place of the lane is taken; gives the place back when there is nothing to start."""
        lease = None
        try:
            lease = await self._work.acquire(name, self._owner, self._lease_ttl, due_by=self._clock())
        except RecordRejected as error:
            # What is wrong with one domain is that domain's.
            _log.error("domain cannot be leased", domain=name.value, reason=str(error))
        finally:
            if lease is None or lease.lane is not lane:
                self._places.give_back(lane)
        if lease is None:
            return
        if lease.lane is not lane and (lease.lane in self._paused or not self._places.take(lease.lane)):
            # It has changed lanes since it was read, and there it must wait.
            await self._give_back(lease)
            self._look_soon()
            return
        if lease.lane in _PLACES_ORDERS and self._room is not None:
            self._room -= 1
        self._inflight[name] = group.create_task(self._carry_out(lease))
        _INFLIGHT.labels(lease.lane).set(self._places.taken(lease.lane))

    def _look_soon(self) -> None:
        """Has the schedule looked at again, not sooner than the last look's cost allows."""
        self._next_look = min(self._next_look, self._last_look + _BETWEEN_LOOKS)

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
            self._places.give_back(lease.lane)
            _INFLIGHT.labels(lease.lane).set(self._places.taken(lease.lane))
            self._completed(lease.lane)
            if lease.name in self._again:
                self._again.discard(lease.name)
                self._look_soon()
            self._wake.set()

    async def _prolong(self, lease: Lease) -> None:
        """Keeps the lease until it is cancelled or the domain gone; raises `LeaseLost`, which ends the work, when it is somebody else's."""
        while True:
            await asyncio.sleep(self._lease_ttl.total_seconds() / 3)
            try:
                await self._work.extend(lease, self._lease_ttl)
            except DomainGone:
                # The attempt learns that from its next write, before any step that counts, and takes its tokens away.
                return
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
