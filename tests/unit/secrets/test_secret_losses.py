"""The directory of secrets: only a deletion takes a certificate away, and no older record comes back."""

from dataclasses import replace

import pytest
import structlog
from prometheus_client import REGISTRY

from controlplane.core.ports import ChangeKind
from controlplane.usecases.generations import Generations
from controlplane.xds.subscription import Absence
from tests.fakes.certificates import issue
from tests.fakes.eventually import eventually
from tests.fakes.secret_holders import Stream, known, sent, settled, versions


def lost(reason: str) -> float:
    """How many look-ups found nothing for a name that was served before."""
    return REGISTRY.get_sample_value("certplane_secret_lost_lookups_total", {"reason": reason})


async def _held(directory, store, *names: str) -> Stream:
    """A holder of domains that have certificates and were looked up."""
    stream = Stream(directory)
    for name in names:
        await store.put(name, f"www.{name}", publish=False)
        stream.hold(name, f"www.{name}")
        await directory.resolve([name, f"www.{name}"])
    return stream


async def _reread(directory, store) -> None:
    """Loses changes, and waits until all held names were compared."""
    before = len(store.head_lookups)
    await store.lose_changes()
    await eventually(lambda: len(store.head_lookups) > before)
    await settled(directory)


async def test_an_older_generation_is_refused(directory, store):
    """A certificate that was replaced does not come back: it is not served, and holders are not told of it."""
    old = await store.put("a.example", publish=False)
    stream = Stream(directory)
    stream.hold("a.example")
    await directory.resolve(["a.example"])
    await store.put("a.example")
    await eventually(lambda: stream.told)
    await store.put_record(old)
    await eventually(lambda: len(store.lookups) == 3)
    assert await known(directory, "a.example") is Absence.UNCERTAIN
    assert ["a.example"] == stream.told


async def test_generations_of_different_domains_are_not_compared(directory, store):
    """A name may move to another domain, whose shard counts for itself."""
    await store.put("a.example", "www.example", publish=False)
    stream = Stream(directory)
    stream.hold("www.example")
    await directory.resolve(["www.example"])
    await store.delete("a.example", publish=False)
    moved = await store.put("b.example", "www.example", publish=False)
    await store.put_record(replace(moved, generation=0))
    await eventually(lambda: stream.told)
    assert moved.version == (await known(directory, "www.example")).version


@pytest.mark.parametrize("reason", ["missing", "rejected", "older"])
async def test_a_certificate_that_is_lost_is_taken_from_nobody(directory, store, reason):
    """Holders are not told, the name is uncertain, it is counted and logged as an error; its return is told to who may lack it."""
    old = await store.put("a.example", "www.a.example", publish=False)
    stream = await _held(directory, store, "a.example")
    record = store._by_domain["a.example"]
    before = lost(reason)
    with structlog.testing.capture_logs() as logs:
        if reason == "missing":
            store.empty()
        elif reason == "rejected":
            store.rejected = {"a.example"}
        else:
            await store.put_record(old, publish=False)
        await _reread(directory, store)
    assert [] == stream.told
    assert Absence.UNCERTAIN is await known(directory, "a.example")
    assert before + 3 == lost(reason)
    (entry,) = [entry for entry in logs if entry["log_level"] == "error"]
    assert ("certificates that were served before cannot be read, clients keep what they hold", 2) == (entry["event"], entry[reason])
    store.rejected = set()
    await store.put_record(record, publish=False)
    await _reread(directory, store)
    assert {"a.example", "www.a.example"} == set(stream.told)
    assert record.version == (await known(directory, "a.example")).version


async def test_losses_are_logged_once_a_minute(directory, store, time):
    """However many certificates are lost and however often they are asked for, there is one line a minute, with the count."""
    await _held(directory, store, "a.example", "b.example")
    store.empty()
    with structlog.testing.capture_logs() as logs:
        for _ in range(3):
            await _reread(directory, store)
        time.seconds += 60
        await _reread(directory, store)
    assert [4, 12] == [entry["missing"] for entry in logs if entry["log_level"] == "error"]


async def test_a_name_that_was_never_served_is_not_lost(directory, store):
    """Strangers' names and names without a certificate yet are no reason for an error."""
    before = lost("missing")
    Stream(directory).hold("a.example")
    with structlog.testing.capture_logs() as logs:
        await directory.resolve(["a.example", "b.example"])
        await _reread(directory, store)
    assert [] == [entry for entry in logs if entry["log_level"] == "error"]
    assert before == lost("missing")


@pytest.mark.parametrize("told", [{}, {"a.example": "version"}])
async def test_what_a_client_holds_from_an_earlier_stream_can_be_lost(directory, store, told):
    """A new directory over an emptied store knows from its clients that something was served."""
    before = lost("missing")
    stream = Stream(directory)
    stream.hold("a.example", resumed=["a.example"])
    assert {"a.example": Absence.UNCERTAIN} == dict(await directory.resolve(["a.example"], told))
    assert (before + 1, []) == (lost("missing"), stream.told)


async def test_a_deletion_is_told_after_a_loss(directory, store):
    """Holders who kept a version while it could not be read are told when the domain is deleted, for each of its names."""
    stream = await _held(directory, store, "a.example")
    store.rejected = {"a.example"}
    await _reread(directory, store)
    assert [] == stream.told
    await store.delete("a.example")
    await eventually(lambda: len(stream.told) == 2)
    assert {"a.example": Absence.GONE, "www.a.example": Absence.GONE} == dict(await directory.resolve(["a.example", "www.a.example"]))


async def test_a_deletion_that_only_the_feed_told_of_counts(directory, store):
    """The store has forgotten that the name was deleted; a certificate that comes afterwards ends that."""
    stream = await _held(directory, store, "a.example")
    record = store._by_domain["a.example"]
    before = lost("missing")
    await store.delete("a.example", publish=False)
    store._deleted.clear()
    await store.publish("a.example", record.names, ChangeKind.DELETED)
    await eventually(lambda: len(stream.told) == 2)
    assert ({"a.example", "www.a.example"}, before) == (set(stream.told), lost("missing"))
    await store.put_record(record)
    await eventually(lambda: len(stream.told) == 4)
    store.empty()
    await _reread(directory, store)
    assert (4, before + 2) == (len(stream.told), lost("missing"))


async def test_a_deletion_is_told_after_a_key_that_did_not_open(directory, store):
    """Who kept an older version because the newest does not open is told that the domain is gone."""
    stream = await _held(directory, store, "a.example")
    broken, _ = issue("a.example", generation=9)
    await store.put_record(broken)
    await eventually(lambda: stream.told)
    assert sent(directory, b"a.example", await known(directory, "a.example")) is None
    stream.told.clear()
    await store.delete("a.example")
    await eventually(lambda: "a.example" in stream.told)


async def test_an_older_record_is_refused_for_a_name_that_nobody_holds(directory, store):
    """The memory of generations outlives the holders."""
    old = await store.put("a.example", publish=False)
    stream = Stream(directory)
    stream.hold("a.example")
    await store.put("a.example", publish=False)
    await directory.resolve(["a.example"])
    stream.release("a.example")
    await store.put_record(old)
    await eventually(lambda: directory.recall(["a.example"])[1])
    assert {"a.example": Absence.UNCERTAIN} == dict(await directory.resolve(["a.example"]))


async def test_a_domain_that_is_created_again_is_served(directory, store):
    """A deletion ends the memory of generations: what comes after it may count from the beginning, for all names."""
    stream = await _held(directory, store, "a.example")
    record = store._by_domain["a.example"]
    await store.delete("a.example")
    await eventually(lambda: len(stream.told) == 2)
    again = await store.put_record(replace(record, id="again", generation=0))
    await eventually(lambda: len(stream.told) == 4)
    assert {again.version} == set(versions(await directory.resolve(["a.example", "www.a.example"])).values())


async def test_a_deletion_that_no_feed_told_of_ends_the_memory(directory, store):
    """The store's word that the domain was deleted is enough."""
    record = await store.put("a.example", publish=False)
    await directory.resolve(["a.example"])
    await store.delete("a.example", publish=False)
    directory._kept.clear()
    assert {"a.example": Absence.GONE} == dict(await directory.resolve(["a.example"]))
    again = await store.put_record(replace(record, id="again", generation=0), publish=False)
    directory._unknown.clear()
    assert again.version == (await known(directory, "a.example")).version


async def test_generations_are_kept_as_long_as_any_name_of_the_domain_is_held(directory, store, monkeypatch):
    """However many others are seen: an older record is refused under every name while one is held, and by versions as well."""
    monkeypatch.setattr(directory._generations, "_limit", 1)
    old = await store.put("a.example", "www.a.example", publish=False)
    await store.put("a.example", "www.a.example", publish=False)
    stream = Stream(directory)
    stream.hold("www.a.example")
    await directory.resolve(["www.a.example"])
    for other in ("b.example", "c.example"):
        await store.put(other, publish=False)
        await directory.resolve([other])
    await store.put_record(old, publish=False)
    assert Absence.UNCERTAIN is await known(directory, "a.example")
    stream.hold("a.example", resumed=["a.example"])
    assert {"a.example": Absence.UNCERTAIN} == dict(await directory.resolve(["a.example"], {"a.example": old.version}))


def test_the_memory_of_generations_is_bounded():
    """The domains seen longest ago are forgotten, except those that are kept, until they are let go."""
    generations = Generations(2)
    assert generations.see("kept.example", 5, keep=True)
    for fqdn in ("a.example", "b.example", "c.example"):
        assert generations.see(fqdn, 5)
    assert [False, False, True] == [generations.see(fqdn, 4) for fqdn in ("kept.example", "c.example", "a.example")]
    generations.let_go(["kept.example", "never.example"])
    assert not generations.see("kept.example", 4)
    assert [True, True] == [generations.see(fqdn, 1) for fqdn in ("d.example", "e.example")]
    assert generations.see("kept.example", 4)


def test_a_forgotten_domain_may_count_from_the_beginning():
    """Kept or not."""
    generations = Generations(2)
    generations.see("kept.example", 5, keep=True)
    generations.see("recent.example", 5)
    generations.forget("kept.example")
    generations.forget("recent.example")
    assert [True, True] == [generations.see(fqdn, 1) for fqdn in ("kept.example", "recent.example")]
