"""Waits until nobody can store any more what was sealed to a key that is about to go.

A worker seals a new leaf key first and stores it a little later, under the lease that it holds on the domain. So when every live worker
says that it seals to another key, what may still come to be stored is what is done under the leases of that moment.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog

from controlplane.core.errors import FailedPrecondition
from controlplane.core.ports import WorkUnderWay

_log = structlog.get_logger(__name__)

PATIENCE_SECONDS = 60.0
"""An issuance is over within seconds, most often; one that waits for its CA for long keeps its order in the store, where it is counted."""

_PAUSE_SECONDS = 0.25
_SHOWN = 3


async def until_work_is_over(
    under_way: WorkUnderWay,
    *,
    patience: float = PATIENCE_SECONDS,
    monotonic: Callable[[], float] = time.monotonic,
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Returns once every lease that is held now was given back.

    Raises:
        FailedPrecondition: some are still held after `patience` seconds.
    """
    deadline = monotonic() + patience
    held = await under_way.leases()
    while held := await under_way.still_held(held):
        if monotonic() >= deadline:
            shown = ", ".join(sorted(key.rpartition(b":")[2].decode("ascii", "replace") for key in held)[:_SHOWN])
            raise FailedPrecondition(
                f"workers have been at {len(held)} domains since before this began ({shown}{', ...' if len(held) > _SHOWN else ''}),"
                " and may have sealed their keys before it: try again when they have finished"
            )
        _log.debug("waiting for work under way", leases=len(held))
        await pause(_PAUSE_SECONDS)
