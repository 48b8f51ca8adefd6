"""HTTP-01 tokens in memory."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from controlplane.core.errors import Unavailable
from controlplane.core.ports import TokenRecord


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass
class InMemoryTokens:
    """`TokenStore` in memory. `planted` remembers every token ever planted, `asked` every token looked for; `away` makes it Unavailable."""

    clock: Callable[[], datetime] = _utc_now
    records: dict[str, TokenRecord] = field(default_factory=dict)
    planted: list[TokenRecord] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    away: bool = False

    async def plant(self, record: TokenRecord) -> None:
        """See `TokenStore.plant`."""
        self._answer()
        self.records[record.token] = record
        self.planted.append(record)

    async def find(self, token: str) -> TokenRecord | None:
        """See `TokenStore.find`."""
        self.asked.append(token)
        self._answer()
        return self.find_now(token)

    def find_now(self, token: str) -> TokenRecord | None:
        """`find` for a responder that runs in another thread."""
        record = self.records.get(token)
        return record if record is not None and record.expire_time > self.clock() else None

    async def withdraw(self, tokens: Iterable[str]) -> None:
        """See `TokenStore.withdraw`."""
        self._answer()
        for token in tokens:
            self.records.pop(token, None)

    def _answer(self) -> None:
        if self.away:
            raise Unavailable("the store is away")
