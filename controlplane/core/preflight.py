"""What the pre-flight concludes from what it saw: would the CA reach us at this name?

A *conclusive* problem is one that the CA would meet too, so no order is spent on it. An *inconclusive* one may be our own view (a
time-out from inside, a failing resolver): it delays an order but never forbids it.

The CA resolves A and AAAA, drops addresses that are not public, and tries IPv6 first; it goes on to IPv4 when the first request
over IPv6 gets no connection. So IPv6 that is silent does no harm beside IPv4 that answers, but an address that answers wrongly or
refuses does: the name points somewhere else, for a part of its visitors at least.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto

from controlplane.core.addresses import AddressPolicy, IPAddress
from controlplane.core.caa import CaaRecord, Issuer
from controlplane.core.caa import refusal as caa_refusal
from controlplane.core.http_response import Response
from controlplane.core.managed_domain import Actor, Problem
from controlplane.core.names import DomainName
from controlplane.core.ports import PreflightVerdict
from controlplane.core.redirects import Target

MAX_ADDRESSES = 8
"""Addresses of each family that are tried; a stranger's DNS may list thousands."""

_URN = "urn:certplane:error:preflight:"
_SHOWN = 3  # addresses that a problem's detail names


class LookupStatus(Enum):
    """How a DNS lookup ended."""

    FOUND = auto()
    NO_DATA = auto()
    """The name exists, but has no record of the type."""
    NO_SUCH_NAME = auto()
    """NXDOMAIN."""
    FAILED = auto()
    """The resolver answered that it could not find out (SERVFAIL and its like), or with nonsense."""
    NO_ANSWER = auto()
    """The resolver did not answer."""


@dataclass(frozen=True, slots=True)
class AddressLookup:
    """The addresses of a host, IPv6 first. `detail` says what the resolver did when the status is FAILED."""

    status: LookupStatus
    addresses: tuple[IPAddress, ...] = ()
    detail: str = ""


@dataclass(frozen=True, slots=True)
class CaaLookup:
    """The CAA records at `owner`, or how the lookup failed."""

    owner: str
    status: LookupStatus
    records: tuple[CaaRecord, ...] = ()
    detail: str = ""


class Finding(Enum):
    """What fetching the token through one address showed: kind of problem, whether it is conclusive, who must act."""

    GOOD = ("", False, Actor.NOBODY)
    WRONG_ANSWER = ("wrong-answer", True, Actor.CUSTOMER)
    REFUSED = ("connection-refused", True, Actor.CUSTOMER)
    BAD_REDIRECT = ("bad-redirect", True, Actor.CUSTOMER)
    TLS_FAILED = ("tls-failed", True, Actor.CUSTOMER)
    CUT_SHORT = ("connection-cut", False, Actor.NOBODY)
    TIMED_OUT = ("timeout", False, Actor.NOBODY)
    UNREACHABLE = ("unreachable", False, Actor.OPERATOR)
    LOOKUP_FAILED = ("redirect-lookup-failed", False, Actor.NOBODY)

    def __init__(self, kind: str, conclusive: bool, must_act: Actor) -> None:
        self.kind = kind
        self.conclusive = conclusive
        self.must_act = must_act


@dataclass(frozen=True, slots=True)
class Fetch:
    """The outcome at one address of the name. `detail` goes on after the address; `redirects` were followed before it was seen."""

    address: IPAddress
    finding: Finding
    detail: str = ""
    redirects: int = 0


def merge_lookups(lookups: Sequence[AddressLookup]) -> AddressLookup:
    """Returns one answer from those for AAAA and A: addresses of either are enough; without any, a failure hides some perhaps."""
    found = tuple(address for lookup in lookups for address in lookup.addresses[:MAX_ADDRESSES])
    if found:
        return AddressLookup(LookupStatus.FOUND, tuple(sorted(found, key=lambda address: -address.version)))
    for status in (LookupStatus.NO_ANSWER, LookupStatus.FAILED, LookupStatus.NO_SUCH_NAME):
        for lookup in lookups:
            if lookup.status is status:
                return lookup
    return AddressLookup(LookupStatus.NO_DATA)


def permitted(lookup: AddressLookup, policy: AddressPolicy) -> tuple[IPAddress, ...]:
    """Returns the addresses that may be connected to, in their order."""
    return tuple(address for address in lookup.addresses if not policy.refusal(address))


def judge_response(target: Target, response: Response, expected_body: bytes) -> tuple[Finding, str]:
    """Compares the last response with what the CA wants: 200 and the body, white space after it aside (RFC 8555 section 8.3).

    The detail holds nothing of the body: it may come from a place that is not for the reader of the problem.
    """
    if response.status != 200:
        return Finding.WRONG_ANSWER, f"answers {target.shown} with status {response.status} where 200 is needed"
    if response.truncated or response.body.rstrip() != expected_body.rstrip():
        return Finding.WRONG_ANSWER, f"answers {target.shown} with another body than the token's"
    return Finding.GOOD, ""


@dataclass(frozen=True, slots=True)
class Judge:
    """Makes the verdict for `name` at the time `now`."""

    name: DomainName
    now: datetime
    policy: AddressPolicy
    issuer: Issuer

    def addresses(self, lookup: AddressLookup) -> PreflightVerdict | None:
        """Returns the verdict when the lookup leaves nothing to connect to, else None."""
        match lookup.status:
            case LookupStatus.NO_SUCH_NAME:
                return self._bad("no-such-name", "does not exist in the DNS (NXDOMAIN); create its A or AAAA record", Actor.CUSTOMER)
            case LookupStatus.NO_DATA:
                return self._bad("no-address", "has no A and no AAAA record; create one", Actor.CUSTOMER)
            case LookupStatus.FAILED:
                detail = f"could not be resolved: {lookup.detail}; its name servers or its DNSSEC may be broken"
                return self._bad("dns-failed", detail, Actor.NOBODY, conclusive=False)
            case LookupStatus.NO_ANSWER:
                return self._bad("resolver-silent", f"could not be resolved: {lookup.detail}", Actor.OPERATOR, conclusive=False)
            case LookupStatus.FOUND:
                pass
        if permitted(lookup, self.policy):
            return None
        first = lookup.addresses[0]
        detail = f"points to {first}, {self.policy.refusal(first)}; the CA can reach public addresses only: correct the A and AAAA records"
        return self._bad("private-address", detail, Actor.CUSTOMER)

    def outcome(self, fetches: Sequence[Fetch], caa: CaaLookup) -> PreflightVerdict:
        """Returns the verdict on what the permitted addresses and CAA showed; conclusive problems come first."""
        conclusive = [fetch for fetch in fetches if fetch.finding.conclusive]
        if conclusive:
            return self._fetch_problem(conclusive, conclusive=not _falls_back(fetches, conclusive))
        if caa.records and (reason := caa_refusal(caa.records, self.issuer)):
            detail = f"may not get a certificate from this CA: the CAA record at {caa.owner} {reason}"
            return self._bad("caa-forbids", detail, Actor.CUSTOMER)
        if not _reaches(fetches):
            return self._fetch_problem([fetch for fetch in fetches if fetch.finding is not Finding.GOOD], conclusive=False)
        if caa.status in (LookupStatus.FAILED, LookupStatus.NO_ANSWER):
            actor = Actor.OPERATOR if caa.status is LookupStatus.NO_ANSWER else Actor.NOBODY
            detail = (
                f"could not be checked for CAA: the lookup at {caa.owner} failed ({caa.detail}); a CA that sees the same does not issue"
            )
            return self._bad("caa-lookup-failed", detail, actor, conclusive=False)
        return PreflightVerdict(self.name, None, conclusive=True)

    def own_failure(self) -> PreflightVerdict:
        """Returns the verdict for a check that failed by our own fault."""
        return self._bad("internal", "could not be checked because of an internal error", Actor.OPERATOR, conclusive=False)

    def _fetch_problem(self, fetches: Sequence[Fetch], *, conclusive: bool) -> PreflightVerdict:
        finding = fetches[0].finding
        seen = "; ".join(f"{fetch.address} {fetch.detail}" for fetch in fetches[:_SHOWN])
        more = f"; and {len(fetches) - _SHOWN} more addresses" if len(fetches) > _SHOWN else ""
        advice = ": point the name at this service" if finding.conclusive else ""
        return self._bad(finding.kind, f"is not answered by this service{advice}. Seen: {seen}{more}", finding.must_act, conclusive)

    def _bad(self, kind: str, detail: str, must_act: Actor, conclusive: bool = True) -> PreflightVerdict:
        problem = Problem(_URN + kind, f"{self.name} {detail}", must_act, self.now, failed_name=self.name.value)
        return PreflightVerdict(self.name, problem, conclusive)


def _reaches(fetches: Sequence[Fetch]) -> bool:
    """Whether the CA gets the token at whichever address of the family it takes; no conclusive finding is among `fetches`."""
    v6 = [fetch for fetch in fetches if fetch.address.version == 6]
    v4 = [fetch for fetch in fetches if fetch.address.version == 4]
    if v6 and all(fetch.finding is Finding.GOOD for fetch in v6):
        return True
    return bool(v4) and all(fetch.finding is Finding.GOOD for fetch in v4) and all(_is_good_or_silent(fetch) for fetch in v6)


def _falls_back(fetches: Sequence[Fetch], bad: Sequence[Fetch]) -> bool:
    """Whether all that is bad is a refused first connection over IPv6 beside a good IPv4: some CAs then try IPv4, so it forbids nothing."""
    v4 = [fetch for fetch in fetches if fetch.address.version == 4]
    refused = all(fetch.finding is Finding.REFUSED and fetch.address.version == 6 and fetch.redirects == 0 for fetch in bad)
    return refused and bool(v4) and all(fetch.finding is Finding.GOOD for fetch in v4)


def _is_good_or_silent(fetch: Fetch) -> bool:
    """The CA falls back to IPv4 for the first request only, and only when it got no answer over IPv6."""
    silent = fetch.finding in (Finding.TIMED_OUT, Finding.UNREACHABLE) and fetch.redirects == 0
    return silent or fetch.finding is Finding.GOOD
