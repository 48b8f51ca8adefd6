"""The implementations that each contract suite runs against: the one in memory and the one on a real Valkey."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Protocol

import pytest
from redis.asyncio import Redis

from controlplane.adapters import redis_keys as keys
from controlplane.adapters.record_hmac import RecordHmac
from controlplane.adapters.redis_accounts import RedisAccountStore
from controlplane.adapters.redis_changes import RedisChangeFeed
from controlplane.adapters.redis_client import connect
from controlplane.adapters.redis_domains import RedisDomainStore
from controlplane.adapters.redis_lanes import RedisLaneStore
from controlplane.adapters.redis_tokens import RedisTokenStore
from controlplane.adapters.redis_work import RedisWorkStore
from controlplane.core.managed_domain import DomainSpec, DomainStatus
from controlplane.core.names import DomainName
from controlplane.core.ports import AccountStore, ChangeFeed, DomainStore, LaneStore, TokenStore, WorkStore
from controlplane.embedded.valkey import start_valkey
from tests.fakes import samples
from tests.fakes.accounts import InMemoryAccounts
from tests.fakes.domains import InMemoryDomains
from tests.fakes.tokens import InMemoryTokens
from tests.fakes.work import InMemoryWork

BOTH = ["memory", "redis"]


class WorkWorld(Protocol):
    """A WorkStore and a LaneStore with what the API and time do to them."""

    store: WorkStore
    lanes: LaneStore

    async def add(self, spec: DomainSpec) -> None:
        """Creates a domain, due at once."""

    async def request_renewal(self, name: DomainName) -> None:
        """Asks for a renewal."""

    async def delete(self, name: DomainName) -> None:
        """Deletes a domain."""

    async def expire_lease(self, name: DomainName) -> None:
        """Lets the lease on a domain run out."""


class MemoryWorld:
    """`WorkWorld` in memory."""

    def __init__(self) -> None:
        self.store = self.lanes = InMemoryWork()

    async def add(self, spec: DomainSpec) -> None:
        """See `WorkWorld.add`."""
        await self.store.add(spec)

    async def request_renewal(self, name: DomainName) -> None:
        """See `WorkWorld.request_renewal`."""
        await self.store.request_renewal(name)

    async def delete(self, name: DomainName) -> None:
        """See `WorkWorld.delete`."""
        await self.store.delete(name)

    async def expire_lease(self, name: DomainName) -> None:
        """See `WorkWorld.expire_lease`."""
        self.store.expire_lease(name)


class RedisWorld:
    """`WorkWorld` on a Valkey."""

    def __init__(self, url: str, authenticator: RecordHmac) -> None:
        self.client = connect(url)
        self.domains = RedisDomainStore(self.client)
        self.store = RedisWorkStore(self.client, authenticator)
        self.lanes = RedisLaneStore(self.client)

    async def add(self, spec: DomainSpec) -> None:
        """See `WorkWorld.add`."""
        await self.domains.create(spec, DomainStatus())

    async def request_renewal(self, name: DomainName) -> None:
        """See `WorkWorld.request_renewal`."""
        await self.domains.request_renewal(name, samples.now())

    async def delete(self, name: DomainName) -> None:
        """See `WorkWorld.delete`."""
        await self.domains.delete(name, "")

    async def expire_lease(self, name: DomainName) -> None:
        """See `WorkWorld.expire_lease`."""
        await self.client.delete(keys.lease(name.value))
        await self.client.zadd(keys.due(keys.shard_of(name.value)), {name.value: 0})


@pytest.fixture
async def client(valkey_url: str) -> AsyncIterator[Redis]:
    """A client of a fresh store."""
    client = connect(valkey_url)
    yield client
    await client.aclose()


@pytest.fixture
async def redis_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """A Valkey's URL where the test runs against it, else nothing."""
    if "redis" not in request.node.callspec.params.values():
        yield ""
        return
    valkey = await start_valkey(tmp_path_factory.mktemp("valkey"))
    yield valkey.url
    await valkey.stop()


@pytest.fixture(params=BOTH)
async def world(request: pytest.FixtureRequest, redis_url: str, authenticator: RecordHmac) -> AsyncIterator[WorkWorld]:
    """Each WorkStore in turn."""
    if request.param == "memory":
        yield MemoryWorld()
        return
    made = RedisWorld(redis_url, authenticator)
    yield made
    await made.client.aclose()


@pytest.fixture(params=BOTH)
async def domain_store(request: pytest.FixtureRequest, redis_url: str) -> AsyncIterator[tuple[DomainStore, ChangeFeed]]:
    """Each DomainStore in turn, with its ChangeFeed."""
    if request.param == "memory":
        memory = InMemoryDomains()
        yield memory, memory
        return
    client = connect(redis_url)
    yield RedisDomainStore(client), RedisChangeFeed(redis_url)
    await client.aclose()


@pytest.fixture(params=BOTH)
async def token_store(request: pytest.FixtureRequest, redis_url: str, authenticator: RecordHmac) -> AsyncIterator[TokenStore]:
    """Each TokenStore in turn."""
    if request.param == "memory":
        yield InMemoryTokens()
        return
    client = connect(redis_url)
    yield RedisTokenStore(client, authenticator)
    await client.aclose()


@pytest.fixture(params=BOTH)
async def account_store(request: pytest.FixtureRequest, redis_url: str, authenticator: RecordHmac) -> AsyncIterator[AccountStore]:
    """Each AccountStore in turn."""
    if request.param == "memory":
        yield InMemoryAccounts()
        return
    client = connect(redis_url)
    yield RedisAccountStore(client, authenticator)
    await client.aclose()


TTL = timedelta(seconds=30)
