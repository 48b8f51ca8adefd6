"""What starts processes again when they end by themselves."""

import asyncio
from collections.abc import Coroutine
from typing import Protocol, Self

import structlog

_FIRST_RESTART_SECONDS, _MOST_RESTART_SECONDS = 0.5, 30.0
_SETTLED_SECONDS = 60.0

_log = structlog.get_logger(__name__)


class Restartable(Protocol):
    """A process that can be started again after it has ended."""

    @property
    def name(self) -> str:
        """For logs."""
        ...

    async def start(self) -> object:
        """Starts it and returns once it is ready."""
        ...

    async def wait(self) -> int:
        """Waits until it ends; returns the exit status."""
        ...


async def keep_running(process: Restartable) -> None:
    """Starts a process again whenever it ends by itself."""
    loop = asyncio.get_running_loop()
    pause = _FIRST_RESTART_SECONDS
    while True:
        since = loop.time()
        status = await process.wait()
        pause = _FIRST_RESTART_SECONDS if loop.time() - since > _SETTLED_SECONDS else min(pause * 2, _MOST_RESTART_SECONDS)
        _log.error("process ended and is started again", process=process.name, status=status, pause_seconds=pause)
        await asyncio.sleep(pause)
        try:
            await process.start()
        except Exception as error:
            _log.error("process did not start", process=process.name, reason=str(error))


class BackgroundTasks:
    """Background tasks that end with the block."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def watch(self, work: Coroutine[None, None, None]) -> None:
        """Runs `work` in the background."""
        self._tasks.add(asyncio.create_task(work))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
