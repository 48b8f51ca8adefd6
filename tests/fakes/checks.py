"""Checks that were asked for, in memory."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from controlplane.core.errors import ResourceExhausted, Unavailable
from controlplane.core.ports.checks import CheckLimits, CheckPhase, CheckProgress, CheckRequest, CheckResult, TakenCheck
from tests.fakes.work import utc_now


@dataclass(slots=True)
class _Row:
    run: str
    asked: datetime
    taken: datetime | None = None
    done: datetime | None = None
    result: CheckResult | None = None


@dataclass(slots=True)
class InMemoryChecks:
    """`CheckStore` in memory; `away` makes it Unavailable."""

    limits: CheckLimits = field(default_factory=CheckLimits)
    clock: Callable[[], datetime] = utc_now
    away: bool = False
    _rows: dict[CheckRequest, _Row] = field(default_factory=dict)
    _heard: datetime | None = None
    _runs: "itertools.count[int]" = field(default_factory=itertools.count)

    async def ask(self, request: CheckRequest) -> None:
        """See `CheckStore.ask`."""
        self._answer()
        now, row = self.clock(), self._rows.get(request)
        if row is not None:
            if row.done is not None:
                if now - row.done < self.limits.fresh:
                    return
            elif row.taken is None or now - row.taken < self.limits.running:
                return
        if sum(other.taken is None for other in self._rows.values()) >= self.limits.waiting:
            raise ResourceExhausted("too many checks wait")
        self._rows.pop(request, None)
        self._rows[request] = _Row(str(next(self._runs)), now)

    async def progress(self, request: CheckRequest) -> CheckProgress | None:
        """See `CheckStore.progress`."""
        self._answer()
        row = self._rows.get(request)
        if row is None:
            return None
        phase = CheckPhase.DONE if row.done else CheckPhase.RUNNING if row.taken else CheckPhase.WAITING
        return CheckProgress(phase, self._heard is not None and self.clock() - self._heard < self.limits.heard, row.result)

    async def take(self, limit: int) -> Sequence[TakenCheck]:
        """See `CheckStore.take`."""
        self._answer()
        self._heard = self.clock()
        waiting = [(request, row) for request, row in self._rows.items() if row.taken is None][:limit]
        for _, row in waiting:
            row.taken = self.clock()
        return [TakenCheck(request, row.run) for request, row in waiting]

    async def finish(self, taken: TakenCheck, result: CheckResult) -> None:
        """See `CheckStore.finish`."""
        self._answer()
        row = self._rows.get(taken.request)
        if row is not None and row.run == taken.run:
            row.done, row.result = self.clock(), result

    def _answer(self) -> None:
        if self.away:
            raise Unavailable("the store is away")
        now = self.clock()
        for request, row in tuple(self._rows.items()):
            if now - (row.done or row.taken or row.asked) > self.limits.lifetime:
                del self._rows[request]
