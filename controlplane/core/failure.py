"""From what a CA says to what people and the schedule need: who must act, and when to try again.

Problem types are those of RFC 8555 section 6.7 and of Let's Encrypt. The same type can mean two things: `unauthorized` inside a challenge
says that the customer's host gave a wrong answer, as the reply to a request it says that the account may not do this.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

from controlplane.core.backoff import FailureKind
from controlplane.core.managed_domain import Actor, Problem
from controlplane.core.ports import AcmeProblem, AcmeUnreachable, RemoteAuthorization, RemoteOrder

ACME = "urn:ietf:params:acme:error:"
OWN = "urn:certplane:error:"

AUTHORITY_UNREACHABLE = OWN + "authorityUnreachable"
CHAIN_REJECTED = OWN + "chainRejected"
ORDER_LOST = OWN + "orderLost"
ORDER_INVALID = OWN + "orderInvalid"
ACCOUNT_UNUSABLE = OWN + "accountUnusable"
INTERNAL = OWN + "internal"

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
        "rateLimited": (Actor.NOBODY, FailureKind.AUTHORITY),
        "serverInternal": (Actor.CA, FailureKind.AUTHORITY),
        "badNonce": (Actor.CA, FailureKind.AUTHORITY),
        "orderNotReady": (Actor.CA, FailureKind.AUTHORITY),
    }
)

_ADVICE: Mapping[str, str] = MappingProxyType(
    {
        "accountDoesNotExist": "the CA does not know our account any more, and nothing is registered again by itself: "
        "`certplane account forget` lets the next attempt make a new account",
        "userActionRequired": "the CA wants the operator to act, for example to agree to new terms of service",
        "externalAccountRequired": "the CA wants an external account binding",
    }
)


def refused(problem: AcmeProblem, now: datetime, failed_name: str = "") -> Failure:
    """Returns the failure for a problem document that the CA sent, as a reply (`status` set) or inside another object (`status` 0)."""
    code = problem.type.removeprefix(ACME)
    actor, kind = _BY_TYPE.get(code, (Actor.CA, FailureKind.AUTHORITY) if problem.status >= 500 else (Actor.OPERATOR, FailureKind.ORDER))
    if code == "unauthorized" and problem.status:
        actor = Actor.OPERATOR
    if code == "rateLimited" and problem.retry_after is None and "paused" in problem.detail.lower():
        # Let's Encrypt pauses a name after too many failures in a row: only a person can end that, on the page that the detail names.
        actor, kind = Actor.OPERATOR, FailureKind.ORDER
    parts = (_ADVICE.get(code, ""), problem.detail, *(f"{name}: {sub.detail}" for name, sub in problem.subproblems))
    detail = "; ".join(part for part in parts if part)
    names = tuple((name, refused(sub, now, name).problem) for name, sub in problem.subproblems if name)
    return Failure(_problem(problem.type, detail, actor, now, failed_name), kind, problem.retry_after, names)


def unreachable(error: AcmeUnreachable, now: datetime) -> Failure:
    """Returns the failure for a CA that gave no usable answer."""
    return Failure(_problem(AUTHORITY_UNREACHABLE, str(error), Actor.CA, now), FailureKind.AUTHORITY, error.retry_after)


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


def kind_of(problem: Problem) -> FailureKind:
    """Returns what kind of failure a stored problem was; our own checks of hosts are all of Certplane's types that are not above."""
    if problem.type.startswith(ACME):
        return _BY_TYPE.get(problem.type.removeprefix(ACME), (Actor.OPERATOR, FailureKind.ORDER))[1]
    if problem.type in {AUTHORITY_UNREACHABLE, ACCOUNT_UNUSABLE}:
        return FailureKind.AUTHORITY
    if problem.type in {CHAIN_REJECTED, ORDER_LOST, ORDER_INVALID, INTERNAL}:
        return FailureKind.ORDER
    return FailureKind.PREFLIGHT


def _problem(type_: str, detail: str, actor: Actor, now: datetime, failed_name: str = "") -> Problem:
    # The CA quotes what customers' hosts said: strangers' text, kept short and on one line.
    text = "".join(c if c.isprintable() else " " for c in detail)[:_DETAIL_LIMIT]
    return Problem(type_, text, actor, now, failed_name)
