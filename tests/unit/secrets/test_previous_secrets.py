"""The directory of secrets: the certificate before the one in force, for clients that refused that."""

import datetime as dt

import pytest

from controlplane.usecases.secrets import SecretDirectory
from controlplane.xds.subscription import Absence
from tests.fakes.certificates import issue
from tests.fakes.eventually import eventually
from tests.fakes.secret_holders import Stream, known, running, sent, serialise, settled, versions


def _clock_at(time: dt.datetime):
    return lambda: time


async def test_the_previous_certificate_is_found_and_opened(directory, store):
    """For a client that refused the newest one there is the one before, by every name on it."""
    before = await store.put("a.example", "www.a.example", publish=False)
    await store.put("a.example", "www.a.example", publish=False)
    found = await directory.resolve_previous(["a.example", "www.a.example", "b.example"])
    assert {"a.example": before.version, "www.a.example": before.version, "b.example": Absence.GONE} == versions(found)
    assert sent(directory, b"a.example", found["a.example"]).startswith(b"a.example@%b:" % before.version.encode())


async def test_a_previous_certificate_that_cannot_be_served_is_gone(directory, store):
    """One whose key does not open is as good as none."""
    unsealed, _ = issue("a.example")
    await store.put_record(unsealed, publish=False)
    await store.put("a.example", publish=False)
    assert {"a.example": Absence.GONE} == dict(await directory.resolve_previous(["a.example"]))


@pytest.mark.parametrize("outside", ["before", "after"])
async def test_a_previous_certificate_is_served_within_its_validity_only(store, time, outside):
    """Before and after it the certificate is gone; at both ends it is still there."""
    record = await store.put("a.example", publish=False)
    await store.put("a.example", publish=False)
    second = dt.timedelta(seconds=1)
    inside, moment = (
        (record.not_before, record.not_before - second) if outside == "before" else (record.not_after, record.not_after + second)
    )
    for clock, expected in ((_clock_at(inside), record.version), (_clock_at(moment), Absence.GONE)):
        async with running(SecretDirectory(store, store.sealing, store, serialise, clock=clock, monotonic=time)) as directory:
            assert {"a.example": expected} == versions(await directory.resolve_previous(["a.example"]))


async def test_many_refusals_take_one_look_up_until_something_changes(directory, store):
    """A thousand nodes that refuse the same certificate cost one look-up; after a change what was found counts no more."""
    await store.put("a.example", publish=False)
    second = await store.put("a.example", publish=False)
    for _ in range(3):
        await directory.resolve_previous(["a.example"])
    assert ([("a.example",)], 1) == (store.previous_lookups, len(store.sealing.opened))
    stream = Stream(directory)
    stream.hold("a.example")
    await store.put("a.example")
    await eventually(lambda: store.lookups)
    await settled(directory)
    assert {"a.example": second.version} == versions(await directory.resolve_previous(["a.example"]))


async def test_a_previous_certificate_harms_no_generation(directory, store):
    """That an older certificate was served on purpose neither lets an old record pass nor makes the newest look old."""
    await store.put("a.example", publish=False)
    newest = await store.put("a.example", publish=False)
    await directory.resolve_previous(["a.example"])
    assert newest.version == (await known(directory, "a.example")).version


async def test_a_store_that_is_away_says_nothing_of_previous_certificates(directory, store):
    """Names are absent, so that nobody is told of a removal."""
    store.away = True
    assert {} == dict(await directory.resolve_previous(["a.example"]))
