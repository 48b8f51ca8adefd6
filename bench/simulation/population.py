"""Who the domains are, and what happens to them: everything that is drawn.

Of the domains that cannot get a certificate, two fifths never pointed here (or left so long ago that nothing of them is in force), two
fifths point elsewhere now, and a fifth has CAA that forbids. That lasts a year on average; as many fall ill as are mended. Besides,
one in a thousand is in such trouble for a matter of days at any time. New customers come evenly over the year, a tenth of them before
their DNS points here; of those who leave, half are deleted and half just point their DNS elsewhere, which nobody tells us.

One domain in twenty shares its registered domain with forty-nine others.
"""

from datetime import datetime, timedelta
from random import Random

from bench.simulation.attempts import Attempts, residual
from bench.simulation.scenario import DAY, HOUR, START, MassRevocation, Scenario
from bench.simulation.schedule import Schedule
from bench.simulation.site import LiveStatus, Site, Truth
from bench.simulation.tally import Tally
from bench.simulation.virtual_ca import VirtualCa
from controlplane.core.ari_polls import wait_after_reply
from controlplane.core.issuance_plan import ATTEMPTS_BEFORE_DROPPING
from controlplane.core.managed_domain import Actor, DomainState, PauseReason, Problem
from controlplane.core.preflight import CAA_FORBIDS, PROBLEM_TYPE

_LONG, _SHORT = 365.0, 3.0
"""Days for which trouble lasts on average."""
_IN_SHORT_TROUBLE = 0.001
_RETRY_AFTER = 21_600.0


class Population:
    """Makes the domains and lets things happen to them."""

    def __init__(self, scenario: Scenario, ca: VirtualCa, attempts: Attempts, schedule: Schedule, tally: Tally, random: Random) -> None:
        self._scenario = scenario
        self._ca = ca
        self._attempts = attempts
        self._schedule = schedule
        self._tally = tally
        self._random = random
        self._count = 0
        self._cycle = scenario.lifetime * (2 / 3)
        self._falls_ill = scenario.sick / (1 - scenario.sick) / _LONG
        self._falls_ill_shortly = _IN_SHORT_TROUBLE / _SHORT
        self.sites: list[Site] = []

    def settle(self) -> None:
        """Makes the domains of the beginning, with certificates of all ages, and schedules what will happen."""
        scenario, random = self._scenario, self._random
        for _ in range(scenario.domains):
            site = self._new_site(START)
            draw = random.random()
            if draw < scenario.sick:
                self._settle_sick(site, draw / scenario.sick)
            else:
                if draw > 1 - scenario.unseen:
                    site.truth = Truth.UNSEEN
                self._settle_well(site)
            if random.random() < scenario.churn:
                self._schedule.put(self._some_time(), site, self._leave)
        for _ in range(round(scenario.domains * scenario.churn)):
            self._schedule.put(self._some_time(), self, _come)
        for _ in range(round(scenario.domains * scenario.burst)):
            self._schedule.put(scenario.burst_start + HOUR * random.random(), self, _come)
        for revocation in scenario.revocations:
            self._tally.replaced_after[revocation] = []
            self._schedule.put(revocation.start, revocation, self._announce)
            self._schedule.put(revocation.end, revocation, self._revoke)

    def come(self, now: datetime) -> None:
        """A new customer."""
        site = self._new_site(now)
        if self._random.random() < 0.1:
            site.truth = Truth.ELSEWHERE
            self._mend_after(site, now, 5.0)
        else:
            site.wanted_since = now
            self._fall_ill_after(site, now)
        self._attempts.have_due(site, now)

    def _new_site(self, now: datetime) -> Site:
        number = self._count
        self._count += 1
        name = f"s{number}.mall{number // 1000}.com" if number % 20 == 0 else f"shop{number}.com"
        site = Site(name, now, LiveStatus())
        self.sites.append(site)
        return site

    def _settle_well(self, site: Site) -> None:
        random, scenario = self._random, self._scenario
        while True:
            age = self._cycle * (random.random() * 1.02 if scenario.spread else 0.5)
            issue_time = START - age
            site.issued = None
            issued = self._ca.adopt(site.name, issue_time)
            self._attempts.put_in_force(site, issued, issue_time)
            if site.due is not None and site.due >= START:
                break
            self._ca.forget(issued.serial)
            site.status.renewal_window = None
        if site.truth is Truth.WELL:
            self._fall_ill_after(site, START)

    def _settle_sick(self, site: Site, draw: float) -> None:
        random, status = self._random, site.status
        ill_since = START - timedelta(days=random.expovariate(1 / _LONG))
        site.truth = Truth.CAA_FORBIDS if draw > 0.8 else Truth.ELSEWHERE
        if draw >= 0.4:
            issue_time = ill_since - self._cycle * random.random()
            self._attempts.put_in_force(site, self._ca.adopt(site.name, issue_time), issue_time)
        status = site.status
        if site.truth is Truth.ELSEWHERE:
            status.departed_time = status.checked_time = min(ill_since, START - 8 * DAY)
            status.state, status.pause_reason, site.due = DomainState.PAUSED, PauseReason.DEPARTED, None
        elif site.due is not None and site.due < START:
            # It has been failing once a day since long.
            status.state, status.attempt_count = DomainState.FAILED, 10 * ATTEMPTS_BEFORE_DROPPING
            status.last_error = Problem(PROBLEM_TYPE + CAA_FORBIDS, "", Actor.CUSTOMER, START - DAY, site.name)
            site.due, site.asleep = START + DAY * random.random(), True
        self._mend_after(site, START, _LONG)

    def _some_time(self) -> datetime:
        return START + (self._scenario.end - START) * self._random.random()

    def _mend_after(self, site: Site, now: datetime, days: float) -> None:
        self._schedule.put(now + timedelta(days=self._random.expovariate(1 / days)), site, self._mend)

    def _fall_ill_after(self, site: Site, now: datetime) -> None:
        days = self._random.expovariate(self._falls_ill + self._falls_ill_shortly)
        self._schedule.put(now + timedelta(days=days), site, self._fall_ill)

    def _fall_ill(self, site: Site, now: datetime) -> None:
        if site.gone or site.truth:
            return
        shortly = self._random.random() < self._falls_ill_shortly / (self._falls_ill + self._falls_ill_shortly)
        site.truth = Truth.ELSEWHERE if self._random.random() < 2 / 3 else Truth.CAA_FORBIDS
        site.well_since = None
        if site.truth is Truth.ELSEWHERE:
            self._attempts.truth_changed(site, now)
        self._mend_after(site, now, _SHORT if shortly else _LONG)

    def _mend(self, site: Site, now: datetime) -> None:
        if site.gone:
            return
        site.truth, site.well_since = Truth.WELL, now
        if site.certificate is None:
            site.wanted_since = now
        self._attempts.truth_changed(site, now)
        self._fall_ill_after(site, now)

    def _leave(self, site: Site, now: datetime) -> None:
        if site.gone:
            return
        if self._random.random() < 0.5:
            self._remove(site, now)
        else:
            site.truth, site.well_since = Truth.ELSEWHERE, None
            self._attempts.truth_changed(site, now)
            # Nothing else ever happens to it: what was going to be mended is not.
            self._schedule.put(self._scenario.end - HOUR, site, self._remove)

    def _remove(self, site: Site, now: datetime) -> None:
        if site.gone:
            return
        if site.certificate is not None and site.issued is not None:
            self._tally.ended(site, now)
        self._attempts.remove(site)

    def _announce(self, revocation: MassRevocation, now: datetime) -> None:
        random, put, poll = self._random, self._schedule.put, self._attempts.poll
        for site in self.sites:
            certificate = site.certificate
            if site.gone or certificate is None or site.issued is None or certificate.not_after <= now:
                continue
            if revocation.share < 1 and random.random() >= revocation.share:
                continue
            self._tally.announced[revocation] += 1
            self._ca.announce(site.issued.serial, revocation)
            site.revocation = revocation
            wait = residual(wait_after_reply(certificate, now, _RETRY_AFTER), random.random())
            put(now + wait, site, poll)

    def _revoke(self, revocation: MassRevocation, _: datetime) -> None:
        for site in self.sites:
            if site.revocation is revocation and not site.gone:
                self._tally.revoked[revocation] += 1
                # Who is paused has been mended lately, and nobody has found out.
                found = site.status.state is not DomainState.PAUSED
                well = not site.truth and found and (site.well_since is None or site.well_since <= revocation.start)
                self._tally.revoked_well[revocation] += well


def _come(population: Population, now: datetime) -> None:
    population.come(now)
