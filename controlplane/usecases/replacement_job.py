"""Carries replacements on in the background, in one replica of `serve` at a time.

How far a replacement is is written after each step, so another replica goes on where one that ended has stopped. Two replicas that both
believe themselves at it, for a moment, ask no domain twice: a request names its replacement, and the store takes it once.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from time import monotonic
from typing import Final

import structlog

from controlplane.core.errors import LeaseLost, Unavailable
from controlplane.core.ports import Clock
from controlplane.core.ports.replacements import ReplacementStore
from controlplane.core.replacement import Replacement
from controlplane.usecases.replacement_steps import ReplacementSteps

TTL: Final = timedelta(seconds=15)
"""How long after the end of a replica another goes on. A step takes some tenths of a second."""
IDLE_SECONDS: Final = 2.0
LONGEST_REST_SECONDS: Final = 0.5

_log = structlog.get_logger(__name__)


class ReplacementJob:
    """The job of one process. `owner` is a name that no other process ever has."""

    def __init__(
        self,
        store: ReplacementStore,
        steps: ReplacementSteps,
        clock: Clock,
        owner: str,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._steps = steps
        self._clock = clock
        self._owner = owner
        self._sleep = sleep

    async def run(self) -> None:
        """Goes on for ever; what goes wrong is logged and tried again. Leaves the job to another when it is cancelled."""
        try:
            while True:
                try:
                    await self.work()
                except (Unavailable, LeaseLost) as error:
                    _log.warning("replacements wait", reason=str(error))
                await self._sleep(IDLE_SECONDS)
        finally:
            await self._leave()

    async def work(self) -> bool:
        """Takes steps as long as there are any and the job is ours; returns whether it is.

        Raises:
            Unavailable: the store does not answer.
            LeaseLost: another replica has the job now.
        """
        failed: set[str] = set()
        while await self._store.take_job(self._owner, TTL):
            ready = [each for each in await self._store.list_all() if each.ready_at(self._clock()) and each.id not in failed]
            if not ready:
                return True
            # The oldest first, but each gets its turn: one of a million domains must not keep one of ten waiting.
            stopped = await self._store.stopped()
            for replacement in reversed(ready):
                try:
                    await self._step(replacement, stopped)
                except (Unavailable, LeaseLost):
                    raise
                except Exception:
                    # Whatever one of them stumbles over must not keep the others waiting; it is tried again a little later.
                    _log.exception("replacement failed", replacement=replacement.id)
                    failed.add(replacement.id)
        return False

    async def _step(self, replacement: Replacement, stopped: frozenset[str]) -> None:
        began = monotonic()
        after = await self._steps.step(replacement, stopped)
        await self._store.save(self._owner, after, TTL)
        if after.state is not replacement.state:
            _log.info(
                "replacement goes on",
                replacement=after.id,
                state=after.state.name,
                matched=after.matched,
                asked=after.asked,
                skipped=after.skipped,
                pending=after.pending,
            )
        # Half of the time at most: this process answers handshakes too.
        await self._sleep(min(monotonic() - began, LONGEST_REST_SECONDS))

    async def _leave(self) -> None:
        try:
            await self._store.leave_job(self._owner)
        except Unavailable as error:
            _log.warning("the job of replacements is left by its time", reason=str(error))
