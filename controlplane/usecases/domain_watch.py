"""A watch of domains: a snapshot, then every change.

The position in the change feed is taken **before** the snapshot is read, so a change that happens while it is read is delivered
after it; a change may be delivered although the snapshot shows it already, but none is missed.

A change is delivered as the domain stands when its turn comes, not as it stood at the time of the change. So for a slow caller all
changes of one domain become one delivery, and what waits is at most one entry a domain. When `MAX_WAITING` domains wait, the feed
is not read until there is room again; if it loses changes meanwhile it says so, and a new snapshot follows.

A resume token points behind the last change of which everything before was delivered. Resuming may repeat, but never skips.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import structlog

from controlplane.core.errors import Unavailable
from controlplane.core.managed_domain import Domain
from controlplane.core.names import DomainName
from controlplane.core.ports import ChangeFeed, ChangesLost, DomainChanged, DomainStore

MAX_WAITING: Final = 10_000
"""Changed domains that wait for a slow caller."""

_SNAPSHOT_PAGE: Final = 500

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class DomainSeen:
    """A domain as it stands. `resume_token` is empty within a snapshot."""

    domain: Domain
    snapshot: bool
    resume_token: str


@dataclass(frozen=True, slots=True)
class DomainGone:
    """There is no such domain any more."""

    fqdn: str
    resume_token: str


@dataclass(frozen=True, slots=True)
class SnapshotDone:
    """Every domain was delivered: what the caller holds and did not see in this snapshot is gone. Changes follow."""

    resume_token: str


WatchEvent = DomainSeen | DomainGone | SnapshotDone
Deliver = Callable[[WatchEvent], Awaitable[None]]


class DomainWatch:
    """One watch. `names` empty watches all; `make_token` turns a position of the feed into a resume token."""

    def __init__(
        self,
        store: DomainStore,
        feed: ChangeFeed,
        names: frozenset[DomainName],
        deliver: Deliver,
        make_token: Callable[[str], str],
    ) -> None:
        self._store = store
        self._feed = feed
        self._names = {name.value: name for name in names}
        self._deliver = deliver
        self._make_token = make_token

    async def run(self, position: str) -> None:
        """Delivers until it is cancelled. `position` empty starts with a snapshot.

        Raises:
            Unavailable: the store does not answer, or the feed ended.
        """
        start = position or await self._feed.position()
        waiting = WaitingChanges(start)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._collect(start, waiting))
                if not position:
                    await self._snapshot(start)
                while True:
                    await self._deliver_next(waiting)
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from failures

    async def _collect(self, position: str, waiting: "WaitingChanges") -> None:
        changes = self._feed.follow(position)
        try:
            async for change in changes:
                if isinstance(change, ChangesLost):
                    waiting.lose(change.position)
                elif not self._names or change.fqdn in self._names:
                    await waiting.add(change)
                else:
                    waiting.skip(change.position)
        finally:
            if isinstance(changes, AsyncGenerator):
                await changes.aclose()
        raise Unavailable("the change feed ended")

    async def _deliver_next(self, waiting: "WaitingChanges") -> None:
        change = await waiting.take()
        if isinstance(change, ChangesLost):
            _log.info("changes lost, sending a snapshot")
            await self._snapshot(change.position)
            return
        domain = await self._store.get(DomainName(change.fqdn))
        token = self._make_token(change.position)
        await self._deliver(DomainGone(change.fqdn, token) if domain is None else DomainSeen(domain, snapshot=False, resume_token=token))

    async def _snapshot(self, position: str) -> None:
        for name in self._names.values():
            domain = await self._store.get(name)
            if domain is not None:
                await self._deliver(DomainSeen(domain, snapshot=True, resume_token=""))
        page_token = ""
        while not self._names:
            page = await self._store.list_page(_SNAPSHOT_PAGE, page_token)
            for domain in page.domains:
                await self._deliver(DomainSeen(domain, snapshot=True, resume_token=""))
            page_token = page.next_token
            if not page_token:
                break
        await self._deliver(SnapshotDone(self._make_token(position)))


@dataclass(frozen=True, slots=True)
class WaitingChange:
    """A domain that changed. Everything up to `position` is delivered once this is."""

    fqdn: str
    position: str


class WaitingChanges:
    """Changed domains in the order in which they first changed, each once, `limit` at most. For one producer and one consumer."""

    def __init__(self, position: str, limit: int = MAX_WAITING) -> None:
        self._first_positions: dict[str, str] = {}
        self._last_position = position
        self._lost: ChangesLost | None = None
        self._limit = limit
        self._something = asyncio.Event()
        self._room = asyncio.Event()

    async def add(self, change: DomainChanged) -> None:
        """Adds a change; waits while it is of a new domain and there is no room."""
        while change.fqdn not in self._first_positions and len(self._first_positions) >= self._limit:
            self._room.clear()
            await self._room.wait()
        # The first position stays: between it and this one lie changes of other domains that wait behind.
        self._first_positions.setdefault(change.fqdn, change.position)
        self._last_position = change.position
        self._something.set()

    def skip(self, position: str) -> None:
        """Notes a change that nobody wants."""
        self._last_position = position

    def lose(self, position: str) -> None:
        """Notes that changes were lost: a snapshot replaces all that waits."""
        self._first_positions.clear()
        self._last_position = position
        self._lost = ChangesLost(position)
        self._something.set()

    async def take(self) -> WaitingChange | ChangesLost:
        """Returns what to deliver next, waiting for it."""
        while self._lost is None and not self._first_positions:
            self._something.clear()
            await self._something.wait()
        self._room.set()
        if self._lost is not None:
            lost, self._lost = self._lost, None
            return lost
        fqdn = next(iter(self._first_positions))
        first_position = self._first_positions.pop(fqdn)
        return WaitingChange(fqdn, first_position if self._first_positions else self._last_position)
