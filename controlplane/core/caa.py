"""Certification Authority Authorization: may the CA issue for a name? RFC 8659, with the parameters of RFC 8657.

Names here are never wildcards, so `issuewild` restricts nothing (RFC 8659 section 4.3), and the method is always http-01.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from controlplane.core.names import DomainName

VALIDATION_METHOD = "http-01"

_CRITICAL = 128 | 1  # RFC 8659 section 4.1; many who meant bit 0 set the other end of the octet, and Let's Encrypt takes both
_KNOWN_TAGS = frozenset(("issue", "issuewild", "iodef", "issuemail", "issuevmc", "contactemail", "contactphone"))
_LABEL = r"[A-Za-z0-9](?:-*[A-Za-z0-9])*"
_ISSUER = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")  # RFC 8659 section 4.2: issuer-domain-name
_PARAMETER = re.compile(rf"({_LABEL})[ \t]*=[ \t]*([!-:<-~]*)")


@dataclass(frozen=True, slots=True)
class CaaRecord:
    """One CAA resource record (RFC 8659 section 4.1)."""

    flags: int
    tag: str
    value: str


@dataclass(frozen=True, slots=True)
class Issuer:
    """Who would issue: the CA's identities (`caaIdentities` in its directory), and the URL of the ACME account, empty while unknown."""

    identities: frozenset[str]
    account_url: str = ""


def tree(name: DomainName) -> tuple[str, ...]:
    """Returns the names to look at, the closest first: the first that has CAA records decides (RFC 8659 section 3)."""
    labels = name.value.split(".")
    return tuple(".".join(labels[start:]) for start in range(len(labels)))


def refusal(records: Sequence[CaaRecord], issuer: Issuer) -> str:
    """Returns why the relevant record set forbids `issuer` to issue, as the rest of a sentence about it; empty when it may.

    Without identities (a CA of one's own) only what forbids every CA is a refusal.
    """
    for record in records:
        if record.flags & _CRITICAL and record.tag.lower() not in _KNOWN_TAGS:
            return f"has a critical property {record.tag[:20]!r}, which CAs do not know"
    properties = [_issue_property(record.value) for record in records if record.tag.lower() == "issue"]
    if not properties:
        return ""
    allowed = [parameters for domain, parameters in properties if domain and (domain in issuer.identities or not issuer.identities)]
    if not allowed:
        named = sorted({domain for domain, _ in properties if domain})
        wanted = f"; add 'issue \"{min(issuer.identities)}\"'" if issuer.identities else ""
        return f"allows only {', '.join(named)[:200]}{wanted}" if named else f"allows no CA at all{wanted}"
    if not issuer.identities:
        return ""
    reasons = [_parameter_refusal(parameters, issuer) for parameters in allowed]
    return "" if "" in reasons else reasons[0]


def _issue_property(value: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Returns issuer and parameters. A malformed value names nobody, as an empty issuer does (RFC 8659 section 4.2)."""
    domain, *rest = (part.strip(" \t") for part in value.split(";"))
    if domain and not _ISSUER.fullmatch(domain):
        return "", ()
    parameters = []
    for part in rest:
        if not part:
            continue
        parameter = _PARAMETER.fullmatch(part)
        if parameter is None:
            return "", ()
        parameters.append((parameter[1].lower(), parameter[2]))
    return domain.lower(), tuple(parameters)


def _parameter_refusal(parameters: tuple[tuple[str, str], ...], issuer: Issuer) -> str:
    """RFC 8657: `validationmethods` and `accounturi` restrict; one that is given twice cannot be satisfied; others do not matter."""
    methods = [value for tag, value in parameters if tag == "validationmethods"]
    accounts = [value for tag, value in parameters if tag == "accounturi"]
    if len(methods) > 1 or len(accounts) > 1:
        return "gives a parameter of its issue property twice"
    if methods and VALIDATION_METHOD not in methods[0].split(","):
        return f"allows the validation methods {methods[0][:60]} only; add {VALIDATION_METHOD}"
    if accounts and issuer.account_url and accounts[0] != issuer.account_url:
        return "allows another ACME account only; correct its accounturi"
    return ""
