"""The gate before a CA: an order goes through when all of the CA's limits allow it and the CA is not known to be out of order.

What is counted here is what the CA counts, by its profile, and all processes count together in the store. A refusal all the same teaches
the buckets, so it is not provoked twice.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlsplit

import structlog
from prometheus_client import Counter

from controlplane.core import failure as failures
from controlplane.core import order_limits
from controlplane.core.breaker import Asked, Breaker, BreakerState
from controlplane.core.ca_profile import CaProfile, Scope
from controlplane.core.errors import FailedPrecondition
from controlplane.core.limit_reason import breaker_reason, limit_reason
from controlplane.core.order_limits import LimitDraw, LimitedBucket
from controlplane.core.ports import AcmeError, AcmeProblem, BreakerStore, Clock, RateLimits
from controlplane.core.token_bucket import SECOND, Refusal, level
from controlplane.usecases.ca_breaker import CaBreaker
from controlplane.usecases.request_pace import RequestPace

_log = structlog.get_logger(__name__)

_HELD = Counter(
    "certplane_ca_orders_held_total", "Orders held before they were sent, by CA and what they wait for.", ["authority", "scope"]
)
_TAUGHT = Counter("certplane_ca_limit_refusals_total", "Orders that a CA refused for a limit all the same.", ["authority", "scope"])


@dataclass(frozen=True, slots=True)
class Admitted:
    """The order may be sent now: its tokens are taken. The fate of a `probe` decides whether others may follow."""

    probe: bool = False


@dataclass(frozen=True, slots=True)
class Held:
    """The order may not be sent before `until`. `scope` is what waits, `subject` its name if it has one, `reason` a sentence for people."""

    until: datetime
    scope: Scope
    reason: str
    subject: str = ""


@dataclass(frozen=True, slots=True)
class LimitLevel:
    """A limit as it stands: `available` of `capacity` tokens can be used now, all at `full_time`; none before `blocked_until`, if set."""

    limit: str
    scope: Scope
    subject: str
    capacity: int
    available: int
    full_time: datetime
    blocked_until: datetime | None


@dataclass(frozen=True, slots=True)
class GateLevels:
    """What a status page shows of a CA. `breaker_until` is when an open breaker lets a probe through."""

    breaker: BreakerState
    breaker_until: datetime | None
    limits: tuple[LimitLevel, ...]


class CaGate:
    """The gate of one CA. Every call raises `Unavailable` when the store does not answer."""

    def __init__(
        self,
        profile: CaProfile,
        directory_url: str,
        *,
        limits: RateLimits,
        breakers: BreakerStore,
        clock: Clock,
        account_url: Callable[[], str] = lambda: "",
        pace: RequestPace | None = None,
    ) -> None:
        """Makes a gate.

        Args:
            profile: the CA's.
            directory_url: the CA's, which buckets and breaker belong to.
            limits: the shared buckets.
            breakers: the shared breaker.
            clock: the time.
            account_url: of our account, for what is asked without naming one.
            pace: the request rates; by default those of the profile.
        """
        self._profile = profile
        self._directory_url = directory_url
        self._limits = limits
        self._breaker = CaBreaker(directory_url, breakers, clock)
        self._clock = clock
        self._account_url = account_url
        self._pace = pace or RequestPace(profile, directory_url, limits)
        self._authority = urlsplit(directory_url).hostname or ""

    @property
    def profile(self) -> CaProfile:
        """The CA's profile."""
        return self._profile

    async def admit(self, names: Sequence[str], *, profile: str, replacing: bool, account_url: str) -> Admitted | Held:
        """Asks to send a new order, and takes its tokens.

        Args:
            names: canonical; all names of the order.
            profile: the certificate profile, empty for the CA's default.
            replacing: whether the order replaces a certificate of the same account within its renewal window (RFC 9773 section 5).
            account_url: of the account that orders; orders before it is known would be counted apart.

        Raises:
            FailedPrecondition: a certificate of this profile cannot have so many names: no waiting helps.
        """
        most = self._profile.most_names_for(profile)
        if most is not None and len(names) > most:
            of_profile = f" of profile {profile}" if profile else ""
            raise FailedPrecondition(
                f"{self._profile.title} puts at most {most} names on a certificate{of_profile}, and {len(names)} are wanted"
            )
        return await self._admit(order_limits.order_draws(self._profile, names, account_url, replacing=replacing))

    async def allow_registration(self) -> None:
        """Takes a token for the registration of an account. The breaker is not asked: an order is about to be, and it is the probe then.

        Raises:
            AcmeError: the CA's limit does not allow it now, which is told without asking the CA.
        """
        draws = order_limits.registration_draws(self._profile)
        taken = await self._limits.take(self._directory_url, [draw.draw for draw in draws]) if draws else ()
        if isinstance(taken, Refusal):
            held = self._held_by_limit(draws[taken.index].limited, taken.wait)
            raise AcmeError(AcmeProblem(failures.LIMIT, held.reason, retry_after=taken.wait / SECOND))

    async def ended_without_certificate(self, names: Sequence[str], *, replacing: bool, account_url: str) -> None:
        """Gives back what an admitted order took for its certificate, which the CA counts only when it issues. The order itself counts.

        To be called once an order, by whoever drops it under the lease; never when that is in doubt: a token too few is no refusal.
        """
        spent = order_limits.spent_without_certificate(self._profile, names, account_url, replacing=replacing)
        await self._limits.count(self._directory_url, [limited.bucket for limited in spent], -1)

    async def exemption_lost(self, names: Sequence[str], *, account_url: str) -> None:
        """Counts an order that was let through as one that replaces a certificate in time, and that the CA takes for an ordinary one."""
        spent = order_limits.spent_without_exemption(self._profile, names, account_url)
        await self._limits.count(self._directory_url, [limited.bucket for limited in spent], 1)

    async def learn(self, problem: AcmeProblem, names: Sequence[str], account_url: str, *, replacing: bool = False) -> None:
        """Takes in a refusal; one that is not about limits teaches nothing.

        Args:
            problem: what the CA sent.
            names: of the order.
            account_url: of the account that ordered.
            replacing: whether the order counted on the exemption of those that replace a certificate.
        """
        lesson = order_limits.lesson(self._profile, problem, names, account_url, replacing=replacing)
        if lesson is None:
            return
        buckets = [limited.bucket for limited in lesson.limited]
        await self._limits.hold(self._directory_url, buckets, empty_for=lesson.empty_for, blocked_for=lesson.blocked_for)
        for limited in lesson.limited:
            _TAUGHT.labels(self._authority, limited.limit.scope).inc()
            _log.warning(
                "the certificate authority refused for a limit",
                directory_url=self._directory_url,
                limit=limited.limit.name,
                subject=limited.subject,
                seconds=max(lesson.empty_for, lesson.blocked_for) / SECOND,
                detail=problem.detail[:300],
            )

    async def authorization_failed(self, names: Sequence[str], account_url: str) -> None:
        """Counts a failed authorization of each name."""
        failures = order_limits.failed_authorization(self._profile, names, account_url)
        await self._limits.count(self._directory_url, [limited.bucket for limited in failures], 1)

    async def authorization_succeeded(self, names: Sequence[str], account_url: str) -> None:
        """Ends each name's row of failures."""
        ended = order_limits.succeeded_authorization(self._profile, names, account_url)
        await self._limits.reset(self._directory_url, [limited.bucket for limited in ended])

    async def healthy(self) -> None:
        """Notes that the CA answered as it should."""
        await self._breaker.healthy()

    async def faulty(self, retry_after: float | None = None) -> None:
        """Notes a fault of the CA; `retry_after` in seconds, if it said so."""
        await self._breaker.faulty(retry_after)

    async def breaker(self) -> Breaker:
        """Returns how the breaker stands, a closed one as of a second ago: to choose a CA by. Only `admit` lets an order through."""
        return (await self._breaker.ask()).before

    async def pace(self, endpoint: str) -> None:
        """Waits until a request to the endpoint (one of `core.ca_profile.ENDPOINTS`) may be sent."""
        await self._pace.wait(endpoint)

    async def room(self, account_url: str = "") -> int | None:
        """Returns how many new orders the account's limit allows now; None: any number."""
        draws = order_limits.account_draws(self._profile, account_url or self._account_url())
        if not draws:
            return None
        levels = await self._levels([draw.limited for draw in draws])
        return min(each.available for each in levels)

    async def levels(self, names: Sequence[str] = (), account_url: str = "") -> GateLevels:
        """Returns how the breaker stands, and the limits: those of the whole deployment, and those of an order for `names`."""
        breaker = (await self._breaker.ask(anew=True)).before
        shown = order_limits.shown_buckets(self._profile, names, account_url or self._account_url())
        until = breaker.until if breaker.state is BreakerState.OPEN else None
        return GateLevels(breaker.state, until, await self._levels(shown))

    async def _admit(self, draws: Sequence[LimitDraw]) -> Admitted | Held:
        permission = await self._breaker.ask()
        if not permission.asked.admitted:
            return self._held_by_breaker(permission.asked)
        taken = await self._limits.take(self._directory_url, [draw.draw for draw in draws]) if draws else ()
        if isinstance(taken, Refusal):
            return self._held_by_limit(draws[taken.index].limited, taken.wait)
        while permission.asked.probe and not await self._breaker.start_probe(permission):
            # Another worker was quicker, or the CA has answered it already.
            permission = await self._breaker.ask()
        if not permission.asked.admitted:
            used = [draw.limited.bucket for draw, tokens in zip(draws, taken, strict=True) if tokens]
            await self._limits.count(self._directory_url, used, -1)
            return self._held_by_breaker(permission.asked)
        return Admitted(permission.asked.probe)

    def _held_by_breaker(self, asked: Asked) -> Held:
        reason = breaker_reason(self._profile.title, asked.breaker.state)
        return self._held(Held(asked.until or self._clock(), Scope.AUTHORITY, reason))

    def _held_by_limit(self, limited: LimitedBucket, wait_: int) -> Held:
        until = self._clock() + timedelta(microseconds=wait_)
        return self._held(Held(until, limited.limit.scope, limit_reason(self._profile.title, limited), limited.subject))

    def _held(self, held: Held) -> Held:
        _HELD.labels(self._authority, held.scope).inc()
        return held

    async def _levels(self, shown: Sequence[LimitedBucket]) -> tuple[LimitLevel, ...]:
        found = await self._limits.levels(self._directory_url, [limited.bucket for limited in shown])
        now = self._clock()
        levels = []
        for limited, state in zip(shown, found.states, strict=True):
            blocked = max(0, state.blocked_until - found.now)
            levels.append(
                LimitLevel(
                    limited.limit.name,
                    limited.limit.scope,
                    limited.subject,
                    limited.limit.capacity,
                    0 if blocked else level(limited.bucket, state, found.now),
                    now + timedelta(microseconds=max(0, state.full_at - found.now)),
                    now + timedelta(microseconds=blocked) if blocked else None,
                )
            )
        return tuple(levels)
