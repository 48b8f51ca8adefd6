"""The pre-flight: fetches a planted token the way the CA will, through every address of a name, and walks CAA.

Everything met on the way is hostile. An address is connected to only after the policy has passed it, and it is that very address
that is connected to: at the name itself, and again at each redirect, where the host is resolved anew.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from datetime import timedelta

import structlog
from prometheus_client import Counter, Histogram

from controlplane.adapters.dns_resolver import DnsConversation, DnsResolver
from controlplane.adapters.pinned_http import FetchFailed, fetch, unverified_tls
from controlplane.core.addresses import AddressPolicy, IPAddress, IPNetwork
from controlplane.core.caa import Issuer, tree
from controlplane.core.http_response import Response
from controlplane.core.names import DomainName, load_public_suffixes
from controlplane.core.ports import Clock, PreflightVerdict
from controlplane.core.ports.preflight import FULL_PATIENCE
from controlplane.core.preflight import (
    AddressLookup,
    CaaLookup,
    Fetch,
    Finding,
    Judge,
    LookupStatus,
    judge_response,
    permitted,
)
from controlplane.core.redirects import CHALLENGE_PATH, MAX_REDIRECTS, RedirectPolicy, RedirectRefused, Target, check_redirect_status

FETCH_SECONDS = 5.0
"""For one request: connection, TLS, head and body."""

# The part of its time that a check keeps to conclude in: half a second of the whole.
_KEPT = 1 / 30

_TIME_IS_UP = "the time for the check was over"

_CHECKS = Counter(
    "certplane_preflight_checks_total",
    "Pre-flight checks of a name, by the kind of problem found (good: none).",
    ["outcome"],
)
_DURATION = Histogram(
    "certplane_preflight_duration_seconds",
    "Duration of a pre-flight check.",
    buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15),
)

_log = structlog.get_logger(__name__)


class HttpPreflight:
    """Implements `core.ports.Preflight`. Stateless between checks; checks may run concurrently."""

    def __init__(
        self,
        resolver: DnsResolver,
        *,
        clock: Clock,
        http01_port: int = 80,
        https_port: int = 443,
        allow: Sequence[IPNetwork] = (),
        ca_identities: Collection[str] = (),
        account_url: Callable[[], str] = str,
        fetch_seconds: float = FETCH_SECONDS,
    ) -> None:
        """Connects to public addresses and those in `allow`.

        `http01_port` is where the CA connects first; redirects are followed to 80, 443, `http01_port` and `https_port`.
        `ca_identities` and `account_url` are the issuer of checks that name none: the CA's `caaIdentities` (RFC 8555 section 7.1.1),
        empty for a CA that has none, and what returns the URL of the ACME account, or an empty string while there is none.
        """
        self._resolver = resolver
        self._clock = clock
        self._http01_port = http01_port
        self._policy = AddressPolicy(tuple(allow))
        self._redirects = RedirectPolicy(self._policy, frozenset((80, 443, http01_port, https_port)))
        self._identities = frozenset(identity.lower() for identity in ca_identities)
        self._account_url = account_url
        self._tls = unverified_tls()
        # A tenth of a second, which the first check must not take from everything that runs beside it.
        load_public_suffixes()
        self._fetch_seconds = fetch_seconds

    async def check(
        self,
        name: DomainName,
        token: str,
        expected_body: bytes,
        *,
        patience: timedelta = FULL_PATIENCE,
        issuer: Issuer | None = None,
    ) -> PreflightVerdict:
        """As `core.ports.Preflight.check`."""
        judge = Judge(name, self._clock(), self._policy, issuer or Issuer(self._identities, self._account_url()))
        deadline = asyncio.get_running_loop().time() + min(patience, FULL_PATIENCE).total_seconds() * (1 - _KEPT)
        with _DURATION.time():
            try:
                verdict = judge.name_itself() or await self._check(judge, CHALLENGE_PATH + token, expected_body, deadline)
            except Exception:
                _log.exception("pre-flight failed by itself", domain=name.value)
                verdict = judge.own_failure()
        kind = verdict.problem.type.rpartition(":")[2] if verdict.problem else "good"
        _CHECKS.labels(kind).inc()
        if verdict.problem:
            _log.info(
                "pre-flight found a problem", domain=name.value, kind=kind, conclusive=verdict.conclusive, detail=verdict.problem.detail
            )
        return verdict

    async def _check(self, judge: Judge, path: str, expected_body: bytes, deadline: float) -> PreflightVerdict:
        with self._resolver.conversation() as conversation:
            async with asyncio.TaskGroup() as group:
                caa = group.create_task(self._walk_caa(conversation, judge.name, deadline))
                lookup = await self._lookup(conversation, judge.name.value, deadline)
                fetches = [
                    group.create_task(self._fetch_through(address, judge.name, path, expected_body, deadline))
                    for address in permitted(lookup, self._policy)
                ]
        # CAA is told of also when there is no address: both are mended at the same place.
        nowhere = judge.addresses(lookup, caa.result())
        return nowhere or judge.outcome([task.result() for task in fetches], caa.result(), lookup)

    async def _lookup(self, resolver: DnsResolver | DnsConversation, host: str, deadline: float) -> AddressLookup:
        try:
            async with asyncio.timeout_at(deadline):
                return await resolver.addresses(host)
        except TimeoutError:
            return AddressLookup(LookupStatus.TIME_OVER, detail=_TIME_IS_UP)

    async def _walk_caa(self, conversation: DnsConversation, name: DomainName, deadline: float) -> CaaLookup:
        """Returns the closest record set, or the failure that may hide one (RFC 8659 section 3).

        The whole tree is asked at once, and waited for from the name up: what is above the closest record set does not matter.
        """
        owner = name.value
        try:
            async with asyncio.timeout_at(deadline), asyncio.TaskGroup() as group:
                asked = {each: group.create_task(conversation.caa(each)) for each in tree(name)}
                for owner in tree(name):
                    lookup = await asked[owner]
                    if lookup.status not in (LookupStatus.NO_DATA, LookupStatus.NO_SUCH_NAME):
                        for other in asked.values():
                            other.cancel()
                        return lookup
        except TimeoutError:
            return CaaLookup(owner, LookupStatus.TIME_OVER, detail=_TIME_IS_UP)
        return CaaLookup(owner, LookupStatus.NO_DATA)

    async def _fetch_through(self, address: IPAddress, name: DomainName, path: str, expected_body: bytes, deadline: float) -> Fetch:
        """Fetches the token at one address of the name and follows where that leads."""
        target = Target("http", name.value, self._http01_port, path)
        candidates: tuple[IPAddress, ...] = (address,)
        followed = 0
        try:
            for followed in range(MAX_REDIRECTS + 1):
                response = await self._fetch_any(candidates, target, deadline)
                if not response.is_redirect:
                    finding, detail = judge_response(target, response, expected_body)
                    return Fetch(address, finding, detail, followed)
                check_redirect_status(response.status)
                onward = self._redirects.follow(target, response.location, followed)
                candidates = await self._locate(onward, candidates if onward.host == target.host else (), deadline)
                target = onward
        except RedirectRefused as refused:
            return Fetch(address, Finding.BAD_REDIRECT, f"redirects {target.shown} {refused}", followed)
        except FetchFailed as failed:
            return Fetch(address, failed.finding, str(failed), followed)
        raise AssertionError("the redirect policy ends the loop")

    async def _fetch_any(self, candidates: tuple[IPAddress, ...], target: Target, deadline: float) -> Response:
        """Asks the first candidate; the next only when it is silent, as the CA does with IPv6 and IPv4."""
        *others, last = candidates
        for address in others:
            try:
                return await self._fetch_once(address, target, deadline)
            except FetchFailed as failed:
                if failed.finding not in (Finding.TIMED_OUT, Finding.UNREACHABLE):
                    raise
        return await self._fetch_once(last, target, deadline)

    async def _fetch_once(self, address: IPAddress, target: Target, deadline: float) -> Response:
        full = asyncio.get_running_loop().time() + self._fetch_seconds
        try:
            async with asyncio.timeout_at(min(full, deadline)):
                return await fetch(address, target, self._tls)
        except TimeoutError as error:
            if deadline < full:
                # Cut short by us: that it would have stayed silent is not known.
                raise FetchFailed(Finding.TIME_OVER, f"did not answer {target.shown} before {_TIME_IS_UP}") from error
            raise FetchFailed(Finding.TIMED_OUT, f"does not answer {target.shown} in time") from error

    async def _locate(self, target: Target, current: tuple[IPAddress, ...], deadline: float) -> tuple[IPAddress, ...]:
        """Resolves a redirect's host again and returns what to connect to: where we are when it is still one of its addresses.

        Raises:
            RedirectRefused: the host leads to no permitted address.
            FetchFailed: the lookup failed.
        """
        if not isinstance(target.host, str):
            return (target.host,)  # passed by the redirect policy
        lookup = await self._lookup(self._resolver, target.host, deadline)
        if lookup.status in (LookupStatus.FAILED, LookupStatus.NO_ANSWER, LookupStatus.TIME_OVER):
            finding = Finding.TIME_OVER if lookup.status is LookupStatus.TIME_OVER else Finding.LOOKUP_FAILED
            raise FetchFailed(finding, f"redirects to {target.shown}, whose host could not be resolved: {lookup.detail}")
        if not lookup.addresses:
            raise RedirectRefused("to a host that has no address")
        addresses = permitted(lookup, self._policy)
        if not addresses:
            first = lookup.addresses[0]
            raise RedirectRefused(f"to a host at {first}, {self._policy.refusal(first)}")
        if still := tuple(address for address in current if address in addresses):
            return still
        first_of_each = {address.version: address for address in reversed(addresses)}
        return tuple(first_of_each[version] for version in (6, 4) if version in first_of_each)
