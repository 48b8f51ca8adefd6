"""DNS names: parsed once at the edge, canonical inside."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class DomainName:
    """A canonical DNS name: A-labels, lower case, no trailing dot, not a public suffix. Make it with `parse_domain_name`."""

    value: str

    def __str__(self) -> str:
        return self.value
