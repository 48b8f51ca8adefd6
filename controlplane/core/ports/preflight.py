"""The check of a customer's host before an order is spent."""

from dataclasses import dataclass
from typing import Protocol

from controlplane.core.managed_domain import Problem
from controlplane.core.names import DomainName


@dataclass(frozen=True, slots=True)
class PreflightVerdict:
    """What the pre-flight found for one name.

    `problem` None: good. `conclusive` false: it may be our own view (a time-out from inside, a failing resolver), so an order is
    delayed but not forbidden.
    """

    name: DomainName
    problem: Problem | None
    conclusive: bool


class Preflight(Protocol):
    """Checks that the CA would reach us at a name, without spending an order. Everything that it meets is hostile input."""

    async def check(self, name: DomainName, token: str, expected_body: bytes) -> PreflightVerdict:
        """Fetches `/.well-known/acme-challenge/{token}` at every address of `name` and walks CAA.

        Takes 15 seconds at most. Never raises for anything that a host or a resolver does.
        """
        ...
