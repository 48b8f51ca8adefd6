"""ACME accounts in memory."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from controlplane.core.ports import AccountRecord, UnreadableRecord


@dataclass(slots=True)
class InMemoryAccounts:
    """`AccountStore` in memory.

    `created` counts the records ever made, `reads` how often one was asked for. `before_write` and `after_write` are called around each
    replacement and may raise: a test lets the process die there.
    """

    records: dict[str, AccountRecord] = field(default_factory=dict)
    created: int = 0
    reads: int = 0
    before_write: Callable[[AccountRecord], None] = lambda _: None
    after_write: Callable[[AccountRecord], None] = lambda _: None

    async def get(self, directory_url: str) -> AccountRecord | None:
        """See `AccountStore.get`."""
        self.reads += 1
        await asyncio.sleep(0)
        return self.records.get(directory_url)

    async def all(self) -> Sequence[AccountRecord | UnreadableRecord]:
        """See `AccountStore.all`."""
        return [self.records[directory] for directory in sorted(self.records)]

    async def create(self, record: AccountRecord) -> AccountRecord:
        """See `AccountStore.create`."""
        await asyncio.sleep(0)
        if record.directory_url not in self.records:
            self.records[record.directory_url] = record
            self.created += 1
        return self.records[record.directory_url]

    async def replace(self, before: AccountRecord, after: AccountRecord) -> bool:
        """See `AccountStore.replace`."""
        await asyncio.sleep(0)
        if self.records.get(before.directory_url) != before:
            return False
        self.before_write(after)
        self.records[before.directory_url] = after
        self.after_write(after)
        return True

    async def forget(self, directory_url: str) -> bool:
        """See `AccountStore.forget`."""
        return self.records.pop(directory_url, None) is not None
