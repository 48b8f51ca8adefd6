"""What a worker reads and writes under its lease, and the ACME account."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from controlplane.core.certificate import CertificateRecord
from controlplane.core.managed_domain import Domain, DomainStatus
from controlplane.core.names import DomainName
from controlplane.core.order import OrderRecord
from controlplane.core.sealing import Envelope


@dataclass(frozen=True, slots=True)
class Lease:
    """The right of one worker to write a domain's status. `token` is the fencing token: it only ever grows."""

    name: DomainName
    owner: str
    token: int


@dataclass(frozen=True, slots=True)
class Work:
    """A leased domain as read under its lease."""

    domain: Domain
    order: OrderRecord | None
    certificate: CertificateRecord | None


class WorkStore(Protocol):
    """The worker's side of the store.

    Every write is fenced by the lease and raises `LeaseLost` when it does not hold any more, `DomainGone` when that is because the domain
    was deleted.
    """

    async def due(self, now: datetime, limit: int) -> Sequence[DomainName]:
        """Returns up to `limit` domains whose due time has come and that nobody leases, the longest due first."""
        ...

    async def next_due(self) -> datetime | None:
        """Returns the earliest due time of all, or None."""
        ...

    async def acquire(self, name: DomainName, owner: str, ttl: timedelta) -> Lease | None:
        """Takes the lease if it is free and the domain exists, else returns None. Hides the domain from `due` for `ttl`."""
        ...

    async def extend(self, lease: Lease, ttl: timedelta) -> None:
        """Prolongs the lease."""
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

    async def save_status(self, lease: Lease, status: DomainStatus, due: datetime | None) -> None:
        """Writes the status and the next due time (None: never by itself) and publishes a change.

        A renewal request written by the API since `load` keeps the domain due at once, whatever `due` says.
        """
        ...

    async def save_order(self, lease: Lease, order: OrderRecord | None, status: DomainStatus | None = None) -> None:
        """Writes the order (None removes it) and, when given, the status in the same write. Due time stays as it is."""
        ...

    async def save_certificate(
        self, lease: Lease, certificate: CertificateRecord, status: DomainStatus, due: datetime | None
    ) -> CertificateRecord:
        """Puts a certificate in force: one write of certificate, status, due time, expiry index and change event, removing the order.

        The record's generation is set by the store; the record as stored is returned. The certificate before it stays as the
        previous one.
        """
        ...


@dataclass(frozen=True, slots=True)
class AccountRecord:
    """An ACME account; the key is sealed to an `account` recipient key. `account_url` is empty until the CA has answered."""

    directory_url: str
    account_url: str
    sealed_account_key: Envelope
    spki_digest: bytes
    create_time: datetime


class AccountStore(Protocol):
    """ACME accounts, one a directory URL."""

    async def get(self, directory_url: str) -> AccountRecord | None:
        """Returns the authentic account record, or None.

        Raises:
            RecordRejected: there is one, but it is not authentic.
        """
        ...

    async def create(self, record: AccountRecord) -> AccountRecord:
        """Writes the record unless there is one already; returns the one that is stored."""
        ...

    async def set_url(self, directory_url: str, account_url: str) -> None:
        """Completes the record with the account's URL."""
        ...

    async def forget(self, directory_url: str) -> bool:
        """Removes the record: an operator's explicit act. Returns whether there was one."""
        ...
