"""The alert on the certificate that expires next."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from controlplane.core.certificate import CertificateRecord
from controlplane.usecases.expiry import ExpiryWatch

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


class OneCertificate:
    """A CertificateStore in which at most one certificate is in force."""

    def __init__(self, expire_time: datetime | None) -> None:
        self.expire_time = expire_time

    async def lookup(self, names: Sequence[str]) -> Mapping[str, CertificateRecord]:
        """Nothing is looked up here."""
        return {}

    async def least_expiry(self) -> tuple[datetime, str] | None:
        """The one certificate's end."""
        return None if self.expire_time is None else (self.expire_time, "shop.example.com")


def gauge(name: str) -> float | None:
    """A metric's value."""
    return REGISTRY.get_sample_value(name)


@pytest.mark.parametrize(
    ("left", "errors"),
    [(timedelta(days=8), 0), (timedelta(days=7), 0), (timedelta(days=6, hours=23), 1), (timedelta(0), 1), (timedelta(days=-1), 1)],
)
async def test_error_is_logged_under_the_threshold_only(left: timedelta, errors: int) -> None:
    """Under seven days left an error names the domain; the gauges always tell."""
    with capture_logs() as logs:
        found = await ExpiryWatch(OneCertificate(NOW + left), lambda: NOW, timedelta(days=7)).check()
    assert left == found
    assert left.total_seconds() == gauge("certplane_least_time_to_expiry_seconds")
    assert (NOW + left).timestamp() == gauge("certplane_least_expiry_timestamp_seconds")
    assert errors == len([line for line in logs if line["log_level"] == "error" and line["domain"] == "shop.example.com"])


async def test_no_certificate_is_no_alert() -> None:
    """Without a certificate in force the time left is infinite and nothing is logged."""
    with capture_logs() as logs:
        assert await ExpiryWatch(OneCertificate(None), lambda: NOW, timedelta(days=7)).check() is None
    assert [] == logs
    assert float("inf") == gauge("certplane_least_time_to_expiry_seconds")
