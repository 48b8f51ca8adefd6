"""The memory of unknown names: a flood of misses costs no look-ups, and nothing that exists is missed for it."""

import asyncio
import random
import tracemalloc

import pytest

from controlplane.core.errors import Unavailable
from controlplane.usecases.secrets import KEPT_SECONDS, SecretDirectory
from controlplane.usecases.unknown_names import REJECTED_SECONDS, REMEMBERED_SECONDS, UnknownNames
from controlplane.xds.subscription import Absence
from tests.fakes.eventually import eventually
from tests.fakes.secret_holders import Stream, Time, known, running, serialise, settled, versions


async def test_a_repeated_miss_is_answered_from_memory(directory, store, time):
    """A name that does not exist is looked up once in the memory's time."""
    for _ in range(3):
        assert await known(directory, "a.example") is Absence.UNCERTAIN
    assert [("a.example",)] == store.lookups
    time.seconds += REMEMBERED_SECONDS
    assert await known(directory, "a.example") is Absence.UNCERTAIN
    assert 2 == len(store.lookups)


async def test_a_repeated_miss_is_recalled_without_waiting(directory, store):
    """A stream need not wait a turn of the loop for it."""
    await directory.resolve(["a.example"])
    assert ({"a.example": Absence.UNCERTAIN}, []) == directory.recall(["a.example"])


async def test_a_name_that_is_onboarded_after_a_miss_is_served(directory, store):
    """The change stream takes the name out of the memory, every name of the domain."""
    await directory.resolve(["a.example", "www.a.example"])
    record = await store.put("a.example", "www.a.example")
    await eventually(lambda: len(directory.recall(["a.example", "www.a.example"])[1]) == 2)
    found = await directory.resolve(["a.example", "www.a.example"])
    assert {"a.example": record.version, "www.a.example": record.version} == versions(found)


async def test_a_holder_that_was_answered_from_memory_is_told(directory, store):
    """A client that waits for a name hears of it when it is onboarded, though its miss was not looked up."""
    await directory.resolve(["a.example"])
    stream = Stream(directory)
    stream.hold("a.example")
    assert ({"a.example": Absence.UNCERTAIN}, []) == directory.recall(["a.example"])
    await store.put("a.example")
    await eventually(lambda: stream.told)
    assert ["a.example"] == stream.told


async def test_a_miss_that_a_change_overtakes_is_not_remembered(directory, store):
    """A look-up that read the store before the change, and is answered after it, leaves nothing behind."""
    store.gate.clear()
    asked = asyncio.create_task(directory.resolve(["a.example"]))
    await eventually(lambda: store.waiting)
    record = await store.put("a.example")
    await eventually(lambda: not len(directory._lookups))
    store.gate.set()
    assert {"a.example": record.version} == versions(await asked)
    assert {"a.example": record.version} == versions(directory.recall(["a.example"])[0])


async def test_a_miss_that_comes_just_before_its_change_is_forgotten_with_it(directory, store):
    """The answer arrives, and is remembered, before the change that the store had already made is heard."""
    store.gate.clear()
    asked = asyncio.create_task(directory.resolve(["a.example"]))
    await eventually(lambda: store.waiting)
    record = await store.put("a.example", publish=False)
    store.gate.set()
    assert {"a.example": Absence.UNCERTAIN} == dict(await asked)
    assert {"a.example": Absence.UNCERTAIN} == directory.recall(["a.example"])[0]
    await store.put_record(record)
    await eventually(lambda: directory.recall(["a.example"])[1])
    assert {"a.example": record.version} == versions(await directory.resolve(["a.example"]))


async def test_lost_changes_empty_the_memory(directory, store):
    """After a gap in the feed every name is looked up again."""
    await directory.resolve(["a.example", "b.example"])
    await store.lose_changes()
    await eventually(lambda: len(directory.recall(["a.example", "b.example"])[1]) == 2)


async def test_a_miss_that_lost_changes_overtake_is_not_remembered(directory, store):
    """As for a single change."""
    store.gate.clear()
    asked = asyncio.create_task(directory.resolve(["a.example"]))
    await eventually(lambda: store.waiting)
    record = await store.put("a.example", publish=False)
    await store.lose_changes()
    await eventually(lambda: not len(directory._lookups))
    store.gate.set()
    assert {"a.example": record.version} == versions(await asked)


async def test_nothing_is_remembered_while_no_changes_are_followed(store, monkeypatch):
    """Before the feed can be followed each miss goes to the store."""

    async def away():
        raise Unavailable("not yet")

    monkeypatch.setattr(store, "position", away)
    directory = SecretDirectory(store, store.sealing, store, serialise)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(directory.run())
        await eventually(lambda: directory._lookups._is_open)
        for _ in range(2):
            assert {"a.example": Absence.UNCERTAIN} == dict(await directory.resolve(["a.example"]))
        assert 2 == len(store.lookups)
        task.cancel()


async def test_a_feed_that_fails_empties_the_memory(store, monkeypatch):
    """Until it is followed again nothing is remembered."""
    failing, failed = asyncio.Event(), asyncio.Event()

    async def fail_once(position="", **kinds):
        if not failed.is_set():
            await failing.wait()
            failed.set()
            raise RuntimeError("a bug")
        await asyncio.Event().wait()
        yield

    monkeypatch.setattr(store, "follow", fail_once)
    async with running(SecretDirectory(store, store.sealing, store, serialise)) as directory:
        await directory.resolve(["a.example"])
        failing.set()
        await eventually(lambda: failed.is_set() and directory.recall(["a.example"])[1])


async def test_nothing_is_remembered_while_the_feed_is_interrupted(directory, store):
    """From when its connection breaks until it is back."""
    await directory.resolve(["a.example"])
    store.interrupt(False)
    for _ in range(2):
        await directory.resolve(["a.example"])
    assert 3 == len(store.lookups)
    store.interrupt(True)
    for _ in range(2):
        await directory.resolve(["a.example"])
    assert 4 == len(store.lookups)


async def test_a_record_that_is_rejected_is_remembered_for_a_second(directory, store, time):
    """Nothing says when it is repaired."""
    await store.put("a.example", publish=False)
    store.rejected = {"a.example"}
    for _ in range(2):
        assert await known(directory, "a.example") is Absence.UNCERTAIN
    assert 1 == len(store.lookups)
    store.rejected = set()
    time.seconds += REJECTED_SECONDS
    assert store._by_domain["a.example"].version == (await known(directory, "a.example")).version


async def test_what_is_lost_is_not_remembered(directory, store):
    """Names that some client may have a certificate for are looked up each time, and never answered from the memory of misses."""
    stream = Stream(directory)
    await directory.resolve(["a.example"])
    stream.hold("a.example", resumed=["a.example"])
    for _ in range(2):
        assert await known(directory, "a.example") is Absence.UNCERTAIN
    assert 3 == len(store.lookups)


@pytest.mark.parametrize("reason", ["missing", "older"])
async def test_what_was_lost_is_found_again_by_who_asks_next(directory, store, reason):
    """A loss is not remembered as a miss: when the store is repaired, of which no feed tells, nobody is kept waiting."""
    old = await store.put("a.example", publish=False)
    record = await store.put("a.example", publish=False)
    stream = Stream(directory)
    stream.hold("a.example")
    await directory.resolve(["a.example"])
    if reason == "missing":
        store.empty()
    else:
        await store.put_record(old, publish=False)
    await store.lose_changes()
    await eventually(lambda: len(store.lookups) == 2)
    await settled(directory)
    stream.release("a.example")
    await store.put_record(record, publish=False)
    assert {"a.example": record.version} == versions(await directory.resolve(["a.example"]))


async def test_a_name_that_a_comparison_found_is_not_remembered_as_unknown(directory, store, time):
    """No feed told of its certificate; when it is kept no longer, nobody is given the miss from before."""
    await directory.resolve(["a.example"])
    stream = Stream(directory)
    stream.hold("a.example")
    await directory.resolve(["a.example"])
    record = await store.put("a.example", publish=False)
    directory._rereading.doubt_all()
    await eventually(lambda: stream.told)
    stream.release("a.example")
    time.seconds += KEPT_SECONDS
    assert {"a.example": record.version} == versions(await directory.resolve(["a.example"]))


async def test_a_flood_of_random_names_costs_bounded_memory(store, time):
    """However many names are asked for, so many are remembered at most, those asked for last among them."""
    limit, names = 2_000, 20_000
    unknown = UnknownNames(time, limit=limit)
    async with running(SecretDirectory(store, store.sealing, store, serialise, monotonic=time, unknown=unknown)) as directory:
        last = []
        for start in range(0, names, 500):
            last = [f"{random.getrandbits(64):016x}.example" for _ in range(start, start + 500)]
            await directory.resolve(last)
            assert len(unknown) <= limit
        assert [] == directory.recall(last)[1]


def test_a_remembered_name_costs_about_a_hundred_bytes():
    """Names of 30 characters, at the memory's limit."""
    limit = 16_384
    unknown = UnknownNames(Time(), limit=limit)
    unknown.open()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(limit):
        unknown.put(f"{number:022d}.example", Absence.UNCERTAIN, rejected=False)
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert used / len(unknown) < 130


def test_no_name_is_remembered_longer_than_its_time():
    """Whenever it came, and however often the memory is looked at."""
    for offset in (0.0, 7.0, 14.9, 15.0, 29.0):
        time = Time()
        unknown = UnknownNames(time, seconds=30.0)
        unknown.open()
        unknown.put("first.example", Absence.UNCERTAIN, rejected=False)
        time.seconds = offset
        unknown.put("a.example", Absence.GONE, rejected=False)
        time.seconds = offset + 14.9
        assert {"a.example": Absence.GONE} == unknown.find(["a.example"])
        time.seconds = offset + 22.0
        unknown.find(["a.example"])
        time.seconds = offset + 30.0
        assert {} == unknown.find(["a.example"])


def test_a_closed_memory_is_empty_and_stays_so():
    """Nobody takes names out of it."""
    unknown = UnknownNames(Time())
    unknown.open()
    unknown.put("a.example", Absence.UNCERTAIN, rejected=False)
    unknown.put("b.example", Absence.UNCERTAIN, rejected=True)
    unknown.close()
    unknown.put("c.example", Absence.UNCERTAIN, rejected=False)
    assert (0, {}) == (len(unknown), unknown.find(["a.example", "b.example", "c.example"]))
