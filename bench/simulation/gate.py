"""The gate before the CA: buckets, breaker and pace by the core's functions, kept in dictionaries in place of the store."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from bench.simulation.scenario import START
from bench.simulation.site import Site
from controlplane.core import breaker, order_limits
from controlplane.core.breaker import Asked, Breaker, BreakerState
from controlplane.core.ca_profile import CaProfile, Scope
from controlplane.core.jitter import fraction
from controlplane.core.ports import AcmeProblem
from controlplane.core.request_rate import pacing
from controlplane.core.token_bucket import (
    FULL,
    SECOND,
    Bucket,
    BucketState,
    Draw,
    Refusal,
    block_until,
    learn_empty_until,
    level,
    take,
    take_all,
    wait,
)

_MICROSECOND = timedelta(microseconds=1)
_BASE = int(START.timestamp()) * SECOND
_REQUESTS_BESIDE_NEW_ORDER = 6


def microseconds(time: datetime) -> int:
    """Returns the microseconds since 1970."""
    passed = time - START
    return _BASE + (passed.days * 86_400 + passed.seconds) * SECOND + passed.microseconds


@dataclass(frozen=True, slots=True)
class Held:
    """An order may not be sent before `until`, for a limit of this scope."""

    until: datetime
    scope: Scope


class Gate:
    """See the module. Without `limiter` everything is let through, and only the breaker holds."""

    def __init__(self, profile: CaProfile, directory_url: str, account_url: str, *, limiter: bool) -> None:
        self._profile = profile
        self._directory_url = directory_url
        self._account_url = account_url
        self._limiter = limiter
        self._states: dict[str, BucketState] = {}
        self.breaker = Breaker()
        self.breaker_closed = True
        (account,) = order_limits.account_draws(profile, account_url)
        self._account = account.draw.bucket
        self._pacings = []
        for endpoint, requests in (("new_order", 1), ("order", _REQUESTS_BESIDE_NEW_ORDER)):
            found = profile.rate_of(endpoint)
            if found is not None:
                self._pacings.append((pacing(found[1], found[0]).bucket, requests))
        self._taught = False
        self.paced_until = START
        self._in_line = 0
        self.held = 0
        self.longest_line = 0
        self.in_line_by_day: dict[int, int] = {}

    def ask_breaker(self, now: datetime) -> Asked:
        """Asks to send an order; the probe is taken."""
        asked = breaker.ask(self.breaker, now)
        self._have_breaker(asked.breaker)
        return asked

    def healthy(self) -> None:
        """Notes that the CA answered as it should."""
        self._have_breaker(breaker.succeeded(self.breaker))

    def faulty(self, now: datetime) -> None:
        """Notes a fault of the CA."""
        jitter = fraction("breaker", self._directory_url, str(self.breaker.openings))
        self._have_breaker(breaker.failed(self.breaker, now, jitter))

    def admit(self, site: Site, *, replacing: bool, now: datetime) -> Held | None:
        """Takes the tokens of an order, or returns for what it waits.

        Who waits for the account's limit is told to come back when as many tokens have come as others wait for before it. So everybody
        comes back about once, not whenever a single token has come.
        """
        if not self._limiter:
            return None
        if replacing and not site.counted and not self._taught:
            # It takes nothing, and only a block or the name's row of failures could hold it. There is neither.
            return None
        states = self._states
        draws = [each.draw for each in order_limits.order_draws(self._profile, (site.name,), self._account_url, replacing=replacing)]
        at = microseconds(now)
        taken = take_all(draws, [states.get(draw.bucket.key, FULL) for draw in draws], at)
        if isinstance(taken, Refusal):
            return self._hold(site, draws[taken.index], taken.wait, now)
        for draw, state, tokens in zip(draws, taken.states, taken.tokens, strict=True):
            if tokens:
                states[draw.bucket.key] = state
        return None

    def leave_line(self, site: Site) -> None:
        """The site asks again, or never will."""
        if site.in_line:
            site.in_line = False
            self._in_line -= 1

    def room(self, now: datetime) -> int:
        """Returns how many new orders the account's limit allows now."""
        return level(self._account, self._states.get(self._account.key, FULL), microseconds(now)) if self._limiter else 1

    def until_room(self, now: datetime) -> datetime:
        """Returns from when on it allows one."""
        if not self._limiter:
            return now
        return now + wait(self._account, self._states.get(self._account.key, FULL), microseconds(now)) * _MICROSECOND

    def pace(self, now: datetime) -> datetime:
        """Takes the requests of an order; returns when it can begin by the CA's request rates."""
        at = begin = microseconds(now)
        for bucket, requests in self._pacings:
            begin = max(begin, at + wait(bucket, self._states.get(bucket.key, FULL), at, requests))
        for bucket, requests in self._pacings:
            self._states[bucket.key] = take(bucket, self._states.get(bucket.key, FULL), begin, requests)
        self.paced_until = now if begin == at else now + (begin - at) * _MICROSECOND
        return self.paced_until

    def ended_without_certificate(self, site: Site, *, replacing: bool, now: datetime) -> None:
        """Gives back what was taken for the certificate."""
        spent = order_limits.spent_without_certificate(self._profile, (site.name,), self._account_url, replacing=replacing)
        self._count([each.bucket for each in spent], -1, now)

    def authorization_failed(self, site: Site, now: datetime) -> None:
        """Counts a failed authorization."""
        site.counted = True
        self._count([each.bucket for each in order_limits.failed_authorization(self._profile, (site.name,), self._account_url)], 1, now)

    def authorization_succeeded(self, site: Site) -> None:
        """Ends the row of failures, if there was one: a bucket that nobody has used is full."""
        if site.status.attempt_count:
            for each in order_limits.succeeded_authorization(self._profile, (site.name,), self._account_url):
                self._states.pop(each.bucket.key, None)

    def learn(self, problem: AcmeProblem, site: Site, *, replacing: bool, now: datetime) -> None:
        """Takes in a refusal."""
        lesson = order_limits.lesson(self._profile, problem, (site.name,), self._account_url, replacing=replacing)
        if lesson is None:
            return
        self._taught = True
        at = microseconds(now)
        for limited in lesson.limited:
            state = self._states.get(limited.bucket.key, FULL)
            if lesson.empty_for:
                state = learn_empty_until(limited.bucket, state, at + lesson.empty_for)
            if lesson.blocked_for:
                state = block_until(state, at + lesson.blocked_for)
            self._states[limited.bucket.key] = state

    def _have_breaker(self, after: Breaker) -> None:
        self.breaker = after
        self.breaker_closed = after.state is BreakerState.CLOSED

    def _hold(self, site: Site, draw: Draw, waits: int, now: datetime) -> Held:
        self.held += 1
        if draw.bucket.key != self._account.key:
            return Held(now + waits * _MICROSECOND, Scope.REGISTERED_DOMAIN)
        state = self._states.get(self._account.key, FULL)
        waits = wait(self._account, state, microseconds(now), 1 + self._in_line)
        site.in_line = True
        self._in_line += 1
        self.longest_line = max(self.longest_line, self._in_line)
        day = (now - START).days
        self.in_line_by_day[day] = max(self.in_line_by_day.get(day, 0), self._in_line)
        return Held(now + waits * _MICROSECOND, Scope.ACCOUNT)

    def _count(self, buckets: Sequence[Bucket], tokens: int, now: datetime) -> None:
        at = microseconds(now)
        for bucket in buckets:
            self._states[bucket.key] = take(bucket, self._states.get(bucket.key, FULL), at, tokens)
