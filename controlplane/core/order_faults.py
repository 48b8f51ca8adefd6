"""What to do when a step of an ACME order goes wrong: a table beside that of the steps.

Everything that can come back in place of the reply is one of the faults below (RFC 8555 section 6.7 has the types of problems; the rest is
what networks, balancers and real CAs do). What follows depends on the step, since a step is lost in different ways:

* **newOrder** has no URL to read yet, so a lost reply is posted again: a CA gives the same order back, or makes a second one, which costs
  its place in the limits and expires by itself. What refuses the names or the request ends the attempt. While the order names a
  certificate that it replaces, a refusal may be about that (RFC 9773 section 5): the CA says `alreadyReplaced` also when the reply to
  our own first post was lost, and others say `malformed`, `unauthorized` or 404 for a certificate of a former account. It is then posted
  once more without. `unauthorized` without it is about the account, not about the names: the prepared order is kept.
* **Answering** (read the authorizations, answer the challenges): whatever is unclear, the order's state decides. `malformed` is how CAs
  refuse an answer to a challenge that is not pending any more, and a CA that validates while we wait may say `dns` or `unauthorized`
  here; the order then has become invalid and its authorizations tell name by name. An authorization that is gone cannot become valid.
* **Reading** the order is idempotent, so it is repeated. 404, `malformed` and `unauthorized` all mean that the order is not there for us
  (the RFC names no type for that), so that a new one is wanted.
* **finalize** is never repeated unless it certainly had no effect: the order is read, and tells whether the CSR arrived (section 7.4).
  What refuses the CSR leaves the order *ready*, and the same CSR would be refused again, so the order is over. `caa`, `dns` and
  `unauthorized` are what CAs find when they look once more before they sign; they are about the names.
* **Downloading**: the certificate exists and counts against the limits, so nothing that can pass makes us drop it. A 404 may come from a
  replica that lags behind: the order is read again before it is believed.
* **Reading why an order is invalid** must end with a failure; what cannot be read is left out of the reason.

Repetitions are bounded for each step of a run; each cell says what comes after the last. An interruption keeps the order for a later
attempt, which reads it by its URL. It is not kept for ever: see `react`.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import Enum, auto
from types import MappingProxyType

from controlplane.core.order import OrderRecord
from controlplane.core.order_steps import Step, expiry
from controlplane.core.ports import AcmeError, AcmeProblem, AcmeUnreachable


class Fault(Enum):
    """What came in place of a reply."""

    BAD_NONCE = auto()
    """Every nonce was refused, the freshest too: nothing was done."""
    NOT_SENT = auto()
    """The connection was refused, or TLS failed: nothing was done."""
    REPLY_LOST = auto()
    """The connection broke, or the CA hung: it may have been done."""
    NOT_ACME = auto()
    """A page in place of JSON, a redirect: it may have been done."""
    SERVER_INTERNAL = auto()
    SERVER_ERROR = auto()
    """A problem of another type with an HTTP status of class 5xx."""
    NONSENSE = auto()
    """A reply of class 2xx that is not what was asked for: a token that is none, a chain that is not PEM."""
    UNAVAILABLE = auto()
    """The CA, or a balancer before it, asks for a pause."""
    RATE_LIMITED = auto()
    NAME_PAUSED = auto()
    """`rateLimited` that no wait ends: only a person can."""
    USER_ACTION_REQUIRED = auto()
    ACCOUNT_DOES_NOT_EXIST = auto()
    ACCOUNT_UNUSABLE = auto()
    """The account cannot be opened or made."""
    ALREADY_REPLACED = auto()
    ORDER_NOT_READY = auto()
    BAD_CSR = auto()
    INVALID_PROFILE = auto()
    REJECTED_IDENTIFIER = auto()
    CAA = auto()
    DNS = auto()
    CONNECTION = auto()
    TLS = auto()
    INCORRECT_RESPONSE = auto()
    UNAUTHORIZED = auto()
    GONE = auto()
    """HTTP says that there is no such resource."""
    MALFORMED = auto()
    OTHER = auto()
    """A refusal of a type that is not known here."""


class Reaction(Enum):
    """What to do about it."""

    READ_AGAIN = auto()
    """Forget what was read and read the order, after a pause; its state decides."""
    REPEAT = auto()
    """Send the same request again, after a pause."""
    REPLACE_NOTHING = auto()
    """Post newOrder again, as one that replaces no certificate."""
    ABANDON = auto()
    """The order is no use any more: begin again with a new one."""
    FAIL = auto()
    """The order is over, for the reason given."""
    INTERRUPT = auto()
    """Keep the order and come back later."""
    STOP_ACCOUNT = auto()
    """Keep the order; the operator must act at once, and nothing is registered anew."""


# Seconds before each repetition of a step: so many there are.
PAUSES = (0.2, 1.0, 3.0)
# A run holds one of the worker's places: a longer Retry-After is for the schedule.
LONGEST_PAUSE = 15.0
# A certificate that cannot be downloaded for so long is given up, and so is the reason why an order is invalid.
GIVE_UP_AFTER = timedelta(days=1)

# A cell: the reaction, and the one that follows when that has been used up.
Cell = tuple[Reaction, Reaction]

_ABANDON: Cell = (Reaction.ABANDON, Reaction.ABANDON)
_FAIL: Cell = (Reaction.FAIL, Reaction.FAIL)
_INTERRUPT: Cell = (Reaction.INTERRUPT, Reaction.INTERRUPT)
_STOP: Cell = (Reaction.STOP_ACCOUNT, Reaction.STOP_ACCOUNT)
_READ_OR_INTERRUPT: Cell = (Reaction.READ_AGAIN, Reaction.INTERRUPT)
_READ_OR_FAIL: Cell = (Reaction.READ_AGAIN, Reaction.FAIL)
_READ_OR_ABANDON: Cell = (Reaction.READ_AGAIN, Reaction.ABANDON)
_REPEAT_OR_INTERRUPT: Cell = (Reaction.REPEAT, Reaction.INTERRUPT)
_REPEAT_OR_FAIL: Cell = (Reaction.REPEAT, Reaction.FAIL)
_WITHOUT_OR_FAIL: Cell = (Reaction.REPLACE_NOTHING, Reaction.FAIL)
_WITHOUT_OR_INTERRUPT: Cell = (Reaction.REPLACE_NOTHING, Reaction.INTERRUPT)

# Steps that send a request: the columns.
STEPS = (Step.PLACE_ORDER, Step.ANSWER_CHALLENGES, Step.POLL, Step.FINALIZE, Step.DOWNLOAD, Step.FAIL)

_NOT_DONE = (_REPEAT_OR_INTERRUPT,) * 6
_MAYBE_DONE = (
    _REPEAT_OR_INTERRUPT,
    _READ_OR_INTERRUPT,
    _REPEAT_OR_INTERRUPT,
    _READ_OR_INTERRUPT,
    _REPEAT_OR_INTERRUPT,
    _REPEAT_OR_INTERRUPT,
)
_ABOUT_NAMES = (_FAIL, _READ_OR_FAIL, _REPEAT_OR_INTERRUPT, _FAIL, _READ_OR_INTERRUPT, _REPEAT_OR_FAIL)
_ABOUT_THE_REQUEST = (_FAIL, _READ_OR_INTERRUPT, _REPEAT_OR_INTERRUPT, _FAIL, _READ_OR_INTERRUPT, _REPEAT_OR_FAIL)

# fault: place order, answer challenges, poll, finalize, download, fail
_ROWS: Mapping[Fault, tuple[Cell, Cell, Cell, Cell, Cell, Cell]] = {
    Fault.BAD_NONCE: _NOT_DONE,
    Fault.NOT_SENT: _NOT_DONE,
    Fault.REPLY_LOST: _MAYBE_DONE,
    Fault.NOT_ACME: _MAYBE_DONE,
    Fault.SERVER_INTERNAL: _MAYBE_DONE,
    Fault.SERVER_ERROR: _MAYBE_DONE,
    Fault.NONSENSE: (
        _REPEAT_OR_INTERRUPT,
        _READ_OR_INTERRUPT,
        _REPEAT_OR_INTERRUPT,
        _READ_OR_INTERRUPT,
        _READ_OR_INTERRUPT,
        _REPEAT_OR_FAIL,
    ),
    Fault.UNAVAILABLE: (_INTERRUPT,) * 6,
    Fault.RATE_LIMITED: (_INTERRUPT,) * 6,
    Fault.NAME_PAUSED: (_FAIL, *(_INTERRUPT,) * 5),
    Fault.USER_ACTION_REQUIRED: (_STOP,) * 6,
    Fault.ACCOUNT_DOES_NOT_EXIST: (_STOP,) * 6,
    Fault.ACCOUNT_UNUSABLE: (_STOP,) * 6,
    Fault.ALREADY_REPLACED: (
        _WITHOUT_OR_FAIL,
        _READ_OR_INTERRUPT,
        _REPEAT_OR_INTERRUPT,
        _READ_OR_INTERRUPT,
        _READ_OR_INTERRUPT,
        _REPEAT_OR_FAIL,
    ),
    Fault.ORDER_NOT_READY: (
        _REPEAT_OR_INTERRUPT,
        _READ_OR_INTERRUPT,
        _REPEAT_OR_INTERRUPT,
        _READ_OR_INTERRUPT,
        _READ_OR_INTERRUPT,
        _REPEAT_OR_FAIL,
    ),
    Fault.BAD_CSR: _ABOUT_THE_REQUEST,
    Fault.INVALID_PROFILE: _ABOUT_THE_REQUEST,
    Fault.REJECTED_IDENTIFIER: _ABOUT_NAMES,
    Fault.CAA: _ABOUT_NAMES,
    Fault.DNS: _ABOUT_NAMES,
    Fault.CONNECTION: _ABOUT_NAMES,
    Fault.TLS: _ABOUT_NAMES,
    Fault.INCORRECT_RESPONSE: _ABOUT_NAMES,
    Fault.UNAUTHORIZED: (_WITHOUT_OR_INTERRUPT, _READ_OR_FAIL, _ABANDON, _FAIL, _READ_OR_ABANDON, _FAIL),
    Fault.GONE: (_WITHOUT_OR_INTERRUPT, _ABANDON, _ABANDON, _ABANDON, _READ_OR_ABANDON, _FAIL),
    Fault.MALFORMED: (_WITHOUT_OR_FAIL, _READ_OR_FAIL, _ABANDON, _FAIL, _READ_OR_ABANDON, _FAIL),
    Fault.OTHER: (_WITHOUT_OR_FAIL, _READ_OR_FAIL, _REPEAT_OR_INTERRUPT, _FAIL, _READ_OR_INTERRUPT, _REPEAT_OR_FAIL),
}

ORDER_FAULTS: Mapping[tuple[Step, Fault], Cell] = MappingProxyType(
    {(step, fault): cell for fault, cells in _ROWS.items() for step, cell in zip(STEPS, cells, strict=True)}
)

_ACME = "urn:ietf:params:acme:error:"
_OWN = "urn:certplane:error:"

# Types that say what is wrong whatever HTTP says.
_TYPES: Mapping[str, Fault] = MappingProxyType(
    {
        f"{_ACME}badNonce": Fault.BAD_NONCE,
        f"{_ACME}userActionRequired": Fault.USER_ACTION_REQUIRED,
        f"{_ACME}accountDoesNotExist": Fault.ACCOUNT_DOES_NOT_EXIST,
        f"{_ACME}externalAccountRequired": Fault.ACCOUNT_UNUSABLE,
        f"{_ACME}invalidContact": Fault.ACCOUNT_UNUSABLE,
        f"{_ACME}unsupportedContact": Fault.ACCOUNT_UNUSABLE,
        f"{_OWN}accountUnusable": Fault.ACCOUNT_UNUSABLE,
        f"{_ACME}alreadyReplaced": Fault.ALREADY_REPLACED,
        f"{_ACME}orderNotReady": Fault.ORDER_NOT_READY,
        f"{_ACME}badCSR": Fault.BAD_CSR,
        f"{_ACME}badPublicKey": Fault.BAD_CSR,
        f"{_ACME}badSignatureAlgorithm": Fault.BAD_CSR,
        f"{_ACME}invalidProfile": Fault.INVALID_PROFILE,
        f"{_ACME}rejectedIdentifier": Fault.REJECTED_IDENTIFIER,
        f"{_ACME}unsupportedIdentifier": Fault.REJECTED_IDENTIFIER,
        f"{_ACME}caa": Fault.CAA,
        f"{_ACME}dns": Fault.DNS,
        f"{_ACME}connection": Fault.CONNECTION,
        f"{_ACME}tls": Fault.TLS,
        f"{_ACME}incorrectResponse": Fault.INCORRECT_RESPONSE,
    }
)


def fault_of(error: AcmeError | AcmeUnreachable) -> Fault:
    """Returns which fault an error is."""
    return _refusal(error.problem) if isinstance(error, AcmeError) else _silence(error)


def react(step: Step, fault: Fault, order: OrderRecord, *, repetitions: int, retry_after: float | None, now: datetime) -> Reaction:
    """Returns what to do about a fault at a step: the table's cell, within its bounds.

    A step is repeated as often as there are `PAUSES`. A Retry-After longer than `LONGEST_PAUSE` interrupts instead. An interruption of
    an order that is past its expiry, or of a download or a failure's reason after `GIVE_UP_AFTER`, ends it: what could not be had in all
    that time will not come, and the domain must not wait for it for ever.

    Args:
        step: one of `STEPS`.
        fault: what came in place of the reply.
        order: as persisted.
        repetitions: of this step in this run up to now.
        retry_after: seconds that the CA asked for.
        now: for the order's age.
    """
    first, then = ORDER_FAULTS[step, fault]
    chosen = first
    if first is Reaction.REPLACE_NOTHING:
        chosen = first if order.replaces else then
    elif first in (Reaction.READ_AGAIN, Reaction.REPEAT):
        if (retry_after or 0.0) > LONGEST_PAUSE:
            chosen = Reaction.INTERRUPT
        elif repetitions >= len(PAUSES):
            chosen = then
    if chosen is Reaction.INTERRUPT and _is_over(step, order, now):
        return Reaction.FAIL if step is Step.FAIL else Reaction.ABANDON
    return chosen


def pause(repetitions: int, retry_after: float | None) -> float:
    """Returns the seconds to wait before one more repetition after so many."""
    return max(PAUSES[min(repetitions, len(PAUSES) - 1)], retry_after or 0.0)


def _is_over(step: Step, order: OrderRecord, now: datetime) -> bool:
    if step is Step.PLACE_ORDER:
        return False
    given_up = step in (Step.DOWNLOAD, Step.FAIL) and order.start_time + GIVE_UP_AFTER <= now
    return given_up or expiry(order) <= now


def _refusal(problem: AcmeProblem) -> Fault:
    type_ = problem.type
    if type_ == f"{_ACME}malformed" and problem.subproblems:
        # A refusal of several names (section 6.7.1): the type outside says only that.
        type_ = problem.subproblems[0][1].type
    if problem.status >= 500 and problem.retry_after:
        return Fault.UNAVAILABLE
    if type_ in _TYPES:
        return _TYPES[type_]
    if problem.status >= 500 or type_ == f"{_ACME}serverInternal":
        return Fault.SERVER_INTERNAL if type_ == f"{_ACME}serverInternal" else Fault.SERVER_ERROR
    if type_ == f"{_ACME}rateLimited":
        return Fault.NAME_PAUSED if problem.retry_after is None else Fault.RATE_LIMITED
    if problem.status == 409:
        return Fault.ALREADY_REPLACED
    if problem.status in (404, 410):
        return Fault.GONE
    return {f"{_ACME}malformed": Fault.MALFORMED, f"{_ACME}unauthorized": Fault.UNAUTHORIZED}.get(type_, Fault.OTHER)


def _silence(error: AcmeUnreachable) -> Fault:
    if not error.sent:
        return Fault.NOT_SENT
    if error.retry_after:
        return Fault.UNAVAILABLE
    if not error.status:
        return Fault.REPLY_LOST
    return Fault.NONSENSE if error.status < 300 else Fault.NOT_ACME
