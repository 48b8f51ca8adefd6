"""ReplacementStore in memory, and what a replacement is made of in a test: a fleet, a job, a clock."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from controlplane.core.errors import LeaseLost, Unavailable
from controlplane.core.replacement import Replacement


@dataclass(slots=True)
class InMemoryReplacements:
    """`ReplacementStore` and `StoppedReplacements`.

    `away` makes every call raise `Unavailable`, `away_for` every save of such a replacement; `end_job` lets the job run out.
    """

    away: bool = False
    away_for: Callable[[Replacement], bool] = lambda _: False
    owner: str = ""
    saved: list[Replacement] = field(default_factory=list)
    _records: dict[str, Replacement] = field(default_factory=dict)
    _stopped: dict[str, datetime] = field(default_factory=dict)

    async def create(self, replacement: Replacement) -> Replacement:
        """See `ReplacementStore.create`."""
        self._answer()
        self._records.setdefault(replacement.id, replacement)
        return self._shown(replacement.id)

    async def get(self, identifier: str) -> Replacement | None:
        """See `ReplacementStore.get`."""
        self._answer()
        return self._shown(identifier) if identifier in self._records else None

    async def list_all(self) -> Sequence[Replacement]:
        """See `ReplacementStore.list_all`."""
        self._answer()
        return sorted(map(self._shown, self._records), key=lambda each: (each.create_time, each.id), reverse=True)

    async def stop(self, identifier: str, at: datetime) -> None:
        """See `ReplacementStore.stop`."""
        self._answer()
        self._stopped.setdefault(identifier, at)

    async def stopped(self) -> frozenset[str]:
        """See `ReplacementStore.stopped`."""
        self._answer()
        return frozenset(self._stopped)

    async def current(self) -> frozenset[str]:
        """See `StoppedReplacements.current`."""
        return await self.stopped()

    async def take_job(self, owner: str, ttl: timedelta) -> bool:
        """See `ReplacementStore.take_job`."""
        self._answer()
        self.owner = self.owner or owner
        return self.owner == owner

    async def leave_job(self, owner: str) -> None:
        """See `ReplacementStore.leave_job`."""
        self._answer()
        if self.owner == owner:
            self.owner = ""

    async def save(self, owner: str, replacement: Replacement, ttl: timedelta) -> None:
        """See `ReplacementStore.save`."""
        self._answer()
        if self.away_for(replacement):
            raise Unavailable("the store does not answer")
        if self.owner != owner:
            raise LeaseLost("the job is another's")
        self._records[replacement.id] = replacement
        self.saved.append(replacement)

    def end_job(self) -> None:
        """Lets the time of the job run out, as when its replica was killed."""
        self.owner = ""

    def _shown(self, identifier: str) -> Replacement:
        return replace(self._records[identifier], stop_time=self._stopped.get(identifier))

    def _answer(self) -> None:
        if self.away:
            raise Unavailable("the store does not answer")
