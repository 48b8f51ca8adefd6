"""The alert on the certificate that expires next."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from controlplane.core.certificate import CertificateRecord
from controlplane.core.ports import Expiries, NoCertificate
from controlplane.usecases.expiry import ExpiryWatch

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


class OneCertificate:
    """A CertificateStore in which at most one certificate is in force."""

    def __init__(self, expire_time: datetime | None) -> None:
        self.expire_time = expire_time

    async def lookup(self, names: Sequence[str]) -> Mapping[str, CertificateRecord | NoCertificate]:
        """Nothing is looked up here."""
        return {}

    async def expiries(self, now: datetime, close: timedelta) -> Expiries:
        """The one certificate's end."""
        if self.expire_time is None:
            return Expiries(None, 0, 0)
        if self.expire_time <= now:
            return Expiries(None, 1, 0)
        return Expiries((self.expire_time, "shop.example.com"), 0, int(self.expire_time <= now + close))


def gauge(name: str) -> float | None:
    """A metric's value."""
    return REGISTRY.get_sample_value(name)


@pytest.mark.parametrize(
    ("left", "errors"),
    [(timedelta(days=8), 0), (timedelta(days=7), 0), (timedelta(days=6, hours=23), 1), (timedelta(seconds=1), 1)],
)
async def test_error_is_logged_under_the_threshold_only(left: timedelta, errors: int) -> None:
    """Under seven days left an error names the domain; the gauges always tell."""
    with capture_logs() as logs:
        found = await ExpiryWatch(OneCertificate(NOW + left), lambda: NOW, timedelta(days=7)).check()
    assert left == found
    assert left.total_seconds() == gauge("certplane_least_time_to_expiry_seconds")
    assert (NOW + left).timestamp() == gauge("certplane_least_expiry_timestamp_seconds")
    assert errors == len([line for line in logs if line["log_level"] == "error" and line["domain"] == "shop.example.com"])


async def test_expired_certificates_are_counted_and_hide_none() -> None:
    """An expired certificate is an error and a count of its own; the gauge of the next expiry does not go below zero for it."""
    with capture_logs() as logs:
        assert await ExpiryWatch(OneCertificate(NOW - timedelta(days=1)), lambda: NOW, timedelta(days=7)).check() is None
    assert 1 == gauge("certplane_expired_certificates")
    assert float("inf") == gauge("certplane_least_time_to_expiry_seconds")
    assert ["error"] == [line["log_level"] for line in logs]


async def test_no_certificate_is_no_alert() -> None:
    """Without a certificate in force the time left is infinite and nothing is logged."""
    with capture_logs() as logs:
        assert await ExpiryWatch(OneCertificate(None), lambda: NOW, timedelta(days=7)).check() is None
    assert [] == logs
    assert float("inf") == gauge("certplane_least_time_to_expiry_seconds")
