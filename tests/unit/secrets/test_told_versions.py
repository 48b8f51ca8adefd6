"""Clients that come back with what they had: versions are compared, and nothing else is read, opened or sent."""

import asyncio
import math

import pytest

from controlplane.usecases.known_secrets import KnownSecret, KnownVersion
from controlplane.usecases.lookups import NAMES_PER_LOOKUP
from controlplane.usecases.secrets import SecretDirectory
from controlplane.xds.subscription import Absence
from tests.fakes.eventually import eventually
from tests.fakes.secret_holders import Stream, known, running, sent, serialise, settled, versions


async def test_a_client_with_the_newest_version_costs_no_record(directory, store):
    """By own and additional names: the answer is the version that it has, with the tenant, and cannot be sent."""
    record = await store.put("a.example", "www.a.example", publish=False, tenant="globex")
    stream = Stream(directory)
    stream.hold("a.example", "www.a.example", resumed=["a.example", "www.a.example"])
    told = dict.fromkeys(("a.example", "www.a.example"), record.version)
    found = await directory.resolve(told, told)
    assert told == versions(found)
    assert {KnownVersion} == {type(each) for each in found.values()}
    assert {"globex"} == {each.tenant for each in found.values()}
    assert ([], []) == (store.lookups, store.sealing.opened)


async def test_a_client_with_another_version_gets_the_secret(directory, store):
    """What differs is read in full, what does not is not."""
    first = await store.put("a.example", publish=False)
    await store.put("b.example", publish=False)
    newest = await store.put("a.example", publish=False)
    same = store._by_domain["b.example"]
    stream = Stream(directory)
    stream.hold("a.example", "b.example", resumed=["a.example", "b.example"])
    found = await directory.resolve(["a.example", "b.example"], {"a.example": first.version, "b.example": same.version})
    assert {"a.example": newest.version, "b.example": same.version} == versions(found)
    assert isinstance(found["a.example"], KnownSecret)
    assert [("a.example",)] == store.lookups


async def test_who_did_not_say_a_version_is_answered_as_ever(directory, store):
    """In the same call, from one look-up of the record."""
    record = await store.put("a.example", publish=False)
    other = await store.put("b.example", publish=False)
    found = await directory.resolve(["a.example", "b.example"], {"a.example": record.version})
    assert {"a.example": record.version, "b.example": other.version} == versions(found)
    assert ([("b.example",)], [("a.example",)]) == (store.lookups, store.head_lookups)


async def test_further_clients_with_the_same_names_cost_no_look_up(directory, store):
    """What one holder is told of need not be asked for the next."""
    record = await store.put("a.example", publish=False)
    for _ in range(100):
        stream = Stream(directory)
        stream.hold("a.example", resumed=["a.example"])
        assert {"a.example": record.version} == versions(await directory.resolve(["a.example"], {"a.example": record.version}))
    assert (1, []) == (len(store.head_lookups), store.lookups)


async def test_clients_that_lack_the_same_certificate_share_it(directory, store, monkeypatch):
    """One whose comparison takes longer gets what was read for another meanwhile: it is read once, and so opened once."""
    old = await store.put("a.example", publish=False)
    await store.put("b.example", publish=False)
    newest = await store.put("a.example", publish=False)
    record_wanted, comparison_wanted = asyncio.Event(), asyncio.Event()

    async def slow_record(names):
        await record_wanted.wait()
        return await store.lookup(names)

    async def slow_comparison(names):
        if "b.example" in names:
            await comparison_wanted.wait()
        return await store.heads(names)

    monkeypatch.setattr(directory._lookups, "_look_up", slow_record)
    monkeypatch.setattr(directory._versions, "_look_up", slow_comparison)
    told = {"a.example": old.version, "b.example": store._by_domain["b.example"].version}
    fast = asyncio.create_task(directory.resolve(["a.example"], told))
    await eventually(lambda: len(directory._lookups))
    late = asyncio.create_task(directory.resolve(["a.example", "b.example"], told))
    await eventually(lambda: len(directory._versions) == 2)
    record_wanted.set()
    first = (await fast)["a.example"]
    comparison_wanted.set()
    assert first is (await late)["a.example"]
    assert (newest.version, [("a.example",)]) == (first.version, store.lookups)


async def test_a_client_that_comes_back_is_told_of_changes(directory, store):
    """Whether its version was looked up or known already, the next certificate is told to it."""
    record = await store.put("a.example", publish=False)
    streams = [Stream(directory) for _ in range(2)]
    for stream in streams:
        stream.hold("a.example", resumed=["a.example"])
        await directory.resolve(["a.example"], {"a.example": record.version})
    await store.put("a.example")
    await eventually(lambda: streams[1].told)
    assert [["a.example"]] * 2 == [stream.told for stream in streams]


async def test_a_version_that_a_change_overtakes_is_asked_for_again(directory, store):
    """A client that has what was in force when the comparison began learns of what came meanwhile."""
    first = await store.put("a.example", publish=False)
    stream = Stream(directory)
    stream.hold("a.example", resumed=["a.example"])
    store.gate.clear()
    asked = asyncio.create_task(directory.resolve(["a.example"], {"a.example": first.version}))
    await eventually(lambda: store.waiting)
    newest = await store.put("a.example")
    await eventually(lambda: not len(directory._versions))
    store.gate.set()
    assert {"a.example": newest.version} == versions(await asked)


async def test_a_name_that_waits_to_be_read_again_is_not_answered_from_memory(directory, store):
    """While changes may have been lost, a version seen before them proves nothing."""
    record = await store.put("a.example", publish=False)
    stream = Stream(directory)
    stream.hold("a.example", resumed=["a.example"])
    await directory.resolve(["a.example"], {"a.example": record.version})
    newest = await store.put("a.example", publish=False)
    store.away = True
    await store.lose_changes()
    await eventually(lambda: "a.example" in directory._rereading)
    assert ({}, ["a.example"]) == directory.recall(["a.example"], {"a.example": record.version})
    store.away = False
    await settled(directory)
    assert {"a.example": newest.version} == versions(await directory.resolve(["a.example"], {"a.example": record.version}))


async def test_a_certificate_that_is_gone_is_found_to_be(directory, store):
    """A deletion is not hidden by the version that the client has."""
    record = await store.put("a.example", publish=False)
    await store.delete("a.example", publish=False)
    assert {"a.example": Absence.GONE} == dict(await directory.resolve(["a.example"], {"a.example": record.version}))


async def test_records_without_a_head_are_read_in_full(directory, store):
    """Those that an earlier version wrote."""
    record = await store.put("a.example", publish=False)
    store.headless = {"a.example"}
    found = await directory.resolve(["a.example"], {"a.example": record.version})
    assert ({"a.example": record.version}, [("a.example",)]) == (versions(found), store.lookups)


async def test_an_older_head_is_not_believed(directory, store):
    """Who can write to the store cannot have an older certificate called the newest once a newer one was seen."""
    old = await store.put("a.example", publish=False)
    await store.put("a.example", publish=False)
    stream = Stream(directory)
    stream.hold("a.example", resumed=["a.example"])
    await directory.resolve(["a.example"])
    await store.put_record(old, publish=False)
    directory._kept.clear()
    assert {"a.example": Absence.UNCERTAIN} == dict(await directory.resolve(["a.example"], {"a.example": old.version}))


async def test_a_head_is_enough_to_refuse_older_records(directory, store):
    """Generations are learnt from comparisons too: the first record that is read in full must not be an older one."""
    old = await store.put("a.example", publish=False)
    newest = await store.put("a.example", publish=False)
    stream = Stream(directory)
    stream.hold("a.example", resumed=["a.example"])
    await directory.resolve(["a.example"], {"a.example": newest.version})
    await store.put_record(old)
    await eventually(lambda: store.lookups)
    await settled(directory)
    assert ([], Absence.UNCERTAIN) == (stream.told, await known(directory, "a.example"))


async def test_a_store_that_is_away_leaves_the_names_out(directory, store):
    """They are asked for once, not in two ways."""
    store.away = True
    assert {} == dict(await directory.resolve(["a.example"], {"a.example": "version"}))
    assert (1, 0) == (len(store.head_lookups), len(store.lookups))


async def test_a_version_cannot_be_sent_and_is_told_again(directory, store):
    """A stream that wants to send after all (its client was set back) is told of the name, by its canonical spelling."""
    record = await store.put("a.example", publish=False)
    stream = Stream(directory)
    stream.hold("a.example", resumed=["a.example"])
    found = await directory.resolve(["a.example"], {"a.example": record.version})
    assert sent(directory, b"A.Example", found["a.example"]) is None
    assert [] == stream.told
    await eventually(lambda: stream.told)
    assert ["a.example"] == stream.told


@pytest.mark.parametrize("told", [True, False])
async def test_nothing_is_answered_from_memory_before_changes_are_followed(store, monkeypatch, told):
    """Nobody would say that it is not true any more."""
    record = await store.put("a.example", publish=False)

    async def away():
        await asyncio.Event().wait()

    monkeypatch.setattr(store, "position", away)
    directory = SecretDirectory(store, store.sealing, store, serialise)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(directory.run())
        await eventually(lambda: directory._lookups._is_open)
        for _ in range(2):
            stream = Stream(directory)
            stream.hold("a.example", resumed=["a.example"])
            found = await directory.resolve(["a.example"], {"a.example": record.version} if told else {})
            assert {"a.example": record.version} == versions(found)
        expected = (2, 0) if told else (0, 1)
        assert expected == (len(store.head_lookups), len(store.lookups))
        task.cancel()


async def test_ten_thousand_names_are_compared_in_a_few_calls(store, time):
    """A client that holds so many current secrets leads to no record read and no key opened."""
    shared = await store.put("a.example", *[f"n{number}.a.example" for number in range(9_999)], publish=False)
    async with running(SecretDirectory(store, store.sealing, store, serialise, monotonic=time)) as directory:
        stream = Stream(directory)
        stream.hold(*shared.names, resumed=shared.names)
        told = dict.fromkeys(shared.names, shared.version)
        assert told == versions(await directory.resolve(told, told))
        calls = math.ceil(10_000 / NAMES_PER_LOOKUP)
        assert (calls, [], []) == (len(store.head_lookups), store.lookups, store.sealing.opened)
