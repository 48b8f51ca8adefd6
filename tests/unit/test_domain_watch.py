"""What a watch delivers, and what it holds back for a slow caller."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from controlplane.core.errors import Unavailable
from controlplane.core.managed_domain import DomainSpec, DomainState, DomainStatus
from controlplane.core.names import DomainName
from controlplane.core.ports import ChangeKind, ChangesLost, DomainChanged, Page
from controlplane.usecases.domain_watch import DomainGone, DomainSeen, DomainWatch, SnapshotDone, WaitingChange, WaitingChanges, WatchEvent
from tests.fakes.domains import InMemoryDomains

DEADLINE = 10.0
NOW = datetime(2026, 11, 24, tzinfo=UTC)


async def add(domains: InMemoryDomains, name: str) -> None:
    """Creates a domain."""
    await domains.create(DomainSpec(DomainName(name), name.encode().hex().ljust(32, "0"), NOW), DomainStatus())


class Caller:
    """Takes events one by one, as slowly as the test wants."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[WatchEvent] = asyncio.Queue(maxsize=1)

    async def deliver(self, event: WatchEvent) -> None:
        """Waits until the event before is taken."""
        await self.events.put(event)

    async def next(self) -> WatchEvent:
        """Takes the next event."""
        async with asyncio.timeout(DEADLINE):
            return await self.events.get()

    async def until_snapshot_done(self) -> list[str]:
        """Takes a whole snapshot and returns the names in it."""
        names = []
        while not isinstance(event := await self.next(), SnapshotDone):
            assert isinstance(event, DomainSeen)
            assert event.snapshot
            names.append(event.domain.spec.fqdn.value)
        return names


@asynccontextmanager
async def watching(store: Any, feed: InMemoryDomains, caller: Caller, position: str = "") -> AsyncIterator[asyncio.Task[None]]:
    """Runs a watch of everything beside the test. Tokens are positions."""
    task = asyncio.create_task(DomainWatch(store, feed, frozenset(), caller.deliver, str).run(position))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class ChangesWhileListing(InMemoryDomains):
    """Domains that change just after the snapshot's only page was read."""

    async def list_page(self, page_size: int, page_token: str) -> Page:
        """Reads a page, then creates one domain, changes one and deletes one that are on it."""
        page = await super().list_page(page_size, page_token)
        if self.list_calls == 1:
            await add(self, "new.example.com")
            await self.put_status("changed.example.com", DomainStatus(state=DomainState.ACTIVE))
            await self.delete(DomainName("deleted.example.com"), "")
        return page


async def test_nothing_is_missed_around_the_snapshot() -> None:
    """What is created, changed or deleted while the snapshot is read is delivered after it."""
    domains = ChangesWhileListing()
    await add(domains, "changed.example.com")
    await add(domains, "deleted.example.com")
    caller = Caller()
    async with watching(domains, domains, caller):
        assert await caller.until_snapshot_done() == ["changed.example.com", "deleted.example.com"]
        events = [await caller.next() for _ in range(3)]
    seen = {event.domain.spec.fqdn.value: event.domain.status.state for event in events if isinstance(event, DomainSeen)}
    assert seen == {"new.example.com": DomainState.PENDING, "changed.example.com": DomainState.ACTIVE}
    assert [event.fqdn for event in events if isinstance(event, DomainGone)] == ["deleted.example.com"]


async def test_slow_caller_gets_the_last_state() -> None:
    """Many changes of one domain, made while the caller is busy, become few deliveries, the last of them as it stands now."""
    domains = InMemoryDomains()
    await add(domains, "a.example.com")
    caller = Caller()
    async with watching(domains, domains, caller):
        await caller.until_snapshot_done()
        for count in range(1, 501):
            await domains.put_status("a.example.com", DomainStatus(attempt_count=count))
        deliveries = 0
        while True:
            event = await caller.next()
            deliveries += 1
            assert isinstance(event, DomainSeen)
            if event.domain.status.attempt_count == 500:
                break
    assert deliveries < 10


async def test_lost_changes_bring_a_snapshot() -> None:
    """When the feed says that it lost changes, a new snapshot follows, and its token resumes behind the loss."""
    domains = InMemoryDomains()
    await add(domains, "a.example.com")
    caller = Caller()
    async with watching(domains, domains, caller):
        await caller.until_snapshot_done()
        await domains.trim()
        assert await caller.until_snapshot_done() == ["a.example.com"]
        position = await domains.position()
        await add(domains, "b.example.com")
        event = await caller.next()
        assert isinstance(event, DomainSeen)
        assert event.resume_token > position


async def test_store_away_ends_the_watch() -> None:
    """A watch ends with Unavailable itself, not with a group of errors, when the store stops answering."""
    domains = InMemoryDomains()
    caller = Caller()
    async with watching(domains, domains, caller) as task:
        await caller.until_snapshot_done()
        await add(domains, "a.example.com")
        domains.away = True
        with pytest.raises(Unavailable):
            async with asyncio.timeout(DEADLINE):
                await task


async def test_feed_that_ends() -> None:
    """A feed that ends, which it must not, ends the watch with Unavailable instead of leaving it silent for ever."""

    class EndingFeed(InMemoryDomains):
        async def follow(self, position: str = "") -> AsyncIterator[DomainChanged | ChangesLost]:
            for change in ():
                yield change

    domains = EndingFeed()
    caller = Caller()
    async with watching(domains, domains, caller) as task:
        with pytest.raises(Unavailable):
            async with asyncio.timeout(DEADLINE):
                await task


def change(fqdn: str, position: str) -> DomainChanged:
    """A change of one domain."""
    return DomainChanged(fqdn, (fqdn,), ChangeKind.STATUS, position)


async def test_position_of_a_coalesced_change() -> None:
    """A domain that changed again behind others keeps the position of its first change, so that resuming skips none of them."""
    waiting = WaitingChanges("p0")
    for fqdn, position in (("a", "p1"), ("b", "p2"), ("a", "p3")):
        await waiting.add(change(fqdn, position))
    assert await waiting.take() == WaitingChange("a", "p1")
    assert await waiting.take() == WaitingChange("b", "p3")


async def test_position_moves_past_unwanted_changes() -> None:
    """Once nothing waits, the position is that of the last change seen, wanted or not."""
    waiting = WaitingChanges("p0")
    await waiting.add(change("a", "p1"))
    waiting.skip("p2")
    assert await waiting.take() == WaitingChange("a", "p2")


async def test_room_is_bounded() -> None:
    """When as many domains wait as may, a further one waits outside, while one that waits already is no more load."""
    waiting = WaitingChanges("p0", limit=2)
    await waiting.add(change("a", "p1"))
    await waiting.add(change("b", "p2"))
    await waiting.add(change("a", "p3"))
    third = asyncio.create_task(waiting.add(change("c", "p4")))
    await asyncio.sleep(0)
    assert not third.done()
    assert await waiting.take() == WaitingChange("a", "p1")
    async with asyncio.timeout(DEADLINE):
        await third
    assert await waiting.take() == WaitingChange("b", "p2")
    assert await waiting.take() == WaitingChange("c", "p4")


async def test_loss_replaces_what_waits() -> None:
    """After a loss the snapshot comes first, and nothing from before it is delivered."""
    waiting = WaitingChanges("p0")
    await waiting.add(change("a", "p1"))
    waiting.lose("p5")
    await waiting.add(change("b", "p6"))
    assert await waiting.take() == ChangesLost("p5")
    assert await waiting.take() == WaitingChange("b", "p6")
