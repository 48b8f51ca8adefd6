"""Which request a fault hits."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.faults.endpoints import Endpoint
from tests.faults.faults import Fault

EVERY: frozenset[int] = frozenset()
"""All requests."""


def nth(*numbers: int) -> frozenset[int]:
    """These requests, counted from 1."""
    return frozenset(numbers)


def first(count: int) -> frozenset[int]:
    """The first so many requests."""
    return frozenset(range(1, count + 1))


@dataclass(slots=True)
class Rule:
    """A fault for some of the requests to one kind of resource.

    `hits` counts those that the rule is about: with `after` only those that come once the CA has accepted a request to that resource,
    with `of_order` only those that belong to the n-th order since the proxy began. `played` is how often it has hit.
    """

    endpoint: Endpoint
    fault: Fault
    hits: frozenset[int] = field(default_factory=lambda: nth(1))
    after: Endpoint | None = None
    of_order: int | None = None
    seen: int = 0
    played: int = 0

    def applies(self, endpoint: Endpoint, *, accepted: Iterable[Endpoint], order: int | None) -> bool:
        """Whether this request is hit; counts it if it is one of those that the rule is about."""
        if endpoint is not self.endpoint or (self.of_order is not None and order != self.of_order):
            return False
        if self.after is not None and self.after not in accepted:
            return False
        self.seen += 1
        hit = self.hits == EVERY or self.seen in self.hits
        self.played += hit
        return hit
