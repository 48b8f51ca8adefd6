"""Sealing anew, with real keys on a real Valkey: complete, resumable, beside renewals, unnoticed by Envoys."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest
from redis.asyncio import Redis

from controlplane.adapters import redis_keys as keys
from controlplane.adapters.key_files import LoadedKeys, load_key_directory
from controlplane.adapters.key_generation import KeyKind, add_recipient_key, add_record_key, generate_role_directories
from controlplane.adapters.key_phases import apply_phases
from controlplane.adapters.leaf_key import make_leaf_key
from controlplane.adapters.redis_accounts import RedisAccountStore
from controlplane.adapters.redis_certificates import RedisCertificateStore
from controlplane.adapters.redis_client import connect
from controlplane.adapters.redis_domains import RedisDomainStore
from controlplane.adapters.redis_envelopes import RedisEnvelopeCounts, RedisEnvelopeStore
from controlplane.adapters.redis_work import RedisWorkStore
from controlplane.core.certificate import CertificateRecord, leaf_seal_context
from controlplane.core.managed_domain import DomainState, DomainStatus
from controlplane.core.names import DomainName
from controlplane.core.ports import AccountRecord, SealedAccountKey, Sealer
from controlplane.core.rotation import activation_changes
from controlplane.core.sealing import KeyClass, KeyPhase, Scheme, SealContext
from controlplane.usecases.reseal import Reseal, Tally, Target, take_census
from tests.fakes import samples

DIRECTORY = "https://ca.example/dir"
FAST = 1e6
DEFAULT = KeyKind()


@dataclass
class World:
    """A store, and the key directories of both roles as they are on disk now."""

    client: Redis
    serve_dir: Path
    worker_dir: Path

    def serve(self) -> LoadedKeys:
        """The keys of `serve`."""
        return load_key_directory(self.serve_dir)

    def worker(self) -> LoadedKeys:
        """The keys of the worker."""
        return load_key_directory(self.worker_dir)

    async def add(self, fqdn: str) -> CertificateRecord:
        """A domain with a certificate in force whose leaf key is sealed to the ACTIVE key."""
        await RedisDomainStore(self.client).create(samples.spec(fqdn), DomainStatus())
        return await self.renew(fqdn)

    async def renew(self, fqdn: str) -> CertificateRecord:
        """Puts another certificate in force."""
        work, name = RedisWorkStore(self.client, self.worker().authenticator()), DomainName(fqdn)
        lease = await work.acquire(name, "test", timedelta(seconds=30))
        assert lease is not None
        await work.load(lease)
        record = certificate(fqdn, self.worker().sealer())
        saved = await work.save_certificate(lease, record, DomainStatus(DomainState.ACTIVE), None)
        await work.release(lease)
        return saved

    def rotate(self, kind: KeyKind = DEFAULT) -> str:
        """Makes a new leaf key ACTIVE; returns its id."""
        paths = add_recipient_key(KeyClass.LEAF, kind, samples.now(), private_dir=self.serve_dir, public_dir=self.worker_dir)
        key_id = paths[0].name.split("-")[1].split(".")[0]
        inventories = [self.serve().inventory, self.worker().inventory]
        for loaded in (self.serve(), self.worker()):
            apply_phases(loaded, activation_changes(inventories, key_id))
        return key_id

    def job(self, per_second: float = FAST) -> Reseal:
        """The job of an operator who has the directory of `serve`."""
        loaded = self.serve()
        store = RedisEnvelopeStore(self.client, loaded.authenticator())
        return Reseal(store, loaded.opener(), loaded.sealer(), Target.of(loaded.inventory, KeyClass.LEAF), per_second=per_second)

    def envelopes(self) -> RedisEnvelopeStore:
        """All envelopes."""
        return RedisEnvelopeStore(self.client, self.serve().authenticator())

    async def opened(self, fqdn: str) -> bool:
        """Whether `serve` reads the record and opens the key of the certificate in force."""
        found = (await RedisCertificateStore(self.client, self.serve().authenticator()).lookup([fqdn]))[fqdn]
        assert isinstance(found, CertificateRecord)
        return bool(self.serve().opener().open(found.sealed_leaf_key, found.seal_context).reveal())


def certificate(fqdn: str, sealer: Sealer) -> CertificateRecord:
    """A certificate record with a leaf key that opens."""
    leaf_key = make_leaf_key((fqdn,))
    context = leaf_seal_context(leaf_key.spki_digest, (fqdn,))
    return replace(samples.certificate(fqdn), spki_digest=leaf_key.spki_digest, sealed_leaf_key=sealer.seal(leaf_key.private_key, context))


@pytest.fixture
async def world(valkey_url: str, tmp_path: Path) -> AsyncIterator[World]:
    """An empty store and a new installation's keys."""
    generate_role_directories(tmp_path / "serve", tmp_path / "worker", KeyKind(), samples.now())
    client = connect(valkey_url)
    yield World(client, tmp_path / "serve", tmp_path / "worker")
    await client.aclose()


@pytest.mark.parametrize("scheme", Scheme, ids=lambda scheme: scheme.name)
async def test_everything_is_sealed_to_the_new_key(world: World, scheme: Scheme) -> None:
    """After a run no envelope refers to the old key, the previous certificates' included, and every one opens."""
    names = [f"shop{number}.example.com" for number in range(20)]
    for name in names:
        await world.add(name)
    await world.renew(names[0])
    new = world.rotate(KeyKind(scheme, 2048))
    tally = await world.job().run()
    census = await take_census(world.envelopes())
    assert (21, 0, {new: 21}) == (tally.resealed, tally.failures, dict(census.recipients))
    assert all([await world.opened(name) for name in names])


async def test_a_second_run_changes_nothing(world: World) -> None:
    """What is sealed to the right key is not touched again."""
    await world.add("shop.example.com")
    world.rotate()
    await world.job().run()
    before = await world.client.hgetall(keys.domain("shop.example.com"))
    tally = await world.job().run()
    assert (1, 0) == (tally.seen, tally.resealed)
    assert before == await world.client.hgetall(keys.domain("shop.example.com"))


async def test_the_version_and_the_change_streams_stay_as_they_are(world: World) -> None:
    """A reseal is no change to whoever serves: same version and generation, no event, no revision."""
    saved = await world.add("shop.example.com")
    shard = keys.shard_of("shop.example.com")
    before = await world.client.xlen(keys.changes(shard)), await world.client.hget(keys.domain("shop.example.com"), "revision")
    world.rotate()
    await world.job().run()
    found = (await RedisCertificateStore(world.client, world.serve().authenticator()).lookup(["shop.example.com"]))["shop.example.com"]
    assert isinstance(found, CertificateRecord)
    assert (saved.version, saved.generation) == (found.version, found.generation)
    assert before == (
        await world.client.xlen(keys.changes(shard)),
        await world.client.hget(keys.domain("shop.example.com"), "revision"),
    )


async def test_a_renewal_that_comes_between_wins(world: World) -> None:
    """A record that a worker replaced after it was read is left as the worker wrote it."""
    await world.add("shop.example.com")
    new = world.rotate()
    store = world.envelopes()
    page = await store.page("", 10)
    (record,) = page.records
    renewed = await world.renew("shop.example.com")
    assert not await store.replace(record, record.envelope)  # type: ignore[arg-type, union-attr]
    found = (await RedisCertificateStore(world.client, world.serve().authenticator()).lookup(["shop.example.com"]))["shop.example.com"]
    assert isinstance(found, CertificateRecord)
    assert (renewed.id, new) == (found.id, found.sealed_leaf_key.recipient_key_id)


async def test_a_stopped_run_goes_on_where_it_was(world: World) -> None:
    """A run that is killed leaves its place behind; the next begins there, and in the end nothing is left."""
    for number in range(500):
        await world.add(f"shop{number}.example.com")
    new = world.rotate()
    seen: list[int] = []

    def stop_after_the_first_page(tally: Tally) -> None:
        seen.append(tally.seen)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await world.job().run(stop_after_the_first_page)
    tally = await world.job().run()
    census = await take_census(world.envelopes())
    assert (500, {new: 500}) == (seen[0] + tally.seen, dict(census.recipients))


async def test_the_rate_is_kept(world: World) -> None:
    """A run writes no faster than it was told: by its own clock, which the test advances."""
    for number in range(10):
        await world.add(f"shop{number}.example.com")
    world.rotate()
    loaded, now = world.serve(), 0.0

    async def pause(seconds: float) -> None:
        nonlocal now
        now += seconds
        await asyncio.sleep(0)

    target = Target.of(loaded.inventory, KeyClass.LEAF)
    job = Reseal(world.envelopes(), loaded.opener(), loaded.sealer(), target, per_second=2.0, monotonic=lambda: now, pause=pause)
    await job.run()
    assert 4.5 == pytest.approx(now)


async def test_a_damaged_record_is_told_and_stops_nothing(world: World) -> None:
    """A record that cannot be believed is named with its reason; all others are sealed anew."""
    await world.add("good.example.com")
    await world.add("bad.example.com")
    await world.client.hset(keys.domain("bad.example.com"), "certificate", b"\x00damaged")
    new = world.rotate()
    tally = await world.job().run()
    census = await take_census(world.envelopes())
    assert (["bad.example.com"], 1, {new: 1}, 1) == (
        [owner for owner, _ in tally.failed],
        tally.resealed,
        dict(census.recipients),
        census.unreadable,
    )


async def test_a_new_record_key_authenticates_every_record(world: World) -> None:
    """With another ACTIVE record key, a run writes every record under it, and the old one is referred to no more."""
    await world.add("shop.example.com")
    (path, _) = add_record_key((world.serve_dir, world.worker_dir), samples.now())
    new = path.name.split("-")[1].split(".")[0]
    inventories = [world.serve().inventory, world.worker().inventory]
    for loaded in (world.serve(), world.worker()):
        apply_phases(loaded, activation_changes(inventories, new))
    await world.job().run()
    census = await take_census(world.envelopes())
    assert {new: 1} == dict(census.record_keys)
    assert await world.opened("shop.example.com")


async def test_an_account_is_sealed_anew_by_the_worker(world: World) -> None:
    """The ACME account's key moves to a new `account` key, with the key of a rollover that is under way, and keeps its account."""
    loaded, digests = world.worker(), (b"\x02" * 32, b"\x03" * 32)
    context, later = (SealContext(KeyClass.ACCOUNT, digest, (DIRECTORY,)) for digest in digests)
    accounts = RedisAccountStore(world.client, loaded.authenticator())
    sealed, successor = (loaded.sealer().seal(make_leaf_key(("a.example",)).private_key, each) for each in (context, later))
    record = AccountRecord(DIRECTORY, "https://ca.example/acct/1", sealed, digests[0], samples.now())
    await accounts.create(replace(record, successor=SealedAccountKey(successor, digests[1])))
    (path,) = add_recipient_key(KeyClass.ACCOUNT, KeyKind(), samples.now(), private_dir=world.worker_dir)
    new = path.name.split("-")[1].split(".")[0]
    apply_phases(loaded := world.worker(), activation_changes([loaded.inventory], new))
    loaded = world.worker()
    store = RedisEnvelopeStore(world.client, loaded.authenticator())
    target = Target.of(loaded.inventory, KeyClass.ACCOUNT)
    await Reseal(store, loaded.opener(), loaded.sealer(), target, per_second=FAST).run()
    found = await accounts.get(DIRECTORY)
    assert found is not None
    assert (new, "https://ca.example/acct/1") == (found.sealed_account_key.recipient_key_id, found.account_url)
    assert loaded.opener().open(found.sealed_account_key, context).reveal()
    assert found.successor is not None
    assert (new, digests[1]) == (found.successor.envelope.recipient_key_id, found.successor.spki_digest)
    assert loaded.opener().open(found.successor.envelope, later).reveal()
    assert {new: 2} == dict((await take_census(store, KeyClass.ACCOUNT)).recipients)
    assert KeyPhase.ACTIVE is next(key.phase for key in loaded.inventory.private if key.key_id == new)


async def test_the_index_of_schemes_follows(world: World) -> None:
    """How many certificates are sealed by which scheme is known at once, before a run and after it."""
    await world.add("one.example.com")
    await world.add("two.example.com")
    counts = RedisEnvelopeCounts(world.client)
    before = await counts.by_scheme()
    world.rotate(KeyKind(Scheme.HPKE_P256))
    await world.job().run()
    assert ({Scheme.HPKE_X25519: 2}, {Scheme.HPKE_P256: 2}) == (before, await counts.by_scheme())
    found = await RedisDomainStore(world.client).get(DomainName("one.example.com"))
    assert found is not None
    assert Scheme.HPKE_P256 is found.scheme
