"""One attempt at a domain, as a worker makes it under its lease: every decision is the core's, what it decides on is in `Site`.

What is left out is what changes nothing. The CA's answer to a poll for the renewal window is the same for all of a certificate's life,
unless it announces a revocation; so a certificate is asked about once after its issue, then again only while the CA fails, and at its next
regular poll after an announcement, or before its order where that comes first. A check whether a domain points here finds the same every
day, until the truth changes: only the first check after that is made, then the one that ends the time of grace. A pre-flight that fails by
the customer's fault is not repeated after the quick attempts of the first twenty minutes: the domain sleeps until the truth changes or the
time of grace ends, and the times of the attempts that were left out are then worked out by the same function, so that the next one comes
when it would have come.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from bench.simulation.gate import Gate
from bench.simulation.leaf import LeafMold
from bench.simulation.order_runs import Ended, OrderRuns
from bench.simulation.scenario import HOUR, Scenario
from bench.simulation.schedule import Schedule
from bench.simulation.site import LiveCertificate, Site, Truth
from bench.simulation.tally import Tally
from bench.simulation.virtual_ca import Issued, VirtualCa
from controlplane.core import departure
from controlplane.core import failure as failures
from controlplane.core.ari import is_exempt, renewal_from, replaces_for, window_from, window_of, without_window
from controlplane.core.ari_polls import FIRST, wait_after_failure
from controlplane.core.authority_choice import Candidate, InForce, NoneAvailable, choose
from controlplane.core.backoff import DELAYS, FailureKind
from controlplane.core.ca_profile import Scope
from controlplane.core.failure import Failure
from controlplane.core.issuance_plan import Need, admit, attempts_after, need
from controlplane.core.lane import Lane
from controlplane.core.lanes import lane_of, near_end
from controlplane.core.managed_domain import Actor, DomainState, Problem
from controlplane.core.ports import AcmeUnreachable, PreflightVerdict
from controlplane.core.preflight import CAA_FORBIDS, PROBLEM_TYPE, Finding
from controlplane.core.sealing import Envelope, Scheme

_ENVELOPE = Envelope("", Scheme.HPKE_X25519, b"")
_QUICK = sum(delay < HOUR for delay in DELAYS[FailureKind.PREFLIGHT])
_KINDS = {Truth.ELSEWHERE: Finding.WRONG_ANSWER.kind, Truth.CAA_FORBIDS: CAA_FORBIDS}


class Attempts:
    """Carries out attempts, polls and checks."""

    def __init__(
        self, scenario: Scenario, ca: VirtualCa, gate: Gate, schedule: Schedule, tally: Tally, random_fraction: Callable[[], float]
    ) -> None:
        self._scenario = scenario
        self._ca = ca
        self._gate = gate
        self._schedule = schedule
        self._tally = tally
        self._random_fraction = random_fraction
        self._orders = OrderRuns(ca, scenario.order_time)
        self._mold = LeafMold()
        self._lanes: dict[bool, Lane] = {}
        self._candidates = (Candidate("ca", ca.directory_url, gate.breaker),)
        self._none_until: datetime | None = None
        self._failing_since: datetime | None = None

    def carry_out(self, site: Site, now: datetime, *, paced: bool = False) -> None:
        """Makes one attempt and schedules the next. `paced`: others are under way, so that the CA's request rates may hold it."""
        tally, gate = self._tally, self._gate
        tally.attempts += 1
        if site.in_line:
            gate.leave_line(site)
        status, certificate = site.status, site.certificate
        # What is due at the very moment planned is a renewal, and a good verdict on the only name is admitted: neither is asked about.
        smooth = not site.truth and certificate is not None and site.due is status.renew_time
        why = Need.RENEWAL if smooth else need(site.work, now)
        if why is Need.NOTHING:
            self.have_due(site, status.renew_time)
            return
        if not gate.breaker_closed and not self._may_choose(site, now):
            return
        replaces: str | Issued = ""
        exempt = False
        if site.order is None:
            if smooth:
                tally.preflights += 1
            elif not self._passes_preflight(site, why, now):
                return
            if paced:
                now = gate.pace(now)
            if certificate is not None and site.issued is not None:
                if site.issued.announced and self._scenario.asks_again and not self._would_hear_the_same(site, site.issued, now):
                    self.poll(site, now)
                replaces = self._replaces(site, site.issued, now)
                exempt = is_exempt("a certificate" if replaces else "", status.renewal_window, now)
            if not self._passes_gate(site, now, exempt=exempt):
                return
        probe = False
        if not gate.breaker_closed:
            asked = gate.ask_breaker(now)
            if not asked.admitted:
                self.have_due(site, asked.until)
                return
            probe = asked.probe
        self._after_run(site, self._orders.run(site, replaces, now), exempt=exempt, probe=probe)

    def remove(self, site: Site) -> None:
        """The domain is deleted."""
        self._gate.leave_line(site)
        if site.issued is not None:
            self._ca.forget(site.issued.serial)
        site.gone, site.due = True, None

    def have_due(self, site: Site, due: datetime | None) -> None:
        """Sets when the site is due next, and the lane in which it waits then."""
        site.due = due
        if due is not None:
            site.lane = self._lane(site, due)
            self._schedule.put(due, site)

    def _lane(self, site: Site, due: datetime) -> Lane:
        status = site.status
        if status.state is not DomainState.ACTIVE or status.last_error is not None or site.order is not None:
            return lane_of(site.domain, due, order_open=site.order is not None)
        # Nothing else tells domains apart that are in order: the same question need not be asked a million times.
        near = near_end(status.issue_time, status.expire_time, due)
        lane = self._lanes.get(near)
        if lane is None:
            lane = self._lanes[near] = lane_of(site.domain, due)
        return lane

    def put_in_force(self, site: Site, issued: Issued, at: datetime) -> None:
        """Puts a certificate in force, asks for its renewal window, and schedules its renewal."""
        status, certificate = site.status, site.certificate
        site.issued = issued
        identifier = f"{issued.serial:x}"
        if certificate is None:
            site.certificate = certificate = LiveCertificate(
                id=identifier,
                fqdn=site.name,
                generation=1,
                names=(site.name,),
                leaf=b"",
                intermediates=(),
                sealed_leaf_key=_ENVELOPE,
                spki_digest=b"",
                not_before=issued.not_before,
                not_after=issued.not_after,
                issue_time=at,
                directory_url=self._ca.directory_url,
                account_url=self._ca.account_url,
            )
        else:
            certificate.id, certificate.not_before, certificate.not_after = identifier, issued.not_before, issued.not_after
            certificate.issue_time = at
        status.state, status.certificate_id, status.issue_time, status.expire_time = DomainState.ACTIVE, identifier, at, issued.not_after
        status.attempt_count, status.last_error, status.departed_time = 0, None, None
        # At the latest; sooner makes no difference, since the answer is the same.
        self._ask(site, issued, at + FIRST)

    def poll(self, site: Site, now: datetime) -> None:
        """Asks the CA for the renewal window of what is in force, and schedules the renewal by it."""
        if not site.gone and site.issued is not None and site.status.state is not DomainState.PAUSED:
            self._ask(site, site.issued, now)

    def _would_hear_the_same(self, site: Site, issued: Issued, now: datetime) -> bool:
        """Returns whether the CA's answer is the window that the site has already."""
        window = window_of(site.status.renewal_window, site.certificate)
        return window is not None and (window.start, window.end) == (issued.start, issued.end) and self._ca.is_well_until(now)

    def _ask(self, site: Site, issued: Issued, now: datetime) -> None:
        status, certificate = site.status, site.certificate
        previous = status.renewal_window
        try:
            info = self._ca.renewal_info(issued, now)
        except AcmeUnreachable:
            self._failing_since = self._failing_since or now
            wait = wait_after_failure(certificate, now, failing_since=self._failing_since, retry_after=None)
            status.renewal_window = without_window(previous, certificate, now + wait)
            self._schedule.put(now + wait, site, self.poll)
        else:
            self._failing_since = None
            status.renewal_window = window_from(info, previous, certificate, now, self._random_fraction())
        due = status.renew_time = renewal_from(status.renewal_window, certificate, site.name)
        site.planned = due
        if not site.in_line and status.last_error is None:
            # Who waits for a limit, or after a failure, goes on waiting.
            self.have_due(site, max(due, now))

    def check(self, site: Site, now: datetime) -> None:
        """Checks whether the domain points here."""
        if site.gone or site.check_due is not now:
            return
        site.check_due = None
        self._tally.departure_checks += 1
        before = site.status
        after: Any = departure.after_check(before, self._look(site, now), now)
        site.status = after
        if site.truth is Truth.ELSEWHERE:
            if after.state is DomainState.PAUSED:
                site.due, site.asleep = None, False
                self._gate.leave_line(site)
            else:
                # The checks until then find the same.
                after.checked_time = after.departed_time + departure.GRACE - departure.WATCHED / 2
                self.have_check(site)
        elif before.state is DomainState.PAUSED or (after.next_attempt_time == now and before.last_error is not None):
            self.have_due(site, after.next_attempt_time)
            if before.state is DomainState.PAUSED and after.expire_time is not None and after.expire_time > now:
                # Nothing was asked while it was paused.
                self.poll(site, now)

    def truth_changed(self, site: Site, now: datetime) -> None:
        """Schedules the first regular check after now, and attempts that were left out up to now."""
        status = site.status
        self._wake(site, now)
        watched = status.departed_time is not None and status.state is not DomainState.PAUSED
        period = departure.WATCHED if watched else departure.ROUTINE
        if status.checked_time is not None or status.issue_time is not None:
            status.checked_time = now - period / 2
            self.have_check(site)

    def _sleep(self, site: Site, due: datetime) -> None:
        """Leaves the attempts from `due` on out, until something changes."""
        site.asleep, site.due, departed = True, due, site.status.departed_time
        if departed is not None:
            self._schedule.put(departed + departure.GRACE, site, self._wake)

    def _wake(self, site: Site, now: datetime) -> None:
        """Works out the attempts that were left out up to now, and schedules the next."""
        status, due = site.status, site.due
        if not site.asleep or due is None or status.last_error is None:
            return
        site.asleep = False
        failure = Failure(status.last_error, FailureKind.PREFLIGHT)
        while due < now:
            status.attempt_count += 1
            self._tally.preflights += 1
            due += failures.wait(failure, status.attempt_count, site.name)
        self.have_due(site, due)

    def have_check(self, site: Site) -> None:
        """Schedules the next check of where the domain points."""
        site.check_due = departure.next_check(site.status, site.name)
        if site.check_due is not None:
            self._schedule.put(site.check_due, site, self.check)

    def _may_choose(self, site: Site, now: datetime) -> bool:
        """Returns whether an order may go to the CA now; if not, the site is due when it may.

        There is no other CA, so that until when nobody's may does not depend on who asks: it is decided once for all who come before that.
        """
        breaker = self._gate.breaker
        if self._candidates[0].breaker is not breaker:
            self._candidates = (Candidate("ca", self._ca.directory_url, breaker),)
            self._none_until = None
        if self._none_until is None or self._none_until <= now:
            certificate = site.certificate
            in_force = (
                None if certificate is None else InForce(certificate.directory_url, "", certificate.not_before, certificate.not_after)
            )
            chosen = choose(self._candidates, tenant="", refusing=(), certificate=in_force, now=now)
            if not isinstance(chosen, NoneAvailable):
                return True
            self._none_until = chosen.until
        self.have_due(site, self._none_until)
        return False

    def _look(self, site: Site, now: datetime) -> PreflightVerdict:
        """The pre-flight: it sees the truth, as far as it shows from here."""
        self._tally.preflights += 1
        kind = _KINDS.get(site.truth)
        if kind is None:
            return site.verdict(None)
        return site.verdict(Problem(PROBLEM_TYPE + kind, "", Actor.CUSTOMER, now, site.name))

    def _passes_preflight(self, site: Site, why: Need, now: datetime) -> bool:
        verdict = self._look(site, now)
        admission = admit((verdict,), status=site.status, certificate=site.certificate, need=why, now=now)
        if admission.problem is None:
            return True
        self._fail(site, Failure(admission.problem, FailureKind.PREFLIGHT), now, verdict)
        return False

    def _replaces(self, site: Site, issued: Issued, now: datetime) -> str | Issued:
        """Returns what the order replaces.

        Here all orders go to the CA and account that the certificate in force is from, and are for the same name. So what `replaces_for`
        says follows from the window and the end of the certificate, apart from the identifier, which it reads from the leaf's DER. Of
        domains that are well one in sixty-four goes that way to the CA and back; the CA is shown the others' certificates themselves.
        """
        certificate, window = site.certificate, site.status.renewal_window
        if issued.serial % 64 and window_of(window, certificate) is not None and certificate.not_after > now:
            return issued
        certificate.leaf = self._mold.leaf(issued.serial)
        return replaces_for(
            certificate,
            window,
            directory_url=self._ca.directory_url,
            account_url=self._ca.account_url,
            names=certificate.names,
            now=now,
        )

    def _passes_gate(self, site: Site, now: datetime, *, exempt: bool) -> bool:
        held = self._gate.admit(site, replacing=exempt, now=now)
        if held is None:
            return True
        if held.scope is Scope.ACCOUNT:
            self._tally.outcomes["held by the account's limit"] += 1
        else:
            self._tally.outcomes["held by another limit"] += 1
        self.have_due(site, held.until)
        return False

    def _after_run(self, site: Site, ended: Ended, *, exempt: bool, probe: bool) -> None:
        at, gate, failure = ended.at, self._gate, ended.failure
        if failure is None:
            assert ended.order is not None
            assert ended.order.certificate is not None
            site.order = site.open_order = None
            if not gate.breaker_closed:
                if probe:
                    # Until it has ended, nobody knows that the CA is well again.
                    self._schedule.put(at, gate, _note_healthy)
                else:
                    gate.healthy()
            gate.authorization_succeeded(site)
            self._issued(site, ended.order.certificate, at, exempt=exempt)
            return
        if ended.kept is None:
            self._tally.orders_without_certificate[failure.problem.type.rpartition(":")[2]] += ended.order is not None
            gate.ended_without_certificate(site, replacing=exempt, now=at)
            if ended.order is not None and ended.order.status == "invalid":
                gate.authorization_failed(site, at)
            site.order = site.open_order = None
        else:
            site.order, site.open_order = ended.kept, ended.order
        if ended.refusal is not None:
            gate.learn(ended.refusal, site, replacing=exempt, now=at)
        if failures.is_authority_fault(failure):
            gate.faulty(at)
        elif not gate.breaker_closed:
            gate.healthy()
        self._fail(site, failure, at)

    def _issued(self, site: Site, issued: Issued, at: datetime, *, exempt: bool) -> None:
        tally = self._tally
        if site.certificate is None or site.issued is None:
            tally.first_issue(site, at)
        else:
            tally.renewed(site, at)
            tally.not_exempt_renewals += not exempt
            if site.revocation is not None:
                tally.replaced(site, at)
            self._ca.forget(site.issued.serial)
        self.put_in_force(site, issued, at)

    def _fail(self, site: Site, failure: Failure, now: datetime, verdict: PreflightVerdict | None = None) -> None:
        status = site.status
        self._tally.outcomes[failure.problem.type.rpartition(":")[2]] += 1
        count = attempts_after(status, failure.kind)
        due = now + failures.wait(failure, count, site.name)
        serving = site.certificate is not None and site.certificate.not_after > now
        status.state = DomainState.DEGRADED if serving else DomainState.FAILED
        status.attempt_count, status.last_error, status.next_attempt_time = count, failure.problem, due
        if verdict is not None:
            status = departure.after_attempt(status, verdict, now)
            site.status = status
        if status.state is DomainState.PAUSED:
            site.due = None
        elif failure.kind is FailureKind.PREFLIGHT and count >= _QUICK:
            self._sleep(site, due)
        else:
            self.have_due(site, due)


def _note_healthy(gate: Gate, _: datetime) -> None:
    gate.healthy()


def residual(interval: timedelta, fraction: float) -> timedelta:
    """Returns how much of a regular interval is left at a moment that has nothing to do with it."""
    return interval * fraction
