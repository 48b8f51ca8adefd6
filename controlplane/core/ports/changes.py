"""The change streams that tell every process what was written."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class DomainChanged:
    """Something about the domain `fqdn` was written: spec, status or certificate.

    `certificate` is true when what is served may have changed, `asked` when the API asked for something and the domain is due.
    `names` are all names that the domain had before or has after.
    `position` resumes after this change.
    """

    fqdn: str
    names: tuple[str, ...]
    certificate: bool
    deleted: bool
    position: str
    asked: bool = False


@dataclass(frozen=True, slots=True)
class ChangesLost:
    """Changes may have been missed (a gap, a trimmed or restored stream, another store): read again whatever you hold."""

    position: str


class ChangeFeed(Protocol):
    """The change streams of all shards."""

    async def position(self) -> str:
        """Returns the position now: `follow` from it sees every later change."""
        ...

    def follow(self, position: str = "") -> AsyncIterator[DomainChanged | ChangesLost]:
        """Yields changes in the order of each shard, for ever, from `position` (empty: from now).

        A gap is yielded as `ChangesLost`, never skipped. When the store goes away it keeps trying, and yields `ChangesLost` once
        it is back unless it can prove that nothing was missed. It never raises `Unavailable` once started.
        """
        ...
