"""Asking the CA when to renew, as part of an attempt."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from controlplane.core.ari import next_poll, window_of
from controlplane.core.ari_polls import JITTER
from controlplane.core.managed_domain import DomainState, DomainStatus
from controlplane.core.ports import AcmeError, AcmeProblem, AcmeUnreachable, RenewalInfo
from controlplane.core.renewal import latest_renewal, renew_time
from controlplane.usecases.renewal_info import RenewalInfoRound
from tests.fakes import samples
from tests.fakes.ari import EXAMPLE_ID, RenewalInfoCa, certificate

NOW = datetime(2027, 1, 1, 12, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
FIRST = certificate(NOW)
BY_LIFETIME = renew_time(FIRST.not_before, FIRST.not_after, FIRST.fqdn)
ISSUED = DomainStatus(DomainState.ACTIVE, certificate_id="first", renew_time=BY_LIFETIME)
SUGGESTED = RenewalInfo(NOW + 58 * DAY, NOW + 60 * DAY, "https://ca.example/why", 21600.0)
AWAY = AcmeUnreachable("no answer", sent=True)
UNKNOWN = AcmeError(AcmeProblem("urn:ietf:params:acme:error:malformed", "no such certificate", 404))


class Time:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        """The time now."""
        return self.now


def round_at(time: Callable[[], datetime], *fractions: float) -> RenewalInfoRound:
    script = list(fractions) or [0.5]
    return RenewalInfoRound(time, random_fraction=lambda: script.pop(0) if len(script) > 1 else script[0])


def count(metric: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(metric, labels) or 0.0


def polls(outcome: str) -> float:
    return count("certplane_renewal_info_polls_total", outcome=outcome)


async def test_a_window_is_asked_for_and_decides_the_renewal() -> None:
    """The CA is asked by the certificate's identifier; window, chosen moment and next poll are in the status, and nothing else changes."""
    ca, before = RenewalInfoCa([SUGGESTED]), polls("window")
    status = await round_at(lambda: NOW).refresh(ca, FIRST, ISSUED)
    assert [EXAMPLE_ID] == ca.asked
    window = window_of(status.renewal_window, FIRST)
    assert window is not None
    assert NOW + 59 * DAY == window.selected_time == status.renew_time
    assert 6 * HOUR <= window.poll_time - NOW < 6 * HOUR * (1 + JITTER)
    assert replace(ISSUED, renewal_window=window, renew_time=window.selected_time) == status
    assert before + 1 == polls("window")


async def test_nothing_is_asked_before_the_time() -> None:
    """Between polls the CA is left alone and the status is as it was; at the time it is asked again, and the moment stays."""
    ca, time = RenewalInfoCa([SUGGESTED]), Time()
    asking = round_at(time, 0.1, 0.9)
    status = await asking.refresh(ca, FIRST, ISSUED)
    due = next_poll(status, FIRST, NOW)
    assert due is not None
    time.now = due - timedelta(seconds=1)
    assert status == await asking.refresh(ca, FIRST, status)
    assert 1 == len(ca.asked)
    time.now = due
    again = await asking.refresh(ca, FIRST, status)
    assert 2 == len(ca.asked)
    assert status.renew_time == again.renew_time
    assert due < (next_poll(again, FIRST, due) or due)


@pytest.mark.parametrize(
    ("status", "held"),
    [(replace(ISSUED, state=DomainState.PAUSED), FIRST), (ISSUED, replace(FIRST, not_after=NOW))],
)
async def test_nothing_is_asked_that_nobody_needs(status: DomainStatus, held: object) -> None:
    """A paused domain, and a certificate that has expired, are not asked about."""
    ca = RenewalInfoCa([SUGGESTED])
    assert status == await round_at(lambda: NOW).refresh(ca, held, status)  # type: ignore[arg-type]
    assert [] == ca.asked


async def test_the_window_of_the_certificate_before_is_asked_anew() -> None:
    """A status that still has its predecessor's window, due already, renews nothing: the CA is asked about the certificate in force."""
    stale = await round_at(lambda: NOW).refresh(RenewalInfoCa([RenewalInfo(NOW - 2 * DAY, NOW - DAY)]), FIRST, ISSUED)
    assert NOW == stale.renew_time
    successor = certificate(NOW + MINUTE, id="second")
    assert (next_poll(stale, successor, NOW + MINUTE) or NOW) < NOW + 61 * MINUTE
    ca = RenewalInfoCa([AWAY, replace(SUGGESTED, start=NOW + 65 * DAY, end=NOW + 67 * DAY)])
    time = Time()
    time.now = NOW + MINUTE
    asking = round_at(time)
    failed = await asking.refresh(ca, successor, stale)
    assert renew_time(successor.not_before, successor.not_after, successor.fqdn) == failed.renew_time
    time.now = next_poll(failed, successor, time.now) or NOW
    answered = await asking.refresh(ca, successor, failed)
    assert NOW + 66 * DAY == answered.renew_time


@pytest.mark.parametrize(
    ("answer", "outcome", "least", "most"),
    [
        (AWAY, "failed", 10 * MINUTE, 12 * MINUTE),
        (AcmeUnreachable("busy", sent=True, retry_after=3600.0), "failed", HOUR, 72 * MINUTE),
        (AcmeError(AcmeProblem("urn:ietf:params:acme:error:serverInternal", "oh", 500)), "failed", 10 * MINUTE, 12 * MINUTE),
        (UNKNOWN, "refused", 6 * HOUR, 7.2 * HOUR),
        (AcmeError(AcmeProblem("urn:ietf:params:acme:error:rateLimited", "slow", 429, 36000.0)), "refused", 10 * HOUR, 12 * HOUR),
        (RenewalInfo(NOW, NOW), "failed", 10 * MINUTE, 12 * MINUTE),
        (RenewalInfo(NOW, NOW - DAY, retry_after=7200.0), "failed", 2 * HOUR, 2.4 * HOUR),
    ],
)
async def test_a_failure_changes_only_the_next_poll(
    answer: RenewalInfo | Exception, outcome: str, least: timedelta, most: timedelta
) -> None:
    """Whatever goes wrong, nothing is raised, a window that was known stays, and the next poll is put off, by Retry-After at least."""
    before = polls(outcome)
    asking = round_at(lambda: NOW)
    known = await asking.refresh(RenewalInfoCa([SUGGESTED]), FIRST, ISSUED)
    assert known.renewal_window is not None
    due = replace(known, renewal_window=replace(known.renewal_window, poll_time=NOW))
    for status in (due, ISSUED):
        failed = await asking.refresh(RenewalInfoCa([answer]), FIRST, status)
        window = failed.renewal_window
        assert window is not None
        assert least <= window.poll_time - NOW < most
        if status is due:
            assert replace(due, renewal_window=replace(known.renewal_window, poll_time=window.poll_time)) == failed
        else:
            assert window_of(window, FIRST) is None
            assert replace(ISSUED, renewal_window=window) == failed
    assert before + 2 == polls(outcome)


@pytest.mark.parametrize("answer", [SUGGESTED, UNKNOWN])
async def test_polls_back_off_while_a_ca_is_away(answer: RenewalInfo | Exception) -> None:
    """A CA that is away for a day is asked about a domain less and less, and as usual again once it has answered, if with a refusal."""
    ca, time = RenewalInfoCa([AWAY]), Time()
    asking, status = round_at(time), ISSUED
    while time.now < NOW + DAY:
        status = await asking.refresh(ca, FIRST, status)
        time.now = next_poll(status, FIRST, time.now) or NOW
    assert 6 <= len(ca.asked) <= 9
    ca.script = [answer, AWAY]
    status = await asking.refresh(ca, FIRST, status)
    time.now = next_poll(status, FIRST, time.now) or NOW
    status = await asking.refresh(ca, FIRST, status)
    assert (next_poll(status, FIRST, time.now) or NOW) - time.now < 12 * MINUTE


async def test_failures_are_logged_once_an_hour_by_ca() -> None:
    """Of a thousand failures at two CAs each tells one line an hour, with how many there were, even when polls succeed in between."""
    time = Time()
    asking = round_at(time)
    with capture_logs() as logs:
        for number in range(1000):
            time.now = NOW + number * timedelta(seconds=7)
            for directory_url in ("https://one.example/dir", "https://two.example/dir"):
                answer = SUGGESTED if number % 10 == 9 else AWAY
                held = replace(FIRST, directory_url=directory_url)
                await asking.refresh(RenewalInfoCa([answer], directory_url), held, ISSUED)
    lines = [line for line in logs if line["event"] == "renewal info not to be had"]
    assert 4 == len(lines)
    assert {"https://one.example/dir", "https://two.example/dir"} == {line["directory_url"] for line in lines}
    assert sorted([1, 1, 464, 464]) == sorted(line["failures"] for line in lines)


@pytest.mark.parametrize(
    ("held", "ca"),
    [
        (FIRST, RenewalInfoCa([None])),
        (replace(FIRST, directory_url="https://other.example/dir"), RenewalInfoCa([AssertionError("it does not know the certificate")])),
        (certificate(NOW, leaf=samples.certificate("shop.example.com").leaf), RenewalInfoCa([AssertionError("it has no identifier")])),
    ],
)
async def test_without_windows_the_lifetime_decides(held: object, ca: RenewalInfoCa) -> None:
    """A CA without ARI, a certificate of another CA and one without an identifier are renewed by lifetime, and looked at daily."""
    status = await round_at(lambda: NOW).refresh(ca, held, ISSUED)  # type: ignore[arg-type]
    assert window_of(status.renewal_window, FIRST) is None
    assert BY_LIFETIME == status.renew_time
    assert DAY <= (next_poll(status, FIRST, NOW) or NOW) - NOW < DAY * (1 + JITTER)


async def test_a_window_that_moves_earlier_is_told() -> None:
    """Operators see which domain, when, and where the CA says why; a window that moves later or stays is only counted, or not."""
    earlier, later = (count("certplane_renewal_windows_moved_total", direction=each) for each in ("earlier", "later"))
    time = Time()
    moved = RenewalInfo(NOW - HOUR, NOW + HOUR, "https://ca.example/incident", 60.0)
    ca = RenewalInfoCa([replace(SUGGESTED, retry_after=60.0), moved, moved, SUGGESTED])
    asking, status = round_at(time), ISSUED
    with capture_logs() as logs:
        for _ in range(4):
            status = await asking.refresh(ca, FIRST, status)
            time.now = next_poll(status, FIRST, time.now) or NOW
    told = [line for line in logs if line["event"] == "renewal window moved earlier"]
    assert [("shop.example.com", "https://ca.example/incident")] == [(line["domain"], line["explanation_url"]) for line in told]
    assert earlier + 1 == count("certplane_renewal_windows_moved_total", direction="earlier")
    assert later + 1 == count("certplane_renewal_windows_moved_total", direction="later")


async def test_a_window_that_is_too_late_is_not_waited_for() -> None:
    """A CA that suggests the last hour is not obeyed: the backstop decides."""
    late = RenewalInfo(FIRST.not_after - HOUR, FIRST.not_after)
    status = await round_at(lambda: NOW).refresh(RenewalInfoCa([late]), FIRST, ISSUED)
    assert latest_renewal(FIRST.not_before, FIRST.not_after, FIRST.fqdn) == status.renew_time


async def test_the_moment_is_chosen_by_chance_unless_told_otherwise() -> None:
    """Domains whose windows are the same choose different moments."""
    asking = RenewalInfoRound(lambda: NOW)
    chosen = {(await asking.refresh(RenewalInfoCa([SUGGESTED]), FIRST, ISSUED)).renew_time for _ in range(20)}
    assert 20 == len(chosen)
