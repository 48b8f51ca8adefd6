"""Look-ups that share: names asked for in one turn of the event loop go in one call, and a name on its way is not asked for twice."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import structlog
from prometheus_client import Counter

from controlplane.core.certificate import CertificateRecord
from controlplane.core.errors import Unavailable
from controlplane.core.ports import CertificateStore
from controlplane.usecases.known_secrets import KnownSecret

_log = structlog.get_logger(__name__)

_LOOKUPS = Counter("certplane_secret_lookups_total", "Look-ups of certificates, each for one or more names.")
_NAMES = Counter("certplane_secret_lookup_names_total", "Names in look-ups of certificates.")
_FAILURES = Counter("certplane_secret_lookup_failures_total", "Look-ups of certificates that the store did not answer.")

LOOKUP_SECONDS = 5.0
"""How long the store may take for one look-up."""

NAMES_PER_LOOKUP = 512

_ATTEMPTS = 3
"""A name is asked for anew when a change overtakes its look-up; after so many times it counts as not answered."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What the store says of a name. `wanted`: somebody is going to serve it, it is not only compared."""

    key: str
    record: CertificateRecord | None
    wanted: bool


class _Flight:
    """Names that are looked up together. `keys` says of each whether it is wanted; `found` is set when the store has answered."""

    __slots__ = ("found", "keys", "landed")

    def __init__(self) -> None:
        self.keys: dict[str, bool] = {}
        self.found: Mapping[str, KnownSecret | None] | None = None
        self.landed: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class Lookups:
    """Coalesced look-ups of one store, carried out in a task group."""

    def __init__(self, certificates: CertificateStore, receive: Callable[[Sequence[Finding]], Mapping[str, KnownSecret | None]]) -> None:
        """Makes look-ups that hand each answer of the store to `receive`, and give those who wait what it returns.

        `receive` is called once an answer, without a turn of the loop between the answer and the call.
        """
        self._certificates = certificates
        self._receive = receive
        self._flights: dict[str, _Flight] = {}
        self._boarding: _Flight | None = None
        self._tasks: asyncio.TaskGroup | None = None

    def open(self, tasks: asyncio.TaskGroup) -> None:
        """From here on look-ups are carried out, as tasks of this group. Before, and after `close`, nothing is answered."""
        self._tasks = tasks

    def close(self) -> None:
        """Ends that."""
        self._tasks = None

    def supersede(self, keys: Iterable[str] | None = None) -> None:
        """Makes look-ups that are under way for `keys` (None: for all) count for nothing: something changed since they began."""
        for key in tuple(self._flights) if keys is None else keys:
            flight = self._flights.pop(key, None)
            if flight is not None:
                del flight.keys[key]

    async def ask(self, keys: Sequence[str], *, wanted: bool) -> dict[str, KnownSecret | None]:
        """Returns what there is for each name, None for a name that does not exist.

        Names that the store did not answer for are absent. Never raises `Unavailable`.
        """
        answers: dict[str, KnownSecret | None] = {}
        missing = keys
        for _ in range(_ATTEMPTS):
            if not missing:
                break
            flights = {key: self._board(key, wanted=wanted) for key in missing}
            # `wait` leaves the futures alone when this task is cancelled: others wait for them too.
            await asyncio.wait({flight.landed for flight in flights.values()})
            overtaken = []
            for key, flight in flights.items():
                if key not in flight.keys:
                    overtaken.append(key)
                elif flight.found is not None:
                    answers[key] = flight.found[key]
            missing = overtaken
        return answers

    def _board(self, key: str, *, wanted: bool) -> _Flight:
        flight = self._flights.get(key)
        if flight is None:
            if self._boarding is None:
                self._boarding = _Flight()
                asyncio.get_running_loop().call_soon(self._depart, self._boarding)
            flight = self._flights[key] = self._boarding
            if len(flight.keys) + 1 == NAMES_PER_LOOKUP:
                self._boarding = None
        flight.keys[key] = wanted or flight.keys.get(key, False)
        return flight

    def _depart(self, flight: _Flight) -> None:
        if self._boarding is flight:
            self._boarding = None
        if self._tasks is None or not flight.keys:
            self._land(flight)
            return
        departure = self._fly(flight)
        try:
            self._tasks.create_task(departure)
        except RuntimeError:  # the task group is ending
            departure.close()
            self._land(flight)

    async def _fly(self, flight: _Flight) -> None:
        names = tuple(flight.keys)
        _LOOKUPS.inc()
        _NAMES.inc(len(names))
        try:
            async with asyncio.timeout(LOOKUP_SECONDS):
                records = await self._certificates.lookup(names)
            flight.found = self._receive([Finding(key, records.get(key), wanted) for key, wanted in flight.keys.items()])
        except (Unavailable, TimeoutError) as error:
            _FAILURES.inc()
            _log.warning("certificates cannot be looked up", names=len(names), reason=str(error) or type(error).__name__)
        except Exception:
            _FAILURES.inc()
            _log.exception("look-up of certificates failed", names=len(names))
        finally:
            self._land(flight)

    def _land(self, flight: _Flight) -> None:
        for key in flight.keys:
            del self._flights[key]
        flight.landed.set_result(None)
