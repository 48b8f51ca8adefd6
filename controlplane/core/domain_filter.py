"""The filter language of ListDomains: a small part of AIP-160.

    filter  = [ term { "AND" term } ]
    term    = "tenant"      ( "=" | "!=" )             value
            | "state"       ( "=" | "!=" )             state
            | "scheme"      ( "=" | "!=" )             scheme
            | "expire_time" ( "<" | "<=" | ">" | ">=" ) timestamp
            | "certificate_authority" ( "=" | "!=" )   value
            | "domain"      "="                        value, the domain's own name as an A-label
    value   = a word of letters, digits, ".", "_" and "-", or a string in single or double quotes with backslash escapes
    state   = PENDING | ACTIVE | DEGRADED | FAILED | PAUSED, also with the prefix STATE_ and in quotes
    scheme  = HPKE_X25519 | HPKE_MLKEM768_X25519 | HPKE_P256 | RSA_OAEP_AES256GCM: how the leaf key is sealed in the store
    timestamp = RFC 3339 in quotes, for example "2027-01-31T00:00:00Z"

`AND` is written in capitals, as AIP-160 wants it. A domain without a certificate has no `expire_time` and meets no comparison of
it; one whose scheme or certificate authority is not known, because it has no certificate, meets no comparison of that. The empty filter
meets every domain.
"""

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, NoReturn

from controlplane.core.errors import FieldViolation, InvalidArgument
from controlplane.core.managed_domain import Domain, DomainState
from controlplane.core.sealing import Scheme

MAX_FILTER_LENGTH: Final = 2_000
"""Characters."""

_TOKEN: Final = re.compile(
    r"""(?P<space>\s+)
      | (?P<operator>!=|<=|>=|=|<|>)
      | (?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
      | (?P<word>[A-Za-z0-9_.\-]+)""",
    re.VERBOSE | re.DOTALL,
)
_RFC3339: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII)
_COMPARISONS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_OPERATORS: Final = {
    "tenant": ("=", "!="),
    "state": ("=", "!="),
    "scheme": ("=", "!="),
    "expire_time": ("<", "<=", ">", ">="),
    "certificate_authority": ("=", "!="),
    "domain": ("=",),
}
_EXAMPLES: Final = {
    "tenant": 'tenant = "acme"',
    "state": "state = ACTIVE",
    "scheme": "scheme = HPKE_X25519",
    "expire_time": 'expire_time < "2027-01-31T00:00:00Z"',
    "certificate_authority": "certificate_authority = letsencrypt",
    "domain": 'domain = "shop.example.com"',
}
_FIELDS: Final = f"{', '.join([*_OPERATORS][:-1])} or {[*_OPERATORS][-1]}"
_EXAMPLE: Final = 'tenant = "acme" AND state = ACTIVE AND expire_time < "2027-01-31T00:00:00Z"'


@dataclass(frozen=True, slots=True)
class Term:
    """One comparison. `operand` has the field's own type: `str`, `DomainState`, `Scheme` or an aware `datetime` in UTC."""

    field: str
    operator: str
    operand: str | DomainState | Scheme | datetime

    def matches(self, domain: Domain) -> bool:
        """Returns whether the domain meets this comparison; an unset time never does."""
        actual: str | DomainState | Scheme | datetime | None
        match self.field:
            case "tenant":
                actual = domain.spec.tenant
            case "state":
                actual = domain.status.state
            case "scheme":
                actual = domain.scheme
            case "certificate_authority":
                actual = domain.status.certificate_authority or None
            case "domain":
                actual = domain.spec.fqdn.value
            case _:
                actual = domain.status.expire_time
        return actual is not None and _COMPARISONS[self.operator](actual, self.operand)


@dataclass(frozen=True, slots=True)
class DomainFilter:
    """A parsed filter: all terms must be met. Make it with `parse_domain_filter`."""

    terms: tuple[Term, ...] = ()

    def matches(self, domain: Domain) -> bool:
        """Returns whether the domain meets every term."""
        return all(term.matches(domain) for term in self.terms)

    @property
    def only_domain(self) -> str | None:
        """The one domain that can meet the filter, None when it names none."""
        return next((str(term.operand) for term in self.terms if term.field == "domain"), None)

    @property
    def canonical(self) -> str:
        """Text that is equal for filters that mean the same, whatever their spacing, quotes and order."""
        return " AND ".join(sorted({f"{t.field} {t.operator} {_operand_text(t.operand)}" for t in self.terms}))


def parse_domain_filter(text: str, *, field: str = "filter") -> DomainFilter:
    """Parses a filter.

    Raises:
        InvalidArgument: the text is not a filter; the violation of `field` says at which position (from 1) and gives an example.
    """
    if len(text) > MAX_FILTER_LENGTH:
        raise InvalidArgument(FieldViolation(field, f"is longer than {MAX_FILTER_LENGTH} characters"))
    tokens = _tokens(text, field)
    terms: list[Term] = []
    index = 0
    while index < len(tokens):
        if terms:
            if tokens[index].text != "AND":
                _refuse(field, tokens[index].position, f"expected AND between terms, found {_quoted(tokens[index].text)}", _EXAMPLE)
            index += 1
        terms.append(_term(tokens[index : index + 3], len(text) + 1, field))
        index += 3
    return DomainFilter(tuple(terms))


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    position: int

    @property
    def value(self) -> str:
        """The text of a word, or the content of a string."""
        return re.sub(r"\\(.)", r"\1", self.text[1:-1], flags=re.DOTALL) if self.kind == "string" else self.text


def _tokens(text: str, field: str) -> list[_Token]:
    tokens: list[_Token] = []
    offset = 0
    while offset < len(text):
        found = _TOKEN.match(text, offset)
        if found is None:
            fault = "a string is not closed" if text[offset] in "\"'" else f"unexpected {_quoted(text[offset])}"
            _refuse(field, offset + 1, fault, _EXAMPLE)
        kind = str(found.lastgroup)
        if kind != "space":
            tokens.append(_Token(kind, found.group(), offset + 1))
        offset = found.end()
    return tokens


def _term(tokens: list[_Token], end: int, field: str) -> Term:
    if not tokens:
        _refuse(field, end, "expected a term, found the end", _EXAMPLE)
    name = tokens[0]
    if name.kind != "word" or name.text not in _OPERATORS:
        _refuse(field, name.position, f"expected {_FIELDS}, found {_quoted(name.text)}", _EXAMPLE)
    example = _EXAMPLES[name.text]
    allowed = _OPERATORS[name.text]
    if len(tokens) < 2:
        _refuse(field, end, f"expected one of {' '.join(allowed)} after {name.text}, found the end", example)
    comparison = tokens[1]
    if comparison.text not in allowed:
        _refuse(
            field, comparison.position, f"expected one of {' '.join(allowed)} after {name.text}, found {_quoted(comparison.text)}", example
        )
    if len(tokens) < 3:
        _refuse(field, end, "expected a value, found the end", example)
    operand = tokens[2]
    if operand.kind == "operator":
        _refuse(field, operand.position, f"expected a value, found {_quoted(operand.text)}", example)
    match name.text:
        case "tenant" | "certificate_authority":
            return Term(name.text, comparison.text, operand.value)
        case "domain":
            return Term("domain", comparison.text, operand.value.removeprefix("domains/").lower())
        case "state":
            return Term("state", comparison.text, _state(operand, field))
        case "scheme":
            return Term("scheme", comparison.text, _scheme(operand, field))
        case _:
            return Term("expire_time", comparison.text, _timestamp(operand, field))


def _state(token: _Token, field: str) -> DomainState:
    try:
        return DomainState[token.value.removeprefix("STATE_")]
    except KeyError:
        states = ", ".join(state.name for state in DomainState)
        _refuse(field, token.position, f"expected one of {states}, found {_quoted(token.value)}", _EXAMPLES["state"])


def _scheme(token: _Token, field: str) -> Scheme:
    try:
        return Scheme[token.value]
    except KeyError:
        schemes = ", ".join(scheme.name for scheme in Scheme)
        _refuse(field, token.position, f"expected one of {schemes}, found {_quoted(token.value)}", _EXAMPLES["scheme"])


def _timestamp(token: _Token, field: str) -> datetime:
    try:
        if token.kind != "string" or _RFC3339.fullmatch(token.value) is None:
            raise ValueError
        # An offset can lead out of the years that `datetime` knows.
        return datetime.fromisoformat(token.value.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        _refuse(field, token.position, "expected a time in RFC 3339 form, in quotes", _EXAMPLES["expire_time"])


def _operand_text(operand: str | DomainState | Scheme | datetime) -> str:
    if isinstance(operand, datetime):
        return operand.isoformat()
    return operand.name if isinstance(operand, DomainState | Scheme) else repr(operand)


def _quoted(text: str) -> str:
    shown = text if len(text) <= 40 else text[:40] + "..."
    return ascii(shown)


def _refuse(field: str, position: int, fault: str, example: str) -> NoReturn:
    raise InvalidArgument(FieldViolation(field, f"position {position}: {fault}; for example: {example}"))
