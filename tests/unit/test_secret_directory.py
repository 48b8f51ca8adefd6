"""The directory of secrets, over an in-memory store with real certificates."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from prometheus_client import REGISTRY

from controlplane.core.errors import Unavailable
from controlplane.core.ports import ChangeKind
from controlplane.core.redacted import SecretBytes
from controlplane.usecases.generations import Generations
from controlplane.usecases.known_secrets import KnownSecret, KnownSecrets
from controlplane.usecases.lookups import NAMES_PER_LOOKUP
from controlplane.usecases.secrets import KEPT_SECONDS, KEPT_SECRETS, SecretDirectory
from controlplane.xds.subscription import Absence
from tests.fakes.certificates import InMemoryCertificates, InMemorySealing, issue
from tests.fakes.eventually import eventually

SEPARATOR = b"\n|\n"


def _serialise(certificate_chain: bytes, private_key: SecretBytes) -> SecretBytes:
    return SecretBytes(certificate_chain + SEPARATOR + private_key.reveal())


def lost(reason: str) -> float:
    """How many look-ups found nothing for a name that was served before."""
    return REGISTRY.get_sample_value("certplane_secret_lost_lookups_total", {"reason": reason})


class Holder:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def changed(self, keys) -> None:
        """Notes the names."""
        self.told += keys


class Time:
    """A monotonic clock that tests move."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        """The seconds now."""
        return self.seconds


@pytest.fixture
def store() -> InMemoryCertificates:
    """An empty store."""
    return InMemoryCertificates(InMemorySealing())


@pytest.fixture
def time() -> Time:
    """A clock."""
    return Time()


@pytest.fixture
async def directory(store, time) -> AsyncIterator[SecretDirectory]:
    """A directory that runs."""
    made = SecretDirectory(store, store.sealing, store, _serialise, reconcile_seconds=3600, monotonic=time)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(made.run())
        await made.following()
        yield made
        running.cancel()


async def test_known_and_unknown_names_are_told_apart(directory, store):
    """A name with a certificate gives it, in the certificate's version; a name without gives none."""
    record = await store.put("a.example", "www.a.example", publish=False)
    known = await directory.resolve(["a.example", "www.a.example", "b.example"])
    assert {"a.example": record.version, "www.a.example": record.version, "b.example": Absence.UNCERTAIN} == {
        key: secret if isinstance(secret, Absence) else secret.version for key, secret in known.items()
    }


async def test_the_content_is_the_chain_and_the_key_of_the_leaf(directory, store):
    """The chain is PEM, leaf first; the key is PEM PKCS#8 and belongs to the leaf."""
    record = await store.put("a.example", publish=False)
    chain, _, key = directory.content((await directory.resolve(["a.example"]))["a.example"]).partition(SEPARATOR)
    certificates = x509.load_pem_x509_certificates(chain)
    assert [record.leaf, *record.intermediates] == [each.public_bytes(serialization.Encoding.DER) for each in certificates]
    assert key.startswith(b"-----BEGIN PRIVATE KEY-----\n")
    assert certificates[0].public_key() == serialization.load_pem_private_key(key, None).public_key()
    assert max(map(len, chain.splitlines())) == 64


async def test_misses_of_one_turn_share_a_look_up(directory, store):
    """Names that several streams miss at the same time go to the store in one call, each once."""
    await store.put("a.example", publish=False)
    await asyncio.gather(directory.resolve(["a.example", "b.example"]), directory.resolve(["b.example", "c.example"]))
    assert [("a.example", "b.example", "c.example")] == store.lookups


async def test_a_name_on_its_way_is_not_asked_for_again(directory, store):
    """A miss while the same name is being looked up waits for that."""
    store.gate.clear()
    first = asyncio.create_task(directory.resolve(["a.example"]))
    await eventually(lambda: store.waiting)
    second = asyncio.create_task(directory.resolve(["a.example"]))
    await asyncio.sleep(0)
    store.gate.set()
    await asyncio.gather(first, second)
    assert [("a.example",)] == store.lookups


async def test_who_goes_does_not_take_the_look_up_along(directory, store):
    """When one of those who wait is cancelled the others get their answer."""
    await store.put("a.example", publish=False)
    store.gate.clear()
    first = asyncio.create_task(directory.resolve(["a.example"]))
    second = asyncio.create_task(directory.resolve(["a.example"]))
    await eventually(lambda: store.waiting)
    first.cancel()
    store.gate.set()
    assert isinstance((await second)["a.example"], KnownSecret)


async def test_many_names_take_several_look_ups(directory, store):
    """No look-up has more names than the limit, and all names are answered."""
    keys = [f"n{number}.example" for number in range(NAMES_PER_LOOKUP + 1)]
    known = await directory.resolve(keys)
    assert set(keys) == set(known)
    assert [NAMES_PER_LOOKUP, 1] == [len(names) for names in store.lookups]


async def test_a_key_is_opened_once_for_all(directory, store):
    """Whoever asks within seconds gets the same content, from one look-up and one opened envelope."""
    await store.put("a.example", publish=False)
    contents = [directory.content((await directory.resolve(["a.example"]))["a.example"]) for _ in range(3)]
    assert 1 == len(store.sealing.opened)
    assert 1 == len(store.lookups)
    assert contents[0] is contents[2]


async def test_nothing_is_opened_before_it_is_sent(directory, store):
    """A comparison of versions opens nothing."""
    await store.put("a.example", publish=False)
    await directory.resolve(["a.example"])
    assert [] == store.sealing.opened


async def test_opened_keys_are_forgotten_within_seconds(directory, store, time):
    """After the cache's time a name is looked up and opened again."""
    await store.put("a.example", publish=False)
    directory.content((await directory.resolve(["a.example"]))["a.example"])
    time.seconds += KEPT_SECONDS
    directory.content((await directory.resolve(["a.example"]))["a.example"])
    assert 2 == len(store.sealing.opened)


def test_the_cache_is_bounded_in_number_and_time():
    """The oldest goes when there are too many, and what is over is purged without being asked for."""
    time = Time()
    kept = KnownSecrets(KEPT_SECRETS, KEPT_SECONDS, time)
    record, _ = issue("a.example")
    for number in range(KEPT_SECRETS + 1):
        kept.put(KnownSecret(str(number), record))
    assert KEPT_SECRETS == len(kept)
    assert kept.get("0") is None
    time.seconds = KEPT_SECONDS
    kept.purge()
    assert 0 == len(kept)


async def test_an_unknown_name_is_found_as_soon_as_it_exists(directory, store):
    """That a name does not exist is never remembered."""
    assert (await directory.resolve(["a.example"]))["a.example"] is Absence.UNCERTAIN
    record = await store.put("a.example", publish=False)
    assert record.version == (await directory.resolve(["a.example"]))["a.example"].version


async def test_holders_are_told_of_a_change(directory, store):
    """A new certificate of a held name, own or additional, is told to its holders and to nobody else, and is what they find."""
    await store.put("a.example", "www.a.example", publish=False)
    holder, other = Holder(), Holder()
    directory.hold("www.a.example", holder)
    directory.hold("b.example", other)
    await directory.resolve(["www.a.example", "b.example"])
    record = await store.put("a.example", "www.a.example")
    await eventually(lambda: holder.told)
    assert record.version == (await directory.resolve(["www.a.example"]))["www.a.example"].version
    assert (["www.a.example"], []) == (holder.told, other.told)
    assert {("www.a.example", "b.example"), ("www.a.example",)} == set(store.lookups)


async def test_holders_are_told_of_a_removal(directory, store):
    """A deleted domain is told to the holders of each of its names."""
    await store.put("a.example", "www.a.example", publish=False)
    holder = Holder()
    for key in ("a.example", "www.a.example"):
        directory.hold(key, holder)
    await directory.resolve(["a.example", "www.a.example"])
    await store.delete("a.example")
    await eventually(lambda: len(holder.told) == 2)
    assert {"a.example", "www.a.example"} == set(holder.told)
    assert {Absence.GONE} == set((await directory.resolve(["a.example", "www.a.example"])).values())


async def test_released_names_are_not_read_again(directory, store):
    """A change of a name that nobody holds any more leads to no look-up."""
    await store.put("a.example", publish=False)
    holder = Holder()
    directory.hold("a.example", holder)
    await directory.resolve(["a.example"])
    directory.release("a.example", holder)
    directory.release("a.example", holder)
    directory.hold("b.example", holder)
    await store.put("a.example")
    await store.put("b.example")
    await eventually(lambda: len(store.lookups) == 2)
    assert ("b.example",) == store.lookups[-1]
    assert [] == holder.told


async def test_changes_that_are_not_served_are_left_alone(directory, store):
    """A change of spec or status only leads to no look-up."""
    await store.put("a.example", publish=False)
    holder = Holder()
    for key in ("a.example", "b.example"):
        directory.hold(key, holder)
    await directory.resolve(["a.example", "b.example"])
    await store.publish("a.example", ("a.example",), ChangeKind.STATUS)
    await store.put("b.example")
    await eventually(lambda: holder.told)
    assert ["b.example"] == holder.told
    assert ("b.example",) == store.lookups[-1]


async def test_a_change_during_a_look_up_makes_it_count_for_nothing(directory, store):
    """Who asked before a change that overtakes the look-up gets what is true after it, and nothing older is kept."""
    await store.put("a.example", publish=False)
    store.gate.clear()
    asked = asyncio.create_task(directory.resolve(["a.example"]))
    await eventually(lambda: store.waiting)
    record = await store.put("a.example")
    await eventually(lambda: not directory._lookups._flights)
    store.gate.set()
    assert record.version == (await asked)["a.example"].version
    assert record.version == (await directory.resolve(["a.example"]))["a.example"].version


async def test_lost_changes_make_all_held_names_read_again(directory, store):
    """After a gap in the feed holders are told of what differs, only."""
    await store.put("a.example", publish=False)
    await store.put("b.example", publish=False)
    await store.put("c.example", publish=False)
    holder = Holder()
    for key in ("a.example", "b.example", "c.example"):
        directory.hold(key, holder)
    await directory.resolve(["a.example", "b.example", "c.example"])
    await store.put("a.example", publish=False)
    await store.delete("b.example", publish=False)
    await store.lose_changes()
    await eventually(lambda: len(holder.told) == 2)
    assert {"a.example", "b.example"} == set(holder.told)


async def test_held_names_are_reconciled(store, time):
    """A change that no feed told of is found by the regular comparison."""
    directory = SecretDirectory(store, store.sealing, store, _serialise, reconcile_seconds=0.01, monotonic=time)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(directory.run())
        await directory.following()
        await store.put("a.example", publish=False)
        holder = Holder()
        directory.hold("a.example", holder)
        await directory.resolve(["a.example"])
        record = await store.put("a.example", publish=False)
        await eventually(lambda: holder.told)
        assert record.version == (await directory.resolve(["a.example"]))["a.example"].version
        running.cancel()


async def test_a_store_that_is_away_makes_names_neither_known_nor_unknown(directory, store):
    """Names are absent from the answer while the store is away; what is kept is still answered."""
    await store.put("a.example", publish=False)
    await directory.resolve(["a.example"])
    store.away = True
    assert {"a.example"} == set(await directory.resolve(["a.example", "b.example"]))
    store.away = False
    assert {"b.example": Absence.UNCERTAIN} == dict(await directory.resolve(["b.example"]))


async def test_a_change_while_the_store_is_away_is_told_later(directory, store):
    """What the feed named is read again until the store answers."""
    await store.put("a.example", publish=False)
    holder = Holder()
    directory.hold("a.example", holder)
    await directory.resolve(["a.example"])
    store.away = True
    await store.put("a.example")
    await eventually(lambda: len(store.lookups) >= 3)
    assert [] == holder.told
    store.away = False
    await eventually(lambda: holder.told)


async def test_an_error_of_the_store_ends_nothing(directory, store, monkeypatch):
    """An unexpected error counts as away."""

    async def fail(names):
        raise RuntimeError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr(store, "lookup", fail)
        assert {} == dict(await directory.resolve(["a.example"]))
    assert {"a.example": Absence.UNCERTAIN} == dict(await directory.resolve(["a.example"]))


async def test_nothing_is_answered_before_the_directory_runs(store):
    """A directory that does not run knows nothing, and nobody waits for ever."""
    directory = SecretDirectory(store, store.sealing, store, _serialise)
    assert {} == dict(await directory.resolve(["a.example"]))


async def test_nobody_waits_for_a_look_up_that_never_begins(directory, store):
    """Who asks in the moment in which the directory is ended gets no answer, at once."""

    class EndingTasks:
        def create_task(self, work):
            task = asyncio.create_task(work)
            task.cancel()
            return task

    directory._lookups.open(EndingTasks())
    async with asyncio.timeout(10):
        assert {} == dict(await directory.resolve(["a.example"]))
    assert [] == store.lookups


async def test_the_feed_is_tried_until_it_can_be_followed(store, monkeypatch):
    """A store that is away at the start delays following, and names held meanwhile are read again."""
    position = store.position
    resolved = asyncio.Event()

    async def away_at_first():
        if not resolved.is_set():
            await resolved.wait()
            await store.put("a.example")
            raise Unavailable("not yet")
        return await position()

    monkeypatch.setattr(store, "position", away_at_first)
    directory = SecretDirectory(store, store.sealing, store, _serialise)
    holder = Holder()
    directory.hold("a.example", holder)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(directory.run())
        await eventually(lambda: directory._lookups._tasks)
        assert {"a.example": Absence.UNCERTAIN} == dict(await directory.resolve(["a.example"]))
        resolved.set()
        await directory.following()
        await eventually(lambda: holder.told)
        running.cancel()


async def test_an_older_generation_is_refused(directory, store):
    """A certificate that was replaced does not come back: it is not served, and holders are not told of it."""
    old = await store.put("a.example", publish=False)
    holder = Holder()
    directory.hold("a.example", holder)
    await directory.resolve(["a.example"])
    await store.put("a.example")
    await eventually(lambda: holder.told)
    await store.put_record(old)
    await eventually(lambda: len(store.lookups) == 3)
    assert (await directory.resolve(["a.example"]))["a.example"] is Absence.UNCERTAIN
    assert ["a.example"] == holder.told


async def test_generations_of_different_domains_are_not_compared(directory, store):
    """A name may move to another domain, whose shard counts for itself."""
    await store.put("a.example", "www.example", publish=False)
    holder = Holder()
    directory.hold("www.example", holder)
    await directory.resolve(["www.example"])
    await store.delete("a.example", publish=False)
    moved = await store.put("b.example", "www.example", publish=False)
    await store.put_record(replace(moved, generation=0))
    await eventually(lambda: holder.told)
    assert moved.version == (await directory.resolve(["www.example"]))["www.example"].version


async def test_a_key_that_does_not_open_harms_no_other(directory, store):
    """It gives no content and is logged, without anything secret; other names of the same answer are served."""
    record = await store.put("a.example", publish=False)
    await store.put("b.example", publish=False)
    await store.put_record(replace(record, names=("a.example", "moved.example")), publish=False)
    with structlog.testing.capture_logs() as logs:
        known = await directory.resolve(["a.example", "b.example"])
        assert directory.content(known["a.example"]) is None
        assert directory.content(known["b.example"]) is not None
    (entry,) = [entry for entry in logs if entry["log_level"] == "warning"]
    assert ("leaf key cannot be served", "a.example", "the envelope does not open") == (entry["event"], entry["domain"], entry["reason"])


async def test_a_key_of_another_certificate_is_not_served(directory, store):
    """A leaf key that opens but is not that of the leaf gives no content."""
    await store.put("b.example", publish=False)
    await store.put("a.example", key_of="b.example", publish=False)
    assert directory.content((await directory.resolve(["a.example"]))["a.example"]) is None


@pytest.mark.parametrize("damage", [b"", b"not a key"])
async def test_a_damaged_key_is_not_served(directory, store, damage):
    """Opened bytes that are no key give no content."""
    record, _ = issue("a.example")
    await store.put_record(replace(record, sealed_leaf_key=store.sealing.seal(SecretBytes(damage), record.seal_context)), publish=False)
    assert directory.content((await directory.resolve(["a.example"]))["a.example"]) is None


async def test_an_opener_that_fails_in_another_way_does_not_show_what_it_opened(directory, store, monkeypatch):
    """An unexpected error is logged by its kind only."""
    await store.put("a.example", publish=False)

    def fail(envelope, context):
        raise RuntimeError("secret material")

    monkeypatch.setattr(store.sealing, "open", fail)
    with structlog.testing.capture_logs() as logs:
        assert directory.content((await directory.resolve(["a.example"]))["a.example"]) is None
    assert "secret material" not in str(logs)
    assert "RuntimeError" in str(logs)


async def test_a_key_that_did_not_open_is_tried_again(store, time):
    """Holders try again at the regular comparison, not at every look-up, and get the same version once its key opens."""
    directory = SecretDirectory(store, store.sealing, store, _serialise, reconcile_seconds=0.01, monotonic=time)
    record, leaf_key = issue("a.example")
    await store.put_record(record, publish=False)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(directory.run())
        await directory.following()
        holder = Holder()
        directory.hold("a.example", holder)
        assert directory.content((await directory.resolve(["a.example"]))["a.example"]) is None
        await store.put_record(replace(record, sealed_leaf_key=store.sealing.seal(leaf_key, record.seal_context)), publish=False)
        await eventually(lambda: holder.told)
        assert directory.content((await directory.resolve(["a.example"]))["a.example"]) is not None
        running.cancel()


async def _held(directory, store, *names: str) -> Holder:
    """A holder of domains that have certificates and were looked up."""
    holder = Holder()
    for name in names:
        await store.put(name, f"www.{name}", publish=False)
        for key in (name, f"www.{name}"):
            directory.hold(key, holder)
        await directory.resolve([name, f"www.{name}"])
    return holder


async def _reread(directory, store) -> None:
    """Loses changes, and waits until all held names were read again."""
    before = len(store.lookups)
    await store.lose_changes()
    await eventually(lambda: len(store.lookups) > before and not directory._lookups._flights and not directory._suspect)


@pytest.mark.parametrize("reason", ["missing", "rejected", "older"])
async def test_a_certificate_that_is_lost_is_taken_from_nobody(directory, store, reason):
    """Holders are not told, the name is uncertain, it is counted and logged as an error; its return is told to who may lack it."""
    old = await store.put("a.example", "www.a.example", publish=False)
    holder = await _held(directory, store, "a.example")
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
    assert [] == holder.told
    assert Absence.UNCERTAIN is (await directory.resolve(["a.example"]))["a.example"]
    assert before + 3 == lost(reason)
    (entry,) = [entry for entry in logs if entry["log_level"] == "error"]
    assert ("certificates that were served before cannot be read, clients keep what they hold", 2) == (entry["event"], entry[reason])
    store.rejected = set()
    await store.put_record(record, publish=False)
    await _reread(directory, store)
    assert {"a.example", "www.a.example"} == set(holder.told)
    assert record.version == (await directory.resolve(["a.example"]))["a.example"].version


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
    directory.hold("a.example", Holder())
    with structlog.testing.capture_logs() as logs:
        await directory.resolve(["a.example", "b.example"])
        await _reread(directory, store)
    assert [] == [entry for entry in logs if entry["log_level"] == "error"]
    assert before == lost("missing")


async def test_what_a_client_holds_from_an_earlier_stream_can_be_lost(directory, store):
    """A new directory over an emptied store knows from its clients that something was served."""
    before = lost("missing")
    directory.hold("a.example", holder := Holder(), has_version=True)
    assert {"a.example": Absence.UNCERTAIN} == dict(await directory.resolve(["a.example"]))
    assert (before + 1, []) == (lost("missing"), holder.told)


async def test_a_deletion_is_told_after_a_loss(directory, store):
    """Holders who kept a version while it could not be read are told when the domain is deleted, for each of its names."""
    holder = await _held(directory, store, "a.example")
    store.rejected = {"a.example"}
    await _reread(directory, store)
    assert [] == holder.told
    await store.delete("a.example")
    await eventually(lambda: len(holder.told) == 2)
    assert {"a.example": Absence.GONE, "www.a.example": Absence.GONE} == dict(await directory.resolve(["a.example", "www.a.example"]))


async def test_a_deletion_is_told_after_a_key_that_did_not_open(directory, store):
    """Who kept an older version because the newest does not open is told that the domain is gone."""
    holder = await _held(directory, store, "a.example")
    broken, _ = issue("a.example", generation=9)
    await store.put_record(broken)
    await eventually(lambda: holder.told)
    assert directory.content((await directory.resolve(["a.example"]))["a.example"]) is None
    holder.told.clear()
    await store.delete("a.example")
    await eventually(lambda: "a.example" in holder.told)


async def test_an_older_record_is_refused_for_a_name_that_nobody_holds(directory, store):
    """The memory of generations outlives the holders."""
    old = await store.put("a.example", publish=False)
    holder = Holder()
    directory.hold("a.example", holder)
    await store.put("a.example", publish=False)
    await directory.resolve(["a.example"])
    directory.release("a.example", holder)
    await store.put_record(old)
    await eventually(lambda: directory._kept.get("a.example") is None)
    assert {"a.example": Absence.UNCERTAIN} == dict(await directory.resolve(["a.example"]))


async def test_a_domain_that_is_created_again_is_served(directory, store):
    """A deletion ends the memory of generations: what comes after it may count from the beginning, for all names."""
    holder = await _held(directory, store, "a.example")
    record = store._by_domain["a.example"]
    await store.delete("a.example")
    await eventually(lambda: len(holder.told) == 2)
    again = await store.put_record(replace(record, id="again", generation=0))
    await eventually(lambda: len(holder.told) == 4)
    assert {again.version} == {secret.version for secret in (await directory.resolve(["a.example", "www.a.example"])).values()}


async def test_a_deletion_that_no_feed_told_of_ends_the_memory(directory, store):
    """The store's word that the domain was deleted is enough."""
    record = await store.put("a.example", publish=False)
    await directory.resolve(["a.example"])
    await store.delete("a.example", publish=False)
    directory._kept.clear()
    assert {"a.example": Absence.GONE} == dict(await directory.resolve(["a.example"]))
    again = await store.put_record(replace(record, id="again", generation=0), publish=False)
    assert again.version == (await directory.resolve(["a.example"]))["a.example"].version


def test_the_memory_of_generations_is_bounded():
    """The domains seen longest ago are forgotten, except those whose memory somebody keeps."""
    generations = Generations(2)
    kept = generations.of("kept.example")
    for fqdn in ("kept.example", "a.example", "b.example", "c.example"):
        assert generations.of(fqdn).see(5)
    assert [False, False, True] == [generations.of(fqdn).see(4) for fqdn in ("kept.example", "c.example", "a.example")]
    assert 5 == kept.greatest
    generations.forget("kept.example")
    assert generations.of("kept.example").see(1)
