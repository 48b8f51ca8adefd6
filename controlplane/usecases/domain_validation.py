"""What a request may say about a domain, checked before anything is read or written.

All that is wrong is reported at once, one violation a field.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from controlplane.core.errors import FieldViolation, InvalidArgument
from controlplane.core.names import DomainName, parse_additional_names, parse_domain_name

MAX_LABELS: Final = 32
_TENANT: Final = re.compile(r"[a-z0-9-]{0,63}")
_LABEL_KEY: Final = re.compile(r"[a-z0-9_./-]{1,63}")
_REQUEST_ID: Final = re.compile(r"[\x20-\x7e]{0,64}")
_MAX_LABEL_VALUE: Final = 63


@dataclass(frozen=True, slots=True)
class NewDomain:
    """A domain as somebody asks for it: nothing is checked yet."""

    domain_id: str
    tenant: str = ""
    additional_names: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class CheckedDomain:
    """The same, checked and canonical."""

    fqdn: DomainName
    additional_names: tuple[DomainName, ...]


def check_new_domain(request: NewDomain) -> CheckedDomain:
    """Parses the names and checks everything else.

    Raises:
        InvalidArgument: with every violation that was found. `additional_names` are looked at only once `domain_id` is good.
    """
    violations = [*_settings_violations(request)]
    try:
        fqdn = parse_domain_name(request.domain_id, field="domain_id")
        additional_names = parse_additional_names(request.additional_names, own=fqdn, field="domain.additional_names")
    except InvalidArgument as error:
        raise InvalidArgument(*error.violations, *violations) from None
    if violations:
        raise InvalidArgument(*violations)
    return CheckedDomain(fqdn, additional_names)


def _settings_violations(request: NewDomain) -> Iterator[FieldViolation]:
    if _TENANT.fullmatch(request.tenant) is None:
        yield FieldViolation("domain.tenant", "must be 0 to 63 characters of a to z, 0 to 9 and hyphen")
    if _REQUEST_ID.fullmatch(request.request_id) is None:
        yield FieldViolation("request_id", "must be 0 to 64 printable ASCII characters")
    if len(request.labels) > MAX_LABELS:
        yield FieldViolation("domain.labels", f"has {len(request.labels)} labels, at most {MAX_LABELS} are allowed")
        return
    for key, value in sorted(request.labels.items()):
        if _LABEL_KEY.fullmatch(key) is None:
            yield FieldViolation(
                f"domain.labels[{key[:63]!a}]",
                "the key must be 1 to 63 characters of a to z, 0 to 9, underscore, full stop, hyphen and slash",
            )
        elif len(value) > _MAX_LABEL_VALUE or not value.isprintable():
            yield FieldViolation(f"domain.labels[{key!a}]", f"the value must be 0 to {_MAX_LABEL_VALUE} printable characters")
