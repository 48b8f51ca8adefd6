"""What is known of a CA before it is asked: its limits, with the date of the figures, and what its CAA records may say.

A profile is a TOML file:

    name = "example-ca"
    title = "Example CA"                 # how people call it; the name when left away
    figures = 2026-08-01                 # the date of the CA's documentation that the figures are from
    hosts = ["acme.example-ca.com"]      # directories on these hosts have this profile; none: only where it is asked for
    caa_identities = ["example-ca.com"]  # issuer domain names in CAA (RFC 8659 section 4.2) that mean this CA

    [most_names]                         # names on one certificate, by certificate profile
    unstated = 100                       # orders that name no profile
    tlsserver = 25
    other = 25                           # profiles that are not listed

    [[limit]]
    name = "certificates-per-registered-domain"
    scope = "REGISTERED_DOMAIN"          # ADDRESS, ACCOUNT, REGISTERED_DOMAIN, NAME_SET or NAME
    counts = "CERTIFICATES"              # ORDERS, CERTIFICATES, FAILED_AUTHORIZATIONS, CONSECUTIVE_FAILURES or REGISTRATIONS
    capacity = 50
    refill_seconds = 12096               # one token comes in so many seconds
    exempt_by_ari = true                 # an order that replaces a certificate in time does not count (RFC 9773 section 5)

    [requests.new_order]                 # by endpoint; "other" stands for all that are not listed, together
    per_second = 300
    burst = 200

Everything but `name` and `figures` may be left away: then there is no such limit.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, TypeVar

from controlplane.core.errors import ConfigurationError
from controlplane.core.token_bucket import SECOND

ENDPOINTS: Final = frozenset(
    {
        "directory", "new_nonce", "new_account", "account", "key_change", "new_order", "order", "authorization", "challenge", "finalize",
        "certificate", "renewal_info", "revoke",
    }
)  # fmt: skip
"""Where requests go, as the ACME client calls it."""

T = TypeVar("T")

OTHER: Final = "other"
UNSTATED: Final = "unstated"


class Scope(StrEnum):
    """What a limit is counted by."""

    AUTHORITY = "AUTHORITY"
    """The whole CA: no limit of a profile, but where to wait when the CA does not answer."""
    ADDRESS = "ADDRESS"
    """Where requests come from. All processes count as one address."""
    ACCOUNT = "ACCOUNT"
    REGISTERED_DOMAIN = "REGISTERED_DOMAIN"
    NAME_SET = "NAME_SET"
    """The exact set of names on a certificate, in any order."""
    NAME = "NAME"
    """A name and an account."""


class Counts(StrEnum):
    """What a limit counts."""

    ORDERS = "ORDERS"
    CERTIFICATES = "CERTIFICATES"
    FAILED_AUTHORIZATIONS = "FAILED_AUTHORIZATIONS"
    CONSECUTIVE_FAILURES = "CONSECUTIVE_FAILURES"
    """Failed authorizations since the last that succeeded."""
    REGISTRATIONS = "REGISTRATIONS"


@dataclass(frozen=True, slots=True)
class OrderLimit:
    """One limit. `interval` is the microseconds in which one token comes."""

    name: str
    scope: Scope
    counts: Counts
    capacity: int
    interval: int
    exempt_by_ari: bool = False


@dataclass(frozen=True, slots=True)
class RequestRate:
    """So many requests a second, and so many at once."""

    per_second: float
    burst: int


@dataclass(frozen=True, slots=True)
class CaProfile:
    """A CA's profile; see the text of this module for what the fields mean. `figures` is None where nothing was documented."""

    name: str
    title: str
    figures: date | None = None
    hosts: frozenset[str] = frozenset()
    caa_identities: tuple[str, ...] = ()
    most_names: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    limits: tuple[OrderLimit, ...] = ()
    requests: Mapping[str, RequestRate] = field(default_factory=lambda: MappingProxyType({}))

    def most_names_for(self, certificate_profile: str) -> int | None:
        """Returns how many names a certificate of this profile may have, empty being the CA's default; None when that is not known."""
        return self.most_names.get(certificate_profile or UNSTATED, self.most_names.get(OTHER))

    def rate_of(self, endpoint: str) -> tuple[str, RequestRate] | None:
        """Returns the rate of an endpoint with the word that it is counted under; None when it has no limit."""
        group = endpoint if endpoint in self.requests else OTHER
        rate = self.requests.get(group)
        return None if rate is None else (group, rate)


def unknown_authority(host: str) -> CaProfile:
    """Returns the profile of a CA that no profile is about: no order limits, and requests at a rate that troubles nobody."""
    return CaProfile(name="unknown", title=host, requests=MappingProxyType({OTHER: RequestRate(20, 20)}))


# Longer memories than this are mistakes, and the arithmetic of buckets is exact far beyond it.
_LONGEST_WINDOW = 10 * 366 * 86_400 * SECOND
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_FIELDS = frozenset({"name", "title", "figures", "hosts", "caa_identities", "most_names", "limit", "requests"})
_LIMIT_FIELDS = frozenset({"name", "scope", "counts", "capacity", "refill_seconds", "exempt_by_ari"})
_RATE_FIELDS = frozenset({"per_second", "burst"})
# What is counted decides what it can be counted by.
_SCOPES: Mapping[Counts, frozenset[Scope]] = MappingProxyType(
    {
        Counts.ORDERS: frozenset({Scope.ACCOUNT, Scope.REGISTERED_DOMAIN, Scope.NAME_SET, Scope.NAME}),
        Counts.CERTIFICATES: frozenset({Scope.ACCOUNT, Scope.REGISTERED_DOMAIN, Scope.NAME_SET, Scope.NAME}),
        Counts.FAILED_AUTHORIZATIONS: frozenset({Scope.NAME}),
        Counts.CONSECUTIVE_FAILURES: frozenset({Scope.NAME}),
        Counts.REGISTRATIONS: frozenset({Scope.ADDRESS}),
    }
)


def parse_ca_profile(text: str, source: str) -> CaProfile:
    """Parses a profile.

    Args:
        text: TOML.
        source: where it is from, for errors.

    Raises:
        ConfigurationError: it is not TOML, or something in it is not understood; the text says which key, and why.
    """
    where = f"the CA profile {source}"
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{where} is not TOML: {error}") from error
    _refuse_unknown(where, content, _FIELDS)
    name = _text(where, content, "name")
    if not _NAME.fullmatch(name):
        raise ConfigurationError(f"{where}: name is {name!r}; write lower-case letters, digits and single hyphens")
    figures = content.get("figures")
    if not isinstance(figures, date) or isinstance(figures, datetime):
        raise ConfigurationError(f"{where}: figures is not a date; write the date of the CA's documentation, such as 2026-08-01")
    return CaProfile(
        name=name,
        title=_text(where, content, "title") if "title" in content else name,
        figures=figures,
        hosts=frozenset(host.lower() for host in _texts(where, content, "hosts")),
        caa_identities=_texts(where, content, "caa_identities"),
        most_names=_most_names(where, _table(where, content, "most_names")),
        limits=_limits(where, content.get("limit", [])),
        requests=_rates(where, _table(where, content, "requests")),
    )


def _most_names(where: str, table: Mapping[str, Any]) -> Mapping[str, int]:
    return MappingProxyType({profile: _whole(f"{where}: most_names", table, profile) for profile in table})


def _limits(where: str, content: object) -> tuple[OrderLimit, ...]:
    if not isinstance(content, list):
        raise ConfigurationError(f"{where}: limit is not a list of tables; write [[limit]]")
    limits = tuple(_limit(f"{where}: limit {number}", limit) for number, limit in enumerate(content, 1))
    names = [limit.name for limit in limits]
    for number, name in enumerate(names, 1):
        if name in names[: number - 1]:
            raise ConfigurationError(f"{where}: limit {number}: name is {name!r}, which another limit has already")
    return limits


def _limit(where: str, table: object) -> OrderLimit:
    if not isinstance(table, dict):
        raise ConfigurationError(f"{where} is not a table; write [[limit]]")
    _refuse_unknown(where, table, _LIMIT_FIELDS)
    name = _text(where, table, "name")
    if not _NAME.fullmatch(name):
        raise ConfigurationError(f"{where}: name is {name!r}; write lower-case letters, digits and single hyphens")
    counts = _choice(where, table, "counts", {each.value: each for each in Counts})
    scope = _choice(where, table, "scope", {each.value: each for each in Scope if each in _SCOPES[counts]})
    capacity = _whole(where, table, "capacity")
    interval = round(_number(where, table, "refill_seconds") * SECOND)
    if interval < 1 or capacity * interval > _LONGEST_WINDOW:
        raise ConfigurationError(f"{where}: refill_seconds is out of range: a full bucket takes from a microsecond to ten years")
    exempt = table.get("exempt_by_ari", False)
    if not isinstance(exempt, bool):
        raise ConfigurationError(f"{where}: exempt_by_ari is neither true nor false")
    return OrderLimit(name, scope, counts, capacity, interval, exempt)


def _rates(where: str, table: Mapping[str, Any]) -> Mapping[str, RequestRate]:
    rates = {}
    for endpoint, rate in table.items():
        here = f"{where}: requests.{endpoint}"
        if endpoint not in ENDPOINTS | {OTHER}:
            raise ConfigurationError(f"{here} is no endpoint; there are {', '.join(sorted(ENDPOINTS))} and {OTHER}")
        if not isinstance(rate, dict):
            raise ConfigurationError(f"{here} is not a table; write [requests.{endpoint}]")
        _refuse_unknown(here, rate, _RATE_FIELDS)
        per_second, burst = _number(here, rate, "per_second"), _whole(here, rate, "burst")
        if not 0.001 <= per_second <= 100_000 or burst > 100_000:
            raise ConfigurationError(f"{here} is out of range: per_second from 0.001 to 100000, burst from 1 to 100000")
        rates[endpoint] = RequestRate(per_second, burst)
    return MappingProxyType(rates)


def _refuse_unknown(where: str, table: Mapping[str, Any], known: frozenset[str]) -> None:
    unknown = sorted(table.keys() - known)
    if unknown:
        raise ConfigurationError(f"{where} has {unknown[0]!r}, which is not understood; there are {', '.join(sorted(known))}")


def _table(where: str, content: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = content.get(key, {})
    if not isinstance(value, dict):
        raise ConfigurationError(f"{where}: {key} is not a table; write [{key}]")
    return value


def _text(where: str, table: Mapping[str, Any], key: str) -> str:
    value = table.get(key)
    if not isinstance(value, str) or not value:
        raise ConfigurationError(f"{where}: {key} is not a text")
    return value


def _texts(where: str, table: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = table.get(key, [])
    if not isinstance(value, list) or not all(isinstance(each, str) and each for each in value):
        raise ConfigurationError(f"{where}: {key} is not a list of texts")
    return tuple(value)


def _choice(where: str, table: Mapping[str, Any], key: str, choices: Mapping[str, T]) -> T:
    value = table.get(key)
    if not isinstance(value, str) or value not in choices:
        raise ConfigurationError(f"{where}: {key} is {value!r}; here it can be {', '.join(sorted(choices))}")
    return choices[value]


def _whole(where: str, table: Mapping[str, Any], key: str) -> int:
    value = table.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigurationError(f"{where}: {key} is not a whole number from 1")
    return value


def _number(where: str, table: Mapping[str, Any], key: str) -> float:
    value = table.get(key)
    # Not a number that TOML knows (nan, inf) is none here either.
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < float("inf"):
        raise ConfigurationError(f"{where}: {key} is not a number above 0")
    return value
