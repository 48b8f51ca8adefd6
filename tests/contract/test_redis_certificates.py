"""CertificateStore, TokenStore and AccountStore on a real Valkey: authenticity above all."""

import hashlib
from dataclasses import fields, replace
from datetime import timedelta

import pytest
from redis.asyncio import Redis

from controlplane.adapters import redis_keys as keys
from controlplane.adapters.certificate_codec import KIND
from controlplane.adapters.record_hmac import RecordHmac
from controlplane.adapters.redis_accounts import RedisAccountStore
from controlplane.adapters.redis_certificates import RedisCertificateStore
from controlplane.adapters.redis_domains import RedisDomainStore
from controlplane.adapters.redis_tokens import RedisTokenStore
from controlplane.adapters.redis_work import RedisWorkStore
from controlplane.api.certplane.store.v1.certificate_pb2 import CertificateRecord as CertificateMessage
from controlplane.core.certificate import CertificateHead, CertificateRecord, ServableCertificate
from controlplane.core.errors import RecordRejected
from controlplane.core.managed_domain import DomainState, DomainStatus
from controlplane.core.names import DomainName
from controlplane.core.ports import Expiries, NoCertificate, TokenRecord
from controlplane.core.redacted import SecretBytes
from tests.fakes import samples


@pytest.fixture
def store(client: Redis, authenticator: RecordHmac) -> RedisCertificateStore:
    """The store under test."""
    return RedisCertificateStore(client, authenticator)


async def issue(client: Redis, authenticator: RecordHmac, *names: str, certified: tuple[str, ...] | None = None) -> CertificateRecord:
    """Creates a domain and puts a certificate in force."""
    await RedisDomainStore(client).create(samples.spec(*names), DomainStatus())
    return await renew(client, authenticator, *(certified or names))


async def renew(client: Redis, authenticator: RecordHmac, *names: str) -> CertificateRecord:
    """Puts another certificate in force."""
    work = RedisWorkStore(client, authenticator)
    lease = await work.acquire(DomainName(names[0]), "one", timedelta(seconds=30))
    assert lease is not None
    await work.load(lease)
    record = replace(samples.certificate(*names), tenant="acme")
    stored = await work.save_certificate(lease, record, DomainStatus(DomainState.ACTIVE), samples.now() + timedelta(days=60))
    await work.release(lease)
    return stored


def head(record: CertificateRecord) -> CertificateHead:
    """What the store says of a record without reading it."""
    return CertificateHead(record.fqdn, record.version, record.generation, record.tenant)


async def test_lookup_by_own_and_additional_name(client: Redis, authenticator: RecordHmac, store: RedisCertificateStore) -> None:
    """Own and additional names find the same record; unknown names are absent."""
    record = await issue(client, authenticator, "shop.example.com", "www.shop.example.com")
    found = await store.lookup(["www.shop.example.com", "nothing.example.com", "shop.example.com"])
    missing = {"nothing.example.com": NoCertificate.MISSING}
    assert {"shop.example.com": record, "www.shop.example.com": record} | missing == found


async def test_name_that_is_not_on_the_certificate_is_not_served(
    client: Redis, authenticator: RecordHmac, store: RedisCertificateStore
) -> None:
    """An additional name that the certificate leaves out finds nothing, though it is claimed."""
    await issue(client, authenticator, "shop.example.com", "www.shop.example.com", certified=("shop.example.com",))
    assert NoCertificate.MISSING == (await store.lookup(["www.shop.example.com"]))["www.shop.example.com"]


async def test_forged_claim_serves_nothing(client: Redis, authenticator: RecordHmac, store: RedisCertificateStore) -> None:
    """Somebody who can write to the store cannot make a name serve another domain's certificate."""
    await issue(client, authenticator, "shop.example.com")
    await client.set(keys.claim("bank.example.org"), "shop.example.com|uid|1")
    assert {"bank.example.org": NoCertificate.MISSING} == await store.lookup(["bank.example.org"])


async def test_moved_or_changed_records_are_rejected_and_others_served(
    client: Redis, authenticator: RecordHmac, store: RedisCertificateStore
) -> None:
    """A record copied to another domain, or with one bit changed, is not served; the domain beside it is."""
    await issue(client, authenticator, "a.example.com")
    await issue(client, authenticator, "b.example.com")
    await issue(client, authenticator, "c.example.com")
    data = await client.hget(keys.domain("a.example.com"), "certificate")
    await client.hset(keys.domain("b.example.com"), "certificate", data)
    flipped = bytearray(data)
    flipped[len(flipped) // 2] ^= 1
    await client.hset(keys.domain("a.example.com"), "certificate", bytes(flipped))
    found = await store.lookup(["a.example.com", "b.example.com", "c.example.com"])
    assert (NoCertificate.REJECTED, NoCertificate.REJECTED) == (found["a.example.com"], found["b.example.com"])
    assert isinstance(found["c.example.com"], CertificateRecord)


async def test_replaced_intermediate_is_not_served(client: Redis, authenticator: RecordHmac, store: RedisCertificateStore) -> None:
    """Intermediates are believed by their digest only."""
    await issue(client, authenticator, "a.example.com")
    async for key in client.scan_iter("cp:intermediate:*"):
        await client.set(key, b"other")
    assert {"a.example.com": NoCertificate.REJECTED} == await store.lookup(["a.example.com"])


def servable(record: CertificateRecord) -> ServableCertificate:
    """What of a record is needed to serve it."""
    return ServableCertificate(**{each.name: getattr(record, each.name) for each in fields(ServableCertificate)})


async def test_what_is_served_is_what_is_stored(client: Redis, authenticator: RecordHmac, store: RedisCertificateStore) -> None:
    """By own and additional names, and as little is believed: no record that was moved, forged, or lacks an intermediate."""
    record = await issue(client, authenticator, "shop.example.com", "www.shop.example.com")
    for name in ("moved.example.com", "forged.example.com", "scheme.example.com"):
        await issue(client, authenticator, name)
    stored: bytes = await client.hget(keys.domain("shop.example.com"), "certificate")
    await client.hset(keys.domain("moved.example.com"), "certificate", stored)
    await client.hset(keys.domain("forged.example.com"), "certificate", b"forged")
    unknown = CertificateMessage(fqdn="scheme.example.com", names=["scheme.example.com"])
    unknown.sealed_leaf_key.scheme = 99
    await client.hset(
        keys.domain("scheme.example.com"), "certificate", authenticator.wrap(KIND, "scheme.example.com", unknown.SerializeToString())
    )
    names = ["www.shop.example.com", "nothing.example.com", "moved.example.com", "forged.example.com", "scheme.example.com"]
    outcomes = (servable(record), NoCertificate.MISSING, *[NoCertificate.REJECTED] * 3)
    for _ in range(2):  # when its intermediates are met for the first time, and when they are known
        assert dict(zip(names, outcomes, strict=True)) == await store.servable(names)
    await client.set(keys.intermediate(hashlib.sha256(record.intermediates[0]).digest()), b"another")
    assert {"shop.example.com": NoCertificate.REJECTED} == await RedisCertificateStore(client, authenticator).servable(["shop.example.com"])


async def test_heads_say_which_certificate_is_in_force(client: Redis, authenticator: RecordHmac, store: RedisCertificateStore) -> None:
    """By own and additional names; of unknown names and records without a head nothing is said."""
    record = await issue(client, authenticator, "shop.example.com", "www.shop.example.com")
    await issue(client, authenticator, "old.example.com")
    await client.hdel(keys.domain("old.example.com"), "head")
    names = ["www.shop.example.com", "nothing.example.com", "shop.example.com", "old.example.com"]
    expected = dict(zip(names, (head(record), None, head(record), None), strict=True))
    assert expected == await store.heads(names)
    renewed = await renew(client, authenticator, "shop.example.com", "www.shop.example.com")
    assert {"www.shop.example.com": head(renewed)} == await store.heads(["www.shop.example.com"])
    await RedisDomainStore(client).delete(DomainName("shop.example.com"), "")
    assert {"shop.example.com": None} == await store.heads(["shop.example.com"])


async def test_forged_heads_are_not_believed(client: Redis, authenticator: RecordHmac, store: RedisCertificateStore) -> None:
    """One that was moved, changed, or is another kind of record says nothing, nor does a key of another type; others are read."""
    for name in ("a.example.com", "b.example.com", "c.example.com", "good.example.com"):
        await issue(client, authenticator, name)
    data = await client.hget(keys.domain("a.example.com"), "head")
    await client.hset(keys.domain("b.example.com"), "head", data)
    await client.hset(keys.domain("a.example.com"), "head", bytes([*data[:-1], data[-1] ^ 1]))
    await client.hset(keys.domain("c.example.com"), "head", await client.hget(keys.domain("c.example.com"), "certificate"))
    await client.set(keys.domain("d.example.com"), "x")
    await client.lpush(keys.claim("e.example.com"), "x")
    names = ["a.example.com", "b.example.com", "c.example.com", "d.example.com", "e.example.com", "good.example.com"]
    found = await store.heads(names)
    assert [None] * 5 == [found[name] for name in names[:-1]]
    assert isinstance(found["good.example.com"], CertificateHead)


async def test_the_certificate_before_is_kept(client: Redis, authenticator: RecordHmac, store: RedisCertificateStore) -> None:
    """Under every name that it has, and until the next one takes its place; a first certificate has none before it."""
    first = await issue(client, authenticator, "shop.example.com", "www.shop.example.com")
    names = ["shop.example.com", "www.shop.example.com", "nothing.example.com"]
    assert dict.fromkeys(names, NoCertificate.MISSING) == await store.previous(names)
    second = await renew(client, authenticator, "shop.example.com")
    assert dict(zip(names, (first, first, NoCertificate.MISSING), strict=True)) == await store.previous(names)
    await renew(client, authenticator, "shop.example.com", "www.shop.example.com")
    assert dict(zip(names, (second, NoCertificate.MISSING, NoCertificate.MISSING), strict=True)) == await store.previous(names)
    await RedisDomainStore(client).delete(DomainName("shop.example.com"), "")
    assert {"shop.example.com": NoCertificate.DELETED} == await store.previous(["shop.example.com"])


async def test_a_forged_certificate_before_is_rejected(client: Redis, authenticator: RecordHmac, store: RedisCertificateStore) -> None:
    """One of another domain, or a damaged one, is not served to who refused the newest."""
    for name in ("a.example.com", "b.example.com"):
        await issue(client, authenticator, name)
    await client.hset(keys.domain("a.example.com"), "previous", await client.hget(keys.domain("b.example.com"), "certificate"))
    await client.hset(keys.domain("b.example.com"), "previous", b"junk")
    both = ["a.example.com", "b.example.com"]
    assert dict.fromkeys(both, NoCertificate.REJECTED) == await store.previous(both)


async def test_records_without_a_tenant_have_an_empty_one(client: Redis, authenticator: RecordHmac, store: RedisCertificateStore) -> None:
    """As versions before wrote them."""
    record = await issue(client, authenticator, "a.example.com")
    message = CertificateMessage.FromString(
        authenticator.unwrap(KIND, "a.example.com", await client.hget(keys.domain("a.example.com"), "certificate"))
    )
    message.ClearField("tenant")
    await client.hset(keys.domain("a.example.com"), "certificate", authenticator.wrap(KIND, "a.example.com", message.SerializeToString()))
    assert {"a.example.com": replace(record, tenant="")} == await store.lookup(["a.example.com"])


async def test_expiries_name_the_next_and_count_the_rest(client: Redis, authenticator: RecordHmac, store: RedisCertificateStore) -> None:
    """No certificate, no expiry; else the next one, and how many are close and expired."""
    now = samples.now()
    assert Expiries(None, 0, 0) == await store.expiries(now, timedelta(days=7))
    record = await issue(client, authenticator, "a.example.com")
    assert Expiries((record.not_after, "a.example.com"), 0, 0) == await store.expiries(now, timedelta(days=7))
    assert Expiries((record.not_after, "a.example.com"), 0, 1) == await store.expiries(now, timedelta(days=91))
    assert Expiries(None, 1, 0) == await store.expiries(now + timedelta(days=91), timedelta(days=7))


async def test_deletion_is_told_from_a_lost_record(client: Redis, authenticator: RecordHmac, store: RedisCertificateStore) -> None:
    """All names of a deleted domain are DELETED, also while its claims are not yet released; those of an emptied store are MISSING."""
    await issue(client, authenticator, "a.example.com", "www.a.example.com")
    claim = await client.get(keys.claim("www.a.example.com"))
    await RedisDomainStore(client).delete(DomainName("a.example.com"), "")
    both = ["a.example.com", "www.a.example.com"]
    assert dict.fromkeys(both, NoCertificate.DELETED) == await store.lookup(both)
    await client.set(keys.claim("www.a.example.com"), claim)
    await client.delete(keys.tombstone("www.a.example.com"))
    assert dict.fromkeys(both, NoCertificate.DELETED) == await store.lookup(both)
    await client.flushall()
    assert dict.fromkeys(both, NoCertificate.MISSING) == await store.lookup(both)


@pytest.mark.parametrize("kind", ["claim", "claim-type", "domain-type", "tombstone-type", "certificate"])
async def test_a_broken_key_harms_no_other_name(client: Redis, authenticator: RecordHmac, store: RedisCertificateStore, kind: str) -> None:
    """Whatever somebody plants under one name, the others of the same look-up are answered."""
    await issue(client, authenticator, "good.example.com")
    name = "poison.example.com"
    match kind:
        case "claim":
            await client.set(keys.claim(name), b"\xff\xfe|1")
        case "claim-type":
            await client.lpush(keys.claim(name), "x")
        case "domain-type":
            await client.set(keys.domain(name), "x")
        case "tombstone-type":
            await client.lpush(keys.tombstone(name), "x")
        case _:
            await client.hset(keys.domain(name), "certificate", b"\xff\xff")
    found = await store.lookup([name, "good.example.com"])
    assert NoCertificate.REJECTED == found[name]
    assert isinstance(found["good.example.com"], CertificateRecord)


async def test_intermediates_are_written_with_every_certificate(client: Redis, authenticator: RecordHmac) -> None:
    """A worker whose store was emptied writes the intermediates again, though it has written them before."""
    work = RedisWorkStore(client, authenticator)
    issuer = samples.certificate("issuer.example.com").leaf
    for _ in range(2):
        await RedisDomainStore(client).create(samples.spec("a.example.com"), DomainStatus())
        lease = await work.acquire(DomainName("a.example.com"), "one", timedelta(seconds=30))
        assert lease is not None
        record = replace(samples.certificate("a.example.com"), intermediates=(issuer,))
        await work.save_certificate(lease, record, DomainStatus(DomainState.ACTIVE), None)
        found = await RedisCertificateStore(client, authenticator).lookup(["a.example.com"])
        assert isinstance(found["a.example.com"], CertificateRecord)
        await client.flushall()


async def test_planted_token_of_a_stranger_is_not_answered(client: Redis, authenticator: RecordHmac) -> None:
    """A token record that was not made with the record key, or was moved to another token, is absent."""
    tokens = RedisTokenStore(client, authenticator)
    await tokens.plant(TokenRecord("tok", SecretBytes(b"tok.thumb"), ("a.example.com",), samples.now() + timedelta(minutes=5)))
    await client.set(keys.token("other"), await client.get(keys.token("tok")))
    await client.set(keys.token("raw"), b"raw.thumb")
    assert (await tokens.find("other"), await tokens.find("raw")) == (None, None)


async def test_forged_account_is_an_error_and_not_a_missing_one(client: Redis, authenticator: RecordHmac) -> None:
    """A damaged account must never lead to a new registration."""
    await client.set(keys.account("https://ca.example/dir"), b"junk")
    with pytest.raises(RecordRejected):
        await RedisAccountStore(client, authenticator).get("https://ca.example/dir")
