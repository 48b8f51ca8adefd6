"""Runs the services of a Compose file as plain processes, in the order and under the conditions that Compose would."""

import asyncio
import contextlib
import shutil
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Protocol, Self

from controlplane.embedded.child_process import ChildProcess
from tests.e2e.compose_file import Service

UP_SECONDS = 40.0
RUN_SECONDS = 30.0
_CONDITIONS = ("service_started", "service_healthy", "service_completed_successfully")


class Machine(Protocol):
    """What stands here for what is so only in containers."""

    def place(self, service: Service, path: str) -> Path:
        """Returns what stands for a mount, a scratch directory or a file of a service."""
        ...

    def here(self, service: Service, text: str) -> str:
        """Returns a text of a service with every path, address and port as it is here."""
        ...

    def programs(self, service: Service) -> Mapping[str, str]:
        """Returns all programs that a service finds: names with shell commands, which take the arguments as `"$@"`."""
        ...

    def address(self, service: Service) -> str:
        """Returns the address that a service listens on."""
        ...

    def port(self, number: int) -> int:
        """Returns what stands for a port."""
        ...


class ComposeProcesses:
    """The services of one Compose file. Use it as an async context manager, which ends everything; `up` starts them."""

    def __init__(self, services: Mapping[str, Service], machine: Machine, directory: Path) -> None:
        """Makes volumes and files; nothing runs yet. `directory` is for logs and programs."""
        self._services, self._machine, self._directory = services, machine, directory
        self._reached = {name: {state: asyncio.Event() for state in _CONDITIONS} for name in services}
        self._running: dict[str, ChildProcess] = {}
        self._runs = 0
        self._published = AsyncExitStack()
        for service in services.values():
            for path in (*service.mounts, *service.scratch):
                machine.place(service, path).mkdir(mode=0o700, parents=True, exist_ok=True)
            for path, content in service.files.items():
                file = machine.place(service, path)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(machine.here(service, content), encoding="utf-8")
            self._bin(service).mkdir(parents=True)
            for name, command in machine.programs(service).items():
                program = self._bin(service) / name
                program.write_text(f"#!/bin/sh\nexec {command}\n", encoding="utf-8")
                program.chmod(0o700)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.down()

    async def up(self) -> None:
        """Starts all services; returns once those that end have ended well, and those with a health check are healthy.

        Raises:
            ExceptionGroup: a service failed, or was not ready in time; its log is in the message.
        """
        async with asyncio.timeout(UP_SECONDS), asyncio.TaskGroup() as tasks:
            for service in self._services.values():
                tasks.create_task(self._bring_up(service))

    async def start(self, name: str) -> None:
        """Starts a service that stays, alone."""
        service = self._services[name]
        self._running[name] = await self._spawn(service, service.argv, self.log(name))

    async def wait_until_healthy(self, name: str) -> None:
        """Asks a service's health check until it succeeds.

        Raises:
            ChildFailed: the service ended, or was not healthy in time.
        """
        await self._running[name].wait_until_ready(partial(self.is_healthy, name), RUN_SECONDS)

    async def is_healthy(self, name: str) -> bool:
        """Runs a service's health check once, with its own time limit."""
        service = self._services[name]
        status, _ = await self.run(name, service.health, service.health_seconds)
        return status == 0

    async def run(self, name: str, argv: Sequence[str], seconds: float = RUN_SECONDS) -> tuple[int, str]:
        """Runs a command as if in a service's container; returns its status and output, status -1 when the time is over."""
        self._runs += 1
        log = self._directory / f"{name}.{self._runs}.log"
        process = await self._spawn(self._services[name], argv, log)
        try:
            async with asyncio.timeout(seconds):
                status = await process.wait()
        except TimeoutError:
            status = -1
        finally:
            await process.kill()
        return status, log.read_text(encoding="utf-8")

    async def run_to_the_end(self, name: str) -> None:
        """Runs a service that ends.

        Raises:
            RuntimeError: it failed; its output is in the message.
        """
        status, output = await self.run(name, self._services[name].argv)
        if status != 0:
            raise RuntimeError(f"{name} ended with status {status}: {output}")

    async def kill(self, name: str) -> None:
        """Kills a service, as a power cut would."""
        await self._running.pop(name).kill()

    def ended(self) -> set[str]:
        """Returns the services that should run and do not."""
        return {name for name, process in self._running.items() if process.returncode is not None}

    def log(self, name: str) -> Path:
        """Returns the file that has what a service wrote."""
        return self._directory / f"{name}.log"

    async def down(self) -> dict[str, int]:
        """Ends everything, the last that was started first; returns the services that ran with their exit statuses."""
        await self._published.aclose()
        statuses = {name: await process.terminate(grace=15) for name, process in reversed(self._running.items())}
        self._running.clear()
        return statuses

    async def _bring_up(self, service: Service) -> None:
        for name, condition in service.needs.items():
            await self._reached[name][condition].wait()
        reached = self._reached[service.name]
        if not service.stays:
            await self.run_to_the_end(service.name)
            reached["service_completed_successfully"].set()
            return
        for host, container in service.published:
            target = (self._machine.address(service), self._machine.port(container))
            server = await asyncio.start_server(partial(_relay, target), "127.0.0.1", self._machine.port(host))
            self._published.callback(server.close)
        await self.start(service.name)
        reached["service_started"].set()
        if service.health:
            await self.wait_until_healthy(service.name)
            reached["service_healthy"].set()

    async def _spawn(self, service: Service, argv: Sequence[str], log: Path) -> ChildProcess:
        path = str(self._bin(service))
        words = [self._machine.here(service, word) for word in argv]
        environment = {name: self._machine.here(service, value) for name, value in service.environment.items()}
        return await ChildProcess.start(
            [shutil.which(words[0], path=path) or words[0], *words[1:]],
            log,
            {"PATH": path, "HOME": "/nonexistent", **environment},
            name=service.name,
        )

    def _bin(self, service: Service) -> Path:
        return self._directory / "bin" / service.name


async def _relay(target: tuple[str, int], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A published port: passes a connection on to the service, until one side closes."""
    try:
        back_reader, back_writer = await asyncio.open_connection(*target)
    except OSError:
        writer.close()
        return
    await asyncio.gather(_pass_on(reader, back_writer), _pass_on(back_reader, writer))


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while content := await reader.read(65_536):
            writer.write(content)
            await writer.drain()
    writer.close()
