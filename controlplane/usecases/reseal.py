"""Seals every stored envelope anew to the ACTIVE recipient keys, and authenticates every record under the ACTIVE record key.

A run can be stopped and taken up again, goes on beside renewals (a record that changed meanwhile is left as the renewal wrote it), and
pushes nothing to anybody: a certificate's version follows from its chain. What is sealed to the right key already is not touched.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from controlplane.core.errors import SealingError
from controlplane.core.keyring import KeyInventory, sealing_key, writing_record_key
from controlplane.core.ports import EnvelopeStore, Opener, SealedRecord, Sealer, UnreadableRecord
from controlplane.core.sealing import KeyClass

_DOMAINS_PER_PAGE = 200


@dataclass(frozen=True, slots=True)
class Target:
    """What everything is sealed to: the ACTIVE recipient key of the class, and the ACTIVE record key."""

    key_class: KeyClass
    recipient_key_id: str
    record_key_id: str

    @staticmethod
    def of(inventory: KeyInventory, key_class: KeyClass) -> "Target":
        """Returns what an inventory says.

        Raises:
            ConfigurationError: there is not exactly one ACTIVE key of the class, or of record keys.
        """
        return Target(key_class, sealing_key(inventory, key_class).key_id, writing_record_key(inventory).key_id)

    @property
    def name(self) -> str:
        """What a stopped run is taken up again by: with another record key there is more to do than that run did."""
        return f"{self.recipient_key_id}:{self.record_key_id}"

    def reached_by(self, record: SealedRecord) -> bool:
        """Returns whether a record is as it should be."""
        return record.envelope.recipient_key_id == self.recipient_key_id and record.record_key_id == self.record_key_id


@dataclass(slots=True)
class Tally:
    """What a run has met. `failed` says of some records why they could not be sealed anew.

    `changed_meanwhile` counts records that a worker was faster with, or has in hand: another run looks at them again.
    """

    seen: int = 0
    resealed: int = 0
    changed_meanwhile: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)
    failures: int = 0

    def note_failure(self, owner: str, reason: str) -> None:
        """Notes a record that stays as it is."""
        self.failures += 1
        if len(self.failed) < 20:
            self.failed.append((owner, reason))


class Reseal:
    """The job, for one class of keys."""

    def __init__(
        self,
        store: EnvelopeStore,
        opener: Opener,
        sealer: Sealer,
        target: Target,
        *,
        per_second: float,
        monotonic: Callable[[], float] = time.monotonic,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Makes a job that writes `per_second` records at most."""
        self._store = store
        self._opener = opener
        self._sealer = sealer
        self._target = target
        self._interval = 1.0 / per_second
        self._monotonic = monotonic
        self._pause = pause
        self._next_write = monotonic()

    async def run(self, progress: Callable[[Tally], None] = lambda _: None) -> Tally:
        """Goes over the whole store, from where the last run was stopped; calls `progress` after each page.

        Raises:
            Unavailable: the store does not answer; the next run goes on from here.
        """
        tally = Tally()
        cursor = await self._store.progress(self._target.name)
        while True:
            page = await self._store.page(cursor, _DOMAINS_PER_PAGE)
            for record in page.records:
                await self._take(record, tally)
            cursor = page.cursor
            await self._store.save_progress(self._target.name, cursor)
            progress(tally)
            if not cursor:
                return tally

    async def _take(self, record: SealedRecord | UnreadableRecord, tally: Tally) -> None:
        if isinstance(record, UnreadableRecord):
            tally.seen += 1
            tally.note_failure(record.owner, record.reason)
            return
        if record.context.key_class is not self._target.key_class:
            return
        tally.seen += 1
        if self._target.reached_by(record):
            return
        try:
            envelope = record.envelope
            if envelope.recipient_key_id != self._target.recipient_key_id:
                envelope = self._sealer.seal(self._opener.open(envelope, record.context), record.context)
        except SealingError as error:
            tally.note_failure(record.owner, str(error))
            return
        await self._wait_for_turn()
        if await self._store.replace(record, envelope):
            tally.resealed += 1
        else:
            tally.changed_meanwhile += 1

    async def _wait_for_turn(self) -> None:
        now = self._monotonic()
        if now < self._next_write:
            await self._pause(self._next_write - now)
        # A pause of the caller is not made up for by a burst.
        self._next_write = max(self._next_write, now) + self._interval


@dataclass(frozen=True, slots=True)
class Census:
    """What all stored envelopes refer to: counts by recipient key id and record key id; `unreadable` could not be counted."""

    counts: Counter[tuple[str, str]]
    schemes: Counter[str]
    unreadable: int

    @property
    def recipients(self) -> Counter[str]:
        """Counts by recipient key id."""
        return self._by(0)

    @property
    def record_keys(self) -> Counter[str]:
        """Counts by record key id."""
        return self._by(1)

    def left(self, target: Target) -> int:
        """Returns how many records are not as they should be."""
        reached = self.counts[target.recipient_key_id, target.record_key_id]
        return self.counts.total() - reached + self.unreadable

    def references(self, key_id: str) -> int:
        """Returns how many records refer to a key."""
        return self.recipients[key_id] + self.record_keys[key_id]

    def _by(self, place: int) -> Counter[str]:
        found: Counter[str] = Counter()
        for key_ids, count in self.counts.items():
            found[key_ids[place]] += count
        return found


async def take_census(store: EnvelopeStore, key_class: KeyClass | None = None) -> Census:
    """Reads every envelope's header, in the whole store; of one class, when it is given.

    Raises:
        Unavailable: the store does not answer.
    """
    counts: Counter[tuple[str, str]] = Counter()
    schemes: Counter[str] = Counter()
    unreadable, cursor = 0, ""
    while True:
        page = await store.page(cursor, _DOMAINS_PER_PAGE)
        for record in page.records:
            if isinstance(record, UnreadableRecord):
                unreadable += 1
            elif key_class is None or record.context.key_class is key_class:
                counts[record.envelope.recipient_key_id, record.record_key_id] += 1
                schemes[record.envelope.scheme.name] += 1
        cursor = page.cursor
        if not cursor:
            return Census(counts, schemes, unreadable)
