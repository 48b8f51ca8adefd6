"""A clock that runs as the real one does, and is ahead of it (or behind) by what a test has let pass."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from tests.fakes.work import utc_now


@dataclass(slots=True)
class ShiftedClock:
    """`Clock`. The CA's clock is the real one all the time."""

    shift: timedelta = timedelta()

    def __call__(self) -> datetime:
        """Returns the time."""
        return utc_now() + self.shift

    def microseconds(self) -> int:
        """Returns the time as limits count it."""
        return int(self().timestamp() * 1_000_000)

    def wait_until(self, time: datetime) -> None:
        """Lets the time pass."""
        self.shift += max(time - self(), timedelta())
