"""The directory of secrets: who is told of what, and when."""

import asyncio

from controlplane.core.errors import Unavailable
from controlplane.core.ports import ChangeKind
from controlplane.usecases.secrets import SecretDirectory
from controlplane.xds.subscription import Absence
from tests.fakes.eventually import eventually
from tests.fakes.secret_holders import Stream, known, running, serialise, settled, versions


async def test_holders_are_told_of_a_change(directory, store):
    """A new certificate of a held name, own or additional, is told to its holders and to nobody else, and is what they find."""
    await store.put("a.example", "www.a.example", publish=False)
    stream, other = Stream(directory), Stream(directory)
    stream.hold("www.a.example")
    other.hold("b.example")
    await directory.resolve(["www.a.example", "b.example"])
    record = await store.put("a.example", "www.a.example")
    await eventually(lambda: stream.told)
    assert record.version == (await known(directory, "www.a.example")).version
    assert (["www.a.example"], []) == (stream.told, other.told)
    assert {("www.a.example", "b.example"), ("www.a.example",)} == set(store.lookups)


async def test_one_change_is_told_to_every_holder(directory, store):
    """However many streams hold the name, it is read once."""
    await store.put("a.example", publish=False)
    streams = [Stream(directory) for _ in range(100)]
    for stream in streams:
        stream.hold("a.example")
    await directory.resolve(["a.example"])
    await store.put("a.example")
    await eventually(lambda: streams[-1].told)
    assert [["a.example"]] * 100 == [stream.told for stream in streams]
    assert 2 == len(store.lookups)


async def test_a_stream_that_ended_is_told_nothing(directory, store):
    """Its names go with it, unless another stream holds them."""
    await store.put("a.example", publish=False)
    stream, other = Stream(directory), Stream(directory)
    stream.hold("a.example")
    other.hold("a.example")
    await directory.resolve(["a.example"])
    stream.end()
    await store.put("a.example")
    await eventually(lambda: other.told)
    assert [] == stream.told


async def test_holders_are_told_of_a_removal(directory, store):
    """A deleted domain is told to the holders of each of its names."""
    await store.put("a.example", "www.a.example", publish=False)
    stream = Stream(directory)
    stream.hold("a.example", "www.a.example")
    await directory.resolve(["a.example", "www.a.example"])
    await store.delete("a.example")
    await eventually(lambda: len(stream.told) == 2)
    assert {"a.example", "www.a.example"} == set(stream.told)
    assert {Absence.GONE} == set((await directory.resolve(["a.example", "www.a.example"])).values())


async def test_released_names_are_not_read_again(directory, store):
    """A change of a name that nobody holds any more leads to no look-up; to release it once too often is harmless."""
    await store.put("a.example", publish=False)
    stream = Stream(directory)
    stream.hold("a.example")
    await directory.resolve(["a.example"])
    stream.release("a.example")
    stream.release("a.example")
    stream.hold("b.example")
    await store.put("a.example")
    await store.put("b.example")
    await eventually(lambda: len(store.lookups) == 2)
    assert ("b.example",) == store.lookups[-1]
    assert [] == stream.told


async def test_changes_that_are_not_served_are_left_alone(directory, store):
    """A change of spec or status only leads to no look-up."""
    await store.put("a.example", publish=False)
    stream = Stream(directory)
    stream.hold("a.example", "b.example")
    await directory.resolve(["a.example", "b.example"])
    await store.publish("a.example", ("a.example",), ChangeKind.STATUS)
    await store.put("b.example")
    await eventually(lambda: stream.told)
    assert ["b.example"] == stream.told
    assert ("b.example",) == store.lookups[-1]


async def test_a_change_during_a_look_up_makes_it_count_for_nothing(directory, store):
    """Who asked before a change that overtakes the look-up gets what is true after it, and nothing older is kept."""
    await store.put("a.example", publish=False)
    store.gate.clear()
    asked = asyncio.create_task(directory.resolve(["a.example"]))
    await eventually(lambda: store.waiting)
    record = await store.put("a.example")
    await eventually(lambda: not len(directory._lookups))
    store.gate.set()
    assert record.version == (await asked)["a.example"].version
    assert record.version == (await known(directory, "a.example")).version


async def test_lost_changes_make_all_held_names_compared(directory, store):
    """After a gap in the feed holders are told of what differs, and only that is read in full."""
    for name in ("a.example", "b.example", "c.example"):
        await store.put(name, publish=False)
    stream = Stream(directory)
    stream.hold("a.example", "b.example", "c.example")
    await directory.resolve(["a.example", "b.example", "c.example"])
    await store.put("a.example", publish=False)
    await store.delete("b.example", publish=False)
    await store.lose_changes()
    await eventually(lambda: len(stream.told) == 2)
    assert {"a.example", "b.example"} == set(stream.told)
    assert {"a.example", "b.example"} == set(store.lookups[-1])


async def test_held_names_are_reconciled_by_version(store, time):
    """A change that no feed told of is found by the regular comparison, which reads no record of a name that did not change."""
    directory = SecretDirectory(store, store.sealing, store, serialise, reconcile_seconds=0.01, monotonic=time)
    async with running(directory):
        await store.put("a.example", publish=False)
        await store.put("b.example", publish=False)
        stream = Stream(directory)
        stream.hold("a.example", "b.example")
        await directory.resolve(["a.example", "b.example"])
        await eventually(lambda: len(store.head_lookups) >= 3)
        assert 1 == len(store.lookups)
        record = await store.put("a.example", publish=False)
        await eventually(lambda: stream.told)
        assert record.version == (await known(directory, "a.example")).version
        assert ({("a.example",)}, ["a.example"]) == (set(store.lookups[1:]), stream.told)


async def test_records_without_a_head_are_reconciled_in_full(store, time):
    """Records that an earlier version wrote are compared all the same."""
    store.headless = {"a.example"}
    directory = SecretDirectory(store, store.sealing, store, serialise, reconcile_seconds=0.01, monotonic=time)
    async with running(directory):
        await store.put("a.example", publish=False)
        stream = Stream(directory)
        stream.hold("a.example")
        await directory.resolve(["a.example"])
        record = await store.put("a.example", publish=False)
        await eventually(lambda: stream.told)
        assert record.version == (await known(directory, "a.example")).version


async def test_a_change_while_the_store_is_away_is_told_later(directory, store):
    """What the feed named is read again until the store answers."""
    await store.put("a.example", publish=False)
    stream = Stream(directory)
    stream.hold("a.example")
    await directory.resolve(["a.example"])
    store.away = True
    await store.put("a.example")
    await eventually(lambda: len(store.lookups) >= 3)
    assert [] == stream.told
    store.away = False
    await eventually(lambda: stream.told)


async def test_a_comparison_while_the_store_is_away_is_made_later(directory, store):
    """What a gap in the feed put into doubt is compared until the store answers."""
    await store.put("a.example", publish=False)
    stream = Stream(directory)
    stream.hold("a.example")
    await directory.resolve(["a.example"])
    await store.put("a.example", publish=False)
    store.away = True
    await store.lose_changes()
    await eventually(lambda: len(store.head_lookups) >= 2)
    store.away = False
    await eventually(lambda: stream.told)


async def test_the_feed_is_tried_until_it_can_be_followed(store, monkeypatch):
    """A store that is away at the start delays following, and names held meanwhile are compared then."""
    position = store.position
    resolved = asyncio.Event()

    async def away_at_first():
        if not resolved.is_set():
            await resolved.wait()
            await store.put("a.example")
            raise Unavailable("not yet")
        return await position()

    monkeypatch.setattr(store, "position", away_at_first)
    directory = SecretDirectory(store, store.sealing, store, serialise)
    stream = Stream(directory)
    stream.hold("a.example")
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(directory.run())
        await eventually(lambda: directory._lookups._is_open)
        assert {"a.example": Absence.UNCERTAIN} == dict(await directory.resolve(["a.example"]))
        resolved.set()
        await directory.following()
        await eventually(lambda: stream.told)
        task.cancel()


async def test_a_feed_that_fails_is_followed_again_from_where_it_stood(store, monkeypatch):
    """What happened between two attempts is told."""
    await store.put("a.example", publish=False)
    follow, resolved, failed = store.follow, asyncio.Event(), asyncio.Event()

    async def failing_at_first(position="", **kinds):
        if not failed.is_set():
            await resolved.wait()
            await store.put("a.example")
            failed.set()
            raise RuntimeError("a bug")
        async for change in follow(position, **kinds):
            yield change

    monkeypatch.setattr(store, "follow", failing_at_first)
    async with running(SecretDirectory(store, store.sealing, store, serialise)) as directory:
        stream = Stream(directory)
        stream.hold("a.example")
        await directory.resolve(["a.example"])
        resolved.set()
        await eventually(lambda: stream.told)
        assert (True, ["a.example"]) == (failed.is_set(), stream.told)


async def test_a_name_that_moves_to_another_domain_is_told(directory, store):
    """The certificate of the new owner is served, whatever generation the old one had."""
    await store.put("a.example", "www.example", publish=False)
    stream = Stream(directory)
    stream.hold("www.example")
    await directory.resolve(["www.example"])
    await store.delete("a.example")
    moved = await store.put("b.example", "www.example")
    await eventually(lambda: stream.told)
    await settled(directory)
    assert {"www.example": moved.version} == versions(await directory.resolve(["www.example"]))
