"""The attackers' table: what is planted in the store is not served, it is told, holders keep what they have, and others are untouched.

`serve`'s own parts run on a real Valkey; clients are real streams. What each attacker knows and does is in `store_attacks`.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest
import structlog
from prometheus_client import REGISTRY

from controlplane.adapters import redis_keys as keys
from controlplane.adapters.certificate_codec import KIND
from controlplane.adapters.record_codec import encode_token
from controlplane.adapters.record_hmac import RecordHmac, record_key_id
from controlplane.adapters.redis_tokens import RedisTokenStore
from controlplane.api.certplane.store.v1.certificate_pb2 import CertificateRecord as CertificateMessage
from controlplane.core.certificate import leaf_seal_context
from controlplane.core.ports import TokenRecord
from controlplane.core.redacted import SecretBytes
from tests.fakes import samples
from tests.fakes import store_attacks as attacks
from tests.fakes.attacked_store import AttackedStore, ask, attacked_store, message_of, served_leaf
from tests.fakes.certificates import issue
from tests.fakes.secret_streams import secrets_of, versions_of
from tests.fakes.store_attacks import OTHER, OWN_RECORD_KEY, VICTIM

BYSTANDER = "bystander.example.com"
DEADLINE = 20.0
ENVELOPE_BYTES = 209
HEADER_BYTES = 55
"""Of an HPKE_X25519 envelope around a P-256 leaf key, as protobuf writes it: key id, scheme, length, and the encapsulated key."""


@dataclass(frozen=True)
class Told:
    """Where an attack shows: a counter of `/metrics`, and a line of the log that names the domain."""

    metric: str
    labels: tuple[tuple[str, str], ...]
    event: str

    def count(self) -> float:
        """The counter's value now."""
        return REGISTRY.get_sample_value(self.metric, dict(self.labels)) or 0.0


REJECTED = Told("certplane_records_rejected_total", (("kind", "certificate"),), "certificate record rejected")
UNOPENED = Told("certplane_secret_open_failures_total", (), "leaf key cannot be served")
OLDER = Told(
    "certplane_secret_lost_lookups_total",
    (("reason", "older"),),
    "certificates that were served before cannot be read, clients keep what they hold",
)

ATTACKS: Mapping[Callable[[AttackedStore], Awaitable[None]], Told] = {
    attacks.the_record_of_another_domain: REJECTED,
    attacks.an_older_generation: OLDER,
    attacks.the_envelope_of_another_domain: REJECTED,
    attacks.the_envelope_of_the_version_before: REJECTED,
    attacks.a_truncated_record: REJECTED,
    attacks.a_scheme: REJECTED,
    attacks.a_leaf_key_with_its_own_certificate: REJECTED,
    attacks.a_leaf_key_under_a_record_key_of_their_own: REJECTED,
    attacks.a_record_without_a_mac: REJECTED,
    attacks.the_envelope_of_another_domain_authenticated: UNOPENED,
    attacks.the_envelope_of_the_version_before_authenticated: UNOPENED,
    attacks.the_whole_secret_of_another_domain: UNOPENED,
    attacks.an_old_sealed_key_with_the_new_chain: UNOPENED,
    attacks.the_sealed_key_with_a_chain_of_their_own: UNOPENED,
    attacks.another_leaf_key_with_the_chain: UNOPENED,
    attacks.what_is_no_key: UNOPENED,
    attacks.an_envelope_of_the_wrong_key: UNOPENED,
    attacks.an_unknown_key_id: UNOPENED,
    attacks.an_unknown_scheme: REJECTED,
    attacks.no_scheme: REJECTED,
    attacks.the_scheme_of_another_key: UNOPENED,
    attacks.a_scheme_that_policy_forbids: UNOPENED,
    attacks.an_account_key: UNOPENED,
}


@pytest.fixture
async def store(valkey_url: str, tmp_path: Path) -> AsyncIterator[AttackedStore]:
    """`serve` on an empty store."""
    async with attacked_store(valkey_url, tmp_path) as running:
        yield running


@pytest.mark.parametrize(("attack", "told"), ATTACKS.items(), ids=[attack.__name__ for attack in ATTACKS])
async def test_what_is_planted_is_not_served(store: AttackedStore, attack: Callable[[AttackedStore], Awaitable[None]], told: Told) -> None:
    """A new stream gets the right certificate of the victim or none, a holder keeps it, operators are told, others are served."""
    others = {fqdn: (await store.create(fqdn)).leaf for fqdn in (OTHER, BYSTANDER)}
    await store.create(VICTIM)
    right = (await store.renew(VICTIM)).leaf
    holder = store.stream()
    await holder.delta(VICTIM, *others)
    held: dict[str, bytes] = {}
    while len(held) < 3:
        held |= {name: served_leaf(secret) for name, secret in secrets_of(await holder.read()).items()}
    count = told.count()

    with structlog.testing.capture_logs() as logs:
        await attack(store)
        await store.announce(VICTIM)
        async with asyncio.timeout(DEADLINE):
            while VICTIM not in (outcome := await ask(store, VICTIM, *others))[1]:
                # From the cache of what was opened before, until the change has come through.
                assert {VICTIM: right, **others} == outcome[0]
    assert (others, {VICTIM}) == outcome
    assert told.count() > count
    assert told.event in [line["event"] for line in logs if line.get("domain") == VICTIM]

    # Whoever holds the victim's certificate is told nothing of all this, only what is new of others.
    renewed = await store.renew(BYSTANDER)
    answer = await holder.read()
    assert ({BYSTANDER: renewed.version}, []) == (versions_of(answer), list(answer.removed_resources))

    # A renewal ends it, for holders too.
    healed = await store.renew(VICTIM)
    answer = await holder.read()
    assert {VICTIM: healed.leaf} == {name: served_leaf(secret) for name, secret in secrets_of(answer).items()}
    assert ({VICTIM: healed.leaf}, set()) == await ask(store, VICTIM)


class Variants:
    """Sound records, each of a domain of its own, that become one attack each. All are equally long."""

    def __init__(self, store: AttackedStore) -> None:
        self._authenticator, self._sealer = store.worker.authenticator(), store.worker.sealer()
        self._record, self._leaf_key = issue(VICTIM)
        self._stored: dict[str, bytes] = {}

    def _next(self) -> tuple[str, CertificateMessage]:
        fqdn = f"variant{len(self._stored):05d}.example.com"
        context = leaf_seal_context(self._record.spki_digest, (fqdn,))
        sealed = self._sealer.seal(self._leaf_key, context)
        return fqdn, message_of(replace(self._record, fqdn=fqdn, names=(fqdn,), sealed_leaf_key=sealed))

    def add(self, change: Callable[[bytes], bytes]) -> None:
        """One more that a weak attacker changed: the bytes as they are stored."""
        fqdn, message = self._next()
        self._stored[fqdn] = change(self._authenticator.wrap(KIND, fqdn, message.SerializeToString()))

    def add_authenticated(self, change: Callable[[bytes], bytes]) -> None:
        """One more that a strong attacker changed: the serialised envelope, in a record that is then authenticated."""
        fqdn, message = self._next()
        envelope = message.sealed_leaf_key.SerializeToString()
        assert ENVELOPE_BYTES == len(envelope)
        message.ClearField("sealed_leaf_key")
        # Beside protobuf's back, which refuses what is no envelope. Fields may come in any order.
        changed = change(envelope)
        field = bytes([7 << 3 | 2]) + varint(len(changed)) + changed
        self._stored[fqdn] = self._authenticator.wrap(KIND, fqdn, message.SerializeToString() + field)

    async def check_that_none_is_served(self, store: AttackedStore) -> None:
        """Writes all, and one that is as it should be; asks for all in one request."""
        good = await store.create(OTHER)
        control = f"variant{len(self._stored):05d}.example.com"
        attacked = set(self._stored)
        self.add_authenticated(lambda envelope: envelope)
        pipeline = store.client.pipeline(transaction=False)
        for fqdn, data in self._stored.items():
            pipeline.hset(keys.domain(fqdn), "certificate", data)
        await pipeline.execute()
        rejected, unopened = REJECTED.count(), UNOPENED.count()
        assert ({OTHER: good.leaf, control: self._record.leaf}, attacked) == await ask(store, OTHER, control, *attacked)
        assert len(attacked) == REJECTED.count() - rejected + UNOPENED.count() - unopened


def varint(number: int) -> bytes:
    """A number as protobuf writes it."""
    return bytes([number]) if number < 128 else bytes([number & 127 | 128]) + varint(number >> 7)


def flip(place: int, bit: int) -> Callable[[bytes], bytes]:
    """Changes one bit; `place` may count from the end."""
    return lambda content: b"".join((content[:place], bytes([content[place] ^ 1 << bit]), content[place:][1:]))


def cut(length: int) -> Callable[[bytes], bytes]:
    """Truncates to a length."""
    return lambda content: content[:length]


async def test_no_change_of_a_stored_record_is_served(store: AttackedStore) -> None:
    """By whoever can write to the store: every bit of the first bytes and of key id and MAC, a bit of every other byte, truncations."""
    variants = Variants(store)
    message = message_of(issue("variant00000.example.com")[0])
    length = len(message.SerializeToString())
    for place in (*range(8), *range(-52, 0)):
        for bit in range(8):
            variants.add(flip(place, bit))
    for place in range(8, length):
        variants.add(flip(place, place % 8))
    for shorter in range(0, length, 7):
        variants.add(cut(shorter))
    await variants.check_that_none_is_served(store)


async def test_no_change_of_an_envelope_is_served(store: AttackedStore) -> None:
    """By whoever has the record key: every bit of key id, scheme and encapsulated key, a bit of every byte after them, truncations."""
    variants = Variants(store)
    for place in range(HEADER_BYTES):
        for bit in range(8):
            variants.add_authenticated(flip(place, bit))
    for place in range(HEADER_BYTES, ENVELOPE_BYTES):
        variants.add_authenticated(flip(place, place % 8))
    for shorter in range(0, ENVELOPE_BYTES, 3):
        variants.add_authenticated(cut(shorter))
    await variants.check_that_none_is_served(store)


# ---- HTTP-01 tokens ----


def token(name: str, *hosts: str) -> TokenRecord:
    """A token of a challenge that is under way."""
    return TokenRecord(name, SecretBytes(f"{name}.thumbprint".encode()), hosts, samples.now() + timedelta(minutes=5))


async def test_a_planted_token_is_not_answered(store: AttackedStore) -> None:
    """Whoever plants a token gets no certificate for somebody else's domain: raw, moved, under another key or for another host."""
    tokens, key_id = RedisTokenStore(store.client, store.worker.authenticator()), record_key_id(OWN_RECORD_KEY)
    rejected = REGISTRY.get_sample_value("certplane_token_records_rejected_total") or 0.0
    await tokens.plant(token("genuine", VICTIM))
    authentic = await store.client.get(keys.token("genuine"))
    forger = RecordHmac({key_id: OWN_RECORD_KEY}, key_id)
    planted = {
        "raw": b"raw.thumbprint",
        "moved": authentic,
        "forged": forger.wrap("token", "forged", encode_token(token("forged", VICTIM))),
        "certificate": (await store.stored(OTHER)).get("certificate", b"\x00"),
        "cut": authentic[:-1],
        "flipped": flip(-1, 0)(authentic),
    }
    for name, data in planted.items():
        await store.client.set(keys.token(name), data)
    await store.client.lpush(keys.token("list"), "x")
    assert dict.fromkeys(planted, 404) == {name: await store.challenge(VICTIM, name) for name in planted}
    assert {"list": 404, "for another": 404} == {
        "list": await store.challenge(VICTIM, "list"),
        "for another": await store.challenge(OTHER, "genuine"),
    }
    assert 200 == await store.challenge(VICTIM, "genuine")
    # And the key of another type.
    assert len(planted) + 1 == (REGISTRY.get_sample_value("certplane_token_records_rejected_total") or 0.0) - rejected
