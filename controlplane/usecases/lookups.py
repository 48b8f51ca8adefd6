"""Look-ups that share: names asked for in one turn of the event loop go in one call, and a name on its way is not asked for twice."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar

import structlog

from controlplane.core.errors import Unavailable
from controlplane.usecases.loop_counter import LoopCounter

_log = structlog.get_logger(__name__)

NAMES_PER_LOOKUP = 256
"""So many answers are taken in one go, which holds up others for a few milliseconds."""

_ATTEMPTS = 3
"""A name is asked for anew when a change overtakes its look-up; after so many times it counts as not answered."""

F = TypeVar("F")
A = TypeVar("A")


class LookupMetrics:
    """The counters of one kind of look-up."""

    def __init__(self, what: str, prefix: str) -> None:
        """Makes counters whose names begin with `prefix`, for look-ups of `what`."""
        self.calls = LoopCounter(f"{prefix}s_total", f"Look-ups of {what}, each for one or more names.")
        self.names = LoopCounter(f"{prefix}_names_total", f"Names in look-ups of {what}.")
        self.failures = LoopCounter(f"{prefix}_failures_total", f"Look-ups of {what} that the store did not answer.")


RECORDS = LookupMetrics("certificates in force", "certplane_secret_lookup")
VERSIONS = LookupMetrics("versions, without certificates", "certplane_secret_version_lookup")
PREVIOUS = LookupMetrics("certificates before those in force", "certplane_secret_previous_lookup")


class Finding(NamedTuple, Generic[F]):
    """What the store says of a name. `wanted`: somebody is going to serve it, it is not only compared."""

    key: str
    found: F
    wanted: bool


class _Flight(Generic[A]):
    """Names that are looked up together. `keys` says of each whether it is wanted; `found` is set when the store has answered.

    Whoever asks first is the pilot: the look-up is carried out in its own task, and takes none besides.
    """

    __slots__ = ("found", "has_pilot", "keys", "landed", "waiters")

    def __init__(self) -> None:
        self.has_pilot = False
        self.keys: dict[str, bool] = {}
        self.found: Mapping[str, A] | None = None
        self.landed = False
        self.waiters: list[asyncio.Future[None]] = []

    async def wait(self) -> None:
        """Returns when the look-up is over. Each caller has a future of its own, so that one who is cancelled harms no other."""
        if not self.landed:
            waiter = asyncio.get_running_loop().create_future()
            self.waiters.append(waiter)
            await waiter

    def land(self) -> None:
        """Wakes all who wait."""
        self.landed = True
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_result(None)


class Lookups(Generic[F, A]):
    """Coalesced look-ups of one kind."""

    def __init__(
        self,
        metrics: LookupMetrics,
        look_up: Callable[[Sequence[str]], Awaitable[Mapping[str, F]]],
        receive: Callable[[Sequence[Finding[F]]], Mapping[str, A]],
    ) -> None:
        """Makes look-ups that hand each answer of the store to `receive`, and give those who wait what it returns.

        `look_up` finds something for every name. `receive` is called once an answer, without a turn of the loop between the answer and
        the call.
        """
        self._look_up = look_up
        self._receive = receive
        self._flights: dict[str, _Flight[A]] = {}
        self._boarding: _Flight[A] | None = None
        self._is_open = False
        self._metrics = metrics

    def __len__(self) -> int:
        """The names on their way."""
        return len(self._flights)

    def open(self) -> None:
        """From here on look-ups are carried out. Before, and after `close`, nothing is answered."""
        self._is_open = True

    def close(self) -> None:
        """Ends that."""
        self._is_open = False

    def supersede(self, keys: Iterable[str] | None = None) -> None:
        """Makes look-ups that are under way for `keys` (None: for all) count for nothing: something changed since they began."""
        for key in tuple(self._flights) if keys is None else keys:
            flight = self._flights.pop(key, None)
            if flight is not None:
                del flight.keys[key]

    async def ask(self, keys: Collection[str], *, wanted: bool) -> dict[str, A]:
        """Returns what `receive` made of each name.

        Names that the store did not answer for are absent. Never raises `Unavailable`.
        """
        answers: dict[str, A] = {}
        missing = keys
        for _ in range(_ATTEMPTS):
            if not missing or not self._is_open:
                break
            flights = {key: self._board(key, wanted=wanted) for key in missing}
            for flight in dict.fromkeys(flights.values()):
                if flight.has_pilot:
                    await flight.wait()
                else:
                    flight.has_pilot = True
                    await self._fly(flight)
            overtaken = []
            for key, flight in flights.items():
                if key not in flight.keys:
                    overtaken.append(key)
                elif flight.found is not None:
                    answers[key] = flight.found[key]
            missing = overtaken
        return answers

    def _board(self, key: str, *, wanted: bool) -> _Flight[A]:
        flight = self._flights.get(key)
        if flight is None:
            if self._boarding is None:
                self._boarding = _Flight()
            flight = self._flights[key] = self._boarding
            if len(flight.keys) + 1 == NAMES_PER_LOOKUP:
                self._boarding = None
        flight.keys[key] = wanted or flight.keys.get(key, False)
        return flight

    async def _fly(self, flight: _Flight[A]) -> None:
        try:
            # Whoever asks in this turn of the loop comes along.
            await asyncio.sleep(0)
            if self._boarding is flight:
                self._boarding = None
            if flight.keys:
                await self._ask_store(flight)
        except asyncio.CancelledError:
            # The pilot has gone, the others have not: as if a change had overtaken it.
            self.supersede([key for key in flight.keys if self._flights.get(key) is flight])
            raise
        finally:
            self._land(flight)

    async def _ask_store(self, flight: _Flight[A]) -> None:
        names = tuple(flight.keys)
        self._metrics.calls.inc()
        self._metrics.names.inc(len(names))
        try:
            found = await self._look_up(names)
            flight.found = self._receive([Finding(key, found[key], wanted) for key, wanted in flight.keys.items()])
        except Unavailable as error:
            self._metrics.failures.inc()
            _log.warning("certificates cannot be looked up", names=len(names), reason=str(error))
        except Exception:
            self._metrics.failures.inc()
            _log.exception("look-up of certificates failed", names=len(names))

    def _land(self, flight: _Flight[A]) -> None:
        if self._boarding is flight:
            self._boarding = None
        for key in flight.keys:
            del self._flights[key]
        flight.land()
