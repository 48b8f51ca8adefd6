"""Waits before a request until the CA's rate allows it, over all processes together."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from urllib.parse import urlsplit

from prometheus_client import Counter

from controlplane.core.ca_profile import CaProfile
from controlplane.core.ports import RateLimits
from controlplane.core.request_rate import Pacing, batch_size, pacing, patience
from controlplane.core.token_bucket import Draw, Refusal

_WAITED = Counter(
    "certplane_ca_pace_seconds_total", "Seconds that requests waited for the CA's request rate, by CA and limit.", ["authority", "limit"]
)

Sleep = Callable[[float], Awaitable[object]]


class RequestPace:
    """The request rates of one CA, as seen by one process."""

    def __init__(
        self,
        profile: CaProfile,
        directory_url: str,
        limits: RateLimits,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """Nothing is asked yet.

        Args:
            profile: with the rates.
            directory_url: of the CA, which the buckets belong to.
            limits: the shared buckets.
            monotonic: seconds, for how long a batch of tokens lasts.
            sleep: waits for so many seconds.
        """
        self._profile = profile
        self._directory_url = directory_url
        self._limits = limits
        self._monotonic = monotonic
        self._sleep = sleep
        self._allowances: dict[str, _Allowance] = {}

    async def wait(self, endpoint: str) -> None:
        """Returns when one request to the endpoint may be sent. Those who wait go in the order in which they came.

        Raises:
            Unavailable: the store does not answer.
        """
        found = self._profile.rate_of(endpoint)
        if found is None:
            return
        group, rate = found
        allowance = self._allowances.get(group)
        if allowance is None:
            waited = _WAITED.labels(urlsplit(self._directory_url).hostname or "", group)
            allowance = _Allowance(
                pacing(rate, group), partial(self._limits.take, self._directory_url), self._monotonic, self._sleep, waited
            )
            self._allowances[group] = allowance
        await allowance.take()


class _Allowance:
    """The tokens that this process has for one rate."""

    def __init__(
        self,
        shared: Pacing,
        take: Callable[[Sequence[Draw]], Awaitable[Sequence[int] | Refusal]],
        monotonic: Callable[[], float],
        sleep: Sleep,
        waited: Counter,
    ) -> None:
        self._pacing = shared
        self._take = take
        self._monotonic = monotonic
        self._sleep = sleep
        self._waited = waited
        self._lock = asyncio.Lock()
        self._size = 1
        self._taken = self._left = 0
        self._void_at = 0.0

    async def take(self) -> None:
        """Waits for a token and uses it."""
        async with self._lock:
            if self._left == 0 or self._monotonic() >= self._void_at:
                await self._refill()
            self._left -= 1

    async def _refill(self) -> None:
        if self._taken:
            self._size = batch_size(self._size, self._taken, self._taken - self._left, self._pacing.most)
        self._taken = self._left = 0
        while True:
            # By the time before the store was asked: what the answer took counts as used up.
            void_at = self._monotonic() + self._pacing.lasts
            found = await self._take([Draw(self._pacing.bucket, need=1, most=self._size)])
            if not isinstance(found, Refusal):
                self._taken = self._left = found[0]
                self._void_at = void_at
                return
            seconds = patience(self._pacing, self._size, found.wait)
            self._waited.inc(seconds)
            await self._sleep(seconds)
