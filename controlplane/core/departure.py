"""When a domain has left, and when it is back: from the verdict of a check to changes of its status.

A customer who leaves tells nobody: he points his DNS elsewhere. Then each renewal would fail, and count against the CA's limits, for ever.
So the own name of each domain is checked now and then, also while nothing is to be renewed. When a check shows conclusively that the
name points elsewhere, the domain has a `departed_time`; when it still does after the grace time, the domain is paused. No order is placed
any more, its certificate is served until it ends, and it is still checked once a day, as every other domain is, however long it has been
away: whoever comes back waits for a day at most. One check that shows it here again ends both.

What is not conclusive says nothing about where the domain is: time-outs and failing resolvers may be our own view, and a 5xx status may be
our own edge in trouble. An outage of ours, however long, thus pauses nobody. Neither does CAA, nor an additional name: neither tells
where the domain is.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from typing import Final

from controlplane.core.backoff import FailureKind
from controlplane.core.failure import kind_of
from controlplane.core.jitter import fraction
from controlplane.core.managed_domain import Domain, DomainState, DomainStatus, PauseReason
from controlplane.core.ports.preflight import GOOD, PreflightVerdict
from controlplane.core.preflight import NO_ADDRESS, NO_SUCH_NAME, PRIVATE_ADDRESS, PROBLEM_TYPE, Finding

GRACE: Final = timedelta(days=7)
"""How long a domain may point elsewhere before it is paused, if nobody says otherwise."""

ROUTINE: Final = timedelta(hours=24)
"""Between two checks of a domain that is here; also of one that is paused."""
WATCHED: Final = timedelta(hours=6)
"""Between two checks of a domain that points elsewhere and is not paused yet."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_ELSEWHERE: Final = frozenset(
    {
        NO_SUCH_NAME,
        NO_ADDRESS,
        PRIVATE_ADDRESS,
        Finding.WRONG_ANSWER.kind,
        Finding.REFUSED.kind,
        Finding.BAD_REDIRECT.kind,
        Finding.TLS_FAILED.kind,
    }
)
"""Kinds of problem that show somebody else's server, or none."""


class Whereabouts(Enum):
    """Where a check shows a domain to be."""

    HERE = auto()
    ELSEWHERE = auto()
    UNKNOWN = auto()


def whereabouts(verdict: PreflightVerdict) -> Whereabouts:
    """Returns where the verdict on a domain's own name shows it to be.

    It is elsewhere when all of its addresses are; an address that answers as this service does is enough for it to be here.
    """
    if verdict.problem is None:
        return Whereabouts.HERE
    if not verdict.conclusive:
        return Whereabouts.UNKNOWN
    kinds = {seen.kind for seen in verdict.observations} or {verdict.problem.type.removeprefix(PROBLEM_TYPE)}
    if GOOD in kinds:
        return Whereabouts.HERE
    return Whereabouts.ELSEWHERE if kinds <= _ELSEWHERE else Whereabouts.UNKNOWN


def after_check(status: DomainStatus, verdict: PreflightVerdict, now: datetime, grace: timedelta = GRACE) -> DomainStatus:
    """Returns the status after a check of the domain's own name that was made for its own sake.

    A domain that was paused because it had left comes back: ACTIVE (DEGRADED without all of its names) while its certificate is valid, due
    for renewal as before; else PENDING, and due now. A domain whose attempts failed at the pre-flight, and which passes now, is due now.

    Args:
        status: with what is known; one that is paused by request stays as it is.
        verdict: on the own name. Those on additional names do not matter.
        now: the time of the check.
        grace: how long it may point elsewhere before it is paused.
    """
    if _resting(status):
        return status
    after = after_attempt(status, verdict, now, grace)
    if status.state is DomainState.PAUSED:
        return _back(after, now) if whereabouts(verdict) is Whereabouts.HERE else after
    error = status.last_error
    failed_here = error is not None and error.failed_name == verdict.name.value and kind_of(error) is FailureKind.PREFLIGHT
    if verdict.problem is None and failed_here:
        # The customer has mended it: no need to wait for the backoff.
        return replace(after, next_attempt_time=now)
    return after


def after_attempt(status: DomainStatus, verdict: PreflightVerdict, now: datetime, grace: timedelta = GRACE) -> DomainStatus:
    """Returns the status with what the pre-flight of an attempt says of where the domain is: it is a check too.

    Only `departed_time` and `checked_time` change, and the state when the grace time is over. `status` is the one that the attempt
    has led to; the arguments are those of `after_check`.
    """
    if _resting(status):
        return status
    match whereabouts(verdict):
        case Whereabouts.HERE:
            return replace(status, checked_time=now, departed_time=None)
        case Whereabouts.UNKNOWN:
            return replace(status, checked_time=now)
        case Whereabouts.ELSEWHERE:
            departed = status.departed_time or now
            if status.state is DomainState.PAUSED or now - departed < grace:
                return replace(status, checked_time=now, departed_time=departed)
            return replace(
                status,
                checked_time=now,
                departed_time=departed,
                state=DomainState.PAUSED,
                pause_reason=PauseReason.DEPARTED,
                reconciling=False,
                current_step="",
                next_attempt_time=None,
                last_error=verdict.problem,
            )


def next_check(status: DomainStatus, name: str) -> datetime | None:
    """Returns when the domain's own name is to be checked next: a past time when that is overdue, None when it is not checked.

    Each name has its own time of day (or of six hours), which follows from a hash of it, so that checks are spread evenly whatever was
    onboarded together. The time depends on the last check only. A domain that was never checked and has no certificate is not checked: its
    attempts are its checks.
    """
    last = status.checked_time or status.issue_time
    if _resting(status) or last is None:
        return None
    period = WATCHED if status.departed_time is not None and status.state is not DomainState.PAUSED else ROUTINE
    # A check out of turn must not bring the next one close, nor put it off for long.
    return _slot(last + period / 2, period, name)


def check_is_due(domain: Domain, now: datetime) -> bool:
    """Returns whether the domain's own name is to be checked now: its time has come, or somebody has asked for it.

    A domain that is paused because it had left is not renewed, so whoever asks for its renewal says that it is back. That is looked at
    once a request.
    """
    status = domain.status
    due = next_check(status, domain.spec.fqdn.value)
    if due is not None and due <= now:
        return True
    asked = domain.requested_renewal_time
    if status.state is not DomainState.PAUSED or _resting(status) or asked is None or domain.renewal_is_for_later(now):
        return False
    return status.checked_time is None or status.checked_time < asked


def _resting(status: DomainStatus) -> bool:
    """Whether somebody has paused the domain: it is left alone until somebody resumes it."""
    return status.state is DomainState.PAUSED and status.pause_reason is not PauseReason.DEPARTED


def _back(status: DomainStatus, now: datetime) -> DomainStatus:
    valid = status.expire_time is not None and status.expire_time > now
    renewal = status.renew_time if valid and status.renew_time is not None else now
    served = DomainState.DEGRADED if status.omitted_names else DomainState.ACTIVE
    return replace(
        status,
        state=served if valid else DomainState.PENDING,
        pause_reason=None,
        departed_time=None,
        attempt_count=0,
        last_error=None,
        next_attempt_time=max(renewal, now),
    )


def _slot(after: datetime, period: timedelta, name: str) -> datetime:
    """Returns the first time after `after` that is the name's own in each period."""
    offset = _EPOCH + period * fraction("check", name)
    return offset + period * ((after - offset) // period + 1)
