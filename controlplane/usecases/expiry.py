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
_expired = Gauge("certplane_expired_certificates", "Certificates in force that have expired: their domains are not served any more")
_close = Gauge("certplane_certificates_close_to_expiry", "Certificates in force that have less left than the alert's threshold")
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
        """Looks once; returns the least time left of those that have not expired, None when there is none.

        Expired ones are counted and never hide the next: some belong to customers who have left.

        Raises:
            Unavailable: the store does not answer.
        """
        now = self._clock()
        found = await self._certificates.expiries(now, self._threshold)
        _expired.set(found.expired)
        _close.set(found.close)
        if found.expired:
            _log.error("certificates have expired", certificates=found.expired)
        if found.least is None:
            _seconds.set(float("inf"))
            _timestamp.set(0)
            return None
        expire_time, domain = found.least
        left = expire_time - now
        _seconds.set(left.total_seconds())
        _timestamp.set(expire_time.timestamp())
        if left < self._threshold:
            _log.error(
                "certificate close to expiry",
                domain=domain,
                expire_time=expire_time.isoformat(),
                hours_left=round(left.total_seconds() / 3600, 1),
                threshold_hours=round(self._threshold.total_seconds() / 3600, 1),
                certificates=found.close,
            )
        return left

    async def run(self) -> None:
        """Looks for ever; a look that fails leaves the gauges as they are."""
        while True:
            try:
                await self.check()
            except Unavailable as error:
                _log.warning("expiry not checked", reason=str(error))
            except Exception:
                # Nothing that is found in the store may end the process.
                _log.exception("expiry check failed")
            await asyncio.sleep(self._interval.total_seconds())
