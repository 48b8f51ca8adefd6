"""CertificateSearch on a real Valkey, with certificates that a worker has stored."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import structlog
from redis.asyncio import Redis

from controlplane.adapters import redis_certificate_search
from controlplane.adapters import redis_keys as keys
from controlplane.adapters.record_hmac import RecordHmac
from controlplane.adapters.redis_certificate_search import RedisCertificateSearch
from controlplane.adapters.redis_certificates import RedisCertificateStore
from controlplane.adapters.redis_domains import RedisDomainStore
from controlplane.adapters.redis_work import RedisWorkStore
from controlplane.core.certificate import CertificateRecord
from controlplane.core.errors import NotFound
from controlplane.core.managed_domain import DomainState, DomainStatus
from controlplane.core.names import DomainName
from controlplane.endpoints.certificate_mapping import certificate_message
from controlplane.usecases.certificates import Certificates
from tests.fakes import samples


class Store:
    """What a worker writes and the search finds."""

    def __init__(self, client: Redis, authenticator: RecordHmac) -> None:
        self.client = client
        self.domains = RedisDomainStore(client)
        self.work = RedisWorkStore(client, authenticator)
        self.search = RedisCertificateSearch(client)
        self.certificates = Certificates(self.domains, RedisCertificateStore(client, authenticator), self.search, samples.now)

    async def issue(self, fqdn: str) -> CertificateRecord:
        """Puts a new certificate of a domain in force."""
        name = DomainName(fqdn)
        if await self.domains.get(name) is None:
            await self.domains.create(samples.spec(fqdn), DomainStatus())
        lease = await self.work.acquire(name, "worker", timedelta(seconds=30))
        assert lease is not None
        await self.work.load(lease)
        record = samples.certificate(fqdn)
        status = DomainStatus(DomainState.ACTIVE, certificate_id=record.id, expire_time=record.not_after)
        stored = await self.work.save_certificate(lease, record, status, None)
        await self.work.release(lease)
        return stored

    async def found(self, certificate_id: str) -> list[str]:
        """The candidates."""
        return [name.value async for name in self.search.candidates(certificate_id)]


@pytest.fixture
async def store(client: Redis, authenticator: RecordHmac) -> AsyncIterator[Store]:
    with structlog.testing.capture_logs():
        yield Store(client, authenticator)


@pytest.mark.parametrize("at_once", [1, 2, 7, 500])
async def test_certificates_are_found(store: Store, monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    """The domain of each certificate in force, and of each before it, is the only candidate, however many are looked at in one call."""
    monkeypatch.setattr(redis_certificate_search, "DOMAINS_AT_ONCE", at_once)
    names = [f"d{number}.example.com" for number in range(12)]
    records = [await store.issue(name) for name in names]
    assert [[name] for name in names] == [await store.found(record.id) for record in records]
    newer = await store.issue("d3.example.com")
    assert (["d3.example.com"], ["d3.example.com"]) == (await store.found(records[3].id), await store.found(newer.id))
    await store.issue("d3.example.com")
    assert [] == await store.found(records[3].id)
    assert [] == await store.found("0" * 32)


async def test_empty_store(store: Store) -> None:
    """Nothing is found where nothing is; domains without certificates do no harm."""
    assert [] == await store.found("0" * 32)
    await store.domains.create(samples.spec("shop.example.com"), DomainStatus())
    assert [] == await store.found("0" * 32)


async def test_what_only_looks_like_it_is_passed_over(store: Store) -> None:
    """Damaged and foreign entries do not end the search before the right one is found."""
    record = await store.issue("shop.example.com")
    for number in range(40):
        other = f"x{number}.example.com"
        await store.domains.create(samples.spec(other), DomainStatus())
        await store.client.hset(keys.domain(other), "certificate", f"mentions {record.id}")
    shard = keys.shard_of("shop.example.com")
    await store.client.set(keys.domain_prefix(shard) + "a.string", "x")
    await store.client.zadd(keys.names(shard), {"a.string": 0, b"\xff\xfe": 0})
    assert "shop.example.com" in await store.found(record.id)
    view = await store.certificates.get(f"certificates/{record.id}")
    assert ("shop.example.com", record.leaf) == (view.domain.spec.fqdn.value, view.record.leaf)


async def test_use_cases_on_the_real_store(store: Store) -> None:
    """Certificates are shown without their sealed keys, listed and revoked; a deleted domain takes its certificates with it."""
    before, current = await store.issue("shop.example.com"), await store.issue("shop.example.com")
    view = await store.certificates.get(f"certificates/{before.id}")
    assert (before, False) == (view.record, view.in_force)
    assert [current] == [each.record for each in (await store.certificates.list_page(10, "", "")).certificates]
    assert current.sealed_leaf_key.ciphertext not in certificate_message(view).SerializeToString()
    revoked = await store.certificates.revoke(f"certificates/{current.id}", "", 1)
    assert (True, before.id, False) == (revoked.in_force, revoked.previous_id, revoked.revocation_done)
    domain = await store.domains.get(DomainName("shop.example.com"))
    assert domain == revoked.domain
    await store.domains.delete(DomainName("shop.example.com"), "")
    with pytest.raises(NotFound):
        await store.certificates.get(f"certificates/{current.id}")
