"""The circuit breaker of one CA, shared by all processes through the store: who may send, and what that told of the CA."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlsplit

import structlog
from prometheus_client import Gauge

from controlplane.core.breaker import CLOSED, Asked, Breaker, BreakerState, ask, failed, succeeded
from controlplane.core.errors import Unavailable
from controlplane.core.jitter import fraction
from controlplane.core.ports import BreakerStore, Clock

_log = structlog.get_logger(__name__)

_STATE = Gauge("certplane_ca_breaker_state", "A CA's circuit breaker: 0 closed, 1 half-open, 2 open.", ["authority"])
_NUMBERS = {BreakerState.CLOSED: 0, BreakerState.HALF_OPEN: 1, BreakerState.OPEN: 2}
_LONGEST_SECONDS = 10**9

_SEEN_FOR = timedelta(seconds=1)
"""So long a closed breaker is believed to be closed without asking the store: others' faults are then learnt of a second later."""

# Each lost comparison means that somebody else's change went through.
_WRITE_ATTEMPTS = 20


@dataclass(frozen=True, slots=True)
class Permission:
    """The answer to who wants to send an order, and the version of the breaker that it is about."""

    asked: Asked
    before: Breaker
    version: bytes


class CaBreaker:
    """See `core.breaker`. Every call raises `Unavailable` when the store does not answer."""

    def __init__(self, directory_url: str, breakers: BreakerStore, clock: Clock) -> None:
        self._directory_url = directory_url
        self._breakers = breakers
        self._clock = clock
        self._closed_at: datetime | None = None
        self._gauge = _STATE.labels(urlsplit(directory_url).hostname or "")

    async def ask(self, *, anew: bool = False) -> Permission:
        """Returns whether an order may be sent. A probe may only once `start_probe` said so.

        `anew`: the store is asked, whatever was seen a moment ago.
        """
        if self._seen_closed and not anew:
            return Permission(ask(CLOSED, self._clock()), CLOSED, b"")
        stored = await self._breakers.load(self._directory_url)
        self._see(stored.breaker)
        return Permission(ask(stored.breaker, self._clock()), stored.breaker, stored.version)

    async def start_probe(self, permission: Permission) -> bool:
        """Makes the asker the one probe; returns False when the breaker changed since, and it has to ask again."""
        after = permission.asked.breaker
        started = await self._breakers.compare_and_set(self._directory_url, permission.version, after)
        if started:
            self._note(permission.before, after)
        return started

    async def healthy(self) -> None:
        """Notes that the CA answered as it should."""
        if not self._seen_closed:
            await self._change(succeeded)

    async def faulty(self, retry_after: float | None) -> None:
        """Notes a fault of the CA; `retry_after` in seconds, if it said so."""
        asked = None if retry_after is None else timedelta(seconds=min(retry_after, _LONGEST_SECONDS))

        def fault(breaker: Breaker) -> Breaker:
            return failed(breaker, self._clock(), fraction("breaker", self._directory_url, str(breaker.openings)), asked)

        await self._change(fault)

    async def _change(self, event: Callable[[Breaker], Breaker]) -> None:
        for _ in range(_WRITE_ATTEMPTS):
            stored = await self._breakers.load(self._directory_url)
            after = event(stored.breaker)
            if after == stored.breaker or await self._breakers.compare_and_set(self._directory_url, stored.version, after):
                self._note(stored.breaker, after)
                return
        raise Unavailable("the circuit breaker of the CA changes faster than it can be written")

    @property
    def _seen_closed(self) -> bool:
        """Whether it was closed, without a fault, a moment ago."""
        return self._closed_at is not None and timedelta() <= self._clock() - self._closed_at < _SEEN_FOR

    def _see(self, breaker: Breaker) -> None:
        self._closed_at = self._clock() if breaker == CLOSED else None
        self._gauge.set(_NUMBERS[breaker.state])

    def _note(self, before: Breaker, after: Breaker) -> None:
        self._see(after)
        if before.state is after.state:
            return
        fields = {"directory_url": self._directory_url, "faults": after.faults or before.faults, "openings": after.openings}
        if after.state is BreakerState.OPEN:
            _log.warning("circuit breaker opened", until=None if after.until is None else after.until.isoformat(), **fields)
        elif after.state is BreakerState.CLOSED:
            _log.info("circuit breaker closed", **fields)
        else:
            _log.info("circuit breaker half-open", **fields)
