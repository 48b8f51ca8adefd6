"""Which domains wait for which others: the lane of each.

A thousand names that nobody will ever repair must not stand before one that works, and ten thousand new customers must not stand before a
certificate that is about to end.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final

from controlplane.core.backoff import FailureKind
from controlplane.core.failure import kind_of
from controlplane.core.lane import Lane
from controlplane.core.managed_domain import Actor, Domain, DomainState

PATIENCE: Final[Mapping[Lane, timedelta]] = MappingProxyType(
    {
        Lane.URGENT: timedelta(seconds=15),
        Lane.RENEWAL: timedelta(seconds=5),
        Lane.NEW: timedelta(seconds=3),
        Lane.SICK: timedelta(seconds=15),
    }
)
"""How long a pre-flight may take. A host that hangs is found out quickly where others wait behind it, and waited for where it delays only
its like."""

PROMOTED_BEFORE_END: Final = timedelta(hours=24)
"""What waits in another lane than SICK for its turn moves to URGENT when its certificate has so little left."""

_NOTHING: Final = timedelta(0)
_LEAST_NEAR_END: Final = timedelta(hours=24)
_GIVEN_UP_AFTER: Final = 3
"""Attempts after which a pre-flight that never tells anything is believed to be the name's own trouble, near the end as well."""


def near_end(issue_time: datetime, expire_time: datetime, at: datetime) -> bool:
    """Returns whether a certificate has less than a tenth of its life left, or less than a day where that is more.

    A day is more for lifetimes under ten days; it is never more than a fifth of the life, so that one of an hour is not always near.
    """
    lifetime, left = expire_time - issue_time, expire_time - at
    fifth = lifetime / 5
    if left >= fifth > _NOTHING:
        # Nearly all: it need not be worked out which of the bounds holds.
        return False
    return left < max(lifetime / 10, min(_LEAST_NEAR_END, fifth))


@dataclass(frozen=True, slots=True)
class _Case:
    domain: Domain
    at: datetime
    order_open: bool

    @property
    def near_end(self) -> bool:
        issued, ends = self.domain.status.issue_time, self.domain.status.expire_time
        return issued is not None and ends is not None and near_end(issued, ends, self.at)

    @property
    def asked(self) -> bool:
        """A person asked for a renewal, and nothing has failed since."""
        spec, error = self.domain.spec, self.domain.status.last_error
        if not self.domain.renewal_requested or spec.renewal_replacement or spec.renewal_request_time is None:
            return False
        return error is None or error.time < spec.renewal_request_time

    @property
    def sick(self) -> bool:
        status, error = self.domain.status, self.domain.status.last_error
        if error is None or not status.attempt_count or self.asked:
            return False
        own_name = error.failed_name in ("", self.domain.spec.fqdn.value)
        if not own_name and (status.renew_time is None or status.renew_time <= self.at):
            # An additional name ails. What the domain is for works, and it is that which is due.
            return False
        if error.must_act is Actor.CUSTOMER:
            return True
        # Not known whose fault it is, or ours. When it is ours, all names have it, and the few that are near their end go first.
        return kind_of(error) is FailureKind.PREFLIGHT and (not self.near_end or status.attempt_count > _GIVEN_UP_AFTER)


# The first that holds decides.
_TABLE: Final[tuple[tuple[Callable[[_Case], bool], Lane], ...]] = (
    (lambda case: case.domain.status.state is DomainState.PAUSED, Lane.SICK),
    (lambda case: case.domain.pending_revocation is not None, Lane.URGENT),
    (lambda case: case.order_open and case.near_end, Lane.URGENT),
    # Left alone it would run out at the CA, and what it cost is spent already.
    (lambda case: case.order_open, Lane.RENEWAL),
    (lambda case: case.sick, Lane.SICK),
    (lambda case: case.near_end, Lane.URGENT),
    (lambda case: case.asked, Lane.NEW),
    (lambda case: case.domain.status.expire_time is None, Lane.NEW),
    (lambda _: True, Lane.RENEWAL),
)


def lane_of(domain: Domain, at: datetime, *, order_open: bool = False) -> Lane:
    """Returns the lane in which a domain waits.

    Args:
        domain: with the status that is about to be written.
        at: when it is due: what is in good time now may be near its end by then.
        order_open: it has an order at the CA that is to be gone on with.
    """
    case = _Case(domain, at, order_open)
    return next(lane for holds, lane in _TABLE if holds(case))
