"""A mass replacement of certificates: which domains it asks to renew, when each, and how it goes on.

The fleet is walked in the order of the store, page by page, so that nothing has to be held in memory but counts. The first walk counts
the domains by the hour in which they are urgent; from that follows for each domain, by itself, which part of all is more urgent, and so its
place in the time over which the renewals are spread (the second walk). Further walks count who is left.

Urgent is who the CA wants renewed soonest: a CA that is about to revoke certificates moves their renewal windows (RFC 9773 section 4.2)
into the past. Where the CA says nothing the renewal that is planned by lifetime tells, so the order is that of expiry.

A domain whose renewal window is open may be exempt from the CA's limits (section 5), so such domains are counted apart. The count is as of
when each domain was read: a window that opens later makes it faster than estimated. One that closes before the domain's turn does not
make it slower, since within its window the domain is renewed anyway.
"""

import re
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import Enum, IntEnum, auto
from itertools import accumulate
from typing import Final

from controlplane.core.errors import FieldViolation, InvalidArgument
from controlplane.core.jitter import fraction
from controlplane.core.managed_domain import Domain, DomainState

LONGEST_SPREAD: Final = timedelta(days=90)
LOOK_INTERVAL: Final = timedelta(minutes=1)
"""Between two counts of who is left; counting a million takes longer than that."""
GIVEN_UP_AFTER: Final = timedelta(days=7)
"""How long after its expected end a replacement is watched, for the sake of domains that cannot be renewed."""

_PREFIX: Final = "replacements/"
_ID: Final = re.compile(r"[0-9a-f]{12}", re.ASCII)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_HOUR: Final = timedelta(hours=1)


class ReplacementState(IntEnum):
    """Values of `certplane.v1.Replacement.State`."""

    COUNTING = 1
    ASKING = 2
    REPLACING = 3
    DONE = 4
    STOPPED = 5


RUNNING: Final = frozenset({ReplacementState.COUNTING, ReplacementState.ASKING, ReplacementState.REPLACING})


@dataclass(frozen=True, slots=True)
class Replacement:
    """A replacement as far as it is.

    `cursor` is where the walk is that is under way, as the store of domains has it. `urgencies` counts the domains by hours since 1970.
    `in_window` are domains whose renewal window was open when they were read last: of those that meet the filter as long as they are
    counted, of those pending afterwards. The renewals begin from `start_time` on, over `spread`. `stop_time` is when somebody stopped it:
    written apart from the rest.
    """

    id: str
    filter_text: str
    create_time: datetime
    reason: str = ""
    dry_run: bool = False
    over: timedelta = timedelta()
    state: ReplacementState = ReplacementState.COUNTING
    cursor: str = ""
    matched: int = 0
    in_window: int = 0
    urgencies: Mapping[int, int] = field(default_factory=dict)
    asked: int = 0
    skipped: int = 0
    pending: int = 0
    failing: int = 0
    seen_pending: int = 0
    seen_failing: int = 0
    seen_in_window: int = 0
    start_time: datetime | None = None
    spread: timedelta = timedelta()
    estimate: timedelta | None = None
    estimated_complete_time: datetime | None = None
    next_step_time: datetime | None = None
    complete_time: datetime | None = None
    stop_time: datetime | None = None

    @property
    def running(self) -> bool:
        """Whether the job has to go on with it, now or later."""
        return self.stop_time is None and self.state in RUNNING

    @property
    def shown_state(self) -> ReplacementState:
        """The state, of which being stopped is a part."""
        return self.state if self.stop_time is None else ReplacementState.STOPPED

    def ready_at(self, now: datetime) -> bool:
        """Returns whether the job has to go on with it now."""
        return self.running and (self.next_step_time is None or self.next_step_time <= now)

    def counted(self, urgencies: Mapping[int, int], in_window: int, cursor: str) -> "Replacement":
        """Returns it with a page more counted; `in_window` of the domains are."""
        together = dict(self.urgencies)
        for hour, count in urgencies.items():
            together[hour] = together.get(hour, 0) + count
        matched = self.matched + sum(urgencies.values())
        return replace(self, urgencies=together, matched=matched, in_window=self.in_window + in_window, cursor=cursor)

    def all_counted(self, estimate: timedelta, now: datetime) -> "Replacement":
        """Returns it with all domains counted. `estimate` is how long the CA's limits make it take."""
        # A burst that the CA's limits hold back anyway would only lose the order of urgency in the queue.
        spread = max(self.over, estimate)
        known = replace(self, cursor="", estimate=estimate, spread=spread, estimated_complete_time=now + spread)
        if self.dry_run or not self.matched:
            return replace(known, state=ReplacementState.DONE, complete_time=now, urgencies={})
        return replace(known, state=ReplacementState.ASKING, start_time=now)

    def page_asked(self, asked: int, skipped: int, cursor: str, now: datetime) -> "Replacement":
        """Returns it with a page more asked; without a cursor it was the last one."""
        known = replace(self, asked=self.asked + asked, skipped=self.skipped + skipped, cursor=cursor)
        known = replace(known, pending=known.asked)
        if cursor:
            return known
        return replace(known, state=ReplacementState.REPLACING, urgencies={}, next_step_time=now + LOOK_INTERVAL)

    def page_looked_at(self, pending: int, failing: int, in_window: int, cursor: str) -> "Replacement":
        """Returns it with a page more looked at for domains that are left: `pending`, of which so many fail and so many are in window."""
        return replace(
            self,
            seen_pending=self.seen_pending + pending,
            seen_failing=self.seen_failing + failing,
            seen_in_window=self.seen_in_window + in_window,
            cursor=cursor,
        )

    def all_looked_at(self, estimate: timedelta, now: datetime) -> "Replacement":
        """Returns it with the look over. `estimate` is how long the CA's limits make the rest take."""
        planned = (self.start_time or now) + self.spread
        expected = max(planned, now + estimate) if self.seen_pending else now
        known = replace(
            self,
            pending=self.seen_pending,
            failing=self.seen_failing,
            in_window=self.seen_in_window,
            seen_pending=0,
            seen_failing=0,
            seen_in_window=0,
            cursor="",
            next_step_time=now + LOOK_INTERVAL,
            estimated_complete_time=expected,
        )
        if not known.pending or now > planned + GIVEN_UP_AFTER:
            return replace(known, state=ReplacementState.DONE, complete_time=now)
        return known


class Answer(Enum):
    """What a replacement wants of a domain."""

    NOT_MEANT = auto()
    """It has no certificate."""
    ASK = auto()
    ASKED = auto()
    """It was asked by this replacement already, before the job was interrupted."""
    LEAVE = auto()


class Ranking:
    """Which part of all domains is more urgent than one."""

    def __init__(self, replacement: Replacement) -> None:
        self._id = replacement.id
        self._hours = sorted(replacement.urgencies)
        self._before = [0, *accumulate(replacement.urgencies[hour] for hour in self._hours)]
        self._counts = replacement.urgencies

    def place(self, hour: int, name: str) -> float:
        """Returns a number in [0, 1): domains of the same hour are evenly spread over their part, by their names."""
        index = bisect_left(self._hours, hour)
        total = self._before[-1]
        if not total:
            return fraction(self._id, name)
        return min((self._before[index] + self._counts.get(hour, 0) * fraction(self._id, name)) / total, 1 - 2**-20)


def urgency(domain: Domain) -> int | None:
    """Returns the hour since 1970 by which the domain's certificate is to be renewed at the latest; None when it has none."""
    status = domain.status
    if not status.certificate_id or status.expire_time is None:
        return None
    window = status.renewal_window
    latest = status.renew_time or status.expire_time
    if window is not None and window.certificate_id == status.certificate_id:
        latest = min(latest, window.end)
    return (min(latest, status.expire_time) - _EPOCH) // _HOUR


def in_window(domain: Domain, now: datetime) -> bool:
    """Returns whether the renewal window that the CA gave for the certificate in force is open (see `core.ari.is_exempt`)."""
    window = domain.status.renewal_window
    return window is not None and window.certificate_id == domain.status.certificate_id and window.start <= now < window.end


def slot(replacement: Replacement, ranking: Ranking, domain: Domain) -> datetime:
    """Returns when the renewal of a domain may begin."""
    start = replacement.start_time or replacement.create_time
    return start + replacement.spread * ranking.place(urgency(domain) or 0, domain.spec.fqdn.value)


def answer_for(domain: Domain, replacement: Replacement, begin: datetime, stopped: frozenset[str]) -> Answer:
    """Returns what to do with a domain that meets the filter.

    Args:
        domain: as listed.
        replacement: which asks.
        begin: when the domain's renewal would begin.
        stopped: identifiers of replacements that were stopped: what they asked for does not count.
    """
    spec, status = domain.spec, domain.status
    if urgency(domain) is None:
        return Answer.NOT_MEANT
    if spec.renewal_replacement == replacement.id:
        return Answer.ASKED
    if status.state is DomainState.PAUSED or (status.issue_time is not None and status.issue_time >= replacement.create_time):
        return Answer.LEAVE
    if domain.renewal_requested and spec.renewal_replacement not in stopped:
        planned = domain.requested_renewal_time
        # What was asked for by hand stands. Of two replacements the one stands that renews earlier.
        if not spec.renewal_replacement or (planned is not None and planned <= begin):
            return Answer.LEAVE
    return Answer.ASK


def is_left(domain: Domain, replacement: Replacement) -> bool:
    """Returns whether a domain was asked by the replacement and has no new certificate yet."""
    return domain.spec.renewal_replacement == replacement.id and domain.renewal_requested


def replacement_resource_name(identifier: str) -> str:
    """Returns the resource name, `replacements/{id}`."""
    return _PREFIX + identifier


def parse_replacement_resource(text: str, *, field: str) -> str:
    """Returns the identifier in a resource name.

    Raises:
        InvalidArgument: not the resource name of a replacement.
    """
    identifier = text.removeprefix(_PREFIX)
    if not text.startswith(_PREFIX) or not _ID.fullmatch(identifier):
        raise InvalidArgument(
            FieldViolation(field, "is not a resource name of a replacement; send replacements/{id}, as ListReplacements says")
        )
    return identifier
