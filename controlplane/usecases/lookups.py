"""Look-ups that share: names asked for in one turn of the event loop go in one call, and a name on its way is not asked for twice."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import structlog
from prometheus_client import Counter

from controlplane.core.certificate import CertificateRecord
from controlplane.core.errors import Unavailable
from controlplane.core.ports import CertificateStore, NoCertificate
from controlplane.usecases.known_secrets import Known

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
    found: CertificateRecord | NoCertificate
    wanted: bool


class _Flight:
    """Names that are looked up together. `keys` says of each whether it is wanted; `found` is set when the store has answered."""

    __slots__ = ("found", "keys", "landed", "waiters")

    def __init__(self) -> None:
        self.keys: dict[str, bool] = {}
        self.found: Mapping[str, Known] | None = None
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


class Lookups:
    """Coalesced look-ups of one store, carried out in a task group."""

    def __init__(self, certificates: CertificateStore, receive: Callable[[Sequence[Finding]], Mapping[str, Known]]) -> None:
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

    async def ask(self, keys: Sequence[str], *, wanted: bool) -> dict[str, Known]:
        """Returns what there is for each name, or why there is nothing.

        Names that the store did not answer for are absent. Never raises `Unavailable`.
        """
        answers: dict[str, Known] = {}
        missing = keys
        for _ in range(_ATTEMPTS):
            if not missing:
                break
            flights = {key: self._board(key, wanted=wanted) for key in missing}
            for flight in dict.fromkeys(flights.values()):
                await flight.wait()
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
                self._call(self._boarding)
            flight = self._flights[key] = self._boarding
            if len(flight.keys) + 1 == NAMES_PER_LOOKUP:
                self._boarding = None
        flight.keys[key] = wanted or flight.keys.get(key, False)
        return flight

    def _call(self, flight: _Flight) -> None:
        """Has the flight leave in the next turn of the loop: whoever asks in this turn comes along."""
        departure = self._fly(flight)
        try:
            if self._tasks is not None:
                # Also when it is cancelled before it begins.
                self._tasks.create_task(departure).add_done_callback(lambda _: self._land(flight))
                return
        except RuntimeError:
            pass  # the task group is ending
        departure.close()
        asyncio.get_running_loop().call_soon(self._land, flight)

    async def _fly(self, flight: _Flight) -> None:
        if self._boarding is flight:
            self._boarding = None
        names = tuple(flight.keys)
        if not names:
            self._land(flight)
            return
        _LOOKUPS.inc()
        _NAMES.inc(len(names))
        try:
            async with asyncio.timeout(LOOKUP_SECONDS):
                records = await self._certificates.lookup(names)
            findings = [Finding(key, records.get(key, NoCertificate.MISSING), wanted) for key, wanted in flight.keys.items()]
            flight.found = self._receive(findings)
        except (Unavailable, TimeoutError) as error:
            _FAILURES.inc()
            _log.warning("certificates cannot be looked up", names=len(names), reason=str(error) or type(error).__name__)
        except Exception:
            _FAILURES.inc()
            _log.exception("look-up of certificates failed", names=len(names))
        finally:
            self._land(flight)

    def _land(self, flight: _Flight) -> None:
        if flight.landed:
            return
        if self._boarding is flight:
            self._boarding = None
        for key in flight.keys:
            del self._flights[key]
        flight.land()
