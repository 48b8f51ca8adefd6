"""Which CA is to issue for a domain: a decision on values.

    the domain has                       its CA's breaker       time left    who issues
    no certificate                       -                      -            the first that is closed; else the first that wants a probe
    a certificate, its CA may issue      closed, or a probe     any          the same CA
    a certificate, its CA may issue      held                   plenty       nobody now: it waits for the same CA
    a certificate, its CA may issue      held                   little       another, as without a certificate; else it waits
    a certificate, its CA may not        -                      any          as without a certificate

"May issue" means: it is configured, serves the domain's tenant, and has not refused the domain by policy. A renewal stays with the CA of
the certificate in force, since that is where it is exempt from limits (RFC 9773 section 5) and where customers' CAA records allow it; a
renewal comes early enough that waiting for a CA that is away for some hours costs nothing. A first certificate is waited for by somebody,
so it goes wherever it can at once.

Little time is a sixth of the certificate's lifetime: 15 days of 90, 7.5 of 45, a day of 160 hours.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum

from controlplane.core.breaker import Breaker, BreakerState
from controlplane.core.certificate_authorities import serves
from controlplane.core.failure import AUTHORITY_AWAY, OWN
from controlplane.core.managed_domain import Actor, Problem

NO_AUTHORITY = OWN + "noAuthority"
"""No CA is configured for the domain's tenant."""

ALL_REFUSE = OWN + "allAuthoritiesRefuse"
"""Every CA that is configured for the tenant refuses the domain by policy."""

URGENT_PART = 6
"""The part of a certificate's lifetime that must be left for its renewal to wait for its CA: one in so many."""


class _Standing(IntEnum):
    """What a breaker lets through, the best first."""

    CLOSED = 0
    PROBE = 1
    """An order that would show whether the CA is well again."""
    HELD = 2


@dataclass(frozen=True, slots=True)
class Candidate:
    """A CA with its breaker. `tenants` are patterns, None: everybody."""

    name: str
    directory_url: str
    breaker: Breaker
    tenants: Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class InForce:
    """What of the certificate in force matters here. `directory_url` is empty when the record does not say; then `authority` counts.

    `needed_until` is when a successor must be there: the end of validity, or earlier when the certificate is revoked before.
    """

    directory_url: str
    authority: str
    not_before: datetime
    needed_until: datetime


@dataclass(frozen=True, slots=True)
class Choice:
    """The CA that is to issue, by name."""

    name: str


@dataclass(frozen=True, slots=True)
class NoneAvailable:
    """No CA issues now. `until` is when the first may again; None: not by itself. `problem` says why."""

    until: datetime | None
    problem: Problem


def choose(
    candidates: Sequence[Candidate], *, tenant: str, refusing: Collection[str], certificate: InForce | None, now: datetime
) -> Choice | NoneAvailable:
    """Decides which CA issues.

    Args:
        candidates: all CAs, the most preferred first.
        tenant: of the domain.
        refusing: names of CAs that refuse the domain by policy.
        certificate: in force, or None.
        now: the time.
    """
    eligible = [each for each in candidates if serves(each.tenants, tenant)]
    if not eligible:
        return NoneAvailable(None, Problem(NO_AUTHORITY, f"no CA is configured for the tenant {tenant!r}", Actor.OPERATOR, now))
    willing = [each for each in eligible if each.name not in refusing]
    if not willing:
        names = ", ".join(each.name for each in eligible)
        detail = f"every CA that may issue for it refuses the domain by policy: {names}"
        return NoneAvailable(None, Problem(ALL_REFUSE, detail, Actor.CUSTOMER, now))
    same = next((each for each in willing if certificate is not None and _made(each, certificate)), None)
    if certificate is not None and same is not None:
        if _standing(same, now) is not _Standing.HELD:
            return Choice(same.name)
        if not _urgent(certificate, _back(same, now), now):
            return _away([same], now, " (the certificate in force lasts long enough to wait for its CA)")
    # Of equals min() takes the first: the most preferred.
    best = min(willing, key=lambda each: _standing(each, now))
    return _away(willing, now) if _standing(best, now) is _Standing.HELD else Choice(best.name)


def _made(candidate: Candidate, certificate: InForce) -> bool:
    if certificate.directory_url:
        return candidate.directory_url == certificate.directory_url
    return candidate.name == certificate.authority


def _standing(candidate: Candidate, now: datetime) -> _Standing:
    breaker = candidate.breaker
    if breaker.state is BreakerState.CLOSED:
        return _Standing.CLOSED
    # HALF_OPEN before its time: somebody's probe is under way.
    return _Standing.PROBE if breaker.until is None or breaker.until <= now else _Standing.HELD


def _back(candidate: Candidate, now: datetime) -> datetime:
    return candidate.breaker.until or now


def _urgent(certificate: InForce, back: datetime, now: datetime) -> bool:
    enough = (certificate.needed_until - certificate.not_before) / URGENT_PART
    return certificate.needed_until - max(now, back) < enough


def _away(held: Sequence[Candidate], now: datetime, more: str = "") -> NoneAvailable:
    until = min(_back(each, now) for each in held)
    told = ", ".join(f"{each.name} until {_back(each, now):%Y-%m-%dT%H:%M:%SZ}" for each in held)
    return NoneAvailable(until, Problem(AUTHORITY_AWAY, f"out of order, and left alone: {told}{more}", Actor.CA, now))
