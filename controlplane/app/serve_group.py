"""`certplane serve --processes N`: one process that holds the ports, and N that serve on them.

The one in front takes both gRPC ports, starts the others with the same settings (executed anew, never forked), and starts one again
that ends by itself. It shows metrics and health of all on the one metrics address. It holds no leaf key and no connection to the store.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Never

import structlog
from prometheus_client import REGISTRY, Gauge
from prometheus_client.registry import Collector

from controlplane.app.lifecycle import announce_ready
from controlplane.app.restarts import BackgroundTasks, keep_running
from controlplane.app.serve_process import ServeProcess
from controlplane.app.serve_settings import ServeSettings, check_settings
from controlplane.core.errors import Unavailable
from controlplane.endpoints.merged_metrics import ExposedSnapshot, merged, snapshot
from controlplane.endpoints.metrics_http import MetricsServer
from controlplane.endpoints.reserved_port import reserve_port

GATHER_SECONDS = 5.0
"""A process that is killed takes with it what it counted in this time."""

_SERVING = Gauge("certplane_serve_processes", "Processes that serve on the gRPC ports now.")

_log = structlog.get_logger(__name__)

Command = Callable[[str, str], Sequence[str]]
"""Gives the command of one process for an xDS and an API address: everything but the store's URL, which may hold a password."""


async def serve_group(settings: ServeSettings, command: Command, stop: asyncio.Event) -> None:
    """Runs until `stop` is set, then drains all processes.

    Raises:
        ConfigurationError: an address is exposed or taken, or the processes cannot start as configured.
        Unavailable: a process ended before it was ready; its log says why.
    """
    check_settings(settings)
    async with AsyncExitStack() as stack:
        xds, api = (_entered(stack, address) for address in (settings.xds_address, settings.api_address))
        environment = {name: value for name, value in os.environ.items() if not name.startswith("CERTPLANE_")}
        environment["CERTPLANE_REDIS_URL"] = settings.redis_url
        argv = command(xds, api)
        group = ServeGroup([ServeProcess(number, argv, environment) for number in range(1, settings.processes + 1)])
        metrics = MetricsServer(group, group.metrics, group.liveness)
        metrics_address = await metrics.start(settings.metrics_address)
        stack.push_async_callback(metrics.close)
        stack.push_async_callback(group.stop)
        await group.start()
        # Ends first, so that nothing that is ended on purpose is started again.
        tasks = await stack.enter_async_context(BackgroundTasks())
        for process in group.processes:
            tasks.watch(keep_running(process))
        tasks.watch(group.gather())
        announce_ready(xds=xds, api=api, metrics=metrics_address)
        await stop.wait()
        _log.info("draining")


def _entered(stack: AsyncExitStack, address: str) -> str:
    reserved = reserve_port(address)
    stack.callback(reserved.close)
    return reserved.address


class ServeGroup:
    """The serving processes together, as those see them who ask the metrics address."""

    def __init__(self, processes: Sequence[ServeProcess]) -> None:
        self.processes = processes
        self.liveness = _Liveness(processes)

    async def start(self) -> None:
        """Starts all; when one does not start, those that did still run.

        Raises:
            ConfigurationError: a process says why it cannot start.
            Unavailable: a process ended before it was ready.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                for process in self.processes:
                    tasks.create_task(process.start())
        except ExceptionGroup as errors:
            # They all say the same, or the others were given up because of the first.
            raise errors.exceptions[0] from None

    async def stop(self) -> None:
        """Ends all at the same time."""
        await asyncio.gather(*(process.stop() for process in self.processes))

    async def failing(self) -> tuple[str, ...]:
        """Returns the readiness checks that fail in any process, and the processes that do not say; `processes` when none serves.

        A process that has ended takes no connection, so it keeps the others from nothing.
        """
        serving = [process for process in self.processes if process.serving]
        if not serving:
            return ("processes",)
        found = await asyncio.gather(*(_failing(process) for process in serving))
        return tuple(dict.fromkeys(name for names in found for name in names))

    async def metrics(self) -> Collector:
        """Returns the metrics of all processes, this one included."""
        found = await asyncio.gather(*(process.metrics() for process in self.processes))
        _SERVING.set(sum(process.serving for process in self.processes))
        return ExposedSnapshot(merged((snapshot(REGISTRY), *found)))

    async def gather(self) -> Never:
        """Asks for the metrics again and again, so that a process that is killed takes little of its counts with it."""
        while True:
            await asyncio.sleep(GATHER_SECONDS)
            await asyncio.gather(*(process.metrics() for process in self.processes))


class _Liveness:
    def __init__(self, processes: Sequence[ServeProcess]) -> None:
        self._processes = processes

    async def failing(self) -> tuple[str, ...]:
        """Returns the processes that run and do not answer. One that has ended is started again by us."""
        answers = await asyncio.gather(*(_alive(process) for process in self._processes))
        return tuple(process.name for process, alive in zip(self._processes, answers, strict=True) if not alive)


async def _failing(process: ServeProcess) -> tuple[str, ...]:
    try:
        return await process.failing()
    except Unavailable:
        return (process.name,) if process.serving else ()


async def _alive(process: ServeProcess) -> bool:
    try:
        await process.ping()
    except Unavailable:
        return not process.serving
    return True
