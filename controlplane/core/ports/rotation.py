"""What rotation of keys reads and writes in the store."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from controlplane.core.rotation import ReplicaKeys
from controlplane.core.sealing import Envelope, Scheme, SealContext


@dataclass(frozen=True, slots=True)
class SealedRecord:
    """A stored record that holds an envelope.

    `place` is what it is: `certificate`, `previous`, `order`, `account` or `account-successor`; `owner` is the domain, or the directory URL
    of an account.
    `stored` are its bytes as read.
    """

    place: str
    owner: str
    envelope: Envelope
    context: SealContext
    record_key_id: str
    stored: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class UnreadableRecord:
    """A stored record that is damaged or not authentic: it can neither be served nor sealed anew."""

    place: str
    owner: str
    reason: str


@dataclass(frozen=True, slots=True)
class SealedPage:
    """Some records, and where to go on; an empty `cursor` is the end."""

    records: Sequence[SealedRecord | UnreadableRecord]
    cursor: str


class EnvelopeStore(Protocol):
    """Every envelope in the store, one page after the other."""

    async def page(self, cursor: str, domains: int) -> SealedPage:
        """Returns the records of up to so many domains, or the accounts, after a cursor (empty: from the beginning).

        What is written meanwhile may or may not be in a later page; what was there before and stays is in one.
        """
        ...

    async def replace(self, record: SealedRecord, envelope: Envelope) -> bool:
        """Puts another envelope into a record, authenticated under the ACTIVE record key. Publishes nothing.

        Returns False, and writes nothing, when the record is not any more what was read: a renewal came between. So too for an order that
        a worker has in hand, which would write it back as it read it; once an order was replaced, no worker does.
        """
        ...

    async def progress(self, target: str) -> str:
        """Returns the cursor that a run with this target has left behind; empty when there is none, or it cannot be read."""
        ...

    async def save_progress(self, target: str, cursor: str) -> None:
        """Leaves a cursor behind; an empty one removes it."""
        ...


class WorkUnderWay(Protocol):
    """What may need a key though no stored envelope says so."""

    async def leases(self) -> Mapping[bytes, bytes]:
        """Returns the leases that workers hold now. A worker may have sealed a leaf key under one and not stored it yet."""
        ...

    async def still_held(self, leases: Mapping[bytes, bytes]) -> Mapping[bytes, bytes]:
        """Returns those of `leases` that are still the same: neither given back, nor run out, nor taken again."""
        ...

    async def tokens(self) -> Mapping[str, int]:
        """Returns how many HTTP-01 tokens were written under which record key, by its id."""
        ...


class EnvelopeCounts(Protocol):
    """How certificates are sealed, as an index in the store says: fast, and not authenticated."""

    async def by_scheme(self) -> Mapping[Scheme, int]:
        """Returns how many certificates in force are sealed by each scheme; schemes without one are absent."""
        ...


class ReplicaReports(Protocol):
    """What running processes say of their keys."""

    async def report(self, keys: ReplicaKeys) -> None:
        """Writes the report of this process; it is gone after half a minute unless it is written again."""
        ...

    async def withdraw(self, replica: str) -> None:
        """Takes a report away: its process ends, and a rotation need not wait for it."""
        ...

    async def live(self) -> Sequence[ReplicaKeys]:
        """Returns the authentic reports of all processes that live."""
        ...
