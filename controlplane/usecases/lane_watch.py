"""Keeps what can be seen of the lanes: how many domains wait, how long the oldest does, and how long the next one will."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta

import structlog
from prometheus_client import Gauge

from controlplane.core.errors import Unavailable
from controlplane.core.lane import Lane
from controlplane.core.lanes import PROMOTED_BEFORE_END
from controlplane.core.ports import Clock, LaneBacklog, LaneStore

_log = structlog.get_logger(__name__)

_DUE = Gauge("certplane_lane_due", "Domains that are due and that nobody works on, by lane.", ["lane"])
_DUE_SOON = Gauge("certplane_lane_due_within_hour", "Domains that are due now or within an hour, by lane.", ["lane"])
_OLDEST = Gauge("certplane_lane_oldest_wait_seconds", "How long the longest due domain has waited, by lane.", ["lane"])
_ETA = Gauge(
    "certplane_lane_eta_seconds",
    "How long what becomes due now will wait, by what ended lately; +Inf when nothing of the lane did.",
    ["lane"],
)


class LaneWatch:
    """Counts for a worker what ended, keeps the gauges, and moves what waits too long to the lane of what is urgent."""

    def __init__(
        self, lanes: LaneStore, clock: Clock, interval: timedelta = timedelta(seconds=15), promotions: timedelta = timedelta(minutes=1)
    ) -> None:
        """Takes its port; every `promotions` it looks for what waits too long, which asks every shard of the store."""
        self._lanes = lanes
        self._clock = clock
        self._interval = interval
        self._promotions = promotions
        self._next_promotion: datetime | None = None
        self._ended: Counter[Lane] = Counter()

    def completed(self, lane: Lane) -> None:
        """Takes note of an attempt that ended."""
        self._ended[lane] += 1

    async def check(self) -> Mapping[Lane, LaneBacklog]:
        """Does everything once; returns what waits.

        Raises:
            Unavailable: the store does not answer; what ended is counted the next time.
        """
        now = self._clock()
        if ended := dict(self._ended):
            await self._lanes.add_completed(now, ended)
            self._ended.subtract(ended)
            self._ended = +self._ended
        if self._next_promotion is None or now >= self._next_promotion:
            self._next_promotion = now + self._promotions
            promoted = await self._lanes.promote(now, now + PROMOTED_BEFORE_END)
            if promoted:
                _log.warning("domains have waited until their certificates are near their end", domains=promoted)
        found = await self._lanes.backlog(now)
        for lane, backlog in found.items():
            _DUE.labels(lane).set(backlog.due)
            _DUE_SOON.labels(lane).set(backlog.due_soon)
            _OLDEST.labels(lane).set(backlog.oldest_wait(now).total_seconds())
            wait = backlog.estimated_wait
            _ETA.labels(lane).set(float("inf") if wait is None else wait.total_seconds())
        return found

    async def run(self) -> None:
        """Does it for ever; a failure leaves the gauges as they are."""
        while True:
            try:
                await self.check()
            except Unavailable as error:
                _log.warning("lanes not counted", reason=str(error))
            except Exception:
                # Nothing that is found in the store may end the process.
                _log.exception("lanes could not be counted")
            await asyncio.sleep(self._interval.total_seconds())
