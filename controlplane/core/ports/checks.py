"""Pre-flights that somebody asks for: `serve` writes them down, a worker carries them out."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Protocol

from controlplane.core.names import DomainName
from controlplane.core.ports.preflight import PreflightVerdict


@dataclass(frozen=True, slots=True)
class CheckRequest:
    """Names to check, a domain's own name first; its `tenant` may decide which CA is to issue. Equal requests are one check."""

    names: tuple[DomainName, ...]
    tenant: str = ""

    @property
    def id(self) -> str:
        """Names the check: the same for equal requests only."""
        parts = "\0".join((self.tenant, *(name.value for name in self.names)))
        return hashlib.sha256(parts.encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class TakenCheck:
    """A check that a worker has taken. `run` tells it apart from the same check at another time."""

    request: CheckRequest
    run: str


@dataclass(frozen=True, slots=True)
class CheckResult:
    """A verdict for each name, in order, and when the check ended."""

    verdicts: tuple[PreflightVerdict, ...]
    check_time: datetime


class CheckPhase(Enum):
    """How far a check is."""

    WAITING = auto()
    RUNNING = auto()
    DONE = auto()


@dataclass(frozen=True, slots=True)
class CheckProgress:
    """Where a check stands. `result` is set when it is done; `workers` is whether any worker has asked for checks lately."""

    phase: CheckPhase
    workers: bool
    result: CheckResult | None = None


@dataclass(frozen=True, slots=True)
class CheckLimits:
    """What bounds the checks of all clients together.

    `waiting` checks at most are not taken yet; one that nobody takes, or whose result is there, is kept for `lifetime`. A result answers
    equal requests for `fresh` more. A check that was taken and has no result after `running` is asked for anew: its worker died.
    Workers are there when one has been `heard` of that lately.
    """

    waiting: int = 1000
    lifetime: timedelta = timedelta(minutes=1)
    fresh: timedelta = timedelta(seconds=3)
    running: timedelta = timedelta(seconds=25)
    heard: timedelta = timedelta(seconds=5)


class CheckStore(Protocol):
    """Checks on their way from `serve` to a worker and back. What is stored is authenticated: both sides believe only each other."""

    async def ask(self, request: CheckRequest) -> None:
        """Writes a check down, unless the same one waits, runs, or has a fresh result.

        Raises:
            ResourceExhausted: too many wait.
        """
        ...

    async def progress(self, request: CheckRequest) -> CheckProgress | None:
        """Returns where the check stands, or None when it is not known (any more).

        Raises:
            RecordRejected: its result is not authentic.
        """
        ...

    async def take(self, limit: int) -> Sequence[TakenCheck]:
        """Takes up to `limit` waiting checks, the longest waiting first; no other worker gets them. Says that a worker is there.

        With 0 it says only that. What is not authentic is left out.
        """
        ...

    async def finish(self, taken: TakenCheck, result: CheckResult) -> None:
        """Writes the result; does nothing when the check was asked for anew since it was taken."""
        ...
