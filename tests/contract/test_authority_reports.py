"""The contract of AuthorityReports."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest
import structlog
from redis.asyncio import Redis

from controlplane.adapters import redis_keys as keys
from controlplane.adapters.authority_report_codec import decode_authority_report, encode_authority_report
from controlplane.adapters.redis_authority_reports import RedisAuthorityReports
from controlplane.adapters.redis_client import connect
from controlplane.core.authority_report import ReportedLimit
from controlplane.core.breaker import BreakerState
from controlplane.core.ca_profile import Scope
from controlplane.core.errors import RecordRejected, Unavailable
from controlplane.core.ports.authority_reports import REPORT_LASTS, AuthorityReports
from tests.contract.conftest import BOTH
from tests.fakes.authority_reports import NOW, InMemoryAuthorityReports, authority_report

OPEN = authority_report(
    "example-ca",
    preference=1,
    for_all_tenants=False,
    account_url="",
    breaker=BreakerState.OPEN,
    breaker_until=NOW + timedelta(microseconds=123_456),
    room=None,
    seconds_per_order=0.0,
    exempts_renewals=False,
    orders_per_second=None,
    limits=(
        ReportedLimit("registrations", Scope.ADDRESS, 10, 0, NOW + timedelta(hours=1), NOW + timedelta(hours=3)),
        ReportedLimit("new-orders", Scope.ACCOUNT, 2**40, 7, NOW),
    ),
)
SHORT = timedelta(milliseconds=400)


@pytest.fixture(params=BOTH)
async def stores(request: pytest.FixtureRequest, redis_url: str) -> AsyncIterator[tuple[AuthorityReports, AuthorityReports]]:
    """Each AuthorityReports in turn: one that keeps reports for as long as it should, and one that soon forgets them."""
    if request.param == "memory":
        yield InMemoryAuthorityReports(), InMemoryAuthorityReports(SHORT)
        return
    client = connect(redis_url)
    yield RedisAuthorityReports(client), RedisAuthorityReports(client, SHORT)
    await client.aclose()


@pytest.fixture
def store(stores: tuple[AuthorityReports, AuthorityReports]) -> AuthorityReports:
    """The one that keeps them."""
    return stores[0]


@pytest.fixture
async def redis(valkey_url: str) -> AsyncIterator[Redis]:
    """A client of a fresh store."""
    client = connect(valkey_url)
    yield client
    await client.aclose()


async def test_nobody_has_reported(store: AuthorityReports) -> None:
    """Without a worker there is no CA."""
    assert [] == list(await store.live())


async def test_everything_comes_back_in_the_order_of_preference(store: AuthorityReports) -> None:
    """Reports are read as they were written, the most preferred CA first."""
    await store.report(OPEN)
    await store.report(authority_report())
    assert [authority_report(), OPEN] == list(await store.live())


async def test_last_report_of_a_directory_stands(store: AuthorityReports) -> None:
    """A CA is its directory: the later report takes the place of the earlier one, also when the CA has another name now."""
    await store.report(authority_report())
    await store.report(authority_report("other"))
    later = replace(authority_report(), name="renamed", room=1)
    await store.report(later)
    assert [authority_report("other"), later] == list(await store.live())


async def test_report_is_forgotten(stores: tuple[AuthorityReports, AuthorityReports]) -> None:
    """What no worker says any more is not shown; what one says again and again is."""
    _, forgetful = stores
    await forgetful.report(OPEN)
    await forgetful.report(authority_report())
    for _ in range(6):
        await asyncio.sleep(SHORT.total_seconds() / 4)
        await forgetful.report(authority_report())
    assert [authority_report()] == list(await forgetful.live())
    await asyncio.sleep(SHORT.total_seconds() * 1.5)
    assert [] == list(await forgetful.live())


async def test_nothing_stays_in_the_store(redis: Redis) -> None:
    """Every key ends by itself, a minute after the last report."""
    await RedisAuthorityReports(redis).report(authority_report())
    found = await redis.keys("*")
    assert 2 == len(found)
    for key in found:
        assert REPORT_LASTS.total_seconds() - 10 < await redis.ttl(key) <= REPORT_LASTS.total_seconds()


@pytest.mark.parametrize(
    "data",
    [
        b"\xff",
        encode_authority_report(replace(OPEN, seconds_per_order=float("nan"))),
        encode_authority_report(replace(OPEN, orders_per_second=float("inf"))),
        encode_authority_report(replace(OPEN, room=-1)),
        encode_authority_report(OPEN).replace(b"OPEN", b"AJAR"),
        encode_authority_report(OPEN).replace(b"ADDRESS", b"ADDRE55"),
    ],
)
async def test_what_cannot_be_read_is_left_out(redis: Redis, data: bytes) -> None:
    """A report that no worker wrote is logged and keeps nobody from the others."""
    store = RedisAuthorityReports(redis)
    for report in (authority_report(), OPEN):
        await store.report(report)
    with pytest.raises(RecordRejected):
        decode_authority_report(data)
    await redis.set(keys.authority_report(keys.authority_digest(OPEN.directory_url)), data)
    with structlog.testing.capture_logs() as log:
        assert [authority_report()] == list(await store.live())
    assert ["report of a certificate authority rejected"] == [line["event"] for line in log]


async def test_store_that_is_away() -> None:
    """Neither call answers without the store."""
    client = connect("redis://127.0.0.1:1", retries=0)
    memory = InMemoryAuthorityReports(away=True)
    for store in (RedisAuthorityReports(client), memory):
        for call in (store.report(authority_report()), store.live()):
            with pytest.raises(Unavailable):
                await call
    await client.aclose()
