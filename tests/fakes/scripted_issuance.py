"""Attempts that take as long as those at a real CA, over the real table of lanes and the real backoff; nothing is sent anywhere."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from controlplane.core import failure as failures
from controlplane.core.backoff import FailureKind, delay
from controlplane.core.lane import Lane
from controlplane.core.lanes import PATIENCE, lane_of
from controlplane.core.managed_domain import Actor, DomainState
from controlplane.core.ports import Lease
from controlplane.usecases.issuance_metrics import Outcome
from controlplane.usecases.order_slots import OrderSlots
from tests.fakes.work import InMemoryWork

PREFLIGHT, ORDER = 0.3, 1.0
"""Seconds."""
LIFETIME = timedelta(days=90)


@dataclass(slots=True)
class ScriptedIssuance:
    """Names that begin with `hopeless` hang for as long as anybody has patience; all others pass and are issued.

    `issued` has when, by name; `attempts` the lane of every attempt, `most` how many of a lane there ever were at a time.
    """

    work: InMemoryWork
    slots: OrderSlots
    clock: Callable[[], datetime]
    preflight: float = PREFLIGHT
    order: float = ORDER
    issued: dict[str, datetime] = field(default_factory=dict)
    attempts: list[tuple[str, Lane]] = field(default_factory=list)
    running: dict[Lane, int] = field(default_factory=lambda: dict.fromkeys(Lane, 0))
    most: dict[Lane, int] = field(default_factory=lambda: dict.fromkeys(Lane, 0))

    async def carry_out(self, lease: Lease) -> Outcome:
        """See `Issuance.carry_out`."""
        self.attempts.append((lease.name.value, lease.lane))
        self.running[lease.lane] += 1
        self.most[lease.lane] = max(self.most[lease.lane], self.running[lease.lane])
        try:
            return await self._attempt(lease)
        finally:
            self.running[lease.lane] -= 1

    async def _attempt(self, lease: Lease) -> Outcome:
        domain = (await self.work.load(lease)).domain
        if lease.name.value.startswith("hopeless"):
            await asyncio.sleep(PATIENCE[lease.lane].total_seconds())
            count = domain.status.attempt_count + 1
            due = self.clock() + delay(FailureKind.PREFLIGHT, count, lease.name.value)
            problem = failures.own(failures.OWN + "preflight:timeout", "hangs", Actor.NOBODY, self.clock()).problem
            status = replace(domain.status, attempt_count=count, last_error=problem, next_attempt_time=due)
            await self.work.save_status(lease, status, due, lane_of(replace(domain, status=status), due))
            return Outcome.DELAYED
        await asyncio.sleep(self.preflight)
        async with self.slots.taken(lease.lane):
            await asyncio.sleep(self.order)
        now = self.clock()
        self.issued[lease.name.value] = now
        status = replace(domain.status, state=DomainState.ACTIVE, issue_time=now, expire_time=now + LIFETIME, renewal_done_time=now)
        due = now + LIFETIME * 2 / 3
        await self.work.save_status(lease, status, due, lane_of(replace(domain, status=status), due))
        return Outcome.ISSUED
