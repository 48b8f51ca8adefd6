"""DomainStore on a real Valkey: creation, claims of additional names, pages, deletion."""

from dataclasses import replace

import pytest
from redis.asyncio import Redis

from controlplane.adapters import redis_keys as keys
from controlplane.adapters.redis_client import connect
from controlplane.adapters.redis_domains import RedisDomainStore
from controlplane.core.errors import AlreadyExists, InvalidArgument, NotFound, Unavailable
from controlplane.core.managed_domain import DomainState, DomainStatus
from controlplane.core.names import DomainName
from tests.fakes import samples

SHOP = DomainName("shop.example.com")


@pytest.fixture
async def client(valkey_url: str):
    """A client of a fresh store."""
    client = connect(valkey_url)
    yield client
    await client.aclose()


@pytest.fixture
def store(client: Redis) -> RedisDomainStore:
    """The store under test."""
    return RedisDomainStore(client)


async def test_refused_creation_leaves_no_claim(store: RedisDomainStore, client: Redis) -> None:
    """Names that were claimed before the refusal are free again."""
    await store.create(samples.spec("taken.example.com"), DomainStatus())
    with pytest.raises(AlreadyExists):
        await store.create(samples.spec("a.example.com", "free.example.com", "taken.example.com"), DomainStatus())
    assert None is await client.get(keys.claim("free.example.com"))
    await store.create(samples.spec("free.example.com"), DomainStatus())


async def test_refused_repeat_keeps_the_claims_of_the_existing_domain(store: RedisDomainStore, client: Redis) -> None:
    """Creating a domain again does not free the additional names that it has."""
    await store.create(samples.spec("a.example.com", "www.a.example.com"), DomainStatus())
    with pytest.raises(AlreadyExists):
        await store.create(samples.spec("a.example.com", "www.a.example.com"), DomainStatus())
    assert (await client.get(keys.claim("www.a.example.com"))).startswith(b"a.example.com|")


async def test_stale_claim_blocks_nobody(store: RedisDomainStore, client: Redis) -> None:
    """A claim whose owner was never written counts for a minute, then no more."""
    await client.set(keys.claim("www.a.example.com"), f"ghost.example.com|{int(samples.now().timestamp() * 1000) - 61_000}")
    await client.set(keys.claim("fresh.example.com"), f"ghost.example.com|{int(samples.now().timestamp() * 1000)}")
    await store.create(samples.spec("a.example.com", "www.a.example.com"), DomainStatus())
    with pytest.raises(AlreadyExists):
        await store.create(samples.spec("fresh.example.com"), DomainStatus())
    await client.set(keys.claim("own.example.com"), "ghost.example.com|1")
    await store.create(samples.spec("own.example.com"), DomainStatus())


@pytest.mark.parametrize("token", ["x", "!!!", "OTk5OmE", "YTpi"])
async def test_foreign_page_token_is_refused(store: RedisDomainStore, token: str) -> None:
    """A token that this store did not make is an INVALID_ARGUMENT."""
    with pytest.raises(InvalidArgument):
        await store.list_page(10, token)


async def test_deletion_removes_everything(store: RedisDomainStore, client: Redis) -> None:
    """Nothing with the domain's name is left but the change streams; its names can be used again."""
    await store.create(samples.spec("shop.example.com", "www.shop.example.com"), DomainStatus())
    await store.delete(SHOP, "")
    left = [key async for key in client.scan_iter("*") if await client.type(key) != b"stream" and b"sequence" not in key]
    assert left == []
    with pytest.raises(NotFound):
        await store.delete(SHOP, "")
    await store.create(samples.spec("www.shop.example.com"), DomainStatus())


async def test_status_survives_the_codec(store: RedisDomainStore) -> None:
    """Every field of a full status comes back."""
    from controlplane.core.managed_domain import Actor, Problem

    now = samples.now()
    status = DomainStatus(
        DomainState.DEGRADED, True, "order", "abc", "0f", now, now, now, now, 3,
        Problem("urn:x", "detail", Actor.CUSTOMER, now, "www.shop.example.com"), (DomainName("www.shop.example.com"),), now,
    )  # fmt: skip
    await store.create(replace(samples.spec("shop.example.com"), renewal_request_time=now, create_request_id="r"), status)
    domain = await store.get(SHOP)
    assert domain is not None
    assert status == domain.status


async def test_store_that_is_away_is_unavailable(tmp_path) -> None:
    """A store that does not answer is reported as UNAVAILABLE, not as a missing domain."""
    store = RedisDomainStore(connect(f"unix://{tmp_path}/nothing.sock", retries=0))
    with pytest.raises(Unavailable):
        await store.get(SHOP)
