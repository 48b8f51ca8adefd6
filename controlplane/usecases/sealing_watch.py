"""How the certificates in the store are sealed, as a metric: the progress of a migration from one scheme to another."""

import asyncio
from typing import Never

import structlog
from prometheus_client import Gauge

from controlplane.core.errors import Unavailable
from controlplane.core.ports import EnvelopeCounts
from controlplane.core.sealing import Scheme

_log = structlog.get_logger(__name__)

_SEALED = Gauge("certplane_sealed_certificates", "Certificates in force, by the scheme that seals their leaf key.", ["scheme"])

WATCH_SECONDS = 300.0
_RETRY_SECONDS = 10.0


class SealingWatch:
    """Counts every five minutes: a look at a million domains costs the store about a second, spread over 256 short scripts."""

    def __init__(self, counts: EnvelopeCounts, seconds: float = WATCH_SECONDS) -> None:
        self._counts = counts
        self._seconds = seconds

    async def run(self) -> Never:
        """Counts until it is cancelled."""
        while True:
            try:
                counted = await self._counts.by_scheme()
            except Unavailable as error:
                _log.debug("sealed certificates cannot be counted", reason=str(error))
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            for scheme in Scheme:
                _SEALED.labels(scheme.name).set(counted.get(scheme, 0))
            await asyncio.sleep(self._seconds)
