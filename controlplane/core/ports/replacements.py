"""Mass replacements of certificates."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Protocol

from controlplane.core.replacement import Replacement


class ReplacementStore(Protocol):
    """Replacements: asked for and stopped by the API, carried on by the job of one replica."""

    async def create(self, replacement: Replacement) -> Replacement:
        """Writes a new replacement, or returns the one that has its identifier already. Of many the oldest that are over are forgotten."""
        ...

    async def get(self, identifier: str) -> Replacement | None:
        """Returns a replacement, or None."""
        ...

    async def list_all(self) -> Sequence[Replacement]:
        """Returns all that are remembered, some hundreds at most, the newest first."""
        ...

    async def stop(self, identifier: str, at: datetime) -> None:
        """Marks a replacement as stopped, for ever; the first time stands. What `save` writes never undoes it."""
        ...

    async def stopped(self) -> frozenset[str]:
        """Returns the identifiers of all that were ever stopped: those too that are forgotten otherwise, since domains may name them."""
        ...

    async def take_job(self, owner: str, ttl: timedelta) -> bool:
        """Makes `owner`, whose name no other process ever has, the one whose job goes on, for `ttl`; again to prolong it.

        Returns false while it is another.
        """
        ...

    async def leave_job(self, owner: str) -> None:
        """Lets another take the job at once; does nothing when it is another's already."""
        ...

    async def save(self, owner: str, replacement: Replacement, ttl: timedelta) -> None:
        """Writes how far a replacement is, if the job is the owner's, and prolongs that; in one step.

        Raises:
            LeaseLost: the job is another's.
        """
        ...


class StoppedReplacements(Protocol):
    """Which replacements were stopped, for workers: cheap to ask at every domain, some seconds old at most."""

    async def current(self) -> frozenset[str]:
        """Returns their identifiers."""
        ...
