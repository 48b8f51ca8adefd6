"""What a worker reads and writes under its lease."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from controlplane.core.certificate import CertificateRecord
from controlplane.core.lane import Lane
from controlplane.core.managed_domain import Domain, DomainStatus
from controlplane.core.names import DomainName
from controlplane.core.order import OrderRecord


@dataclass(frozen=True, slots=True)
class Lease:
    """The right of one worker to write a domain's status.

    `token` is the fencing token: it only ever grows. `lane` is where the domain waited.
    """

    name: DomainName
    owner: str
    token: int
    lane: Lane


@dataclass(frozen=True, slots=True)
class Work:
    """A leased domain as read under its lease."""

    domain: Domain
    order: OrderRecord | None
    certificate: CertificateRecord | None


@dataclass(frozen=True, slots=True)
class DueDomains:
    """A look at the schedule.

    `ready` are the domains that are due, by lane, the longest due first; `next_due_time` is the earliest due time that is still to come, in
    the lanes that were asked for: None when there is none, or when so much is due that the look did not reach it.
    """

    ready: Mapping[Lane, Sequence[DomainName]]
    next_due_time: datetime | None


class WorkStore(Protocol):
    """The worker's side of the store.

    Every write is fenced by the lease and raises `LeaseLost` when it does not hold any more, `DomainGone` when that is because the domain
    was deleted.
    """

    async def due(self, now: datetime, limits: Mapping[Lane, int]) -> DueDomains:
        """Returns domains whose due time has come and that nobody leases, up to a number in each lane that is asked for."""
        ...

    async def acquire(self, name: DomainName, owner: str, ttl: timedelta, *, due_by: datetime | None = None) -> Lease | None:
        """Takes the lease if it is free and the domain exists, else returns None. Hides the domain from `due` for `ttl`.

        With `due_by` it is taken only if it is due by then, or by the store's clock: whoever read the schedule a while ago does not do
        again what another has done since.
        """
        ...

    async def extend(self, lease: Lease, ttl: timedelta) -> None:
        """Prolongs the lease. A due time that was saved under it stays."""
        ...

    async def release(self, lease: Lease) -> None:
        """Gives the lease back; does nothing when it is lost already."""
        ...

    async def load(self, lease: Lease) -> Work:
        """Reads the domain, its order and its certificate in one step.

        Raises:
            LeaseLost: the domain is gone or somebody else's.
        """
        ...

    async def save_status(
        self, lease: Lease, status: DomainStatus, due: datetime | None, lane: Lane | None = None, *, publish: bool = True
    ) -> None:
        """Writes the status, the next due time (None: never by itself) and the lane to wait in (None: as before).

        It publishes a change unless told not to: for what nobody outside of workers can see.

        A request written by the API since `load` keeps the domain due at once and in the lane that goes with the request, whatever
        `due` and `lane` say.
        """
        ...

    async def save_order(self, lease: Lease, order: OrderRecord | None, status: DomainStatus | None = None) -> None:
        """Writes the order (None removes it) and, when given, the status in the same write. Due time stays as it is."""
        ...

    async def save_certificate(
        self, lease: Lease, certificate: CertificateRecord, status: DomainStatus, due: datetime | None, lane: Lane = Lane.RENEWAL
    ) -> CertificateRecord:
        """Puts a certificate in force: one write of certificate, status, due time and lane, expiry index and change event.

        It removes the order.

        The record's generation is set by the store; the record as stored is returned. The certificate before it stays as the
        previous one.
        """
        ...
