"""A reseal in a store that somebody else writes to comes to its end, and says what is left."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from controlplane.adapters import redis_keys as keys
from controlplane.adapters.key_generation import KeyKind, add_record_key, generate_role_directories
from controlplane.adapters.key_phases import apply_phases
from controlplane.adapters.redis_client import connect
from controlplane.adapters.redis_envelopes import RedisReplicaReports
from controlplane.core.keyring import Role
from controlplane.core.ports import SealedRecord
from controlplane.core.rotation import ReplicaKeys, activation_changes
from controlplane.core.sealing import KeyClass
from controlplane.usecases.reseal import Tally, Target, take_census
from tests.fakes import samples
from tests.integration.test_reseal import World

SHOP = "shop.example.com"


@pytest.fixture
async def world(valkey_url: str, tmp_path: Path) -> AsyncIterator[World]:
    """An empty store and a new installation's keys."""
    generate_role_directories(tmp_path / "serve", tmp_path / "worker", KeyKind(), samples.now())
    client = connect(valkey_url)
    yield World(client, tmp_path / "serve", tmp_path / "worker")
    await client.aclose()


def target(world: World) -> Target:
    """What everything is sealed to now."""
    return Target.of(world.serve().inventory, KeyClass.LEAF)


async def test_names_that_are_none_do_not_go_round_in_circles(world: World) -> None:
    """However many members of whatever bytes are in the lists of names, all domains are reached, each once."""
    await world.add(SHOP)
    junk = [b"\xff" * length for length in range(1, 450)] + ["\ufffd", "\u00ff", "a:b", ""]
    for shard in (0, keys.shard_of(SHOP), keys.SHARDS - 1):
        await world.client.zadd(keys.names(shard), dict.fromkeys(junk, 0))
    new = world.rotate()
    async with asyncio.timeout(30):
        tally = await world.job().run()
        census = await take_census(world.envelopes())
    assert (1, 0, {new: 1}) == (tally.resealed, tally.failures, dict(census.recipients))


@pytest.mark.parametrize("place", [b"nowhere", b"999:x", b"-1:x", "\u0661:x".encode(), b"\xff\xfe", b"0"])
async def test_a_place_that_was_tampered_with_is_not_gone_on_from(world: World, place: bytes) -> None:
    """A run whose note of where it was makes no sense begins anew."""
    await world.add(SHOP)
    world.rotate()
    await world.client.set(keys.reseal(target(world).name), place)
    assert 1 == (await world.job().run()).resealed
    assert not await world.client.exists(keys.reseal(target(world).name))


async def test_a_note_of_another_type_is_no_obstacle(world: World) -> None:
    """Something else under the key of the note is written over."""
    await world.add(SHOP)
    world.rotate()
    await world.client.lpush(keys.reseal(target(world).name), "x")
    assert 1 == (await world.job().run()).resealed


async def test_a_planted_place_leaves_something_and_the_run_says_so(world: World) -> None:
    """Who moves a run to its end skips everything, and the count at the end shows it."""
    await world.add(SHOP)
    world.rotate()
    await world.client.set(keys.reseal(target(world).name), "accounts")
    assert 0 == (await world.job().run()).resealed
    assert 1 == (await take_census(world.envelopes())).left(target(world))


async def test_planted_accounts_and_reports_are_told_and_stop_nothing(world: World) -> None:
    """Keys of another type, or with junk, where accounts and reports of processes belong: the accounts are named, the reports ignored."""
    await world.add(SHOP)
    new = world.rotate()
    await world.client.lpush("cp:account:list", "x")
    await world.client.set("cp:account:junk", b"\xff\xff")
    await world.client.set("cp:account:other", b"")
    await world.client.lpush(keys.key_report("list"), "x")
    await world.client.set(b"cp:key-report:\xff", b"\xff")
    reports = RedisReplicaReports(world.client, world.serve().authenticator())
    own = ReplicaKeys("serve-1", Role.SERVE, frozenset({new}), frozenset(), frozenset(), samples.now())
    await reports.report(own)
    assert [own] == list(await reports.live())
    tally = await world.job().run()
    census = await take_census(world.envelopes())
    assert (1, 3, 3) == (tally.resealed, tally.failures, census.unreadable)
    assert ["cp:account:junk", "cp:account:list", "cp:account:other"] == sorted(owner for owner, _ in tally.failed)


async def test_a_stopped_run_is_not_taken_for_one_to_another_record_key(world: World) -> None:
    """A new record key that becomes ACTIVE while a run is stopped is written everywhere, before the place of the stop too."""
    for number in range(210):
        await world.add(f"shop{number}.example.com")
    world.rotate()

    def stop(_: Tally) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await world.job().run(stop)
    (path, _) = add_record_key((world.serve_dir, world.worker_dir), samples.now())
    inventories = [world.serve().inventory, world.worker().inventory]
    for loaded in (world.serve(), world.worker()):
        apply_phases(loaded, activation_changes(inventories, path.name.split("-")[1].split(".")[0]))
    assert 210 == (await take_census(world.envelopes())).left(target(world))
    assert 210 == (await world.job().run()).seen
    assert 0 == (await take_census(world.envelopes())).left(target(world))


async def test_a_record_of_another_domain_is_not_sealed_anew(world: World) -> None:
    """An authentic record that somebody copied to another domain is named, and is not made that domain's by a reseal."""
    await world.add(SHOP)
    await world.add("other.example.com")
    stolen = await world.client.hget(keys.domain("other.example.com"), "certificate")
    await world.client.hset(keys.domain(SHOP), "certificate", stolen)
    world.rotate()
    tally = await world.job().run()
    assert ([SHOP], 1) == ([owner for owner, _ in tally.failed], tally.resealed)
    assert stolen == await world.client.hget(keys.domain(SHOP), "certificate")
    found = [record.owner for record in (await world.envelopes().page("", 10)).records if isinstance(record, SealedRecord)]
    assert ["other.example.com"] == found
