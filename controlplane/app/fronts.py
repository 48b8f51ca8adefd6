"""How a serving process shows itself to those who watch it: by a listener of its own, or to the process that started it."""

import asyncio
from typing import Any, Protocol

from prometheus_client import REGISTRY

from controlplane.app.lifecycle import announce_ready
from controlplane.app.process_line import ALIVE, METRICS, READINESS, AnsweringEnd, Answers
from controlplane.endpoints.merged_metrics import snapshot, to_json
from controlplane.endpoints.metrics_http import MetricsServer
from controlplane.endpoints.readiness import Readiness


class Front(Protocol):
    """What `serve` needs of it."""

    shares_ports: bool
    """Whether other processes listen on the same ports."""

    async def open(self, readiness: Readiness) -> None:
        """Shows metrics and readiness from now on.

        Raises:
            ConfigurationError: it cannot.
        """
        ...

    async def announce(self, **addresses: str) -> None:
        """Says once that every listener answers."""
        ...

    async def close(self) -> None:
        """Shows nothing any more."""
        ...


class OwnFront:
    """A process by itself: pages on the metrics address, a line on standard output."""

    shares_ports = False

    def __init__(self, metrics_address: str) -> None:
        self._address = metrics_address
        self._server: MetricsServer | None = None

    async def open(self, readiness: Readiness) -> None:
        """Listens on the metrics address."""
        self._server = MetricsServer(readiness)
        self._address = await self._server.start(self._address)

    async def announce(self, **addresses: str) -> None:
        """Prints the `ready` line."""
        announce_ready(**addresses, metrics=self._address)

    async def close(self) -> None:
        """Stops listening."""
        if self._server is not None:
            await self._server.close()


class FrontOfOneOfMany:
    """One of several processes: everything is told to the one that started it, and ends with it."""

    shares_ports = True

    def __init__(self, line: AnsweringEnd, stop: asyncio.Event) -> None:
        self._line = line
        self._stop = stop
        self._answering: asyncio.Task[None] | None = None

    async def open(self, readiness: Readiness) -> None:
        """Gets ready to answer, from the announcement on."""
        answers: Answers = {ALIVE: _alive, METRICS: _metrics, READINESS: readiness.failing}
        self._answering = asyncio.create_task(self._answer(answers))

    async def announce(self, **_addresses: str) -> None:
        """Tells the one that knows the addresses already."""
        await self._line.tell_started()

    async def close(self) -> None:
        """Answers nothing any more."""
        if self._answering is not None:
            self._answering.cancel()
            await asyncio.gather(self._answering, return_exceptions=True)

    async def _answer(self, answers: Answers) -> None:
        await self._line.answer(answers)
        self._stop.set()


async def _alive() -> bool:
    return True


async def _metrics() -> list[Any]:
    return to_json(snapshot(REGISTRY))
