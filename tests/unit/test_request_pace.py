"""Requests wait until the CA's rate allows them, over all processes together."""

import asyncio
import random
from types import MappingProxyType

import pytest

from controlplane.core.ca_profile import CaProfile, RequestRate
from controlplane.core.errors import Unavailable
from controlplane.core.request_rate import Pacing, batch_size, pacing, patience
from controlplane.core.token_bucket import SECOND, Bucket
from controlplane.usecases.request_pace import RequestPace
from tests.fakes.limits import InMemoryRateLimits

CA = "https://ca.example/directory"


class VirtualTime:
    """A clock that sleeping moves."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        """Seconds."""
        return self.seconds

    def microseconds(self) -> int:
        """The same for the store."""
        return 1_800_000_000 * SECOND + round(self.seconds * SECOND)

    async def sleep(self, seconds: float) -> None:
        """Moves the clock; rounded up, as a real one would."""
        self.slept.append(seconds)
        self.seconds = round(self.seconds + seconds, 6)


def paces(time: VirtualTime, count: int, **rates: RequestRate) -> tuple[InMemoryRateLimits, list[RequestPace]]:
    """So many processes that share the limits."""
    limits = InMemoryRateLimits(now=time.microseconds)
    profile = CaProfile("ca", "CA", requests=MappingProxyType(rates))
    return limits, [RequestPace(profile, CA, limits, monotonic=time.monotonic, sleep=time.sleep) for _ in range(count)]


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        (RequestRate(250, 125), Pacing(Bucket("requests:g", 100, 4000), 0.1, 25)),
        (RequestRate(300, 200), Pacing(Bucket("requests:g", 170, 3334), 0.1, 30)),
        (RequestRate(1000, 100), Pacing(Bucket("requests:g", 50, 1000), 0.05, 50)),
        (RequestRate(20, 10), Pacing(Bucket("requests:g", 8, 50_000), 0.1, 2)),
        # Too slow for batches.
        (RequestRate(5, 15), Pacing(Bucket("requests:g", 15, 200_000), 0.0, 1)),
        (RequestRate(100, 1), Pacing(Bucket("requests:g", 1, 10_000), 0.0, 1)),
    ],
)
def test_pacing(rate: RequestRate, expected: Pacing) -> None:
    """What can be under way in batches is taken off the burst, so that both together are the CA's."""
    assert expected == pacing(rate, "g")


@pytest.mark.parametrize(
    ("asked", "got", "used", "expected"),
    [(1, 1, 1, 2), (8, 8, 8, 16), (20, 20, 20, 25), (25, 25, 25, 25), (16, 16, 5, 5), (16, 16, 0, 1), (16, 3, 3, 16), (16, 3, 2, 2)],
)
def test_batch_size(asked: int, got: int, used: int, expected: int) -> None:
    """Batches grow while they are used up in time, shrink to what was used, and stay where the CA's rate makes them smaller."""
    assert expected == batch_size(asked, got, used, 25)


@pytest.mark.parametrize(("size", "expected"), [(1, 0.003), (2, 0.007), (12, 0.047), (25, 0.047)])
def test_patience(size: int, expected: float) -> None:
    """Who wants one token waits for one; who wants many waits for some of them, and not much longer."""
    assert expected == patience(pacing(RequestRate(250, 125), "g"), size, 3_000)


async def test_endpoint_without_a_rate_never_waits() -> None:
    """Where the CA limits nothing, the store is not asked."""
    limits, (pace,) = paces(VirtualTime(), 1, new_order=RequestRate(1, 1))
    for _ in range(100):
        await pace.wait("revoke")
    assert 0 == limits.calls


async def test_burst_then_rate() -> None:
    """A burst goes at once, and after it one request an interval."""
    time = VirtualTime()
    _, (pace,) = paces(time, 1, new_account=RequestRate(5, 15))
    for _ in range(15):
        await pace.wait("new_account")
    assert [] == time.slept
    for _ in range(10):
        await pace.wait("new_account")
    assert 2.0 == pytest.approx(time.seconds)


async def test_endpoints_that_are_not_listed_share_one_rate() -> None:
    """Looking at orders and finalizing count together."""
    time = VirtualTime()
    _, (pace,) = paces(time, 1, other=RequestRate(1, 2), new_order=RequestRate(1, 1))
    for endpoint in ("order", "finalize", "new_order"):
        await pace.wait(endpoint)
    assert 0.0 == time.seconds
    await pace.wait("certificate")
    assert 1.0 == pytest.approx(time.seconds)


async def test_store_is_asked_seldom() -> None:
    """A process that is busy asks the store once for many requests."""
    time = VirtualTime()
    limits, (pace,) = paces(time, 1, other=RequestRate(250, 125))
    for _ in range(500):
        await pace.wait("order")
        time.seconds += 0.001
    assert limits.calls < 150
    # And it is not slower than the CA allows, but for the room that batches need.
    assert (500 - 100) / 250 == pytest.approx(time.seconds, abs=0.1)


async def test_tokens_that_are_not_used_become_void() -> None:
    """A batch is not kept for later: after its time the store is asked again."""
    time = VirtualTime()
    limits, (pace,) = paces(time, 1, other=RequestRate(250, 125))
    for _ in range(10):
        await pace.wait("order")
    before = limits.calls
    time.seconds += 0.2
    await pace.wait("order")
    assert before + 1 == limits.calls


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("per_second", "burst"), [(250, 125), (20, 10), (1000, 100), (5, 15)])
async def test_all_processes_together_keep_the_rate(per_second: int, burst: int, seed: int) -> None:
    """Whatever processes do, and however unevenly: in any stretch of time no more is sent than burst and rate allow."""
    time, chance = VirtualTime(), random.Random(seed)
    _, together = paces(time, 7, other=RequestRate(per_second, burst))
    sent: list[float] = []
    for _ in range(600):
        if chance.random() < 0.05:
            time.seconds = round(time.seconds + chance.random() * 2 * burst / per_second, 6)
        elif chance.random() < 0.3:
            time.seconds = round(time.seconds + chance.random() / per_second, 6)
        await chance.choice(together[: chance.randint(1, 7)]).wait("order")
        sent.append(time.seconds)
    for first, begun in enumerate(sent):
        for index in range(first, len(sent), 7):
            assert index - first + 1 <= burst + per_second * (sent[index] - begun) + 1e-3


async def test_waiting_requests_go_in_their_order() -> None:
    """Who came first goes first."""
    time = VirtualTime()
    _, (pace,) = paces(time, 1, other=RequestRate(10, 1))
    went: list[int] = []

    async def request(number: int) -> None:
        await pace.wait("order")
        went.append(number)

    await asyncio.gather(*(request(number) for number in range(20)))
    assert list(range(20)) == went


async def test_store_that_is_away_is_told() -> None:
    """Without the store no request is sent: nobody would know how many there are."""
    limits, (pace,) = paces(VirtualTime(), 1, other=RequestRate(10, 1))
    limits.away = True
    with pytest.raises(Unavailable):
        await pace.wait("order")
    limits.away = False
    await pace.wait("order")
