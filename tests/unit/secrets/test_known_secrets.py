"""Secrets that are ready to be sent: bounded in number and time, and no larger than they must be."""

import gc
import tracemalloc
from dataclasses import replace

import pytest

from controlplane.core.redacted import SecretBytes
from controlplane.usecases.cache_metrics import CacheMetrics
from controlplane.usecases.known_secrets import KnownSecret, KnownSecrets
from tests.fakes.certificates import InMemorySealing, issue
from tests.fakes.secret_holders import Time, form, serialise

LIMIT, SECONDS = 100, 10.0


def test_the_cache_is_bounded_in_number_and_time():
    """The oldest goes when there are too many, and what is over is purged without being asked for."""
    time = Time()
    kept = KnownSecrets(LIMIT, SECONDS, time, CacheMetrics("test"))
    record, _ = issue("a.example")
    for number in range(LIMIT + 1):
        kept.put(KnownSecret(str(number), record))
    assert LIMIT == len(kept)
    assert {} == kept.find(["0"])
    time.seconds = SECONDS
    kept.purge()
    assert 0 == len(kept)


def test_what_is_over_is_not_found():
    """Not even before it is purged; a hit does not prolong its time, to be put again does."""
    time = Time()
    kept = KnownSecrets(LIMIT, SECONDS, time, CacheMetrics("test"))
    record, _ = issue("a.example")
    first, second = KnownSecret("a.example", record), KnownSecret("b.example", record)
    kept.put(first)
    kept.put(second)
    time.seconds = SECONDS / 2
    assert {"a.example": first} == kept.find(["a.example", "c.example"])
    kept.put(second)
    time.seconds = SECONDS
    assert {"b.example": second} == kept.find(["a.example", "b.example"])


def opened() -> KnownSecret:
    """A secret whose key was opened."""
    sealing = InMemorySealing()
    record, leaf_key = issue("a.example")
    sealed = sealing.seal(leaf_key, record.seal_context)
    secret = KnownSecret("a.example", replace(record, sealed_leaf_key=sealed))
    assert secret.open(sealing, serialise)
    return secret


def test_a_secret_with_its_field_is_little_larger_than_the_field():
    """Record, chain and the message in between are dropped."""
    opened().field(form, b"a.example")  # what all secrets share is made with the first one
    gc.collect()
    tracemalloc.start()
    secret = opened()
    made = secret.field(form, b"a.example")
    gc.collect()
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert size < 2 * len(made) + 1_000


def test_a_form_that_changes_the_content_keeps_it():
    """Every spelling and form is made from the same content, whatever the first form did with it."""

    def lengths(name: bytes, version: str, content: SecretBytes) -> bytes:
        return b"%b %d" % (name, len(content.reveal()))

    secret = opened()
    first, second = secret.field(lengths, b"a.example"), secret.field(form, b"a.example")
    assert first == b"a.example %d" % len(second.partition(b":")[2])
    assert second.partition(b":")[2] == secret.field(form, b"A.example").partition(b":")[2]
    assert first.replace(b"a.", b"A.") == secret.field(lengths, b"A.example")


def test_a_secret_does_not_show_what_it_holds():
    """Its text is name and version."""
    secret = opened()
    secret.field(form, b"a.example")
    assert f"KnownSecret(a.example, {secret.version})" == repr(secret)


@pytest.mark.parametrize("change", ["put", "replace", "drop", "clear", "time", "nothing"])
def test_a_question_is_answered_with_what_is_kept_now(change):
    """A long question that is asked again is answered as if it were asked for the first time, whatever happened in between."""
    time = Time()
    kept = KnownSecrets(LIMIT, SECONDS, time, CacheMetrics("test"))
    record, _ = issue("a.example")
    keys = tuple(f"n{number}.example" for number in range(20))
    secrets = {key: KnownSecret(key, record) for key in keys}
    for key in keys[:19]:
        kept.put(secrets[key])
    for _ in range(3):
        assert {key: secrets[key] for key in keys[:19]} == kept.find(keys)
    expected = {key: secrets[key] for key in keys[:19]}
    if change == "put":
        kept.put(secrets[keys[19]])
        expected = secrets
    elif change == "replace":
        expected[keys[3]] = KnownSecret(keys[3], record)
        kept.put(expected[keys[3]])
    elif change == "drop":
        kept.drop(keys[3])
        del expected[keys[3]]
    elif change == "clear":
        kept.clear()
        expected = {}
    elif change == "time":
        time.seconds = SECONDS
        expected = {}
    for _ in range(3):
        assert expected == kept.find(keys)
        assert expected == kept.find(list(keys))
    assert list(expected) == list(kept.find(keys))
    assert {key: expected[key] for key in keys[1:17] if key in expected} == kept.find(keys[1:17])
    assert {key: expected[key] for key in keys[:16] if key in expected} == kept.find(keys[:16])


def test_questions_are_forgotten_too():
    """However many different ones are asked, a bounded number is remembered."""
    kept = KnownSecrets(LIMIT, SECONDS, Time(), CacheMetrics("test"))
    for number in range(100):
        for _ in range(2):
            kept.find(tuple(f"n{number}-{index}.example" for index in range(16)))
        assert 16 >= len(kept._asked)
