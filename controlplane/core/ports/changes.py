"""The change streams that tell every process what was written."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class ChangeKind(StrEnum):
    """What was written about a domain."""

    SPEC = "spec"
    """The API asked for something, and the domain is due."""
    STATUS = "status"
    """A worker wrote where the domain stands."""
    CERTIFICATE = "certificate"
    """Another certificate is in force, with its status."""
    DELETED = "deleted"
    """The domain is gone."""


ALL_KINDS = frozenset(ChangeKind)


@dataclass(frozen=True, slots=True)
class DomainChanged:
    """Something about the domain `fqdn` was written.

    `names` are all names that the domain had before or has after.
    `position` resumes after this change.
    """

    fqdn: str
    names: tuple[str, ...]
    kind: ChangeKind
    position: str


@dataclass(frozen=True, slots=True)
class ChangesLost:
    """Changes may have been missed (a gap, a trimmed or restored stream, another store): read again whatever you hold."""

    position: str


class ChangeFeed(Protocol):
    """The change streams of all shards."""

    async def position(self) -> str:
        """Returns the position now: `follow` from it sees every later change."""
        ...

    def follow(
        self, position: str = "", *, kinds: frozenset[ChangeKind] = ALL_KINDS, current: Callable[[bool], None] = lambda _: None
    ) -> AsyncIterator[DomainChanged | ChangesLost]:
        """Yields changes of these kinds in the order of each shard, for ever, from `position` (empty: from now).

        A gap is yielded as `ChangesLost`, never skipped. When the store goes away it keeps trying, and yields `ChangesLost` once
        it is back unless it can prove that nothing was missed. It never raises `Unavailable` once started.

        `current` is called with False when changes cannot be read for the time being, and with True when they are read again, before the
        first of those that happened meanwhile is yielded.
        """
        ...
