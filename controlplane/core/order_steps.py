"""What to do next with an ACME order: a table.

RFC 8555 section 7.1.6 gives an order's life: it is *pending* until every authorization is valid, then *ready* for the CSR, then
*processing* while the CA signs, then *valid* with a certificate to download; *invalid* ends it from anywhere. Our side of it is the
persisted `Phase`, which is written before the step that it names. A worker may be killed after any write and after any reply, so the
two sides meet in every combination, and the table has a row for each:

* PREPARED, nothing read: newOrder was not sent, or its reply was lost. Post it (again): the CA answers with the same order or a new
  one; an order that nobody knows costs nothing but its place in the CA's limits and expires by itself.
* PLACED or FINALIZING, nothing read: a successor took over. Read the order first, whatever our side believes.
* *pending*: answer the challenges. Answering is idempotent, since only challenges that are still pending are answered. A worker that
  has answered them all polls instead; it keeps that in memory, so that a successor looks at the authorizations again.
* *ready*: finalize. In phase FINALIZING this means that the CSR never arrived.
* *processing*: poll. Finalizing again would give `orderNotReady`, and so does finalizing too early: the order is then read again and
  the table decides anew (section 7.4).
* *valid*: download. In phase PLACED this means that a write of ours was lost after finalize; whether the certificate is for our CSR is
  what the chain's check is for.
* *invalid*: fail, with the authorizations' errors. Never finalize again.
* gone (the CA does not know the order, or calls it expired): abandon it and begin again with a new key.

An order past its `expires` is not waited for, but a certificate that it already has is downloaded. Our clock may be wrong: an expiry
that is not ahead of us when the CA has just given the order out cannot be compared with it, and is put `UNCERTAIN_LIFE` ahead by our own
clock when the order is persisted. The CA ends an order that expires earlier by itself.

A CSR that the CA has accepted is not sent again by the same worker while the order is still shown as *ready*, which a replica that lags
behind does: it is polled. What to do when a step goes wrong is the table of `order_faults`.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import Enum, auto
from types import MappingProxyType

from controlplane.core.order import OrderRecord, Phase
from controlplane.core.ports import RemoteOrder


class Step(Enum):
    """What to do next."""

    PLACE_ORDER = auto()
    ANSWER_CHALLENGES = auto()
    POLL = auto()
    FINALIZE = auto()
    DOWNLOAD = auto()
    FAIL = auto()
    ABANDON = auto()


class RemoteStatus(Enum):
    """The CA's side: the statuses of RFC 8555 section 7.1.6, UNREAD when it was not asked yet, GONE when it knows no such order."""

    UNREAD = auto()
    PENDING = auto()
    READY = auto()
    PROCESSING = auto()
    VALID = auto()
    INVALID = auto()
    GONE = auto()


ORDER_STEPS: Mapping[tuple[Phase, RemoteStatus], Step] = MappingProxyType(
    {
        (Phase.PREPARED, RemoteStatus.UNREAD): Step.PLACE_ORDER,
        (Phase.PLACED, RemoteStatus.UNREAD): Step.POLL,
        (Phase.PLACED, RemoteStatus.PENDING): Step.ANSWER_CHALLENGES,
        (Phase.PLACED, RemoteStatus.READY): Step.FINALIZE,
        (Phase.PLACED, RemoteStatus.PROCESSING): Step.POLL,
        (Phase.PLACED, RemoteStatus.VALID): Step.DOWNLOAD,
        (Phase.PLACED, RemoteStatus.INVALID): Step.FAIL,
        (Phase.PLACED, RemoteStatus.GONE): Step.ABANDON,
        (Phase.FINALIZING, RemoteStatus.UNREAD): Step.POLL,
        (Phase.FINALIZING, RemoteStatus.PENDING): Step.ANSWER_CHALLENGES,
        (Phase.FINALIZING, RemoteStatus.READY): Step.FINALIZE,
        (Phase.FINALIZING, RemoteStatus.PROCESSING): Step.POLL,
        (Phase.FINALIZING, RemoteStatus.VALID): Step.DOWNLOAD,
        (Phase.FINALIZING, RemoteStatus.INVALID): Step.FAIL,
        (Phase.FINALIZING, RemoteStatus.GONE): Step.ABANDON,
    }
)

_STATUSES: Mapping[str, RemoteStatus] = MappingProxyType(
    {
        "pending": RemoteStatus.PENDING,
        "ready": RemoteStatus.READY,
        "processing": RemoteStatus.PROCESSING,
        "valid": RemoteStatus.VALID,
        "invalid": RemoteStatus.INVALID,
        # Not statuses of an order by the RFC, but CAs have been seen to use an authorization's (section 7.1.6) for it.
        "expired": RemoteStatus.GONE,
        "deactivated": RemoteStatus.GONE,
        "revoked": RemoteStatus.GONE,
    }
)

_WAITING = frozenset({Step.ANSWER_CHALLENGES, Step.POLL, Step.FINALIZE})

# A CA need not say when an order expires (RFC 8555 section 7.1.3); Let's Encrypt keeps one for a week at most.
LONGEST_LIFE = timedelta(days=7)
# Shorter than any CA's order lives, longer than any takes.
UNCERTAIN_LIFE = timedelta(hours=1)
# Seconds between reads of an order that outlasts a worker's patience.
LOOK_AGAIN = 60.0


def remote_status(remote: RemoteOrder | None) -> RemoteStatus:
    """Returns the row's right half; a status that the RFC does not know is waited for, since the order's expiry bounds that."""
    if remote is None:
        return RemoteStatus.UNREAD
    return _STATUSES.get(remote.status, RemoteStatus.PROCESSING)


def expiry(order: OrderRecord) -> datetime:
    """Returns when an order is not waited for any more."""
    return order.start_time + LONGEST_LIFE if order.expire_time is None else order.expire_time


def expiry_by_our_clock(expires: datetime | None, now: datetime) -> datetime | None:
    """Returns what to persist as the expiry of an order that the CA gives out `now`."""
    return now + UNCERTAIN_LIFE if expires is not None and expires <= now else expires


def look_again(order: OrderRecord, asked: float, now: datetime) -> float:
    """Returns the seconds after which an order that takes its time is read again, when the CA `asked` for so many.

    A Retry-After beyond the order's end is cut there: that is when we know more.
    """
    return max(min(asked, (expiry(order) - now).total_seconds()), LOOK_AGAIN)


def next_step(order: OrderRecord, status: RemoteStatus, *, answered: bool, now: datetime, finalized: bool = False) -> Step:
    """Returns the next step for `order`.

    Args:
        order: our side, as persisted.
        status: the CA's side, as last read.
        answered: whether this worker has answered every pending challenge since it took the order.
        now: for the order's expiry.
        finalized: whether the CA has accepted the CSR from this worker.

    Raises:
        KeyError: a combination that cannot be: an order that was never placed has no status.
    """
    step = ORDER_STEPS[order.phase, status]
    if expiry(order) <= now and step in _WAITING and status is not RemoteStatus.UNREAD:
        return Step.ABANDON
    if (answered and step is Step.ANSWER_CHALLENGES) or (finalized and step is Step.FINALIZE):
        return Step.POLL
    return step
