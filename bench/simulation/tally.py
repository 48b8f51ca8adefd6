"""What is counted in a run."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from bench.simulation.scenario import HOUR, START, MassRevocation, Scenario
from bench.simulation.site import Site
from controlplane.core.lane import Lane

_NOTHING = timedelta(0)


@dataclass(slots=True)
class Tally:
    """Numbers of a run. Waits are in seconds.

    `longest_wait` is how long a domain waited for a place at most, by lane. `mended_before_end` are the hours between a customer's repair
    and the end of the certificate that ran out all the same.
    """

    scenario: Scenario
    renewals: list[int] = field(default_factory=list)
    first_issues: list[float] = field(default_factory=list)
    burst_issues: list[float] = field(default_factory=list)
    mended_issues: list[float] = field(default_factory=list)
    replaced_after: dict[MassRevocation, list[float]] = field(default_factory=dict)
    revoked: Counter[MassRevocation] = field(default_factory=Counter)
    revoked_well: Counter[MassRevocation] = field(default_factory=Counter)
    announced: Counter[MassRevocation] = field(default_factory=Counter)
    expired_well: int = 0
    expired_sick: int = 0
    mended_before_end: list[float] = field(default_factory=list)
    attempts: int = 0
    preflights: int = 0
    departure_checks: int = 0
    orders_without_certificate: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    least_left: timedelta = timedelta(days=1000)
    not_exempt_renewals: int = 0
    longest_queue: int = 0
    longest_wait: dict[Lane, timedelta] = field(default_factory=lambda: dict.fromkeys(Lane, _NOTHING))

    def __post_init__(self) -> None:
        self.renewals = [0] * ((self.scenario.end - START) // HOUR + 1)

    def renewed(self, site: Site, at: datetime) -> None:
        """Counts a renewal, before it is put in force."""
        passed = at - START
        index = passed.days * 24 + passed.seconds // 3600
        if index < len(self.renewals):
            self.renewals[index] += 1
        left = site.certificate.not_after - at
        if left < self.least_left and site.well_since is None:
            self.least_left = left
        if left <= _NOTHING:
            self.ended(site, at)

    def first_issue(self, site: Site, at: datetime) -> None:
        """Counts a first certificate."""
        if site.wanted_since is None:
            return
        waited = (at - site.wanted_since).total_seconds()
        if site.well_since is not None:
            self.mended_issues.append(waited)
        elif self.scenario.burst_start <= site.created < self.scenario.burst_start + HOUR:
            self.burst_issues.append(waited)
        else:
            self.first_issues.append(waited)

    def replaced(self, site: Site, at: datetime) -> None:
        """Counts a certificate of a mass revocation that was replaced, of a domain that was well all the time."""
        revocation, site.revocation = site.revocation, None
        if site.well_since is None or site.well_since <= revocation.start:
            self.replaced_after[revocation].append((at - revocation.start) / HOUR)

    def ended(self, site: Site, at: datetime) -> None:
        """Looks at a certificate that is replaced or given up at a time: whether it had run out by then, and whose fault that was."""
        ends = site.certificate.not_after
        if ends > at:
            return
        if site.truth or (site.well_since is not None and site.well_since > ends):
            self.expired_sick += 1
        elif site.well_since is None or site.planned is None or site.well_since <= site.planned:
            self.expired_well += 1
        else:
            self.mended_before_end.append((ends - site.well_since) / HOUR)
