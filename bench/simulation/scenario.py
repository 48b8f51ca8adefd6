"""What a simulated year consists of."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

START = datetime(2027, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Outage:
    """A time in which the CA answers nothing at all."""

    start: datetime
    length: timedelta

    @property
    def end(self) -> datetime:
        """The first moment at which the CA answers again."""
        return self.start + self.length


@dataclass(frozen=True, slots=True)
class MassRevocation:
    """The CA announces at `start` that a share of all certificates in force is revoked after `notice`.

    With `window_open` it says renewal windows that have just begun and last for half of the notice, so that replacements are exempt from
    its limits; without, windows that have passed, as Let's Encrypt does, so that they are not.
    """

    start: datetime
    share: float
    window_open: bool
    notice: timedelta = DAY

    @property
    def end(self) -> datetime:
        """When the certificates are revoked."""
        return self.start + self.notice


@dataclass(frozen=True, slots=True)
class Scenario:
    """A run.

    Attributes:
        domains: at the beginning. As many as leave in the year come in the year.
        lifetime: of certificates.
        days: how long it is.
        seed: of everything that is drawn.
        attempts_per_second: what all workers together can begin.
        sick: the share of domains that cannot get a certificate by their customers' fault, at any time.
        churn: the share of domains that leave in a year, and of domains that come.
        unseen: the share whose fault the CA finds and our own check does not.
        burst: new customers within one hour, on the second day; a share of `domains`.
        order_time: from newOrder to the certificate.
        asks_again: whether the renewal window is asked for once more just before an order that counts on it. Without that, an order in a
            window that the CA has moved meanwhile counts at the CA and not in our buckets.
        limiter: false leaves the CA's limits out of account, to see that they are enforced.
        spread: false begins with certificates of the same age and renews at the beginning of each window, to see what spreading is worth.
    """

    domains: int
    lifetime: timedelta
    days: int = 365
    seed: int = 1
    attempts_per_second: float = 40.0
    sick: float = 0.10
    churn: float = 0.02
    unseen: float = 0.0002
    burst: float = 0.01
    order_time: timedelta = timedelta(seconds=5)
    asks_again: bool = True
    limiter: bool = True
    spread: bool = True

    @property
    def end(self) -> datetime:
        """The end of the last day."""
        return START + self.days * DAY

    @property
    def burst_start(self) -> datetime:
        """When the burst of new customers begins."""
        return START + 2 * DAY

    @property
    def short_outage(self) -> Outage:
        """An hour."""
        return Outage(START + 200 * DAY + 10 * HOUR, HOUR)

    @property
    def long_outage(self) -> Outage:
        """A day."""
        return Outage(START + 230 * DAY + 10 * HOUR, DAY)

    @property
    def outages(self) -> tuple[Outage, ...]:
        """All outages."""
        return (self.short_outage, self.long_outage)

    @property
    def revocations(self) -> tuple[MassRevocation, ...]:
        """Three in a hundred certificates as Let's Encrypt announces it, and then all of them with an open window."""
        return (
            MassRevocation(START + 310 * DAY + 12 * HOUR, share=0.03, window_open=False),
            MassRevocation(START + 363 * DAY, share=1.0, window_open=True),
        )

    @property
    def steady(self) -> tuple[datetime, datetime]:
        """From when to when nothing but the burst's renewals disturbs."""
        return START + 10 * DAY, self.short_outage.start
