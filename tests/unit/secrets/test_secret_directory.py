"""The directory of secrets: what streams get from it."""

import asyncio
from dataclasses import replace

import pytest
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from controlplane.core.redacted import SecretBytes
from controlplane.usecases.known_secrets import KnownSecret
from controlplane.usecases.lookups import NAMES_PER_LOOKUP
from controlplane.usecases.secrets import KEPT_SECONDS, SecretDirectory
from controlplane.xds.subscription import Absence
from tests.fakes.certificates import issue
from tests.fakes.eventually import eventually
from tests.fakes.secret_holders import SEPARATOR, Stream, field, known, running, sent, serialise, versions


async def test_known_and_unknown_names_are_told_apart(directory, store):
    """A name with a certificate gives it, in the certificate's version; a name without gives none."""
    record = await store.put("a.example", "www.a.example", publish=False)
    found = await directory.resolve(["a.example", "www.a.example", "b.example"])
    assert {"a.example": record.version, "www.a.example": record.version, "b.example": Absence.UNCERTAIN} == versions(found)


async def test_a_secret_says_whose_it_is(directory, store):
    """The tenant is that of the record."""
    await store.put("a.example", publish=False, tenant="globex")
    assert "globex" == (await known(directory, "a.example")).tenant


async def test_the_content_is_the_chain_and_the_key_of_the_leaf(directory, store):
    """The chain is PEM, leaf first; the key is PEM PKCS#8 and belongs to the leaf."""
    record = await store.put("a.example", publish=False)
    content = (await field(directory, "a.example")).removeprefix(b"a.example@%b:" % record.version.encode())
    chain, _, key = content.partition(SEPARATOR)
    certificates = x509.load_pem_x509_certificates(chain)
    assert [record.leaf, *record.intermediates] == [each.public_bytes(serialization.Encoding.DER) for each in certificates]
    assert key.startswith(b"-----BEGIN PRIVATE KEY-----\n")
    assert certificates[0].public_key() == serialization.load_pem_private_key(key, None).public_key()
    assert max(map(len, chain.splitlines())) == 64


async def test_a_field_repeats_the_spelling(directory, store):
    """Every spelling gets a field of its own; only that of the canonical one is kept, and the others are made from it."""
    await store.put("a.example", publish=False)
    secret = await known(directory, "a.example")
    canonical = sent(directory, b"a.example", secret)
    other = sent(directory, b"A.example", secret)
    assert other == canonical.replace(b"a.example@", b"A.example@", 1)
    assert canonical is sent(directory, b"a.example", secret)
    assert other is not sent(directory, b"A.example", secret)
    assert 1 == len(store.sealing.opened)


async def test_another_form_is_made_from_the_first(directory, store):
    """The variants of the protocol share one opened key."""

    def backwards(name: bytes, version: str, content: SecretBytes) -> bytes:
        return content.reveal()[::-1] + version.encode() + name

    await store.put("a.example", publish=False)
    secret = await known(directory, "a.example")
    content = sent(directory, b"a.example", secret).partition(b":")[2]
    assert directory.fields(backwards, [b"a.example"], [secret])[0].startswith(content[::-1])
    assert content == sent(directory, b"A.EXAMPLE", secret).partition(b":")[2]
    assert 1 == len(store.sealing.opened)


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
    found = await directory.resolve(keys)
    assert set(keys) == set(found)
    assert [NAMES_PER_LOOKUP, 1] == [len(names) for names in store.lookups]


async def test_a_key_is_opened_once_for_all(directory, store):
    """Whoever asks within seconds gets the same field, from one look-up and one opened envelope."""
    await store.put("a.example", publish=False)
    fields = [await field(directory, "a.example") for _ in range(3)]
    assert 1 == len(store.sealing.opened)
    assert 1 == len(store.lookups)
    assert fields[0] is fields[2]


async def test_what_is_kept_is_recalled_without_waiting(directory, store):
    """`recall` gives kept secrets at once, and names the others."""
    await store.put("a.example", publish=False)
    secret = await known(directory, "a.example")
    assert ({"a.example": secret}, ["b.example"]) == directory.recall(["a.example", "b.example", "a.example"])


async def test_nothing_is_opened_before_it_is_sent(directory, store):
    """A comparison of versions opens nothing."""
    await store.put("a.example", publish=False)
    await directory.resolve(["a.example"])
    assert [] == store.sealing.opened


async def test_opened_keys_are_forgotten_within_seconds(directory, store, time):
    """After the cache's time a name is looked up and opened again."""
    await store.put("a.example", publish=False)
    await field(directory, "a.example")
    time.seconds += KEPT_SECONDS
    await field(directory, "a.example")
    assert 2 == len(store.sealing.opened)


async def test_a_secret_kept_from_before_is_seen_by_who_holds_it_now(directory, store):
    """A new holder that is answered from memory is told of the next change, like one whose name was looked up."""
    await store.put("a.example", publish=False)
    await directory.resolve(["a.example"])
    stream = Stream(directory)
    stream.hold("a.example")
    await directory.resolve(["a.example"])
    await store.put("a.example")
    await eventually(lambda: stream.told)
    assert (["a.example"], 2) == (stream.told, len(store.lookups))


async def test_a_store_that_is_away_makes_names_neither_known_nor_unknown(directory, store):
    """Names are absent from the answer while the store is away; what is kept is still answered."""
    await store.put("a.example", publish=False)
    await directory.resolve(["a.example"])
    store.away = True
    assert {"a.example"} == set(await directory.resolve(["a.example", "b.example"]))
    store.away = False
    assert {"b.example": Absence.UNCERTAIN} == dict(await directory.resolve(["b.example"]))


async def test_an_error_of_the_store_ends_nothing(store, time, monkeypatch):
    """An unexpected error counts as away."""
    look_up, broken = store.servable, True

    async def fail(names):
        if broken:
            raise RuntimeError("a bug")
        return await look_up(names)

    monkeypatch.setattr(store, "servable", fail)
    async with running(SecretDirectory(store, store.sealing, store, serialise, monotonic=time)) as directory:
        assert {} == dict(await directory.resolve(["a.example"]))
        broken = False
        assert {"a.example": Absence.UNCERTAIN} == dict(await directory.resolve(["a.example"]))


async def test_nothing_is_answered_before_the_directory_runs(store):
    """A directory that does not run knows nothing, and nobody waits for ever."""
    directory = SecretDirectory(store, store.sealing, store, serialise)
    assert {} == dict(await directory.resolve(["a.example"]))


async def test_who_asks_after_the_end_gets_no_answer_at_once(directory, store):
    """A directory that was ended does not ask the store any more."""
    directory._lookups.close()
    async with asyncio.timeout(10):
        assert {} == dict(await directory.resolve(["a.example"]))
    assert [] == store.lookups


async def test_others_are_answered_when_the_first_who_asked_goes_away(directory, store):
    """Whoever asks first carries the look-up out; when that one is cancelled, before or while the store is asked, the others ask anew."""
    record = await store.put("a.example", publish=False)
    for turns in (1, 2, 3):
        directory._kept.clear()
        leaving, staying = (asyncio.create_task(directory.resolve(["a.example"])) for _ in range(2))
        for _ in range(turns):
            await asyncio.sleep(0)
        leaving.cancel()
        async with asyncio.timeout(10):
            assert record.version == (await staying)["a.example"].version


async def test_a_key_that_does_not_open_harms_no_other(directory, store):
    """It gives no field and is logged, without anything secret; other names of the same answer are served."""
    record = await store.put("a.example", publish=False)
    await store.put("b.example", publish=False)
    await store.put_record(replace(record, names=("a.example", "moved.example")), publish=False)
    with structlog.testing.capture_logs() as logs:
        found = await directory.resolve(["a.example", "b.example"])
        assert sent(directory, b"a.example", found["a.example"]) is None
        assert sent(directory, b"b.example", found["b.example"]) is not None
    (entry,) = [entry for entry in logs if entry["log_level"] == "warning"]
    assert ("leaf key cannot be served", "a.example", "the envelope does not open") == (entry["event"], entry["domain"], entry["reason"])


async def test_a_key_that_does_not_open_is_tried_once(directory, store):
    """While the secret is kept, each further question for its field is answered without another attempt."""
    record = await store.put("a.example", publish=False)
    await store.put_record(replace(record, names=("a.example", "moved.example")), publish=False)
    assert [None, None] == [await field(directory, "a.example") for _ in range(2)]
    assert 1 == len(store.sealing.opened)


async def test_a_key_of_another_certificate_is_not_served(directory, store):
    """A leaf key that opens but is not that of the leaf gives no field."""
    await store.put("b.example", publish=False)
    await store.put("a.example", key_of="b.example", publish=False)
    assert await field(directory, "a.example") is None


async def test_an_old_key_is_not_served_with_a_new_chain(directory, store):
    """A record that pairs a sealed key of an earlier certificate with a later chain, and says so consistently, gives no field."""
    old = await store.put("a.example", publish=False)
    new, _ = issue("a.example", generation=old.generation + 1)
    await store.put_record(replace(new, sealed_leaf_key=old.sealed_leaf_key, spki_digest=old.spki_digest), publish=False)
    with structlog.testing.capture_logs() as logs:
        assert await field(directory, "a.example") is None
    assert "the opened leaf key is not the key of the leaf certificate" in [entry.get("reason") for entry in logs]


@pytest.mark.parametrize("damage", [b"", b"not a key"])
async def test_a_damaged_key_is_not_served(directory, store, damage):
    """Opened bytes that are no key give no field."""
    record, _ = issue("a.example")
    await store.put_record(replace(record, sealed_leaf_key=store.sealing.seal(SecretBytes(damage), record.seal_context)), publish=False)
    assert await field(directory, "a.example") is None


async def test_an_opener_that_fails_in_another_way_does_not_show_what_it_opened(directory, store, monkeypatch):
    """An unexpected error is logged by its kind only."""
    await store.put("a.example", publish=False)

    def fail(envelope, context):
        raise RuntimeError("secret material")

    monkeypatch.setattr(store.sealing, "open", fail)
    with structlog.testing.capture_logs() as logs:
        assert await field(directory, "a.example") is None
    assert "secret material" not in str(logs)
    assert "RuntimeError" in str(logs)


async def test_a_key_that_did_not_open_is_tried_again(store, time):
    """Holders try again at the regular comparison, not at every look-up, and get the same version once its key opens."""
    directory = SecretDirectory(store, store.sealing, store, serialise, reconcile_seconds=0.01, monotonic=time)
    record, leaf_key = issue("a.example")
    await store.put_record(record, publish=False)
    async with running(directory):
        stream = Stream(directory)
        stream.hold("a.example")
        assert await field(directory, "a.example") is None
        await store.put_record(replace(record, sealed_leaf_key=store.sealing.seal(leaf_key, record.seal_context)), publish=False)
        await eventually(lambda: stream.told)
        assert await field(directory, "a.example") is not None
