"""certplane.v1.DomainService over the real store: what the in-memory one cannot show."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from controlplane.adapters.redis_changes import RedisChangeFeed
from controlplane.adapters.redis_client import connect
from controlplane.adapters.redis_domains import RedisDomainStore
from controlplane.api.certplane.v1 import domain_pb2
from controlplane.api.certplane.v1 import domain_service_pb2 as pb
from tests.fakes.domain_api import DEADLINE, connected, failure_of, running_api


@pytest.fixture
async def stub(valkey_url: str) -> AsyncIterator[Any]:
    """A client of the API over a fresh Valkey."""
    client = connect(valkey_url)
    async with running_api(behind=(RedisDomainStore(client), RedisChangeFeed(valkey_url))) as api, connected(api.address) as connection:
        yield connection
    await client.aclose()


def create(domain_id: str, *additional_names: str, tenant: str = "acme") -> pb.CreateDomainRequest:
    """A CreateDomain request."""
    return pb.CreateDomainRequest(domain_id=domain_id, domain=domain_pb2.Domain(tenant=tenant, additional_names=additional_names))


async def until(call: Any, *expected: tuple[str, str]) -> str:
    """Reads until each expected event (kind and resource name) was seen; returns the last resume token."""
    waiting = set(expected)
    async with asyncio.timeout(DEADLINE):
        while waiting:
            response = await call.read()
            waiting.discard((str(response.WhichOneof("event")), response.deleted or response.domain.name))
    token: str = response.resume_token
    return token


async def test_create_is_idempotent_and_exclusive(stub: Any) -> None:
    """Equal creates at the same time make one domain; a name that it claims is refused to others until it is deleted."""
    made = await asyncio.gather(*(stub.CreateDomain(create("shop.example.com", "www.shop.example.com")) for _ in range(10)))
    assert len({(domain.name, domain.etag) for domain in made}) == 1
    assert (await failure_of(stub.CreateDomain(create("www.shop.example.com")))).code() == grpc.StatusCode.ALREADY_EXISTS
    await stub.DeleteDomain(pb.DeleteDomainRequest(name=made[0].name, etag=made[0].etag))
    await stub.CreateDomain(create("www.shop.example.com"))


@pytest.mark.parametrize("page_size", [1, 7, 1000])
async def test_pages(stub: Any, page_size: int) -> None:
    """Pages, with and without a filter, together hold each domain once."""
    names = [f"d{number}.example.com" for number in range(30)]
    await asyncio.gather(*(stub.CreateDomain(create(name, tenant="acme" if index % 3 else "other")) for index, name in enumerate(names)))
    for text, expected in (("", names), ('tenant = "other"', names[::3])):
        found, token = [], ""
        while True:
            response = await stub.ListDomains(pb.ListDomainsRequest(page_size=page_size, page_token=token, filter=text))
            assert len(response.domains) <= page_size
            found += [domain.name.removeprefix("domains/") for domain in response.domains]
            token = response.next_page_token
            if not token:
                break
        assert sorted(expected) == sorted(found)


async def test_watch_and_resume(stub: Any) -> None:
    """A watch sees what is created, renewed and deleted; resuming from its token misses nothing that came later."""
    await stub.CreateDomain(create("a.example.com"))
    call = stub.WatchDomains(pb.WatchDomainsRequest())
    await until(call, ("domain", "domains/a.example.com"), ("snapshot_complete", ""))
    await stub.CreateDomain(create("b.example.com"))
    token = await until(call, ("domain", "domains/b.example.com"))
    call.cancel()
    await stub.RenewDomain(pb.RenewDomainRequest(name="domains/a.example.com"))
    await stub.DeleteDomain(pb.DeleteDomainRequest(name="domains/b.example.com"))
    resumed = stub.WatchDomains(pb.WatchDomainsRequest(resume_token=token))
    await until(resumed, ("domain", "domains/a.example.com"), ("deleted", "domains/b.example.com"))
