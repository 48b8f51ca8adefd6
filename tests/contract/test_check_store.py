"""The contract of CheckStore, against the fake and against a real Valkey."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from controlplane.adapters import redis_keys as keys
from controlplane.adapters.record_hmac import RecordHmac
from controlplane.adapters.redis_checks import RedisCheckStore
from controlplane.adapters.redis_client import connect
from controlplane.core.errors import RecordRejected, ResourceExhausted, Unavailable
from controlplane.core.managed_domain import Actor, Problem
from controlplane.core.names import DomainName
from controlplane.core.ports.checks import CheckLimits, CheckPhase, CheckProgress, CheckRequest, CheckResult, CheckStore, TakenCheck
from controlplane.core.ports.preflight import CaaAnswer, CaaObservation, Observation, PreflightVerdict
from tests.contract.conftest import BOTH
from tests.fakes.checks import InMemoryChecks

NOW = datetime(2026, 11, 24, 12, 0, 0, 123456, tzinfo=UTC)
SHOP = DomainName("shop.example.com")
REQUEST = CheckRequest((SHOP, DomainName("www.shop.example.com")), "acme")
RESULT = CheckResult(
    (
        PreflightVerdict(
            SHOP,
            Problem("urn:certplane:error:preflight:wrong-answer", "it answers wrongly", Actor.CUSTOMER, NOW, SHOP.value),
            conclusive=True,
            observations=(Observation("8.8.8.8", "wrong-answer", "answers with status 404", "status 200"),),
            caa=CaaObservation(CaaAnswer.ALLOWS, "example.com", ('0 issue "letsencrypt.org"',), "detail"),
        ),
        PreflightVerdict(DomainName("www.shop.example.com"), None, conclusive=True),
    ),
    NOW,
)
Make = Callable[[CheckLimits], CheckStore]


@pytest.fixture(params=BOTH)
async def make(request: pytest.FixtureRequest, redis_url: str, authenticator: RecordHmac) -> AsyncIterator[Make]:
    """Makes each CheckStore in turn, with limits."""
    if request.param == "memory":
        yield lambda limits: InMemoryChecks(limits)
        return
    client = connect(redis_url)
    yield lambda limits: RedisCheckStore(client, authenticator, limits)
    await client.aclose()


@pytest.fixture
def store(make: Make) -> CheckStore:
    """A store with the usual limits."""
    return make(CheckLimits())


def request(number: int) -> CheckRequest:
    return CheckRequest((DomainName(f"shop{number}.example.com"),))


async def test_way_of_a_check(store: CheckStore) -> None:
    """A check waits, is taken by one worker, and is done with the result as it was written."""
    assert await store.progress(REQUEST) is None
    await store.ask(REQUEST)
    assert CheckProgress(CheckPhase.WAITING, workers=False) == await store.progress(REQUEST)
    (taken,) = await store.take(5)
    assert REQUEST == taken.request
    assert [] == list(await store.take(5))
    assert CheckProgress(CheckPhase.RUNNING, workers=True) == await store.progress(REQUEST)
    await store.finish(taken, RESULT)
    assert CheckProgress(CheckPhase.DONE, workers=True, result=RESULT) == await store.progress(REQUEST)


async def test_equal_checks_are_one(store: CheckStore) -> None:
    """What is asked for again while it waits, runs or has just ended is not done again."""
    await store.ask(REQUEST)
    await store.ask(REQUEST)
    (taken,) = await store.take(5)
    await store.ask(REQUEST)
    assert [] == list(await store.take(5))
    await store.finish(taken, RESULT)
    await store.ask(REQUEST)
    assert [] == list(await store.take(5))


@pytest.mark.parametrize("other", [replace(REQUEST, tenant=""), replace(REQUEST, names=REQUEST.names[:1]), request(1)])
async def test_different_checks_are_two(store: CheckStore, other: CheckRequest) -> None:
    """Checks of other names, or for another tenant, have their own results."""
    await store.ask(REQUEST)
    await store.ask(other)
    assert [REQUEST, other] == [taken.request for taken in await store.take(5)]


async def test_old_result_is_no_answer(make: Make) -> None:
    """A result answers for a short time only; then the same check is done again, and has no result meanwhile."""
    store = make(CheckLimits(fresh=timedelta(milliseconds=1)))
    await store.ask(REQUEST)
    (first,) = await store.take(1)
    await store.finish(first, RESULT)
    await asyncio.sleep(0.01)
    await store.ask(REQUEST)
    assert CheckProgress(CheckPhase.WAITING, workers=True) == await store.progress(REQUEST)
    (second,) = await store.take(1)
    assert first.run != second.run


async def test_late_worker_writes_nothing(make: Make) -> None:
    """A check whose worker is silent is given to another; a result of the first counts for nothing any more."""
    store = make(CheckLimits(running=timedelta(milliseconds=1)))
    await store.ask(REQUEST)
    (first,) = await store.take(1)
    await asyncio.sleep(0.01)
    await store.ask(REQUEST)
    await store.finish(first, RESULT)
    assert CheckProgress(CheckPhase.WAITING, workers=True) == await store.progress(REQUEST)
    (second,) = await store.take(1)
    await store.finish(second, RESULT)
    progress = await store.progress(REQUEST)
    assert progress is not None
    assert RESULT == progress.result


async def test_result_of_an_unknown_check(store: CheckStore) -> None:
    """A result that nobody asks for any more is not kept."""
    await store.finish(TakenCheck(REQUEST, "run"), RESULT)
    assert await store.progress(REQUEST) is None


async def test_waiting_checks_are_bounded(make: Make) -> None:
    """One check too many is refused; the same check as one that waits is not; what is taken makes room."""
    store = make(CheckLimits(waiting=2))
    await store.ask(request(1))
    await store.ask(request(2))
    await store.ask(request(1))
    with pytest.raises(ResourceExhausted):
        await store.ask(request(3))
    assert [request(1)] == [taken.request for taken in await store.take(1)]
    await store.ask(request(3))
    assert [request(2), request(3)] == [taken.request for taken in await store.take(5)]


async def test_everything_is_forgotten(make: Make) -> None:
    """A check that nobody takes makes room after its lifetime and is not taken any more; a result is gone after it."""
    store = make(CheckLimits(waiting=1, lifetime=timedelta(milliseconds=50)))
    await store.ask(request(1))
    await asyncio.sleep(0.06)
    await store.ask(request(2))
    (taken,) = await store.take(5)
    assert request(2) == taken.request
    await store.finish(taken, RESULT)
    await asyncio.sleep(0.06)
    assert await store.progress(request(2)) is None


async def test_workers_are_heard_of(make: Make) -> None:
    """A worker that asks for nothing is there all the same, until it has been silent for long."""
    store = make(CheckLimits(heard=timedelta(milliseconds=50)))
    await store.ask(REQUEST)
    assert [] == list(await store.take(0))
    assert CheckProgress(CheckPhase.WAITING, workers=True) == await store.progress(REQUEST)
    await asyncio.sleep(0.06)
    assert CheckProgress(CheckPhase.WAITING, workers=False) == await store.progress(REQUEST)


async def test_workers_share(store: CheckStore) -> None:
    """Several workers that ask at the same time get each check once."""
    for number in range(20):
        await store.ask(request(number))
    taken = await asyncio.gather(*(store.take(3) for _ in range(10)))
    assert sorted(request(number).id for number in range(20)) == sorted(each.request.id for some in taken for each in some)


async def test_who_writes_to_the_store_is_not_believed(valkey_url: str, authenticator: RecordHmac) -> None:
    """A check or a result that was planted, moved or put back is rejected."""
    client = connect(valkey_url)
    store = RedisCheckStore(client, authenticator, CheckLimits(fresh=timedelta(0)))
    await store.ask(request(1))
    await client.hset(keys.CHECK_PREFIX + request(1).id, "request", b"\x0a\x04evil")
    await store.ask(request(2))
    planted = await client.hget(keys.CHECK_PREFIX + request(2).id, "request")
    await store.ask(request(3))
    await client.hset(keys.CHECK_PREFIX + request(3).id, "request", planted)
    (taken,) = await store.take(5)
    assert request(2) == taken.request
    await store.finish(taken, RESULT)
    older = await client.hget(keys.CHECK_PREFIX + request(2).id, "result")
    await store.ask(request(2))
    await client.hset(keys.CHECK_PREFIX + request(2).id, "result", older)
    with pytest.raises(RecordRejected):
        await store.progress(request(2))
    await client.aclose()


async def test_keys_have_an_end(valkey_url: str, authenticator: RecordHmac) -> None:
    """Nothing of a check stays in the store when nobody asks again."""
    client = connect(valkey_url)
    store = RedisCheckStore(client, authenticator)
    await store.ask(REQUEST)
    await store.ask(request(1))
    (taken,) = await store.take(1)
    await store.finish(taken, RESULT)
    (second,) = await store.take(1)
    assert request(1) == second.request
    assert {keys.CHECK_PREFIX + REQUEST.id, keys.CHECK_PREFIX + request(1).id, keys.CHECK_RUNNER} == {
        key.decode() for key in await client.keys("cp:{checks}:*")
    }
    await store.ask(request(2))
    ends = [await client.pttl(key) for key in await client.keys("cp:{checks}:*")]
    assert 5 == len(ends)
    assert all(0 < end <= 61_000 for end in ends)
    await client.aclose()


async def test_absent_store(authenticator: RecordHmac) -> None:
    """Without a store every call is Unavailable."""
    client = connect("redis://127.0.0.1:1", retries=0)
    store = RedisCheckStore(client, authenticator)
    for call in (store.ask(REQUEST), store.progress(REQUEST), store.take(1), store.finish(TakenCheck(REQUEST, "x"), RESULT)):
        with pytest.raises(Unavailable):
            await call
    await client.aclose()
