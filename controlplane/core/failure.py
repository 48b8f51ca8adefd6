"""From what a CA says to what people, the schedule and the other domains need: who must act, when to try again, and what else it stops.

Problem types are those of RFC 8555 section 6.7 and of Let's Encrypt. The same type can mean two things: `unauthorized` inside a challenge
says that the customer's host gave a wrong answer, as the reply to a request it says that the account may not do this.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType

from controlplane.core.backoff import FailureKind, delay
from controlplane.core.managed_domain import Actor, Problem
from controlplane.core.ports import AcmeError, AcmeProblem, AcmeUnreachable, RemoteAuthorization, RemoteOrder

ACME = "urn:ietf:params:acme:error:"
OWN = "urn:certplane:error:"

AUTHORITY_UNREACHABLE = OWN + "authorityUnreachable"
CHAIN_REJECTED = OWN + "chainRejected"
ORDER_LOST = OWN + "orderLost"
ORDER_INVALID = OWN + "orderInvalid"
ACCOUNT_UNUSABLE = OWN + "accountUnusable"
INTERNAL = OWN + "internal"
LIMIT = OWN + "authorityLimit"
"""A limit of the CA, which is waited for without asking the CA."""
TOO_MANY_NAMES = OWN + "tooManyNames"

AUTHORITY_AWAY = OWN + "authorityUnavailable"
"""Every CA that may issue is out of order, so none was asked."""
PREFLIGHT = OWN + "preflight:"
"""What our own checks of hosts begin with."""

_HELD = frozenset({LIMIT, AUTHORITY_AWAY})
_AUTHORITY = frozenset(
    {
        AUTHORITY_UNREACHABLE,
        ACCOUNT_UNUSABLE,
        LIMIT,
        AUTHORITY_AWAY,
        OWN + "noAuthority",
        OWN + "revocationRefused",
        OWN + "revocationFailed",
        OWN + "authorityNotConfigured",
    }
)

_DETAIL_LIMIT = 1000


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed attempt: what is shown, what the schedule needs, and the names that are to blame where that is known."""

    problem: Problem
    kind: FailureKind
    retry_after: float | None = None
    names: tuple[tuple[str, Problem], ...] = ()


# Who must act, and what another attempt costs.
_BY_TYPE: Mapping[str, tuple[Actor, FailureKind]] = MappingProxyType(
    {
        "dns": (Actor.CUSTOMER, FailureKind.ORDER),
        "connection": (Actor.CUSTOMER, FailureKind.ORDER),
        "tls": (Actor.CUSTOMER, FailureKind.ORDER),
        "unauthorized": (Actor.CUSTOMER, FailureKind.ORDER),
        "incorrectResponse": (Actor.CUSTOMER, FailureKind.ORDER),
        "caa": (Actor.CUSTOMER, FailureKind.ORDER),
        "rejectedIdentifier": (Actor.CUSTOMER, FailureKind.ORDER),
        "unsupportedIdentifier": (Actor.OPERATOR, FailureKind.ORDER),
        "malformed": (Actor.OPERATOR, FailureKind.ORDER),
        "badCSR": (Actor.OPERATOR, FailureKind.ORDER),
        "badPublicKey": (Actor.OPERATOR, FailureKind.ORDER),
        "badSignatureAlgorithm": (Actor.OPERATOR, FailureKind.ORDER),
        "invalidProfile": (Actor.OPERATOR, FailureKind.ORDER),
        "accountDoesNotExist": (Actor.OPERATOR, FailureKind.AUTHORITY),
        "externalAccountRequired": (Actor.OPERATOR, FailureKind.AUTHORITY),
        "invalidContact": (Actor.OPERATOR, FailureKind.AUTHORITY),
        "unsupportedContact": (Actor.OPERATOR, FailureKind.AUTHORITY),
        "userActionRequired": (Actor.OPERATOR, FailureKind.AUTHORITY),
        ACCOUNT_UNUSABLE: (Actor.OPERATOR, FailureKind.AUTHORITY),
        LIMIT: (Actor.NOBODY, FailureKind.AUTHORITY),
        "rateLimited": (Actor.NOBODY, FailureKind.AUTHORITY),
        "serverInternal": (Actor.CA, FailureKind.AUTHORITY),
        "badNonce": (Actor.CA, FailureKind.AUTHORITY),
        "orderNotReady": (Actor.CA, FailureKind.AUTHORITY),
        "alreadyReplaced": (Actor.CA, FailureKind.ORDER),
    }
)

# Nobody at this CA will get a certificate for the names, but another CA may think otherwise.
_POLICY = frozenset({ACME + "rejectedIdentifier", ACME + "unsupportedIdentifier"})
_ACCOUNT = frozenset(
    {
        ACME + "userActionRequired",
        ACME + "accountDoesNotExist",
        ACME + "externalAccountRequired",
        ACME + "invalidContact",
        ACME + "unsupportedContact",
        ACCOUNT_UNUSABLE,
    }
)
# Laid at the CA's door, but about one order.
_ONE_ORDER = frozenset({ACME + "orderNotReady"})

_ADVICE: Mapping[str, str] = MappingProxyType(
    {
        "accountDoesNotExist": "the CA does not know our account any more, and nothing is registered again by itself: "
        "`certplane account forget` lets the next attempt make a new account",
        "userActionRequired": "the CA wants the operator to act, for example to agree to new terms of service",
        "externalAccountRequired": "the CA wants an external account binding",
    }
)


def refused(problem: AcmeProblem, now: datetime, failed_name: str = "") -> Failure:
    """Returns the failure for a problem document that the CA sent, as a reply (`status` set) or inside another object (`status` 0).

    With subproblems (RFC 8555 section 6.7.1) the names are told one by one, and the first of them says who must act: the type outside
    may say no more than that there are several.
    """
    code = problem.type.removeprefix(ACME)
    actor, kind = _BY_TYPE.get(code, (Actor.OPERATOR, FailureKind.ORDER))
    if code == "unauthorized" and problem.status:
        actor = Actor.OPERATOR
    if code == "rateLimited":
        actor, kind = _limited(problem)
    if problem.status >= 500 and problem.type not in _ACCOUNT:
        # The CA says itself that it is at fault, whatever else it says. Let's Encrypt limits requests with a `rateLimited` of 503.
        actor, kind = Actor.CA, FailureKind.AUTHORITY
    advice = _ADVICE.get(code, "")
    if code == "rateLimited" and actor is Actor.OPERATOR:
        advice = "no wait ends this limit: the CA has paused the name, and its page lets a person end that"
    page = f"see {problem.instance}" if problem.instance else ""
    told = (f"{name}: {sub.detail}" if name else sub.detail for name, sub in problem.subproblems)
    detail = "; ".join(part for part in (advice, page, problem.detail, *told) if part)
    names = tuple((name, refused(sub, now, name).problem) for name, sub in problem.subproblems if name)
    if names and kind is FailureKind.ORDER:
        actor = names[0][1].must_act
        failed_name = failed_name or (names[0][0] if len(names) == 1 else "")
    return Failure(_problem(problem.type, detail, actor, now, failed_name), kind, problem.retry_after, names)


def unreachable(error: AcmeUnreachable, now: datetime) -> Failure:
    """Returns the failure for a CA that gave no usable answer."""
    return Failure(_problem(AUTHORITY_UNREACHABLE, str(error), Actor.CA, now), FailureKind.AUTHORITY, error.retry_after)


def of_error(error: AcmeError | AcmeUnreachable, now: datetime) -> Failure:
    """Returns the failure for whatever a request to the CA has raised."""
    return refused(error.problem, now) if isinstance(error, AcmeError) else unreachable(error, now)


def order_invalid(order: RemoteOrder, authorizations: Iterable[RemoteAuthorization], own_name: str, now: datetime) -> Failure:
    """Returns the failure for an order that became invalid: the authorizations' errors name by name, the own name's first.

    Without any error inside the authorizations (finalize failed) the order's own error tells.
    """
    blamed = sorted((a for a in authorizations if a.error is not None), key=lambda a: (a.name != own_name, a.name))
    if not blamed:
        error = order.error or AcmeProblem(ORDER_INVALID, "the CA calls the order invalid and does not say why")
        return refused(error, now)
    names = tuple((a.name, refused(a.error, now, a.name).problem) for a in blamed if a.error is not None)
    first = names[0][1]
    detail = first.detail if len(names) == 1 else "; ".join(f"{name}: {problem.detail}" for name, problem in names)
    return Failure(_problem(first.type, detail, first.must_act, now, first.failed_name), FailureKind.ORDER, names=names)


def own(type_: str, detail: str, actor: Actor, now: datetime, kind: FailureKind = FailureKind.ORDER) -> Failure:
    """Returns a failure that we found ourselves."""
    return Failure(_problem(type_, detail, actor, now), kind)


def wait(failure: Failure, attempt_count: int, name: str) -> timedelta:
    """Returns how long the domain `name` waits after its failure number `attempt_count`, by what failed and who must act."""
    return delay(failure.kind, attempt_count, name, failure.retry_after, failure.problem.must_act)


def is_authority_fault(failure: Failure) -> bool:
    """Whether the whole CA is in trouble, so that every other order there would meet the same; `retry_after` is how long it asks for."""
    return failure.kind is FailureKind.AUTHORITY and failure.problem.must_act is Actor.CA and failure.problem.type not in _ONE_ORDER


def stops_account(failure: Failure) -> bool:
    """Whether nothing more is to be sent for the account at this CA until the operator has acted."""
    return failure.problem.type in _ACCOUNT


def alerts(failure: Failure) -> bool:
    """Whether the operator is to be called at once: nobody else can mend it."""
    return failure.problem.must_act is Actor.OPERATOR


def refused_by_policy(failure: Failure) -> bool:
    """Whether the CA refuses a name on principle, so that another CA is worth a try."""
    return failure.problem.type in _POLICY or any(problem.type in _POLICY for _, problem in failure.names)


def kind_of(problem: Problem) -> FailureKind:
    """Returns what kind of failure a stored problem was."""
    if problem.type.startswith(ACME):
        return _BY_TYPE.get(problem.type.removeprefix(ACME), (Actor.OPERATOR, FailureKind.ORDER))[1]
    if problem.type.startswith(PREFLIGHT):
        return FailureKind.PREFLIGHT
    return FailureKind.AUTHORITY if problem.type in _AUTHORITY else FailureKind.ORDER


def is_held(problem: Problem) -> bool:
    """Whether a stored problem is no failure: a limit of the CA, or its being out of order, that was waited for."""
    return problem.type in _HELD


def _limited(problem: AcmeProblem) -> tuple[Actor, FailureKind]:
    if problem.retry_after is None:
        # Let's Encrypt pauses a name after too many failures in a row: only a person can end that, on the page that the detail names.
        return Actor.OPERATOR, FailureKind.ORDER
    return Actor.NOBODY, FailureKind.AUTHORITY


def _problem(type_: str, detail: str, actor: Actor, now: datetime, failed_name: str = "") -> Problem:
    # The CA quotes what customers' hosts said: strangers' text, kept short and on one line.
    text = "".join(c if c.isprintable() else " " for c in detail)[:_DETAIL_LIMIT]
    return Problem(type_, text, actor, now, failed_name)
