"""What the pre-flight concludes from what it saw: would the CA reach us at this name?

A *conclusive* problem is one that the CA would meet too, so no order is spent on it. An *inconclusive* one may be our own view (a
time-out from inside, a failing resolver): it delays an order but never forbids it.

The CA resolves A and AAAA, drops addresses that are not public, and tries IPv6 first; it goes on to IPv4 when the first request
over IPv6 gets no connection. So IPv6 that is silent does no harm beside IPv4 that answers, but an address that answers wrongly or
refuses does: the name points somewhere else, for a part of its visitors at least.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum, auto

from controlplane.core.addresses import AddressPolicy, IPAddress
from controlplane.core.caa import CaaRecord, Issuer
from controlplane.core.caa import refusal as caa_refusal
from controlplane.core.errors import InvalidArgument
from controlplane.core.http_response import Response
from controlplane.core.managed_domain import Actor, Problem
from controlplane.core.names import DomainName, parse_domain_name
from controlplane.core.ports.preflight import GOOD, CaaAnswer, CaaObservation, Observation, PreflightVerdict
from controlplane.core.redirects import Target

MAX_ADDRESSES = 8
"""Addresses of each family that are tried; a stranger's DNS may list thousands."""

PROBLEM_TYPE = "urn:certplane:error:preflight:"
"""The kind of problem follows."""
NO_SUCH_NAME, NO_ADDRESS, PRIVATE_ADDRESS, CAA_FORBIDS = "no-such-name", "no-address", "private-address", "caa-forbids"
"""Kinds of problem that no single address shows, apart from the third."""

_TOKEN_EXPECTED = "status 200 with the token's body"  # noqa: S105 - words about a token
_PUBLIC_EXPECTED = "a public address"
_SHOWN = 3  # addresses that a problem's detail names
_SHOWN_RECORDS = 16
_SHOWN_VALUE = 200  # characters of a CAA record


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
    TIME_OVER = auto()
    """The check had to end before the resolver had its time to answer."""


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


_UNKNOWN = (LookupStatus.FAILED, LookupStatus.NO_ANSWER, LookupStatus.TIME_OVER)


class Finding(Enum):
    """What fetching the token through one address showed: kind of problem, whether it is conclusive, who must act."""

    GOOD = (GOOD, False, Actor.NOBODY)
    WRONG_ANSWER = ("wrong-answer", True, Actor.CUSTOMER)
    SERVER_ERROR = ("server-error", True, Actor.CUSTOMER)
    """A 5xx status: the CA would refuse it too, but it does not show whose server that is."""
    REFUSED = ("connection-refused", True, Actor.CUSTOMER)
    BAD_REDIRECT = ("bad-redirect", True, Actor.CUSTOMER)
    TLS_FAILED = ("tls-failed", True, Actor.CUSTOMER)
    CUT_SHORT = ("connection-cut", False, Actor.NOBODY)
    TIMED_OUT = ("timeout", False, Actor.NOBODY)
    UNREACHABLE = ("unreachable", False, Actor.OPERATOR)
    LOOKUP_FAILED = ("redirect-lookup-failed", False, Actor.NOBODY)
    TIME_OVER = ("time-over", False, Actor.NOBODY)
    """The check had to end before the host had its time to answer."""

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
    for status in (LookupStatus.TIME_OVER, LookupStatus.NO_ANSWER, LookupStatus.FAILED, LookupStatus.NO_SUCH_NAME):
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
        finding = Finding.SERVER_ERROR if response.status >= 500 else Finding.WRONG_ANSWER
        return finding, f"answers {target.shown} with status {response.status} where 200 is needed"
    if response.truncated or response.body.rstrip() != expected_body.rstrip():
        return Finding.WRONG_ANSWER, f"answers {target.shown} with another body than the token's"
    return Finding.GOOD, f"answers {target.shown} with the token's body"


@dataclass(frozen=True, slots=True)
class Judge:
    """Makes the verdict for `name` at the time `now`."""

    name: DomainName
    now: datetime
    policy: AddressPolicy
    issuer: Issuer

    def name_itself(self) -> PreflightVerdict | None:
        """Returns the verdict when no public CA issues for the name, as for a public suffix, else None."""
        try:
            parse_domain_name(self.name.value, field="name")
        except InvalidArgument as refused:
            return self._bad("not-certifiable", refused.violations[0].description, Actor.CUSTOMER)
        return None

    def addresses(self, lookup: AddressLookup, caa: CaaLookup) -> PreflightVerdict | None:
        """Returns the verdict when the lookup leaves nothing to connect to, else None."""
        verdict = self._nowhere(lookup)
        return None if verdict is None else replace(verdict, observations=self._dropped(lookup), caa=self._observed_caa(caa))

    def outcome(self, fetches: Sequence[Fetch], caa: CaaLookup, lookup: AddressLookup | None = None) -> PreflightVerdict:
        """Returns the verdict on what the permitted addresses and CAA showed; conclusive problems come first.

        `lookup` is where the addresses come from: those of it that were not permitted are told of too.
        """
        dropped = () if lookup is None else self._dropped(lookup)
        observations = (*(_observed(fetch) for fetch in fetches), *dropped)
        observed_caa = self._observed_caa(caa)
        return replace(self._outcome(fetches, caa, observed_caa), observations=observations, caa=observed_caa)

    def own_failure(self) -> PreflightVerdict:
        """Returns the verdict for a check that failed by our own fault."""
        return self._bad("internal", "could not be checked because of an internal error", Actor.OPERATOR, conclusive=False)

    def _nowhere(self, lookup: AddressLookup) -> PreflightVerdict | None:
        match lookup.status:
            case LookupStatus.NO_SUCH_NAME:
                return self._bad(NO_SUCH_NAME, "does not exist in the DNS (NXDOMAIN); create its A or AAAA record", Actor.CUSTOMER)
            case LookupStatus.NO_DATA:
                return self._bad(NO_ADDRESS, "has no A and no AAAA record; create one", Actor.CUSTOMER)
            case LookupStatus.FAILED:
                detail = f"could not be resolved: {lookup.detail}; its name servers or its DNSSEC may be broken"
                return self._bad("dns-failed", detail, Actor.NOBODY, conclusive=False)
            case LookupStatus.NO_ANSWER:
                return self._bad("resolver-silent", f"could not be resolved: {lookup.detail}", Actor.OPERATOR, conclusive=False)
            case LookupStatus.TIME_OVER:
                return self._bad(Finding.TIME_OVER.kind, f"could not be resolved: {lookup.detail}", Actor.NOBODY, conclusive=False)
            case LookupStatus.FOUND:
                pass
        if permitted(lookup, self.policy):
            return None
        first = lookup.addresses[0]
        detail = f"points to {first}, {self.policy.refusal(first)}; the CA can reach public addresses only: correct the A and AAAA records"
        return self._bad(PRIVATE_ADDRESS, detail, Actor.CUSTOMER)

    def _outcome(self, fetches: Sequence[Fetch], caa: CaaLookup, observed_caa: CaaObservation) -> PreflightVerdict:
        conclusive = [fetch for fetch in fetches if fetch.finding.conclusive]
        if conclusive:
            return self._fetch_problem(conclusive, conclusive=not _falls_back(fetches, conclusive))
        if observed_caa.answer is CaaAnswer.FORBIDS:
            detail = f"may not get a certificate from this CA: the CAA record at {caa.owner} {observed_caa.detail}"
            return self._bad(CAA_FORBIDS, detail, Actor.CUSTOMER)
        if not _reaches(fetches):
            return self._fetch_problem([fetch for fetch in fetches if fetch.finding is not Finding.GOOD], conclusive=False)
        if observed_caa.answer is CaaAnswer.UNKNOWN:
            actor = Actor.OPERATOR if caa.status is LookupStatus.NO_ANSWER else Actor.NOBODY
            detail = (
                f"could not be checked for CAA: the lookup at {caa.owner} failed ({caa.detail}); a CA that sees the same does not issue"
            )
            return self._bad("caa-lookup-failed", detail, actor, conclusive=False)
        return PreflightVerdict(self.name, None, conclusive=True)

    def _dropped(self, lookup: AddressLookup) -> tuple[Observation, ...]:
        """Returns the addresses that are not connected to."""
        reasons = ((address, self.policy.refusal(address)) for address in lookup.addresses)
        return tuple(
            Observation(str(address), PRIVATE_ADDRESS, f"is {reason}, which a CA does not connect to", _PUBLIC_EXPECTED)
            for address, reason in reasons
            if reason
        )

    def _observed_caa(self, caa: CaaLookup) -> CaaObservation:
        if caa.status in _UNKNOWN:
            return CaaObservation(CaaAnswer.UNKNOWN, caa.owner, detail=caa.detail)
        if not caa.records:
            return CaaObservation(CaaAnswer.ABSENT)
        reason = caa_refusal(caa.records, self.issuer)
        shown = tuple(_shown(record) for record in caa.records[:_SHOWN_RECORDS])
        return CaaObservation(CaaAnswer.FORBIDS if reason else CaaAnswer.ALLOWS, caa.owner, shown, reason)

    def _fetch_problem(self, fetches: Sequence[Fetch], *, conclusive: bool) -> PreflightVerdict:
        finding = fetches[0].finding
        seen = "; ".join(f"{fetch.address} {fetch.detail}" for fetch in fetches[:_SHOWN])
        more = f"; and {len(fetches) - _SHOWN} more addresses" if len(fetches) > _SHOWN else ""
        advice = ": point the name at this service" if finding.conclusive else ""
        detail = f"is not answered by this service{advice}. Seen: {seen}{more}. Expected: {_TOKEN_EXPECTED} from every address"
        return self._bad(finding.kind, detail, finding.must_act, conclusive)

    def _bad(self, kind: str, detail: str, must_act: Actor, conclusive: bool = True) -> PreflightVerdict:
        problem = Problem(PROBLEM_TYPE + kind, f"{self.name} {detail}", must_act, self.now, failed_name=self.name.value)
        return PreflightVerdict(self.name, problem, conclusive)


def forbids_issuer(problem: Problem) -> bool:
    """Returns whether a problem is that CAA forbids the CA that the check was for to issue; another CA may be allowed."""
    return problem.type == PROBLEM_TYPE + CAA_FORBIDS


def _observed(fetch: Fetch) -> Observation:
    return Observation(str(fetch.address), fetch.finding.kind, fetch.detail, _TOKEN_EXPECTED)


def _shown(record: CaaRecord) -> str:
    """Returns a record in the presentation format (RFC 8659 section 4.1.1), of a stranger's text as much as is fit to be read."""
    text = f'{record.flags} {record.tag[:20]} "{record.value[:_SHOWN_VALUE]}"'
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


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
