"""Keeps the keys of a process up to date, and says in the store which it has, so that a rotation knows whom it may rely on."""

import asyncio
import contextlib
from typing import Never

import structlog

from controlplane.adapters.live_keys import LiveKeys
from controlplane.core.errors import Unavailable
from controlplane.core.ports import Clock, ReplicaReports

_log = structlog.get_logger(__name__)

WATCH_SECONDS = 5.0
_WITHDRAWAL_SECONDS = 1.0


async def watch_keys(keys: LiveKeys, reports: ReplicaReports, replica: str, clock: Clock) -> Never:
    """Reads the key directory again when it changed, and reports, every few seconds, until it is cancelled; then withdraws the report."""
    try:
        while True:
            # In a thread: a hardware token may take its time.
            await asyncio.to_thread(keys.refresh)
            try:
                await reports.report(keys.report(replica, clock()))
            except Unavailable as error:
                _log.debug("keys cannot be reported", reason=str(error))
            await asyncio.sleep(WATCH_SECONDS)
    finally:
        # If the store is away the report runs out by itself.
        with contextlib.suppress(Unavailable, TimeoutError):
            async with asyncio.timeout(_WITHDRAWAL_SECONDS):
                await reports.withdraw(replica)
