"""What the threat model says is not defended: so that it says so of what is, and is changed when that changes."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from controlplane.adapters import redis_keys as keys
from controlplane.adapters.redis_tokens import RedisTokenStore
from controlplane.core.ports import TokenRecord
from controlplane.core.redacted import SecretBytes
from tests.fakes import samples, store_attacks
from tests.fakes.attacked_store import AttackedStore, ask, attacked_store
from tests.fakes.store_attacks import OTHER, VICTIM


@pytest.fixture
async def store(valkey_url: str, tmp_path: Path) -> AsyncIterator[AttackedStore]:
    """`serve` on an empty store."""
    async with attacked_store(valkey_url, tmp_path) as running:
        yield running


async def test_an_older_generation_is_served_by_who_has_not_seen_the_newer(store: AttackedStore) -> None:
    """A process that has seen nothing of a domain yet takes the certificate before for the one in force."""
    first = await store.create(VICTIM)
    await store.renew(VICTIM)
    await store_attacks.an_older_generation(store)
    assert ({VICTIM: first.leaf}, set()) == await ask(store, VICTIM)


async def test_a_forged_deletion_takes_a_certificate_away(store: AttackedStore) -> None:
    """Whoever can write to the store can delete: the holder loses that name, and no other."""
    for fqdn in (VICTIM, OTHER):
        await store.create(fqdn)
    holder = store.stream()
    await holder.delta(VICTIM, OTHER)
    await holder.read()
    await store.client.delete(keys.domain(VICTIM))
    await store.client.set(keys.tombstone(VICTIM), "1")
    await store.announce(VICTIM, "deleted")
    answer = await holder.read()
    assert ([VICTIM], 0) == (list(answer.removed_resources), len(answer.resources))


async def test_a_stolen_record_key_forges_records(store: AttackedStore) -> None:
    """With the record key and write access a thief has a key of their own served, and HTTP-01 challenges of their own answered."""
    await store.create(VICTIM)
    forged = store_attacks.of_the_attackers_own(store)
    await store.authenticate(VICTIM, forged)
    assert ({VICTIM: forged.leaf}, set()) == await ask(store, VICTIM)
    tokens = RedisTokenStore(store.client, store.worker.authenticator())
    await tokens.plant(TokenRecord("tok", SecretBytes(b"tok.thief"), (VICTIM,), samples.now() + timedelta(minutes=5)))
    assert 200 == await store.challenge(VICTIM, "tok")
