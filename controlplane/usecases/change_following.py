"""Follows the change feed for ever, and says while it does."""

import asyncio
from collections.abc import Callable
from typing import Never

import structlog

from controlplane.core.ports import ChangeFeed, ChangeKind, ChangesLost, DomainChanged
from controlplane.usecases.rereading import FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS
from controlplane.usecases.retry_delays import RetryDelays

_log = structlog.get_logger(__name__)

_KINDS = frozenset({ChangeKind.CERTIFICATE, ChangeKind.DELETED})
"""What changes what is served."""


class ChangeFollowing:
    """One reader of the feed. What happens between two of its attempts is not lost: it resumes where it stood."""

    def __init__(
        self,
        feed: ChangeFeed,
        *,
        started: Callable[[], None],
        taken: Callable[[DomainChanged | ChangesLost], None],
        interrupted: Callable[[], None],
    ) -> None:
        """Takes what to call.

        `started` each time before changes are followed, `taken` with each change, `interrupted` when they are not followed any more.
        """
        self._feed = feed
        self._started = started
        self._taken = taken
        self._interrupted = interrupted
        self._following = asyncio.Event()

    async def following(self) -> None:
        """Returns once the change feed is being followed."""
        await self._following.wait()

    async def run(self) -> Never:
        """Follows, until it is cancelled."""
        position = await self._first_position()
        delays = RetryDelays(FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS)
        while True:
            try:
                self._started()
                self._following.set()
                async for change in self._feed.follow(position, kinds=_KINDS, current=self._note):
                    position = change.position
                    delays.reset()
                    self._taken(change)
                _log.error("change feed ended")
            except Exception:
                _log.exception("change feed failed")
            finally:
                self._interrupted()
            await asyncio.sleep(delays.next())

    def _note(self, current: bool) -> None:
        if current:
            self._started()
        else:
            self._interrupted()

    async def _first_position(self) -> str:
        delays = RetryDelays(FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS)
        while True:
            try:
                return await self._feed.position()
            except Exception as error:
                _log.warning("change feed cannot be followed yet", reason=type(error).__name__)
            await asyncio.sleep(delays.next())
