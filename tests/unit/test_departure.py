"""When a domain has left, when it is back, and when it is looked at."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.core.departure import GRACE, Whereabouts, after_attempt, after_check, check_is_due, next_check, whereabouts
from controlplane.core.managed_domain import Actor, Domain, DomainState, DomainStatus, PauseReason, Problem
from controlplane.core.names import DomainName
from controlplane.core.ports.preflight import CaaAnswer, CaaObservation, Observation, PreflightVerdict
from tests.fakes import samples

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
NAME = DomainName("shop.example.com")
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
CONCLUSIVE_ELSEWHERE = [
    "no-such-name",
    "no-address",
    "private-address",
    "wrong-answer",
    "connection-refused",
    "bad-redirect",
    "tls-failed",
]
INCONCLUSIVE = ["timeout", "unreachable", "connection-cut", "redirect-lookup-failed", "time-over", "dns-failed", "resolver-silent",
                "caa-lookup-failed", "internal"]  # fmt: skip
ACTIVE = DomainStatus(
    state=DomainState.ACTIVE, certificate_id="c", issue_time=NOW - 30 * DAY, expire_time=NOW + 60 * DAY, renew_time=NOW + 30 * DAY
)
PAUSED = replace(ACTIVE, state=DomainState.PAUSED, pause_reason=PauseReason.DEPARTED, departed_time=NOW - 8 * DAY)


def problem(kind: str, name: str = NAME.value, prefix: str = "urn:certplane:error:preflight:") -> Problem:
    return Problem(prefix + kind, f"{name}: {kind}", Actor.CUSTOMER, NOW, name)


def bad(kind: str, *observed: str, conclusive: bool = True) -> PreflightVerdict:
    seen = tuple(Observation(f"8.8.8.{index}", each, "seen", "expected") for index, each in enumerate(observed))
    return PreflightVerdict(NAME, problem(kind), conclusive, seen)


GOOD = PreflightVerdict(NAME, None, conclusive=True, observations=(Observation("8.8.8.8", "good", "answers", "expected"),))
ELSEWHERE = bad("wrong-answer", "wrong-answer")
UNKNOWN = bad("timeout", "timeout", conclusive=False)


# ---- where it is ----


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [
        (GOOD, Whereabouts.HERE),
        (PreflightVerdict(NAME, None, conclusive=True), Whereabouts.HERE),
        *((bad(kind), Whereabouts.ELSEWHERE) for kind in CONCLUSIVE_ELSEWHERE),
        *((bad(kind, conclusive=False), Whereabouts.UNKNOWN) for kind in INCONCLUSIVE),
        (bad("wrong-answer", "wrong-answer", "connection-refused"), Whereabouts.ELSEWHERE),
        (bad("wrong-answer", "wrong-answer", "private-address"), Whereabouts.ELSEWHERE),
        (bad("wrong-answer", "good", "wrong-answer"), Whereabouts.HERE),
        (bad("connection-refused", "connection-refused", "good", conclusive=False), Whereabouts.UNKNOWN),
        (bad("connection-refused", "connection-refused", "timeout"), Whereabouts.UNKNOWN),
        (bad("wrong-answer", "wrong-answer", "server-error"), Whereabouts.UNKNOWN),
        (bad("server-error", "server-error"), Whereabouts.UNKNOWN),
        (bad("server-error"), Whereabouts.UNKNOWN),
        (bad("caa-forbids", "good", "good"), Whereabouts.HERE),
        (bad("caa-forbids", "timeout"), Whereabouts.UNKNOWN),
        (bad("caa-forbids"), Whereabouts.UNKNOWN),
        (bad("not-certifiable"), Whereabouts.UNKNOWN),
    ],
)
def test_whereabouts(verdict: PreflightVerdict, expected: Whereabouts) -> None:
    """A domain is elsewhere only when every address conclusively is; one good address, or CAA, says that it is here or nothing."""
    assert expected is whereabouts(verdict)


def test_caa_does_not_matter() -> None:
    """What CAA says does not tell where a domain is."""
    assert Whereabouts.HERE is whereabouts(replace(GOOD, caa=CaaObservation(CaaAnswer.FORBIDS)))


# ---- what changes ----


@pytest.mark.parametrize(
    ("before", "verdict", "changes"),
    [
        # A healthy domain.
        (ACTIVE, GOOD, {}),
        (ACTIVE, UNKNOWN, {}),
        (ACTIVE, ELSEWHERE, {"departed_time": NOW}),
        # One that points elsewhere.
        (replace(ACTIVE, departed_time=NOW - DAY), ELSEWHERE, {}),
        (replace(ACTIVE, departed_time=NOW - DAY), UNKNOWN, {}),
        (replace(ACTIVE, departed_time=NOW - DAY), GOOD, {"departed_time": None}),
        (replace(ACTIVE, departed_time=NOW + DAY), ELSEWHERE, {}),
        # For longer than the grace time.
        (replace(ACTIVE, departed_time=NOW - 8 * DAY), UNKNOWN, {}),
        (replace(ACTIVE, departed_time=NOW - 8 * DAY), GOOD, {"departed_time": None}),
        (
            replace(ACTIVE, departed_time=NOW - 7 * DAY, next_attempt_time=NOW + DAY, reconciling=True, current_step="preflight"),
            ELSEWHERE,
            {
                "state": DomainState.PAUSED,
                "pause_reason": PauseReason.DEPARTED,
                "last_error": ELSEWHERE.problem,
                "next_attempt_time": None,
                "reconciling": False,
                "current_step": "",
            },
        ),
        (
            DomainStatus(state=DomainState.FAILED, departed_time=NOW - 9 * DAY, attempt_count=40, last_error=problem("wrong-answer")),
            bad("no-such-name"),
            {"state": DomainState.PAUSED, "pause_reason": PauseReason.DEPARTED, "last_error": problem("no-such-name")},
        ),
        # Paused.
        (PAUSED, ELSEWHERE, {}),
        (PAUSED, UNKNOWN, {}),
        (
            replace(PAUSED, attempt_count=9, last_error=problem("wrong-answer")),
            GOOD,
            {
                "state": DomainState.ACTIVE,
                "pause_reason": None,
                "departed_time": None,
                "attempt_count": 0,
                "last_error": None,
                "next_attempt_time": NOW + 30 * DAY,
            },
        ),
        (
            replace(PAUSED, renew_time=NOW - DAY),
            GOOD,
            {"state": DomainState.ACTIVE, "pause_reason": None, "departed_time": None, "next_attempt_time": NOW},
        ),
        (
            replace(PAUSED, omitted_names=(DomainName("www.shop.example.com"),)),
            GOOD,
            {"state": DomainState.DEGRADED, "pause_reason": None, "departed_time": None, "next_attempt_time": NOW + 30 * DAY},
        ),
        (
            replace(PAUSED, expire_time=NOW - DAY),
            GOOD,
            {"state": DomainState.PENDING, "pause_reason": None, "departed_time": None, "next_attempt_time": NOW},
        ),
        (
            DomainStatus(state=DomainState.PAUSED, pause_reason=PauseReason.DEPARTED, departed_time=NOW - 80 * DAY),
            GOOD,
            {"state": DomainState.PENDING, "pause_reason": None, "departed_time": None, "next_attempt_time": NOW},
        ),
        (
            PAUSED,
            bad("caa-forbids", "good"),
            {"state": DomainState.ACTIVE, "pause_reason": None, "departed_time": None, "next_attempt_time": NOW + 30 * DAY},
        ),
    ],
)
def test_after_check(before: DomainStatus, verdict: PreflightVerdict, changes: dict[str, Any]) -> None:
    """A check notes when it was made, and changes what it proves; everything else stays."""
    expected = replace(before, checked_time=NOW, **changes)
    assert expected == after_check(before, verdict, NOW)


@pytest.mark.parametrize(
    ("error", "verdict", "woken"),
    [
        (problem("connection-refused"), GOOD, True),
        (problem("connection-refused"), UNKNOWN, False),
        (problem("connection-refused"), ELSEWHERE, False),
        (problem("caa-forbids"), bad("caa-forbids", "good"), False),
        (problem("connection-refused", "www.shop.example.com"), GOOD, False),
        (problem("unauthorized", prefix="urn:ietf:params:acme:error:"), GOOD, False),
        (None, GOOD, False),
    ],
)
def test_a_mended_name_is_due_at_once(error: Problem | None, verdict: PreflightVerdict, woken: bool) -> None:
    """A name that failed at the pre-flight and passes now does not wait for its backoff; one that the CA refused does."""
    before = DomainStatus(state=DomainState.FAILED, last_error=error, next_attempt_time=NOW + DAY)
    assert (NOW if woken else NOW + DAY) == after_check(before, verdict, NOW).next_attempt_time


@pytest.mark.parametrize("verdict", [GOOD, ELSEWHERE, UNKNOWN])
@pytest.mark.parametrize("reason", [PauseReason.REQUESTED, None])
def test_what_somebody_paused_is_left_alone(verdict: PreflightVerdict, reason: PauseReason | None) -> None:
    """A domain that somebody paused is not changed by any check, and is not checked."""
    status = replace(ACTIVE, state=DomainState.PAUSED, pause_reason=reason, departed_time=NOW - 90 * DAY)
    assert status == after_check(status, verdict, NOW) == after_attempt(status, verdict, NOW)
    assert next_check(status, NAME.value) is None


@pytest.mark.parametrize(
    ("before", "verdict", "changes"),
    [
        (DomainStatus(state=DomainState.FAILED, last_error=problem("wrong-answer")), ELSEWHERE, {"departed_time": NOW}),
        (
            DomainStatus(state=DomainState.FAILED, departed_time=NOW - DAY, last_error=problem("wrong-answer")),
            GOOD,
            {"departed_time": None},
        ),
        (
            replace(ACTIVE, state=DomainState.DEGRADED, departed_time=NOW - 8 * DAY, next_attempt_time=NOW + HOUR),
            ELSEWHERE,
            {
                "state": DomainState.PAUSED,
                "pause_reason": PauseReason.DEPARTED,
                "last_error": ELSEWHERE.problem,
                "next_attempt_time": None,
            },
        ),
        (replace(ACTIVE, departed_time=NOW - 8 * DAY, next_attempt_time=NOW + HOUR), UNKNOWN, {}),
    ],
)
def test_after_attempt(before: DomainStatus, verdict: PreflightVerdict, changes: dict[str, Any]) -> None:
    """The pre-flight of an attempt counts as a check, and leaves what the attempt itself decided alone."""
    expected = replace(before, checked_time=NOW, **changes)
    assert expected == after_attempt(before, verdict, NOW)


def test_grace_is_an_option() -> None:
    """The grace time is the caller's to choose."""
    status = replace(ACTIVE, departed_time=NOW - 2 * HOUR)
    assert DomainState.ACTIVE is after_check(status, ELSEWHERE, NOW, 3 * HOUR).state
    assert DomainState.PAUSED is after_check(status, ELSEWHERE, NOW, 2 * HOUR).state


# ---- the schedule ----


@pytest.mark.parametrize(
    ("status", "period"),
    [
        (ACTIVE, DAY),
        (replace(ACTIVE, departed_time=NOW - DAY), 6 * HOUR),
        (PAUSED, DAY),
        (replace(PAUSED, departed_time=NOW - GRACE - 29 * DAY), DAY),
        (replace(PAUSED, departed_time=NOW - GRACE - 300 * DAY), DAY),
        (DomainStatus(state=DomainState.FAILED), DAY),
    ],
)
def test_period(status: DomainStatus, period: timedelta) -> None:
    """A check at its time is followed by the next one a period later, at every name's own time."""
    for number in range(50):
        name = f"shop{number}.example.com"
        first = next_check(replace(status, checked_time=NOW), name)
        assert first is not None
        assert period / 2 < first - NOW <= period * 1.5
        assert first + period == next_check(replace(status, checked_time=first), name)


def test_checks_are_spread() -> None:
    """Names that were all checked at the same moment are checked evenly over the day from then on."""
    status = replace(ACTIVE, checked_time=NOW)
    due = [next_check(status, f"shop{number}.example.com") for number in range(4800)]
    hours = Counter((time - NOW) // HOUR % 24 for time in due if time is not None)
    assert 24 == len(hours)
    assert max(hours.values()) < 1.3 * 4800 / 24


def test_attempts_are_the_checks_of_a_new_domain() -> None:
    """A domain without certificate and check is not checked beside its attempts."""
    assert next_check(DomainStatus(), NAME.value) is None


@pytest.mark.parametrize(
    ("status", "asked", "not_before", "due"),
    [
        (PAUSED, NOW - HOUR, None, True),
        (PAUSED, NOW - HOUR, NOW - HOUR / 2, True),
        (PAUSED, NOW - HOUR, NOW + HOUR, False),
        # By a clock that is ahead of ours.
        (PAUSED, NOW + HOUR, None, True),
        # Answered by a check already.
        (PAUSED, NOW - 3 * HOUR, None, False),
        (PAUSED, None, None, False),
        # Whatever is renewed is checked by that.
        (replace(ACTIVE, departed_time=NOW - DAY), NOW - HOUR, None, False),
        (replace(PAUSED, pause_reason=PauseReason.REQUESTED), NOW - HOUR, None, False),
        # By the schedule.
        (replace(PAUSED, checked_time=NOW - 2 * DAY), None, None, True),
        (replace(PAUSED, checked_time=None, issue_time=None), NOW - HOUR, None, True),
    ],
)
def test_request_makes_a_check_due(status: DomainStatus, asked: datetime | None, not_before: datetime | None, due: bool) -> None:
    """Who asks for the renewal of a domain that has left says that it is back, and has it checked once, without waiting for its time."""
    checked = replace(status, checked_time=NOW - 2 * HOUR) if status.checked_time is None and status.issue_time else status
    spec = replace(samples.spec(NAME.value), renewal_request_time=asked, renewal_not_before=not_before)
    assert due is check_is_due(Domain(spec, checked, 1), NOW)


# ---- over time ----

KINDS = st.sampled_from(CONCLUSIVE_ELSEWHERE)
INCONCLUSIVE_VERDICTS = st.builds(
    lambda kind, seen: bad(kind, *seen, conclusive=False),
    st.sampled_from([*INCONCLUSIVE, "connection-refused", "wrong-answer"]),
    st.lists(st.sampled_from([*CONCLUSIVE_ELSEWHERE, "good", "timeout"]), max_size=4),
)
VERDICTS = st.one_of(st.just(GOOD), INCONCLUSIVE_VERDICTS, st.builds(bad, KINDS))
STATUSES = st.builds(
    DomainStatus,
    state=st.sampled_from([DomainState.PENDING, DomainState.ACTIVE, DomainState.DEGRADED, DomainState.FAILED]),
    issue_time=st.none() | st.just(NOW - DAY),
    expire_time=st.none() | st.sampled_from([NOW - DAY, NOW + 10 * DAY, NOW + 900 * DAY]),
    renew_time=st.none() | st.sampled_from([NOW - DAY, NOW + 5 * DAY]),
    checked_time=st.none() | st.just(NOW),
    last_error=st.none() | st.just(problem("timeout")) | st.just(problem("wrong-answer")),
)


def run(status: DomainStatus, steps: list[tuple[PreflightVerdict, bool]], now: datetime = NOW) -> tuple[DomainStatus, datetime]:
    """Makes a check, or the check of an attempt, at each time that the schedule says."""
    for verdict, attempt in steps:
        now = max(now + timedelta(minutes=1), next_check(status, NAME.value) or now)
        status = (after_attempt if attempt and status.state is not DomainState.PAUSED else after_check)(status, verdict, now)
    return status, now


@given(STATUSES, st.lists(st.tuples(INCONCLUSIVE_VERDICTS | st.just(GOOD), st.booleans()), max_size=60))
def test_a_healthy_domain_is_never_paused(status: DomainStatus, steps: list[tuple[PreflightVerdict, bool]]) -> None:
    """However often and long checks prove nothing, a domain that is here keeps its state and never has a departed time."""
    after, _ = run(status, steps)
    assert (status.state, None, None) == (after.state, after.departed_time, after.pause_reason)


@given(STATUSES, st.lists(st.tuples(VERDICTS, st.booleans()), max_size=60))
def test_a_paused_domain_always_comes_back(status: DomainStatus, steps: list[tuple[PreflightVerdict, bool]]) -> None:
    """Whatever happened, a domain always has a next check once it was checked, and one good check brings it back for good."""
    after, now = run(status, steps)
    if steps:
        due = next_check(after, NAME.value)
        assert due is not None
        assert due - now <= 1.5 * DAY
    back = after_check(after, GOOD, now)
    assert (None, None) == (back.departed_time, back.pause_reason)
    assert back.state is not DomainState.PAUSED
    if after.state is DomainState.PAUSED:
        assert back.next_attempt_time is not None
        assert now <= back.next_attempt_time <= max(now, status.renew_time or now)


@given(STATUSES, st.lists(st.tuples(VERDICTS, st.booleans()), max_size=80))
def test_nothing_is_paused_before_its_time(status: DomainStatus, steps: list[tuple[PreflightVerdict, bool]]) -> None:
    """A pause comes only with a verdict that shows the domain elsewhere, at least the grace time after another, with none good between."""
    now, first = NOW, None
    for verdict, attempt in steps:
        now = max(now + timedelta(minutes=1), next_check(status, NAME.value) or now)
        before = status.state
        status = (after_attempt if attempt and before is not DomainState.PAUSED else after_check)(status, verdict, now)
        found = whereabouts(verdict)
        first = None if found is Whereabouts.HERE else (first or now) if found is Whereabouts.ELSEWHERE else first
        if status.state is DomainState.PAUSED and before is not DomainState.PAUSED:
            assert found is Whereabouts.ELSEWHERE
            assert first is not None
            assert now - first >= GRACE


def test_a_customer_who_leaves_and_comes_back() -> None:
    """A domain that points elsewhere is paused after the grace time within hours, checked daily then, and back after one good check."""
    status, now, checks = replace(ACTIVE, checked_time=NOW), NOW, 0
    while status.state is not DomainState.PAUSED:
        now = next_check(status, NAME.value) or now
        status = after_check(status, ELSEWHERE, now)
        checks += 1
    assert status.departed_time is not None
    assert GRACE <= now - status.departed_time < GRACE + 6 * HOUR
    assert checks < 4 * 7 + 3
    paused = now
    while now - paused < 200 * DAY:
        now = next_check(status, NAME.value) or now
        status = after_check(status, ELSEWHERE, now)
        checks += 1
    assert 200 <= checks - (4 * 7 + 3) + 3 <= 204
    assert DomainState.PENDING is after_check(status, GOOD, now).state
