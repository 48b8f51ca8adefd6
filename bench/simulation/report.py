"""What a simulated year showed: numbers of a run that fit a pipe between processes, and tables of several runs."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from bench.section import Promise, Section, Table
from bench.simulation.scenario import DAY, HOUR, START, Scenario
from bench.simulation.world import World
from bench.tables import percentile
from controlplane.core.ari_polls import JITTER, USUAL
from controlplane.core.departure import ROUTINE

_ORDERS, _SECONDS_AN_ORDER = 300, 36
_ORDERS_A_SECOND = 250 / 6
PEAK = 1.5
"""Most that the busiest hour of steady state may have, against the mean."""


@dataclass(frozen=True, slots=True)
class Waits:
    """How long some waited, in seconds."""

    count: int
    p50: float
    p99: float
    most: float


@dataclass(frozen=True, slots=True)
class Replaced:
    """A mass revocation. `after` is how long the replacements took, in hours; those that were late count as `late`, all of them well."""

    share: float
    exempt: bool
    announced: int
    late: int
    after: Waits


@dataclass(frozen=True, slots=True)
class Found:
    """Numbers of a run. Times are in seconds, those of a certificate in days, peaks in renewals an hour."""

    domains: int
    lifetime: int
    certificates: int
    orders: int
    exempt_orders: int
    refused: dict[str, int]
    unanswered: int
    expired_well: int
    expired_sick: int
    expired_mended: list[float]
    least_left: float
    steady_mean: float
    steady_peak: int
    echo_peak: int
    all_peak: int
    first: Waits
    burst: Waits
    mended: Waits
    without_certificate: dict[str, int]
    outcomes: dict[str, int]
    longest_line: int
    line_by_day: dict[int, int]
    longest_queue: int
    longest_wait: dict[str, float]
    revocations: list[Replaced]
    attempts: int
    processor_seconds: float
    seconds: float
    renewals_by_day: list[int]

    @property
    def peak_to_mean(self) -> float:
        """The busiest hour of steady state against the mean."""
        return self.steady_peak / self.steady_mean

    @property
    def wasted(self) -> int:
        """Orders that ended without a certificate."""
        return self.orders - self.certificates


def summarize(world: World, processor_seconds: float, seconds: float) -> Found:
    """Returns what a world that has run has shown."""
    tally, ca, scenario = world.tally, world.ca, world.scenario
    steady = tally.renewals[_hour(scenario.steady[0]) : _hour(scenario.steady[1])]
    # The day's outage, one cycle later.
    echo = scenario.long_outage.end + scenario.lifetime * (2 / 3)
    echoed = tally.renewals[_hour(echo - scenario.lifetime / 50) : _hour(min(echo + scenario.lifetime / 50, scenario.revocations[0].start))]
    return Found(
        domains=scenario.domains,
        lifetime=scenario.lifetime.days,
        certificates=ca.certificates,
        orders=ca.orders,
        exempt_orders=ca.exempt_orders,
        refused=dict(ca.refused),
        unanswered=ca.unanswered,
        expired_well=tally.expired_well,
        expired_sick=tally.expired_sick,
        expired_mended=sorted(tally.mended_before_end),
        least_left=tally.least_left / DAY,
        steady_mean=sum(steady) / max(1, len(steady)),
        steady_peak=max(steady, default=0),
        echo_peak=max(echoed, default=0),
        all_peak=max(tally.renewals),
        first=_waits(tally.first_issues),
        burst=_waits(tally.burst_issues),
        mended=_waits(tally.mended_issues),
        without_certificate=dict(tally.orders_without_certificate),
        outcomes=dict(tally.outcomes),
        longest_line=world.gate.longest_line,
        line_by_day=world.gate.in_line_by_day,
        longest_queue=tally.longest_queue,
        longest_wait={lane.value: wait.total_seconds() for lane, wait in tally.longest_wait.items()},
        revocations=[
            Replaced(each.share, each.window_open, tally.announced[each], tally.revoked_well[each], _waits(tally.replaced_after[each]))
            for each in scenario.revocations
        ],
        attempts=tally.attempts,
        processor_seconds=processor_seconds,
        seconds=seconds,
        renewals_by_day=[sum(tally.renewals[hour : hour + 24]) for hour in range(0, len(tally.renewals) - 1, 24)],
    )


def section(runs: Sequence[Found], scenario: Scenario) -> Section:
    """Returns the tables of runs that differ in their lifetime, with the promises."""
    tables = [
        Table(f"A year of {scenario.domains:,} domains", ["", *(f"{run.lifetime} days" for run in runs)], _year(runs)),
        Table("What a mass revocation takes", _REVOCATION_HEAD, [row for run in runs for row in _revocations(run)]),
    ]
    return Section(
        "A year on a virtual clock", tables, [promise for run in runs for promise in _promises(run)], [asdict(run) for run in runs]
    )


def _promises(run: Found) -> list[Promise]:
    lifetime = f"{run.lifetime} days"
    late = sum(each.late for each in run.revocations if each.exempt)
    return [
        Promise(f"refused requests, {lifetime}", sum(run.refused.values()), 0),
        Promise(f"certificates that expired while their domain was well, {lifetime}", run.expired_well, 0),
        Promise(f"peak to mean of renewals by hour in steady state, {lifetime}", run.peak_to_mean, PEAK),
        Promise(f"certificates revoked before they were replaced, with windows that are open, {lifetime}", late, 0),
    ]


_Cell = Callable[[Found], str]
_ROWS: tuple[tuple[str, _Cell], ...] = (
    ("certificates issued", lambda run: f"{run.certificates:,}"),
    ("refused requests", lambda run: f"{sum(run.refused.values()):,}"),
    ("certificates that expired while their domain was well", lambda run: f"{run.expired_well:,}"),
    ("expired by the customer's fault", lambda run: f"{run.expired_sick:,}"),
    (
        "expired though the customer had mended it; before the end by at most",
        lambda run: f"{len(run.expired_mended):,}; {max(run.expired_mended, default=0):.0f} h",
    ),
    ("least time left at a renewal, domains that were always well", lambda run: f"{run.least_left:.1f} d"),
    ("renewals an hour in steady state: mean, peak", lambda run: f"{run.steady_mean:,.0f}, {run.steady_peak:,}"),
    ("peak to mean in steady state", lambda run: f"{run.peak_to_mean:.2f}"),
    ("peak to mean one cycle after the outage of 24 h", lambda run: f"{run.echo_peak / run.steady_mean:.2f}"),
    ("first issue for a new customer: p50, p99, longest", lambda run: _shown(run.first)),
    ("first issue in the burst of onboarding: p50, p99, longest", lambda run: _shown(run.burst)),
    ("first issue after the customer has mended it: p50, p99, longest", lambda run: _shown(run.mended)),
    ("wasted orders, of all", lambda run: f"{run.wasted:,}, {run.wasted / run.orders:.3%}"),
    ("orders exempt from limits by ARI, of all", lambda run: f"{run.exempt_orders / run.orders:.1%}"),
    ("renewals that waited for the account's limit at a time, at most", lambda run: f"{run.longest_line:,}"),
    ("days on which any did", lambda run: f"{len(run.line_by_day)}"),
    (
        "longest wait for a worker: renewals, urgent ones",
        lambda run: f"{_duration(run.longest_wait['renewal'])}, {_duration(run.longest_wait['urgent'])}",
    ),
    ("polls for renewal windows, checks of DNS, a second", lambda run: f"{_polls(run):.0f}, {run.domains / ROUTINE.total_seconds():.0f}"),
    ("processor time, time of the run", lambda run: f"{run.processor_seconds:,.0f} s, {run.seconds:,.0f} s"),
)


def _year(runs: Sequence[Found]) -> list[list[str]]:
    return [[what, *(cell(run) for run in runs)] for what, cell in _ROWS]


_REVOCATION_HEAD = ("", "certificates", "replaced after: p50, p99, all", "not replaced in the notice of 24 h", "the limits allow, in 24 h")


def _revocations(run: Found) -> list[list[str]]:
    rows = []
    for each in run.revocations:
        announced = "windows open: exempt" if each.exempt else "windows that have passed: not exempt"
        allowed = min(each.announced, round(DAY.total_seconds() * _ORDERS_A_SECOND)) if each.exempt else _not_exempt(DAY)
        hours = Waits(each.after.count, each.after.p50 * 3600, each.after.p99 * 3600, each.after.most * 3600)
        rows.append([f"{run.lifetime} days; {announced}", f"{each.announced:,}", _shown(hours), f"{each.late:,}", f"{allowed:,}"])
    return rows


def _not_exempt(time: timedelta) -> int:
    return _ORDERS + int(time.total_seconds() / _SECONDS_AN_ORDER)


def _polls(run: Found) -> float:
    return run.domains / (USUAL.total_seconds() * (1 + JITTER / 2))


def _hour(time: datetime) -> int:
    return (time - START) // HOUR


def _waits(values: Sequence[float]) -> Waits:
    if not values:
        return Waits(0, 0.0, 0.0, 0.0)
    return Waits(len(values), percentile(values, 50), percentile(values, 99), max(values))


def _shown(waits: Waits) -> str:
    return ", ".join(_duration(each) for each in (waits.p50, waits.p99, waits.most)) if waits.count else "–"


def _duration(seconds: float) -> str:
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"
