"""`CheckDomain` as a worker does it: takes the checks that were asked for, carries them out, writes what they found. It orders nothing."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Final

import structlog
from prometheus_client import Counter, Gauge

from controlplane.core.caa import Issuer
from controlplane.core.errors import Unavailable
from controlplane.core.failure import INTERNAL
from controlplane.core.managed_domain import Actor, Problem
from controlplane.core.ports import Clock, PreflightVerdict
from controlplane.core.ports.checks import CheckRequest, CheckResult, CheckStore, TakenCheck
from controlplane.core.ports.preflight import FULL_PATIENCE
from controlplane.core.preflight import forbids_issuer
from controlplane.usecases.preflight_round import PreflightRound

MAX_RUNNING: Final = 8
"""Checks at a time; each may connect to hundreds of addresses."""

_WORTH_BEGINNING: Final = timedelta(seconds=2)
_LOOK_SECONDS: Final = 0.25
_FIRST_BACKOFF: Final = 0.5
_LONGEST_BACKOFF: Final = 10.0

_CHECKS = Counter("certplane_requested_checks_total", "Checks that were asked for and ended, by how.", ["outcome"])
_RUNNING = Gauge("certplane_requested_checks_running", "Checks that were asked for and that this worker carries out now.")

_log = structlog.get_logger(__name__)


def _no_issuer(_request: CheckRequest) -> Sequence[Issuer]:
    return ()


class CheckRunner:
    """The loop beside the worker's own."""

    def __init__(
        self,
        checks: CheckStore,
        preflight: PreflightRound,
        clock: Clock,
        *,
        issuers: Callable[[CheckRequest], Sequence[Issuer]] = _no_issuer,
        concurrency: int = MAX_RUNNING,
        drain_grace: timedelta = timedelta(seconds=5),
    ) -> None:
        """Prepares a runner.

        Args:
            checks: where checks are asked for.
            preflight: what carries them out.
            clock: the time.
            issuers: returns the CAs that may issue for such a request, the most preferred first; none: the one that the pre-flight was
                made for.
            concurrency: checks at a time.
            drain_grace: how long a stop waits for checks in progress.
        """
        self._checks = checks
        self._preflight = preflight
        self._clock = clock
        self._issuers = issuers
        self._concurrency = concurrency
        self._drain_grace = drain_grace
        self._running: set[asyncio.Task[None]] = set()

    async def run(self, stop: asyncio.Event) -> None:
        """Carries checks out until `stop` is set; then takes no more, and waits a little for those in progress."""
        async with asyncio.TaskGroup() as group:
            backoff = _FIRST_BACKOFF
            while not stop.is_set():
                try:
                    # Asked also without room: it tells `serve` that a worker is there.
                    taken = await self._checks.take(self._concurrency - len(self._running))
                    pause, backoff = _LOOK_SECONDS, _FIRST_BACKOFF
                except Exception as error:
                    if isinstance(error, Unavailable):
                        _log.warning("the store is away", reason=str(error))
                    else:
                        _log.exception("checks could not be taken")
                    taken, pause = (), backoff
                    backoff = min(backoff * 2, _LONGEST_BACKOFF)
                for each in taken:
                    self._start(group, each)
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await stop.wait()
            if self._running:
                _, late = await asyncio.wait(self._running, timeout=self._drain_grace.total_seconds())
                for task in late:
                    task.cancel()

    def _start(self, group: asyncio.TaskGroup, taken: TakenCheck) -> None:
        task = group.create_task(self._carry_out(taken))
        self._running.add(task)
        _RUNNING.set(len(self._running))
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        _RUNNING.set(len(self._running))

    async def _carry_out(self, taken: TakenCheck) -> None:
        name = taken.request.names[0].value
        try:
            await self._checks.finish(taken, CheckResult(await self._verdicts(taken.request), self._clock()))
        except Unavailable as error:
            # Whoever waits hears the same from the store.
            _CHECKS.labels("store_unavailable").inc()
            _log.warning("the store went away during a check", domain=name, reason=str(error))
        except Exception:
            _CHECKS.labels("internal").inc()
            _log.exception("the result of a check could not be written", domain=name)

    async def _verdicts(self, request: CheckRequest) -> tuple[PreflightVerdict, ...]:
        try:
            verdicts = await self._for_any_issuer(request)
        except Unavailable:
            raise
        except Exception:
            _log.exception("a check failed by itself", domain=request.names[0].value)
            _CHECKS.labels("internal").inc()
            return tuple(
                PreflightVerdict(
                    name,
                    Problem(INTERNAL, f"{name} could not be checked; the worker's log has it", Actor.OPERATOR, self._clock(), name.value),
                    conclusive=False,
                )
                for name in request.names
            )
        _CHECKS.labels(_outcome(verdicts)).inc()
        return verdicts

    async def _for_any_issuer(self, request: CheckRequest) -> tuple[PreflightVerdict, ...]:
        """Checks for the most preferred CA; as an order does, for the next one when CAA forbids it.

        When CAA forbids all that there was time for, the verdicts are those for the first.
        """
        preferred: tuple[PreflightVerdict, ...] = ()
        until = self._clock() + FULL_PATIENCE
        for issuer in self._issuers(request) or (None,):
            left = until - self._clock()
            if preferred and left < _WORTH_BEGINNING:
                break
            checked = await self._preflight.check(request.names, patience=left, issuer=issuer)
            with suppress(Unavailable):
                # It ends by itself; what was found is worth telling.
                await self._preflight.withdraw(checked)
            problem = checked.verdicts[0].problem
            if problem is None or not forbids_issuer(problem):
                return checked.verdicts
            preferred = preferred or checked.verdicts
        return preferred


def _outcome(verdicts: tuple[PreflightVerdict, ...]) -> str:
    problems = [verdict for verdict in verdicts if verdict.problem is not None]
    if not problems:
        return "good"
    return "problem" if any(verdict.conclusive for verdict in problems) else "inconclusive"
