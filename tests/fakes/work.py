"""The worker's side of the store in memory, with the ports' semantics: leases, fencing tokens, one write for what belongs together."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from controlplane.core.certificate import CertificateRecord
from controlplane.core.errors import DomainGone, LeaseLost, Unavailable
from controlplane.core.managed_domain import Domain, DomainSpec, DomainStatus
from controlplane.core.names import DomainName
from controlplane.core.order import OrderRecord
from controlplane.core.ports import ALL_KINDS, AccountRecord, ChangeKind, ChangesLost, DomainChanged, Lease, Work


def utc_now() -> datetime:
    """The time now, aware."""
    return datetime.now(UTC)


@dataclass(slots=True)
class _Row:
    """A domain with everything about it."""

    domain: Domain
    due: datetime | None
    order: OrderRecord | None = None
    certificate: CertificateRecord | None = None
    previous: CertificateRecord | None = None
    fence: int = 0
    owner: str = ""
    lease_end: datetime | None = None
    loaded_request: datetime | None = None


@dataclass(frozen=True, slots=True)
class Write:
    """One write, as the history of a domain keeps it."""

    kind: str
    order: OrderRecord | None
    status: DomainStatus | None


@dataclass(slots=True)
class InMemoryWork:
    """`WorkStore` and `ChangeFeed` over one set of domains.

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
    _rows: dict[DomainName, _Row] = field(default_factory=dict)
    _changes: list[DomainChanged] = field(default_factory=list)
    _written: asyncio.Condition = field(default_factory=asyncio.Condition)
    _fences: int = 0

    # ---- what the API does ----

    async def add(self, spec: DomainSpec, status: DomainStatus | None = None, certificate: CertificateRecord | None = None) -> None:
        """Writes a domain, due at once."""
        self._rows[spec.fqdn] = _Row(Domain(spec, status or DomainStatus(), 1), self.clock(), certificate=certificate)
        await self._publish(spec, ChangeKind.SPEC)

    async def request_renewal(self, name: DomainName) -> None:
        """Asks for a renewal, due at once."""
        row = self._rows[name]
        row.domain = replace(row.domain, spec=replace(row.domain.spec, renewal_request_time=self.clock()), revision=row.domain.revision + 1)
        row.due = self.clock()
        await self._publish(row.domain.spec, ChangeKind.SPEC)

    async def delete(self, name: DomainName) -> None:
        """Removes a domain with everything about it."""
        row = self._rows.pop(name)
        await self._publish(row.domain.spec, ChangeKind.DELETED)

    def vanish(self, name: DomainName) -> None:
        """Removes a domain at once, from within a callback."""
        del self._rows[name]

    def make_due(self, name: DomainName) -> None:
        """Makes a domain due now, as the passing of time does."""
        self._rows[name].due = self.clock()

    def expire_lease(self, name: DomainName) -> None:
        """Lets the lease of a dead worker run out."""
        self._rows[name].lease_end = None

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

    def due_of(self, name: DomainName) -> datetime | None:
        """The due time."""
        return self._rows[name].due

    def leased(self, name: DomainName) -> bool:
        """Whether anybody holds a lease."""
        return self._held(self._rows[name])

    # ---- WorkStore ----

    async def due(self, now: datetime, limit: int) -> Sequence[DomainName]:
        """See `WorkStore.due`."""
        self.looks += 1
        await self._answer()
        found = sorted(
            (row.due, name) for name, row in self._rows.items() if row.due is not None and row.due <= now and not self._held(row)
        )
        return [name for _, name in found[:limit]]

    async def next_due(self) -> datetime | None:
        """See `WorkStore.next_due`."""
        await self._answer()
        return min((row.due for row in self._rows.values() if row.due is not None), default=None)

    async def acquire(self, name: DomainName, owner: str, ttl: timedelta) -> Lease | None:
        """See `WorkStore.acquire`."""
        await self._answer()
        row = self._rows.get(name)
        if row is None or self._held(row):
            return None
        # One counter for all domains: a domain that is made anew must not accept a lease of its former life.
        self._fences += 1
        row.fence = self._fences
        row.owner, row.lease_end = owner, self.clock() + ttl
        self.acquired.append((name, owner))
        return Lease(name, owner, row.fence)

    async def extend(self, lease: Lease, ttl: timedelta) -> None:
        """See `WorkStore.extend`."""
        await self._answer()
        self._fenced(lease).lease_end = self.clock() + ttl

    async def release(self, lease: Lease) -> None:
        """See `WorkStore.release`."""
        await self._answer()
        row = self._rows.get(lease.name)
        if row is not None and row.fence == lease.token:
            row.lease_end = None

    async def load(self, lease: Lease) -> Work:
        """See `WorkStore.load`."""
        await self._answer()
        row = self._fenced(lease)
        row.loaded_request = row.domain.spec.renewal_request_time
        return Work(row.domain, row.order, row.certificate)

    async def save_status(self, lease: Lease, status: DomainStatus, due: datetime | None) -> None:
        """See `WorkStore.save_status`."""
        await self._write(lease, Write("status", None, status), due=due, sets_due=True)

    async def save_order(self, lease: Lease, order: OrderRecord | None, status: DomainStatus | None = None) -> None:
        """See `WorkStore.save_order`."""
        await self._write(lease, Write("order", order, status), sets_order=True)

    async def save_certificate(
        self, lease: Lease, certificate: CertificateRecord, status: DomainStatus, due: datetime | None
    ) -> CertificateRecord:
        """See `WorkStore.save_certificate`."""
        write = Write("certificate", None, status)
        row = self._rows.get(lease.name)
        before = row.certificate.generation if row is not None and row.certificate is not None else 0
        stored = replace(certificate, generation=max(before, certificate.generation) + 1)
        await self._write(lease, write, due=due, sets_due=True, sets_order=True, certificate=stored)
        return stored

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
        sets_due: bool = False,
        sets_order: bool = False,
        certificate: CertificateRecord | None = None,
    ) -> None:
        await self._answer()
        self.before_write(write)
        row = self._fenced(lease)
        if sets_order:
            row.order = write.order
        if write.status is not None:
            row.domain = replace(row.domain, status=write.status, revision=row.domain.revision + 1)
        if certificate is not None:
            row.certificate, row.previous = certificate, row.certificate
        if sets_due:
            asked = row.domain.spec.renewal_request_time
            row.due = self.clock() if asked != row.loaded_request else due
        self.history.append(write)
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


@dataclass(slots=True)
class InMemoryAccounts:
    """`AccountStore` in memory. `created` counts the records ever written."""

    records: dict[str, AccountRecord] = field(default_factory=dict)
    created: int = 0

    async def get(self, directory_url: str) -> AccountRecord | None:
        """See `AccountStore.get`."""
        await asyncio.sleep(0)
        return self.records.get(directory_url)

    async def create(self, record: AccountRecord) -> AccountRecord:
        """See `AccountStore.create`."""
        await asyncio.sleep(0)
        if record.directory_url not in self.records:
            self.records[record.directory_url] = record
            self.created += 1
        return self.records[record.directory_url]

    async def set_url(self, directory_url: str, account_url: str) -> None:
        """See `AccountStore.set_url`."""
        await asyncio.sleep(0)
        self.records[directory_url] = replace(self.records[directory_url], account_url=account_url)

    async def forget(self, directory_url: str) -> bool:
        """See `AccountStore.forget`."""
        return self.records.pop(directory_url, None) is not None
