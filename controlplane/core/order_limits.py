"""Which of a CA's limits an order, a failed authorization or a refusal has to do with, as buckets.

Every scope can be held, also at a CA whose profile has no limit there: a limit that only waits stands in, so that what the CA refuses
is not asked for again before its time. An order that replaces a certificate in time (RFC 9773 section 5) draws nothing from limits that
exempt it, but waits where a refusal has shown that the CA does not.
"""

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from controlplane.core.ca_profile import CaProfile, Counts, OrderLimit, Scope
from controlplane.core.failure import ACME
from controlplane.core.names import DomainName, registered_domain
from controlplane.core.ports.authority import AcmeProblem
from controlplane.core.token_bucket import LONGEST_WAIT, SECOND, Bucket, Draw

LEAST_WAIT = 60 * SECOND
"""Microseconds to wait after a refusal that does not say how long, unless a token takes longer to come."""

_PAUSED_WAIT = 86_400 * SECOND
_FAILURES = frozenset({Counts.FAILED_AUTHORIZATIONS, Counts.CONSECUTIVE_FAILURES})


@dataclass(frozen=True, slots=True)
class LimitedBucket:
    """One bucket of a limit. `subject` is what it is about: a name or a registered domain, empty for the other scopes."""

    limit: OrderLimit
    subject: str
    bucket: Bucket

    @property
    def waits_only(self) -> bool:
        """Whether the CA's limit is not known: nothing is counted, there are only refusals."""
        return self.limit.name in _WAIT_ONLY_NAMES


@dataclass(frozen=True, slots=True)
class LimitDraw:
    """A draw, with the limit it is about."""

    limited: LimitedBucket
    draw: Draw


@dataclass(frozen=True, slots=True)
class Lesson:
    """What a refusal teaches: these buckets are empty for so long and blocked for so long, in microseconds; 0: not."""

    limited: tuple[LimitedBucket, ...]
    empty_for: int
    blocked_for: int


_WAIT_ONLY = tuple(
    OrderLimit(f"refusals-by-{scope.lower().replace('_', '-')}", scope, counts, capacity=1, interval=1, exempt_by_ari=False)
    for scope, counts in (
        (Scope.ADDRESS, Counts.REGISTRATIONS),
        (Scope.ACCOUNT, Counts.ORDERS),
        (Scope.REGISTERED_DOMAIN, Counts.CERTIFICATES),
        (Scope.NAME_SET, Counts.CERTIFICATES),
        (Scope.NAME, Counts.ORDERS),
    )
)
_WAIT_ONLY_NAMES = frozenset(limit.name for limit in _WAIT_ONLY)

# Let's Encrypt's texts (its server Boulder, ratelimits/limiter.go and wfe2/wfe.go): the first row of which all words are there.
_TEXTS: tuple[tuple[tuple[str, ...], Scope, Counts], ...] = (
    (("temporarily prevented from requesting",), Scope.NAME, Counts.CONSECUTIVE_FAILURES),
    (("paused",), Scope.NAME, Counts.CONSECUTIVE_FAILURES),
    (("failed authorizations",), Scope.NAME, Counts.FAILED_AUTHORIZATIONS),
    (("certificates", "exact set"), Scope.NAME_SET, Counts.CERTIFICATES),
    (("certificates", "already issued"), Scope.REGISTERED_DOMAIN, Counts.CERTIFICATES),
    (("registrations",), Scope.ADDRESS, Counts.REGISTRATIONS),
    (("new orders",), Scope.ACCOUNT, Counts.ORDERS),
)


def order_draws(profile: CaProfile, names: Sequence[str], account_url: str, *, replacing: bool) -> tuple[LimitDraw, ...]:
    """Returns what a new order takes, all of it or nothing.

    Args:
        profile: of the CA.
        names: canonical, in any order.
        account_url: of the account that orders.
        replacing: whether the order says which certificate it replaces and the CA can count on the exemption.
    """
    return tuple(
        LimitDraw(limited, _order_draw(limited, replacing=replacing))
        for limited in _buckets((limit for limit in _limits(profile) if limit.scope is not Scope.ADDRESS), names, account_url)
    )


def registration_draws(profile: CaProfile) -> tuple[LimitDraw, ...]:
    """Returns what a new account takes."""
    limits = (limit for limit in _limits(profile) if limit.scope is Scope.ADDRESS)
    return tuple(LimitDraw(limited, _draw(limited)) for limited in _buckets(limits, (), ""))


def spent_without_certificate(profile: CaProfile, names: Sequence[str], account_url: str, *, replacing: bool) -> tuple[LimitedBucket, ...]:
    """Returns where an order took a token for a certificate that it then did not get: the CA counts those when it issues."""
    spent = (limit for limit in profile.limits if limit.counts is Counts.CERTIFICATES and not (replacing and limit.exempt_by_ari))
    return tuple(_buckets(spent, names, account_url))


def spent_without_exemption(profile: CaProfile, names: Sequence[str], account_url: str) -> tuple[LimitedBucket, ...]:
    """Returns where an order that replaces nothing takes a token, and one that replaces a certificate in time takes none."""
    draws = order_draws(profile, names, account_url, replacing=False)
    return tuple(draw.limited for draw in draws if draw.draw.most and draw.limited.limit.exempt_by_ari)


def failed_authorization(profile: CaProfile, names: Sequence[str], account_url: str) -> tuple[LimitedBucket, ...]:
    """Returns where failed authorizations of these names count."""
    return tuple(_buckets((limit for limit in profile.limits if limit.counts in _FAILURES), names, account_url))


def succeeded_authorization(profile: CaProfile, names: Sequence[str], account_url: str) -> tuple[LimitedBucket, ...]:
    """Returns what a success of these names fills again."""
    return tuple(_buckets((limit for limit in profile.limits if limit.counts is Counts.CONSECUTIVE_FAILURES), names, account_url))


def shown_buckets(profile: CaProfile, names: Sequence[str], account_url: str) -> tuple[LimitedBucket, ...]:
    """Returns the buckets of known limits that a status page shows: those of the whole deployment, and those of `names`."""
    shown = (limit for limit in profile.limits if names or limit.scope in (Scope.ADDRESS, Scope.ACCOUNT))
    return tuple(_buckets(shown, names, account_url))


def account_draws(profile: CaProfile, account_url: str) -> tuple[LimitDraw, ...]:
    """Returns what bounds the new orders of an account whatever they are for; none at a CA without such a limit."""
    limits = (limit for limit in profile.limits if limit.scope is Scope.ACCOUNT)
    return tuple(LimitDraw(limited, _draw(limited)) for limited in _buckets(limits, (), account_url))


def lesson(profile: CaProfile, problem: AcmeProblem, names: Sequence[str], account_url: str, *, replacing: bool) -> Lesson | None:
    """Returns what a refusal teaches, or None when it is not about limits.

    A text that is not understood holds the account: the CA refuses, and asking on would be refused as well. A refusal of an order that
    counted on its exemption holds such orders too.
    """
    if problem.type != f"{ACME}rateLimited":
        return None
    asked = None if problem.retry_after is None else min(max(math.ceil(problem.retry_after * SECOND), SECOND), LONGEST_WAIT)
    detail = problem.detail.lower()
    for words, scope, counts in _TEXTS:
        if all(word in detail for word in words):
            blamed = _blamed(detail, names, scope)
            limited = _taught(profile, blamed, account_url, scope, counts)
            unsaid = max((LEAST_WAIT, *(each.bucket.interval for each in limited)))
            if counts is Counts.CONSECUTIVE_FAILURES:
                unsaid = max(unsaid, _PAUSED_WAIT)
            wait = asked or unsaid
            exempt = replacing and any(each.limit.exempt_by_ari for each in limited)
            return Lesson(limited, wait, wait if exempt else 0)
    account = _taught(profile, (), account_url, Scope.ACCOUNT, Counts.ORDERS)
    return Lesson(account, 0, asked or max((LEAST_WAIT, *(each.bucket.interval for each in account))))


def _limits(profile: CaProfile) -> tuple[OrderLimit, ...]:
    """Returns the limits of the CA, then those that stand in where it has none."""
    known = [limit.scope for limit in profile.limits]
    return (*profile.limits, *(each for each in _WAIT_ONLY if each.scope not in known))


def _buckets(limits: Iterable[OrderLimit], names: Sequence[str], account_url: str) -> Iterator[LimitedBucket]:
    for limit in limits:
        for subject, key in _subjects(limit.scope, names, account_url):
            yield LimitedBucket(limit, subject, Bucket(f"{limit.name}:{key}", limit.capacity, limit.interval))


def _subjects(scope: Scope, names: Sequence[str], account_url: str) -> Sequence[tuple[str, str]]:
    """Returns what a limit of this scope counts, each with what tells it apart from all others."""
    match scope:
        case Scope.REGISTERED_DOMAIN:
            return [(domain, domain) for domain in sorted({registered_domain(DomainName(name)) for name in names})]
        case Scope.NAME_SET:
            return [("", hashlib.sha256("\n".join(sorted(set(names))).encode()).hexdigest()[:32])] if names else []
        case Scope.NAME:
            account = _account_digest(account_url)
            return [(name, f"{account}:{name}") for name in sorted(set(names))]
        case Scope.ACCOUNT:
            return [("", _account_digest(account_url))]
        case _:
            return [("", "all")]


@lru_cache(maxsize=64)
def _account_digest(account_url: str) -> str:
    return hashlib.sha256(account_url.encode()).hexdigest()[:16]


def _order_draw(limited: LimitedBucket, *, replacing: bool) -> Draw:
    if replacing and limited.limit.exempt_by_ari:
        return Draw(limited.bucket, need=0, most=0)
    return _draw(limited)


def _draw(limited: LimitedBucket) -> Draw:
    # Failures are taken when they happen; an order asks that one more would not be too many.
    return Draw(limited.bucket, need=1, most=0 if limited.waits_only or limited.limit.counts in _FAILURES else 1)


def _blamed(detail: str, names: Sequence[str], scope: Scope) -> Sequence[str]:
    """Returns the names that the text is about: those that it mentions, or all."""
    words = {word.strip("\"',.;:()") for word in detail.split()}
    if scope is Scope.NAME:
        return [name for name in names if name in words] or names
    if scope is Scope.REGISTERED_DOMAIN:
        return [name for name in names if registered_domain(DomainName(name)) in words] or names
    return names


def _taught(profile: CaProfile, names: Sequence[str], account_url: str, scope: Scope, counts: Counts) -> tuple[LimitedBucket, ...]:
    """Returns the buckets of the limit that refused: of what is counted where the profile has that, else whatever stands for the scope."""
    of_scope = [limit for limit in _limits(profile) if limit.scope is scope]
    counted = [limit for limit in of_scope if limit.counts is counts]
    return tuple(_buckets(counted, names, account_url)) or tuple(_buckets(of_scope, names, account_url))
