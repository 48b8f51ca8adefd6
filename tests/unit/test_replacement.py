"""Which domains a replacement asks, when each, and how it goes on."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from controlplane.core.due import without_stopped_renewal
from controlplane.core.errors import InvalidArgument
from controlplane.core.managed_domain import Domain, DomainState, DomainStatus, RenewalWindow
from controlplane.core.replacement import (
    GIVEN_UP_AFTER,
    LOOK_INTERVAL,
    Answer,
    Ranking,
    Replacement,
    ReplacementState,
    answer_for,
    in_window,
    parse_replacement_resource,
    slot,
    urgency,
)
from tests.fakes import samples

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
SHOP = "shop.example.com"
NOTHING: frozenset[str] = frozenset()


def domain(fqdn: str = SHOP, *, spec: dict[str, object] | None = None, **status: object) -> Domain:
    """A domain with a certificate for 60 days more, whose renewal is planned in 30; `status` and `spec` change it."""
    full = {
        "state": DomainState.ACTIVE,
        "certificate_id": "c" * 32,
        "issue_time": NOW - 30 * DAY,
        "expire_time": NOW + 60 * DAY,
        "renew_time": NOW + 30 * DAY,
    }
    return Domain(replace(samples.spec(fqdn), **(spec or {})), DomainStatus(**(full | status)), 1)  # type: ignore[arg-type]


def window(end: datetime, certificate_id: str = "c" * 32) -> RenewalWindow:
    return RenewalWindow(certificate_id, end - DAY, end, end - HOUR, NOW)


def hours(at: datetime) -> int:
    return int(at.timestamp()) // 3600


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (domain(), NOW + 30 * DAY),
        (domain(renew_time=None), NOW + 60 * DAY),
        (domain(renew_time=NOW + 99 * DAY), NOW + 60 * DAY),
        (domain(renewal_window=window(NOW - DAY)), NOW - DAY),
        (domain(renewal_window=window(NOW + 45 * DAY)), NOW + 30 * DAY),
        (domain(renewal_window=window(NOW - DAY, "d" * 32)), NOW + 30 * DAY),
    ],
)
def test_urgency(given: Domain, expected: datetime) -> None:
    """A CA that moves the renewal window of this very certificate makes it urgent; else the planned renewal tells, else its end."""
    assert hours(expected) == urgency(given)


def test_without_a_certificate_nothing_is_urgent() -> None:
    """There is nothing to replace."""
    assert None is urgency(domain(certificate_id=""))
    assert None is urgency(domain(expire_time=None))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (domain(), False),
        (domain(renewal_window=window(NOW + HOUR)), True),
        (domain(renewal_window=window(NOW + HOUR, "d" * 32)), False),
        (domain(renewal_window=window(NOW + DAY)), True),
        (domain(renewal_window=window(NOW + DAY + HOUR)), False),
        (domain(renewal_window=window(NOW)), False),
        (domain(renewal_window=RenewalWindow("c" * 32, NOW, NOW, NOW, NOW)), False),
    ],
)
def test_open_window(given: Domain, expected: bool) -> None:
    """A window is open from its start to its end, exclusive, for the certificate that it was given for; none of no width is a window."""
    assert expected is in_window(given, NOW)


def running(**fields: object) -> Replacement:
    full = {"start_time": NOW, "spread": 10 * HOUR, "state": ReplacementState.ASKING}
    return Replacement("a" * 12, "", NOW, **(full | fields))  # type: ignore[arg-type]


def test_places_follow_urgency() -> None:
    """Each hour has the part of the time that its share of the domains has, in order; within it the names are spread."""
    urgencies = {hours(NOW - DAY): 25, hours(NOW + DAY): 50, hours(NOW + 30 * DAY): 25}
    ranking = Ranking(running(urgencies=urgencies))
    names = [f"d{number}.example.com" for number in range(400)]
    for hour, (low, high) in zip(urgencies, ((0, 0.25), (0.25, 0.75), (0.75, 1)), strict=True):
        places = sorted(ranking.place(hour, name) for name in names)
        assert low <= places[0] < places[-1] < high
        assert abs(sum(places) / len(places) - (low + high) / 2) < 0.05 * (high - low)


def test_place_of_an_hour_that_was_not_counted() -> None:
    """A domain whose urgency has changed since the count is put where it belongs; without a count names are spread over all."""
    ranking = Ranking(running(urgencies={100: 1, 200: 1}))
    assert [0, 0.5] == [ranking.place(hour, SHOP) for hour in (50, 150)]
    assert 0.99 < ranking.place(300, SHOP) < 1
    assert 0 <= Ranking(running()).place(7, SHOP) < 1


def test_slot() -> None:
    """The most urgent begins first; all begin within the time of the replacement."""
    urgent, other = domain(renewal_window=window(NOW - DAY)), domain("other.example.com")
    replacement = running(urgencies={hours(NOW - DAY): 1, hours(NOW + 30 * DAY): 1})
    ranking = Ranking(replacement)
    first, last = slot(replacement, ranking, urgent), slot(replacement, ranking, other)
    assert NOW <= first < NOW + 5 * HOUR <= last < NOW + 10 * HOUR


MINE, OTHER = "a" * 12, "b" * 12
ASKED = {"renewal_request_time": NOW - HOUR}


@pytest.mark.parametrize(
    ("given", "stopped", "expected"),
    [
        (domain(), NOTHING, Answer.ASK),
        (domain(certificate_id=""), NOTHING, Answer.NOT_MEANT),
        (domain(spec=ASKED | {"renewal_replacement": MINE}), NOTHING, Answer.ASKED),
        (domain(spec=ASKED | {"renewal_replacement": MINE}, renewal_done_time=NOW), NOTHING, Answer.ASKED),
        (domain(issue_time=NOW), NOTHING, Answer.LEAVE),
        (domain(issue_time=NOW - timedelta(seconds=1)), NOTHING, Answer.ASK),
        (domain(state=DomainState.PAUSED), NOTHING, Answer.LEAVE),
        (domain(spec=ASKED), NOTHING, Answer.LEAVE),
        (domain(spec=ASKED | {"renewal_not_before": NOW + 99 * DAY}), NOTHING, Answer.LEAVE),
        (domain(spec=ASKED, renewal_done_time=NOW), NOTHING, Answer.ASK),
        (domain(spec=ASKED | {"renewal_replacement": OTHER, "renewal_not_before": NOW + HOUR}), NOTHING, Answer.LEAVE),
        (domain(spec=ASKED | {"renewal_replacement": OTHER, "renewal_not_before": NOW + 3 * HOUR}), NOTHING, Answer.ASK),
        (domain(spec=ASKED | {"renewal_replacement": OTHER, "renewal_not_before": NOW + HOUR}), frozenset({OTHER}), Answer.ASK),
    ],
)
def test_answer(given: Domain, stopped: frozenset[str], expected: Answer) -> None:
    """Asked is who has an old certificate, was not asked yet, and for whom nobody has asked anything that stands."""
    assert expected == answer_for(given, running(), NOW + 2 * HOUR, stopped)


def test_stopped_replacement_asked_for_nothing() -> None:
    """What it asked for does not count; what another, or a person, asked for does."""
    by_job = domain(spec=ASKED | {"renewal_replacement": MINE, "renewal_not_before": NOW})
    assert by_job.renewal_requested
    assert not without_stopped_renewal(by_job, frozenset({MINE})).renewal_requested
    assert None is without_stopped_renewal(by_job, frozenset({MINE})).requested_renewal_time
    assert by_job is without_stopped_renewal(by_job, frozenset({OTHER}))
    by_hand = domain(spec=ASKED)
    assert by_hand is without_stopped_renewal(by_hand, frozenset({MINE, ""}))


def test_counting_goes_page_by_page() -> None:
    """Counts of pages add up."""
    counted = running(state=ReplacementState.COUNTING).counted({1: 2, 2: 1}, 1, "p1").counted({2: 4}, 2, "")
    assert ({1: 2, 2: 5}, 7, 3, "") == (counted.urgencies, counted.matched, counted.in_window, counted.cursor)


@pytest.mark.parametrize(("over", "expected"), [(timedelta(), 2 * HOUR), (HOUR, 2 * HOUR), (3 * HOUR, 3 * HOUR)])
def test_spread(over: timedelta, expected: timedelta) -> None:
    """Renewals are spread over the time asked for, but never over less than the CA's limits allow: the order would be lost."""
    asking = running(state=ReplacementState.COUNTING, over=over, matched=3).all_counted(2 * HOUR, NOW)
    assert (ReplacementState.ASKING, expected, NOW, NOW + expected) == (
        asking.state,
        asking.spread,
        asking.start_time,
        asking.estimated_complete_time,
    )


def test_dry_run_ends_with_the_count() -> None:
    """So does a replacement that concerns nobody."""
    for counted in (running(state=ReplacementState.COUNTING, dry_run=True, matched=3), running(state=ReplacementState.COUNTING)):
        over = counted.all_counted(2 * HOUR, NOW)
        assert (ReplacementState.DONE, NOW, 2 * HOUR) == (over.state, over.complete_time, over.estimate)


def test_asking_ends_with_the_last_page() -> None:
    """Then the domains that are left are counted, a while later."""
    asked = running(urgencies={1: 9}).page_asked(3, 1, "p1", NOW)
    assert (ReplacementState.ASKING, 3, 1, 3, {1: 9}) == (asked.state, asked.asked, asked.skipped, asked.pending, asked.urgencies)
    last = asked.page_asked(2, 0, "", NOW)
    assert (ReplacementState.REPLACING, 5, 5, {}, NOW + LOOK_INTERVAL) == (
        last.state,
        last.asked,
        last.pending,
        last.urgencies,
        last.next_step_time,
    )
    assert (False, True) == (last.ready_at(NOW), last.ready_at(NOW + LOOK_INTERVAL))


def test_looks_go_on_until_nobody_is_left() -> None:
    """Each look replaces the count before it; the expected end follows the CA's limits; with nobody left it is over."""
    first = running(state=ReplacementState.REPLACING, pending=9, in_window=7).page_looked_at(3, 1, 1, "p1").page_looked_at(2, 1, 1, "")
    assert (9, 7) == (first.pending, first.in_window)
    seen = first.all_looked_at(20 * HOUR, NOW)
    assert (5, 2, 2, ReplacementState.REPLACING) == (seen.pending, seen.failing, seen.in_window, seen.state)
    assert (0, 0, 0) == (seen.seen_pending, seen.seen_failing, seen.seen_in_window)
    assert NOW + 20 * HOUR == seen.estimated_complete_time
    assert NOW + 10 * HOUR == first.all_looked_at(HOUR, NOW).estimated_complete_time
    over = seen.page_looked_at(0, 0, 0, "").all_looked_at(timedelta(), NOW + HOUR)
    assert (ReplacementState.DONE, NOW + HOUR, NOW + HOUR) == (over.state, over.complete_time, over.estimated_complete_time)


def test_a_replacement_is_not_watched_for_ever() -> None:
    """Domains that cannot be renewed do not keep it going: it is over a week after its planned end, and says how many are left."""
    left = running(state=ReplacementState.REPLACING).page_looked_at(2, 2, 0, "")
    end = NOW + 10 * HOUR + GIVEN_UP_AFTER
    assert ReplacementState.REPLACING is left.all_looked_at(timedelta(), end).state
    over = left.all_looked_at(timedelta(), end + HOUR)
    assert (ReplacementState.DONE, 2) == (over.state, over.pending)


@pytest.mark.parametrize("text", ["", "replacements/", "a" * 12, f"replacements/{'A' * 12}", f"replacements/{'a' * 13}", f"domains/{SHOP}"])
def test_foreign_resource_name_is_refused(text: str) -> None:
    """Anything but `replacements/` and twelve hexadecimal digits is refused."""
    with pytest.raises(InvalidArgument, match="name: is not a resource name of a replacement"):
        parse_replacement_resource(text, field="name")
