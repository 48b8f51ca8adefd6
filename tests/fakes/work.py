"""The worker's side of the store in memory, with the ports' semantics: leases, fencing tokens, one write for what belongs together."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from controlplane.core.certificate import CertificateRecord
from controlplane.core.errors import DomainGone, LeaseLost, Unavailable
from controlplane.core.lane import Lane
from controlplane.core.lanes import lane_of
from controlplane.core.managed_domain import Domain, DomainSpec, DomainStatus
from controlplane.core.names import DomainName
from controlplane.core.order import OrderRecord
from controlplane.core.ports import ALL_KINDS, ChangeKind, ChangesLost, DomainChanged, DueDomains, LaneBacklog, Lease, NoCertificate, Work

_COUNTED = timedelta(minutes=10)


def utc_now() -> datetime:
    """The time now, aware."""
    return datetime.now(UTC)


@dataclass(slots=True)
class _Row:
    """A domain with everything about it."""

    domain: Domain
    due: datetime | None
    lane: Lane
    order: OrderRecord | None = None
    certificate: CertificateRecord | None = None
    previous: CertificateRecord | None = None
    fence: int = 0
    owner: str = ""
    lease_end: datetime | None = None
    saved: bool = False
    woken: bool = False


@dataclass(frozen=True, slots=True)
class Write:
    """One write, as the history of a domain keeps it."""

    kind: str
    order: OrderRecord | None
    status: DomainStatus | None


@dataclass(slots=True)
class InMemoryWork:
    """`WorkStore`, `LaneStore` and `ChangeFeed` over one set of domains.

    `away` makes every call raise `Unavailable`. `before_write` is called before each write and may raise; `after_write` is called when
    it is done: a test lets the worker die there.
    """

    clock: Callable[[], datetime] = utc_now
    away: bool = False
    before_write: Callable[[Write], None] = lambda _: None
    after_write: Callable[[Write], None] = lambda _: None
    history: list[Write] = field(default_factory=list)
    acquired: list[tuple[DomainName, str]] = field(default_factory=list)
    looks: int = 0
    completed: list[tuple[datetime, Lane, int]] = field(default_factory=list)
    _rows: dict[DomainName, _Row] = field(default_factory=dict)
    _changes: list[DomainChanged] = field(default_factory=list)
    _written: asyncio.Condition = field(default_factory=asyncio.Condition)
    _fences: int = 0

    # ---- what the API does ----

    async def add(self, spec: DomainSpec, status: DomainStatus | None = None, certificate: CertificateRecord | None = None) -> None:
        """Writes a domain, due at once."""
        domain, now = Domain(spec, status or DomainStatus(), 1), self.clock()
        self._rows[spec.fqdn] = _Row(domain, now, lane_of(domain, now), certificate=certificate)
        await self._publish(spec, ChangeKind.SPEC)

    async def request_renewal(self, name: DomainName) -> None:
        """Asks for a renewal, due at once."""
        row = self._rows[name]
        row.domain = replace(row.domain, spec=replace(row.domain.spec, renewal_request_time=self.clock()), revision=row.domain.revision + 1)
        row.due, row.woken = self.clock(), True
        row.lane = lane_of(row.domain, row.due)
        await self._publish(row.domain.spec, ChangeKind.SPEC)

    async def delete(self, name: DomainName) -> None:
        """Removes a domain with everything about it."""
        row = self._rows.pop(name)
        await self._publish(row.domain.spec, ChangeKind.DELETED)

    def vanish(self, name: DomainName) -> None:
        """Removes a domain at once, from within a callback."""
        del self._rows[name]

    def make_due(self, name: DomainName) -> None:
        """Makes a domain due now, and its next attempt too, as the passing of time does."""
        row, now = self._rows[name], self.clock()
        row.due = now
        again = row.domain.status.next_attempt_time
        if again is not None and again > now:
            row.domain = replace(row.domain, status=replace(row.domain.status, next_attempt_time=now))

    def lane_of(self, name: DomainName) -> Lane:
        """The lane in which a domain waits."""
        return self._rows[name].lane

    def expire_lease(self, name: DomainName) -> None:
        """Lets the lease of a dead worker run out."""
        row = self._rows[name]
        row.lease_end, row.due = None, self.clock()

    def steal(self, name: DomainName) -> None:
        """Ends the lease that there is and lets somebody else take the next: every write of the old holder is refused."""
        row = self._rows[name]
        # One counter for all domains: a domain that is made anew must not accept a lease of its former life.
        self._fences += 1
        row.fence = self._fences
        row.owner, row.lease_end = "thief", self.clock() + timedelta(hours=1)

    def domain(self, name: DomainName) -> Domain:
        """The domain as stored."""
        return self._rows[name].domain

    def order_of(self, name: DomainName) -> OrderRecord | None:
        """The order as stored."""
        return self._rows[name].order

    def certificate_of(self, name: DomainName) -> CertificateRecord | None:
        """The certificate in force."""
        return self._rows[name].certificate

    def previous_of(self, name: DomainName) -> CertificateRecord | None:
        """The certificate before it."""
        return self._rows[name].previous

    def due_of(self, name: DomainName) -> datetime | None:
        """The due time."""
        return self._rows[name].due

    def leased(self, name: DomainName) -> bool:
        """Whether anybody holds a lease."""
        return self._held(self._rows[name])

    # ---- WorkStore ----

    async def due(self, now: datetime, limits: Mapping[Lane, int]) -> DueDomains:
        """See `WorkStore.due`."""
        self.looks += 1
        await self._answer()
        scheduled = sorted((row.due, name, row) for name, row in self._rows.items() if row.due is not None and row.lane in limits)
        ready: dict[Lane, list[DomainName]] = {lane: [] for lane in limits}
        for due, name, row in scheduled:
            if due <= now and not self._held(row) and len(ready[row.lane]) < limits[row.lane]:
                ready[row.lane].append(name)
        return DueDomains(ready, next((due for due, _, _ in scheduled if due > now), None))

    async def acquire(self, name: DomainName, owner: str, ttl: timedelta, *, due_by: datetime | None = None) -> Lease | None:
        """See `WorkStore.acquire`."""
        await self._answer()
        row = self._rows.get(name)
        if row is None or self._held(row):
            return None
        if due_by is not None and (row.due is None or row.due > max(due_by, self.clock())):
            return None
        # One counter for all domains: a domain that is made anew must not accept a lease of its former life.
        self._fences += 1
        row.fence = self._fences
        row.owner, row.lease_end, row.saved = owner, self.clock() + ttl, False
        row.due = row.lease_end
        self.acquired.append((name, owner))
        return Lease(name, owner, row.fence, row.lane)

    async def extend(self, lease: Lease, ttl: timedelta) -> None:
        """See `WorkStore.extend`."""
        await self._answer()
        row = self._fenced(lease)
        row.lease_end = self.clock() + ttl
        if not row.woken and not row.saved:
            row.due = row.lease_end

    async def release(self, lease: Lease) -> None:
        """See `WorkStore.release`."""
        await self._answer()
        row = self._rows.get(lease.name)
        if row is not None and row.fence == lease.token:
            row.lease_end = None
            if not row.saved:
                row.due = self.clock()

    async def load(self, lease: Lease) -> Work:
        """See `WorkStore.load`."""
        await self._answer()
        row = self._fenced(lease)
        row.woken = False
        return Work(row.domain, row.order, row.certificate)

    async def save_status(
        self, lease: Lease, status: DomainStatus, due: datetime | None, lane: Lane | None = None, *, publish: bool = True
    ) -> None:
        """See `WorkStore.save_status`."""
        await self._write(lease, Write("status", None, status), due=due, lane=lane, sets_due=True, publish=publish)

    async def save_order(self, lease: Lease, order: OrderRecord | None, status: DomainStatus | None = None) -> None:
        """See `WorkStore.save_order`."""
        await self._write(lease, Write("order", order, status), sets_order=True)

    async def save_certificate(
        self, lease: Lease, certificate: CertificateRecord, status: DomainStatus, due: datetime | None, lane: Lane = Lane.RENEWAL
    ) -> CertificateRecord:
        """See `WorkStore.save_certificate`."""
        write = Write("certificate", None, status)
        row = self._rows.get(lease.name)
        before = row.certificate.generation if row is not None and row.certificate is not None else 0
        stored = replace(certificate, generation=max(before, certificate.generation) + 1)
        await self._write(lease, write, due=due, lane=lane, sets_due=True, sets_order=True, certificate=stored)
        return stored

    # ---- LaneStore ----

    async def backlog(self, now: datetime) -> Mapping[Lane, LaneBacklog]:
        """See `LaneStore.backlog`."""
        await self._answer()
        lately = [(at, lane, count) for at, lane, count in self.completed if at > now - _COUNTED]
        observed = now - min(at for at, _, _ in lately) if lately else timedelta()
        return {lane: self._backlog(lane, now, sum(count for _, each, count in lately if each is lane), observed) for lane in Lane}

    def _backlog(self, lane: Lane, now: datetime, completed: int, observed: timedelta) -> LaneBacklog:
        times = sorted(row.due for row in self._rows.values() if row.lane is lane and row.due is not None)
        due = sum(time <= now for time in times)
        soon = sum(time <= now + timedelta(hours=1) for time in times)
        return LaneBacklog(due, times[0] if due else None, soon, completed, observed)

    async def add_completed(self, now: datetime, completed: Mapping[Lane, int]) -> None:
        """See `LaneStore.add_completed`."""
        await self._answer()
        # Counted by the minute, as the store does.
        self.completed.extend((now.replace(second=0, microsecond=0), lane, count) for lane, count in completed.items())

    async def promote(self, now: datetime, end: datetime) -> int:
        """See `LaneStore.promote`."""
        await self._answer()
        promoted = [
            row
            for row in self._rows.values()
            if row.due is not None
            and row.due <= now
            and row.lane in (Lane.RENEWAL, Lane.NEW)
            and row.certificate is not None
            and now < row.certificate.not_after <= end
        ]
        for row in promoted:
            row.lane = Lane.URGENT
        return len(promoted)

    # ---- ChangeFeed ----

    async def position(self) -> str:
        """See `ChangeFeed.position`."""
        await self._answer()
        return str(len(self._changes))

    async def follow(self, position: str = "", *, kinds: frozenset[ChangeKind] = ALL_KINDS) -> AsyncIterator[DomainChanged | ChangesLost]:
        """See `ChangeFeed.follow`."""
        number = int(position) if position else len(self._changes)
        while True:
            if number < len(self._changes):
                number += 1
                if self._changes[number - 1].kind in kinds:
                    yield self._changes[number - 1]
            else:
                async with self._written:
                    if number == len(self._changes):
                        await self._written.wait()

    async def _write(
        self,
        lease: Lease,
        write: Write,
        *,
        due: datetime | None = None,
        lane: Lane | None = None,
        sets_due: bool = False,
        sets_order: bool = False,
        certificate: CertificateRecord | None = None,
        publish: bool = True,
    ) -> None:
        await self._answer()
        self.before_write(write)
        row = self._fenced(lease)
        if sets_order:
            row.order = write.order
        if write.status is not None:
            row.domain = replace(row.domain, status=write.status, revision=row.domain.revision + publish)
        if certificate is not None:
            row.certificate, row.previous = certificate, row.certificate
        if row.woken:
            row.due = self.clock()
        elif sets_due:
            row.due, row.lane = due, lane or row.lane
        row.saved = row.saved or sets_due
        self.history.append(write)
        if publish:
            await self._publish(row.domain.spec, ChangeKind.STATUS if certificate is None else ChangeKind.CERTIFICATE)
        self.after_write(write)

    def _fenced(self, lease: Lease) -> _Row:
        row = self._rows.get(lease.name)
        if row is None:
            raise DomainGone(f"domains/{lease.name} was deleted")
        if row.fence != lease.token:
            raise LeaseLost(f"domains/{lease.name} is gone or leased by another worker")
        return row

    def _held(self, row: _Row) -> bool:
        return row.lease_end is not None and row.lease_end > self.clock()

    async def _answer(self) -> None:
        await asyncio.sleep(0)
        if self.away:
            raise Unavailable("the store does not answer", retry_after=0.01)

    async def _publish(self, spec: DomainSpec, kind: ChangeKind) -> None:
        names = tuple(name.value for name in spec.all_names)
        self._changes.append(DomainChanged(spec.fqdn.value, names, kind, str(len(self._changes) + 1)))
        async with self._written:
            self._written.notify_all()


class PreviousCertificates:
    """What is asked of a `CertificateStore` to revoke: the certificates that were in force before, of an `InMemoryWork`."""

    def __init__(self, work: InMemoryWork) -> None:
        self._work = work

    async def previous(self, names: Sequence[str]) -> Mapping[str, CertificateRecord | NoCertificate]:
        """See `CertificateStore.previous`."""
        await asyncio.sleep(0)
        return {name: self._work.previous_of(DomainName(name)) or NoCertificate.MISSING for name in names}
