"""The check of a customer's host before an order is spent."""

from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum
from typing import Final, Protocol

from controlplane.core.caa import Issuer
from controlplane.core.managed_domain import Problem
from controlplane.core.names import DomainName

FULL_PATIENCE: Final = timedelta(seconds=15)
"""What a check takes at most."""

GOOD: Final = "good"
"""The kind of an observation that is as expected."""


@dataclass(frozen=True, slots=True)
class Observation:
    """What happened at one address of a name.

    `kind` is `GOOD`, or the last part of the problem type that it stands for (`urn:certplane:error:preflight:{kind}`); `seen` goes on after
    the address, and holds nothing of a body; `expected` is what would have been good.
    """

    address: str
    kind: str
    seen: str
    expected: str


class CaaAnswer(IntEnum):
    """What Certification Authority Authorization says to the CA (RFC 8659): values of `certplane.v1.CaaObservation.Answer`."""

    ABSENT = 1
    """No record on the way up the tree: every CA may issue."""
    ALLOWS = 2
    FORBIDS = 3
    UNKNOWN = 4
    """A lookup failed that may hide records."""


@dataclass(frozen=True, slots=True)
class CaaObservation:
    """The relevant record set, at `owner` (empty when there is none), as text; `detail` is why it forbids or is not known."""

    answer: CaaAnswer
    owner: str = ""
    records: tuple[str, ...] = ()
    detail: str = ""


@dataclass(frozen=True, slots=True)
class PreflightVerdict:
    """What the pre-flight found for one name.

    `problem` None: good. `conclusive` false: it may be our own view (a time-out from inside, a failing resolver), so an order is
    delayed but not forbidden. `observations` has every address that was looked at, `caa` is None when CAA was not.
    """

    name: DomainName
    problem: Problem | None
    conclusive: bool
    observations: tuple[Observation, ...] = ()
    caa: CaaObservation | None = None


class Preflight(Protocol):
    """Checks that the CA would reach us at a name, without spending an order. Everything that it meets is hostile input."""

    async def check(
        self,
        name: DomainName,
        token: str,
        expected_body: bytes,
        *,
        patience: timedelta = FULL_PATIENCE,
        issuer: Issuer | None = None,
    ) -> PreflightVerdict:
        """Fetches `/.well-known/acme-challenge/{token}` at every address of `name` and walks CAA.

        Never raises for anything that a host or a resolver does.

        Args:
            name: the name to check.
            token: a planted token.
            expected_body: what answers it.
            patience: the check ends by then, after 15 seconds at most; what is not known by then is inconclusive.
            issuer: the CA that is to issue, as CAA sees it; None: the one that this pre-flight was made for.
        """
        ...
