"""DNS names: parsed once at the edge, canonical inside.

The accepted names are those for which a public CA issues over HTTP-01: fully qualified host names of letters, digits and
hyphens (RFC 1123 section 2.1), Unicode converted to A-labels (IDNA 2008, RFC 5891, after the mapping of UTS #46), below a public
suffix (publicsuffix.org, ICANN and PRIVATE sections). Everything else is refused with a sentence that says what to send instead.
"""

import functools
import ipaddress
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import idna
from publicsuffixlist import PublicSuffixList

from controlplane.core.errors import FieldViolation, InvalidArgument

MAX_ADDITIONAL_NAMES = 24
"""With the own name that makes 25, the least that a Let's Encrypt profile allows on one certificate."""

_MAX_NAME = 253  # RFC 1035 section 2.3.4: 255 octets on the wire
_MAX_LABEL = 63  # RFC 1035 section 2.3.4
_MAX_INPUT = 1024  # of a name in Unicode, before mapping; bounds the work that a stranger can ask for
_RESOURCE_PREFIX = "domains/"

_LDH_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_JOINERS = "\u200c\u200d"  # CONTEXTJ: IDNA 2008 allows them in some places

# RFC 6761, 6762 with its appendix G, 7686, 8375, 9476, and ICANN's reservation of `.internal`.
# `.test` and `.example` are as reserved, but for testing and documentation, so they are accepted. `.invalid` is refused: the edge
# gives names below it a meaning of its own.
_SPECIAL_USE = frozenset(
    ["localhost", "localdomain", "local", "onion", "arpa", "internal", "invalid", "alt", "intranet", "private", "corp", "home", "lan"],
)


@dataclass(frozen=True, slots=True, order=True)
class DomainName:
    """A canonical DNS name: A-labels, lower case, no trailing dot, not a public suffix. Make it with `parse_domain_name`."""

    value: str

    def __str__(self) -> str:
        return self.value


class _Refused(ValueError):
    """The text is not an acceptable name; the message says why and what to do."""


def parse_domain_name(text: str, *, field: str) -> DomainName:
    """Returns the canonical form of `text`; `field` is the path of the field that it came in.

    Names below `.test` and `.example` are accepted: they are reserved for testing and documentation (RFC 6761).

    Raises:
        InvalidArgument: with one violation, whose description says what is wrong and what to send instead.
    """
    try:
        return _parse(text)
    except _Refused as refused:
        raise InvalidArgument(FieldViolation(field, str(refused))) from None


def parse_additional_names(
    texts: Sequence[str], *, own: DomainName, field: str = "domain.additional_names"
) -> tuple[DomainName, ...]:  # fmt: skip
    """Returns the further names of the certificate whose own name is `own`, canonical and in the order given.

    Raises:
        InvalidArgument: too many, or a violation for each entry that is no name, repeats another or repeats the own name.
    """
    if len(texts) > MAX_ADDITIONAL_NAMES:
        description = f"has {len(texts)} names; send at most {MAX_ADDITIONAL_NAMES} and create another domain for the rest"
        raise InvalidArgument(FieldViolation(field, description))
    first_at: dict[DomainName, int] = {}
    violations: list[FieldViolation] = []
    for index, text in enumerate(texts):
        path = f"{field}[{index}]"
        try:
            name = parse_domain_name(text, field=path)
        except InvalidArgument as refused:
            violations.extend(refused.violations)
            continue
        if name == own:
            violations.append(FieldViolation(path, f"{name} is the domain's own name, which is always on the certificate; leave it out"))
        elif name in first_at:
            violations.append(FieldViolation(path, f"{name} is there already, at index {first_at[name]}; send each name once"))
        else:
            first_at[name] = index
    if violations:
        raise InvalidArgument(*violations)
    return tuple(first_at)


def domain_resource_name(name: DomainName) -> str:
    """Returns the resource name, `domains/{fqdn}`."""
    return _RESOURCE_PREFIX + name.value


def parse_domain_resource(text: str, *, field: str) -> DomainName:
    """Returns the domain that a resource name `domains/{fqdn}` means. The name in it may be in any form that `parse_domain_name` takes.

    Raises:
        InvalidArgument: not such a resource name.
    """
    if not text.startswith(_RESOURCE_PREFIX):
        raise InvalidArgument(
            FieldViolation(field, "is not a resource name of a domain; send domains/{fqdn}, such as domains/shop.example.com")
        )
    return parse_domain_name(text.removeprefix(_RESOURCE_PREFIX), field=field)


def registered_domain(name: DomainName) -> str:
    """Returns the public suffix with one label more: what a CA counts its limits by (Let's Encrypt: "registered domain")."""
    return str(_public_suffixes().privatesuffix(name.value))


def special_use_suffix(canonical: str) -> str:
    """Returns the top-level label of a canonical name if no public CA or public DNS serves names below it, else an empty string."""
    top = canonical.rpartition(".")[2]
    return top if top in _SPECIAL_USE else ""


def load_public_suffixes() -> None:
    """Reads the list now (a tenth of a second), so that the first name to be parsed need not wait for it."""
    _public_suffixes()


@functools.cache
def _public_suffixes() -> PublicSuffixList:
    """Loads the list at first use: 0.1 s and under 2 MB, which a process that parses no names does not pay."""
    return PublicSuffixList()


def _parse(text: str) -> DomainName:
    if not text:
        raise _Refused("is empty; send a fully qualified DNS name such as shop.example.com")
    if len(text) > _MAX_INPUT:
        raise _Refused(f"is {len(text)} characters long; a DNS name has at most {_MAX_NAME}")
    _refuse_invisible(text)
    _refuse_other_things(text)
    try:
        # The mapping folds case, normalises, and makes `.` of the full stops of other scripts.
        mapped = idna.uts46_remap(text, std3_rules=False)
    except UnicodeError as error:
        raise _not_idna(text, error) from None
    _refuse_other_things(mapped)
    canonical = ".".join(_a_labels(mapped.removesuffix(".")))
    if len(canonical) > _MAX_NAME:
        raise _Refused(f"is {len(canonical)} characters long as A-labels; a DNS name has at most {_MAX_NAME}")
    _refuse_reserved(canonical)
    return DomainName(canonical)


def _refuse_invisible(text: str) -> None:
    if text != text.strip():
        raise _Refused("has white space around it; send the name alone")
    for character in text:
        category = unicodedata.category(character)
        if character.isspace():
            raise _Refused("contains white space; send one name, without spaces")
        if category in ("Cc", "Cs") or (category == "Cf" and character not in _JOINERS):
            raise _Refused(f"contains the invisible character U+{ord(character):04X}; remove it (type the name rather than paste it)")


def _refuse_other_things(text: str) -> None:
    """Refuses what is not a host name but looks like something that people send in place of one."""
    if "://" in text or text.startswith("//"):
        raise _Refused("is a URL; send the host name alone, without scheme, port and path")
    if "@" in text:
        raise _Refused("contains @, as an e-mail address or a URL with a user does; send the host name alone")
    if _is_ip_literal(text):
        raise _Refused("is an IP address; only DNS names get certificates here: send the name whose A or AAAA record has this address")
    if "/" in text or "\\" in text or "?" in text or "#" in text:
        raise _Refused("contains a path; send the host name alone")
    if ":" in text:
        raise _Refused("contains a colon; send the host name without a port")
    if "*" in text:
        raise _Refused("is a wildcard; wildcards need a DNS-01 challenge and Certplane answers HTTP-01: send each host name by itself")
    if "_" in text:
        raise _Refused(
            "contains an underscore, which no host name on a public certificate may have; rename the host, for example with a hyphen"
        )
    if "," in text or ";" in text:
        raise _Refused("contains a comma or semicolon; send one name a field")


def _is_ip_literal(text: str) -> bool:
    if "[" in text or "]" in text:
        return True
    try:
        ipaddress.ip_address(text.removesuffix("."))
    except ValueError:
        return False
    return True


def _a_labels(mapped: str) -> Iterator[str]:
    if not mapped:
        raise _Refused("is the DNS root; send a fully qualified DNS name such as shop.example.com")
    for label in mapped.split("."):
        if not label:
            raise _Refused("has an empty label: a dot at its start, or two dots in a row; remove the surplus dot")
        if label.startswith("-") or label.endswith("-"):
            raise _Refused(f"has a label that starts or ends with a hyphen ({_shown(label)}); correct that label")
        if label.isascii() and len(label) > _MAX_LABEL:
            raise _too_long(label)
        if label[2:4] == "--" and not label.startswith("xn--"):
            raise _Refused(
                f"has two hyphens in the third and fourth place of {_shown(label)}, reserved for encoded names; correct that label"
            )
        if not label.startswith("xn--") and _LDH_LABEL.fullmatch(label):
            yield label  # most names: nothing for IDNA to say
            continue
        try:
            a_label = idna.alabel(label).decode("ascii")
        except UnicodeError as error:
            if "too long" in str(error):
                raise _too_long(label) from None
            raise _not_idna(label, error) from None
        if not _LDH_LABEL.fullmatch(a_label):
            raise _Refused(f"has a label with a character other than letters, digits and hyphens ({_shown(label)}); correct that label")
        yield a_label


def _refuse_reserved(canonical: str) -> None:
    top = canonical.rpartition(".")[2]
    if _NUMBER.fullmatch(top):
        raise _Refused(f"ends in the number {_shown(top)} and so reads as an IP address; send a DNS name")
    if special_use_suffix(canonical):
        raise _Refused(f"is a special-use name (.{top}) that no public CA certifies; send a name in the public DNS")
    if "." not in canonical:
        raise _Refused("has a single label; send a fully qualified DNS name such as shop.example.com")
    if _public_suffixes().is_public(canonical):
        raise _Refused(f"is a public suffix: other people's names lie below {canonical}; send a name below it, such as shop.{canonical}")


def _too_long(label: str) -> _Refused:
    return _Refused(f"has a label of more than {_MAX_LABEL} characters ({_shown(label)}); shorten it")


def _not_idna(text: str, error: UnicodeError) -> _Refused:
    return _Refused(f"is not valid under IDNA 2008 at {_shown(text)}: {_shown(str(error), 160)}; send the name as it is registered")


def _shown(text: str, limit: int = 40) -> str:
    return text if len(text) <= limit else text[:limit] + "…"
