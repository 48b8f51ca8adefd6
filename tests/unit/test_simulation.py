"""A simulated year in small: what it promises, and that it can fail."""

import base64
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from bench.simulate import simulate, simulate_all
from bench.simulation.report import Found, section
from bench.simulation.scenario import START, MassRevocation, Outage, Scenario
from bench.simulation.schedule import Schedule
from bench.simulation.site import LiveStatus, Site
from bench.simulation.virtual_ca import VirtualCa
from bench.simulation.world import World
from controlplane.core.issuance_plan import Need, need
from controlplane.core.managed_domain import DomainState
from controlplane.core.ports import AcmeError

SMALL = Scenario(1500, timedelta(days=45))
NAME, OTHER = "shop1.com", "shop2.com"


@pytest.fixture(scope="module")
def year() -> Found:
    """A year of few domains."""
    return simulate(SMALL)


def by_day(found: Found, first: int = 10, last: int = 200) -> float:
    """Returns the busiest day's renewals against the mean: with few domains an hour has too few."""
    days = found.renewals_by_day[first:last]
    return max(days) / (sum(days) / len(days))


def unmeasured(found: Found) -> Found:
    """Returns the numbers that do not depend on the machine."""
    return replace(found, processor_seconds=0.0, seconds=0.0)


def placed(ca: VirtualCa, count: int, *, seconds: float = 1.0) -> int:
    """Places orders for different names, one after the other; returns how many were not refused."""
    done = 0
    for number in range(count):
        try:
            ca.new_order(f"shop{number}.com", "", START + timedelta(seconds=seconds * number))
        except AcmeError:
            continue
        done += 1
    return done


def test_a_year(year: Found) -> None:
    """Nothing is refused, and nothing expires while its domain is well, through outages, a mass revocation and a burst."""
    assert {} == year.refused
    assert 0 == year.expired_well
    assert [0, 0] == [each.late for each in year.revocations]
    assert year.unanswered > 0
    assert year.certificates > 8 * SMALL.domains


def test_renewals_are_spread(year: Found) -> None:
    """Certificates of all ages stay spread over the days."""
    assert by_day(year) < 1.8


def test_what_is_known_of_a_domain_matters(year: Found) -> None:
    """Domains that cannot have a certificate lose theirs, and cost next to no orders."""
    assert year.expired_sick > 50
    assert year.wasted < 0.02 * year.orders


def test_first_issues(year: Found) -> None:
    """A new customer's certificate is there at once, unless the CA is away."""
    assert 10.0 > year.first.p50
    assert year.first.count >= 20


def test_runs_of_several_lifetimes_are_told_apart() -> None:
    """Each has the numbers that it has alone, in the order that was asked for, whichever runs when."""
    few = Scenario(200, timedelta(days=90), days=70)
    alone = [simulate(replace(few, lifetime=timedelta(days=days))) for days in (45, 90)]
    together = simulate_all(few, [90, 45], processes=2)
    assert [unmeasured(found) for found in reversed(alone)] == [unmeasured(found) for found in together]


def polls(scenario: Scenario) -> int:
    """Returns how often the CA is asked for renewal windows."""
    world = World(scenario)
    world.run()
    return world.ca.polls


def test_an_announced_revocation_is_asked_about_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who knows the new window already does not ask once more before the order; who is due sooner than asked does."""
    monkeypatch.setattr(Scenario, "revocations", (MassRevocation(START + timedelta(days=2), share=1.0, window_open=True),))
    few = Scenario(400, timedelta(days=45), days=4, burst=0.0)
    more = polls(few) - polls(replace(few, asks_again=False))
    assert 0 < more < 40


def test_without_the_limiter_the_ca_refuses() -> None:
    """What is promised is not promised by the CA."""
    crowd = replace(SMALL, days=12, burst=0.6)
    assert simulate(replace(crowd, limiter=False)).refused["new orders"] > 0
    assert {} == simulate(crowd).refused


def test_without_spreading_the_peak_is_high() -> None:
    """Certificates of one age that are renewed as soon as they may stay together."""
    assert by_day(simulate(replace(SMALL, days=200, spread=False))) > 20


def test_a_ca_that_is_away_too_long_lets_certificates_expire(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is counted as expired by nobody's fault is counted."""
    monkeypatch.setattr(Scenario, "outages", (Outage(START, timedelta(days=46)),))
    assert simulate(Scenario(40, timedelta(days=45), days=46)).expired_well >= 20


def test_tables(year: Found) -> None:
    """Every promise is in the tables, with whether it is kept."""
    kept = {promise.what: promise.kept for promise in section([year], SMALL).promises}
    assert kept["refused requests, 45 days"]
    assert not next(promise for promise in section([replace(year, refused={"new orders": 1})], SMALL).promises).kept
    assert "| refused requests | 0 |" in section([year], SMALL).markdown()


def taken(schedule: Schedule) -> Sequence[Sequence[str]]:
    """Returns what is due in each slot."""
    return [[what for _, what, _ in schedule.take()] for _ in schedule.slots()]


def test_what_is_due_is_taken_in_its_slot_in_the_order_of_time() -> None:
    """A slot has its beginning and not its end; what is overdue is due at once, and what lies beyond the end never."""
    schedule = Schedule(START, START + timedelta(seconds=90), timedelta(seconds=30))
    for name, seconds in {"second": 30.0, "late": 29.999999, "overdue": -86_401.0, "first": 0.0, "last": 89.9, "never": 90.0}.items():
        schedule.put(START + timedelta(seconds=seconds), name)
    assert [["overdue", "first", "late"], ["second"], ["last"]] == taken(schedule)


def test_what_comes_too_late_for_its_slot_joins_the_one_under_way() -> None:
    """Nothing is lost that is put behind the time."""
    schedule = Schedule(START, START + timedelta(seconds=90), timedelta(seconds=30))
    slots = schedule.slots()
    next(slots)
    next(slots)
    schedule.put(START, "behind")
    assert ["behind"] == [what for _, what, _ in schedule.take()]


def test_what_is_decided_on_is_how_the_site_stands() -> None:
    """The records that the core is asked with follow every change."""
    site = Site(NAME, START, LiveStatus())
    assert Need.FIRST is need(site.work, START)
    site.status.state = DomainState.PAUSED
    assert Need.NOTHING is need(site.work, START)
    assert (NAME, START) == (site.domain.spec.fqdn.value, site.domain.spec.create_time)


def test_ca_counts_new_orders() -> None:
    """Three hundred at once and one each 36 seconds."""
    assert 300 + 500 // 36 == placed(VirtualCa(timedelta(days=90), START, ()), 500)


def test_ca_counts_requests() -> None:
    """More orders a second than their requests allow are refused as a balancer does it."""
    ca = VirtualCa(timedelta(days=90), START, ())
    assert 20 == placed(ca, 60, seconds=0.0)
    assert {"requests a second": 40} == ca.refused


@pytest.mark.parametrize(
    ("day", "same_name", "exempt"),
    [(59.0, True, False), (59.5, True, True), (60.5, True, True), (61.0, True, False), (60.0, False, None)],
)
def test_ca_exempts_replacements_in_their_window(day: float, *, same_name: bool, exempt: bool | None) -> None:
    """Inside the window, for the same name."""
    ca = VirtualCa(timedelta(days=90), START, ())
    issued = ca.adopt(NAME, START)
    replaces = "AAAA." + _base64url(issued.serial)
    at = START + timedelta(days=day, hours=-1)
    if exempt is None:
        with pytest.raises(AcmeError, match="malformed"):
            ca.new_order(OTHER, replaces, at)
    else:
        assert exempt is ca.new_order(NAME if same_name else OTHER, replaces, at).exempt


def test_ca_lets_a_certificate_be_replaced_once() -> None:
    """The second order for the same certificate is refused."""
    ca = VirtualCa(timedelta(days=90), START, ())
    replaces = "AAAA." + _base64url(ca.adopt(NAME, START).serial)
    ca.new_order(NAME, replaces, START + timedelta(days=60))
    with pytest.raises(AcmeError, match="alreadyReplaced"):
        ca.new_order(NAME, replaces, START + timedelta(days=60))


def test_ca_counts_certificates_of_a_registered_domain() -> None:
    """Fifty in seven days."""
    ca = VirtualCa(timedelta(days=90), START, ())
    for number in range(50):
        ca.finalize(ca.new_order(f"s{number}.mall.com", "", START + timedelta(seconds=number)), START + timedelta(seconds=number))
    with pytest.raises(AcmeError, match=r"already issued for mall\.com"):
        ca.new_order("s50.mall.com", "", START + timedelta(seconds=60))


def test_ca_counts_failed_authorizations() -> None:
    """Five in an hour."""
    ca = VirtualCa(timedelta(days=90), START, ())
    for number in range(5):
        at = START + timedelta(seconds=number)
        ca.answer(ca.new_order(NAME, "", at), at, reaches=False)
    with pytest.raises(AcmeError, match="failed authorizations"):
        ca.new_order(NAME, "", START + timedelta(seconds=6))


def _base64url(serial: int) -> str:
    return base64.urlsafe_b64encode(serial.to_bytes(8, "big")).rstrip(b"=").decode()
