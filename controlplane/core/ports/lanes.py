"""What is waiting in the lanes of the schedule, as workers and `serve` tell it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from controlplane.core.lane import Lane


@dataclass(frozen=True, slots=True)
class LaneBacklog:
    """What waits in a lane.

    Attributes:
        due: Domains whose due time has come and that nobody works on.
        oldest_due_time: The earliest due time among them; None when there are none.
        due_soon: Domains that are due now or within the next hour.
        completed: Attempts of the lane that ended, in the whole fleet.
        observed: The time in which they did; zero when nothing has ended lately in any lane.
    """

    due: int
    oldest_due_time: datetime | None
    due_soon: int
    completed: int
    observed: timedelta

    def oldest_wait(self, now: datetime) -> timedelta:
        """Returns how long the longest due domain has waited."""
        return timedelta() if self.oldest_due_time is None else max(now - self.oldest_due_time, timedelta())

    @property
    def estimated_wait(self) -> timedelta | None:
        """How long what becomes due now will wait if the lane goes on as lately; None when nothing tells."""
        if not self.due:
            return timedelta()
        return self.observed * self.due / self.completed if self.completed else None


class LaneStore(Protocol):
    """The lanes of all workers together."""

    async def backlog(self, now: datetime) -> Mapping[Lane, LaneBacklog]:
        """Returns what waits in every lane. Each lane is counted at one moment, one after the other."""
        ...

    async def add_completed(self, now: datetime, completed: Mapping[Lane, int]) -> None:
        """Adds to what has ended; it counts for the next ten minutes."""
        ...

    async def promote(self, now: datetime, end: datetime) -> int:
        """Moves domains that are due, and whose certificate ends between `now` and `end`, from RENEWAL and NEW to URGENT.

        Returns how many. They keep their due times. Of a great many some are left for the next call.
        """
        ...
