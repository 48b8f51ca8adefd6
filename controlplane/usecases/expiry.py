"""The ancestors' alert: how long the certificate that expires next still lasts."""

import asyncio
from datetime import timedelta

import structlog
from prometheus_client import Gauge

from controlplane.core.errors import Unavailable
from controlplane.core.ports import CertificateStore, Clock

_log = structlog.get_logger(__name__)
_seconds = Gauge(
    "certplane_least_time_to_expiry_seconds", "Time that the certificate in force that expires next still lasts; +Inf without any"
)
_timestamp = Gauge("certplane_least_expiry_timestamp_seconds", "When the certificate in force that expires next expires; 0 without any")


class ExpiryWatch:
    """Keeps the gauges, and logs an error while the least time to expiry is under the threshold."""

    def __init__(
        self, certificates: CertificateStore, clock: Clock, threshold: timedelta, interval: timedelta = timedelta(seconds=30)
    ) -> None:
        self._certificates = certificates
        self._clock = clock
        self._threshold = threshold
        self._interval = interval

    async def check(self) -> timedelta | None:
        """Looks once; returns the least time left, None when there is no certificate.

        Raises:
            Unavailable: the store does not answer.
        """
        least = await self._certificates.least_expiry()
        if least is None:
            _seconds.set(float("inf"))
            _timestamp.set(0)
            return None
        expire_time, domain = least
        left = expire_time - self._clock()
        _seconds.set(left.total_seconds())
        _timestamp.set(expire_time.timestamp())
        if left < self._threshold:
            _log.error(
                "certificate close to expiry",
                domain=domain,
                expire_time=expire_time.isoformat(),
                hours_left=round(left.total_seconds() / 3600, 1),
                threshold_hours=round(self._threshold.total_seconds() / 3600, 1),
            )
        return left

    async def run(self) -> None:
        """Looks for ever; a store that is away leaves the gauges as they are."""
        while True:
            try:
                await self.check()
            except Unavailable as error:
                _log.warning("expiry not checked", reason=str(error))
            await asyncio.sleep(self._interval.total_seconds())
