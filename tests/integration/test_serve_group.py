"""The process in front and the line to those behind it, with real processes that play what a serving process does."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from controlplane.app.restarts import keep_running
from controlplane.app.serve_group import ServeGroup
from controlplane.app.serve_process import ServeProcess
from controlplane.core.errors import CertplaneError, ConfigurationError, Unavailable

DEADLINE = 20.0

PLAYED = """
import asyncio, os, signal, sys
from prometheus_client import Counter, Gauge
from controlplane.app.fronts import FrontOfOneOfMany
from controlplane.app.parent_death import die_with_parent
from controlplane.app.process_line import AnsweringEnd
from controlplane.endpoints.readiness import Readiness

number, role = sys.argv[2].partition("=")[2], sys.argv[1]

async def store():
    if role == "storeless" and number == "2":
        raise OSError

async def main():
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    line = await AnsweringEnd.on_standard_input()
    if role == "refuses" and number == "2":
        await line.tell_refused("it will not")
        sys.exit(1)
    if role == "dies" and number == "2":
        sys.exit(7)
    Counter("played_total", "Starts.").inc(int(number))
    Gauge("played_number", "Number.").set(int(number))
    front = FrontOfOneOfMany(line, stop)
    await front.open(Readiness({"store": store}))
    await front.announce()
    await stop.wait()
    await front.close()

asyncio.run(main())
"""


def played(role: str) -> ServeGroup:
    """Two processes that play a role; they are not started."""
    environment = {"PATH": os.environ["PATH"]}
    return ServeGroup([ServeProcess(number, [sys.executable, "-c", PLAYED, role], environment) for number in (1, 2)])


@asynccontextmanager
async def running(role: str) -> AsyncIterator[ServeGroup]:
    """Two processes that play a role."""
    group = played(role)
    await group.start()
    try:
        yield group
    finally:
        await group.stop()


async def totals(group: ServeGroup) -> tuple[float, float]:
    """What the group shows of the counter and the gauge."""
    shown = CollectorRegistry()
    shown.register(await group.metrics())
    return shown.get_sample_value("played_total") or 0.0, shown.get_sample_value("played_number") or 0.0


async def killed(process: ServeProcess) -> None:
    """Kills it."""
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    async with asyncio.timeout(DEADLINE):
        assert -signal.SIGKILL == await process.wait()


async def test_one_without_the_store() -> None:
    """A check that fails in one process fails for the group."""
    async with running("storeless") as group:
        assert ("store",) == await group.failing()
        assert () == await group.liveness.failing()


async def test_none_serves() -> None:
    """Before the first has started the group is not ready; it is alive."""
    group = played("well")
    assert ("processes",) == await group.failing()
    assert () == await group.liveness.failing()


async def test_counts_outlive_their_process() -> None:
    """What a process counted is kept when it ends, and grows with its next life; a gauge is that of the processes that run."""
    async with running("well") as group:
        assert (3, 3) == await totals(group)
        await killed(group.processes[1])
        assert (3, 1) == await totals(group)
        await group.processes[1].start()
        assert (5, 3) == await totals(group)


async def test_a_process_that_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that does not answer shows what it showed last, and is told of by its name."""
    monkeypatch.setattr("controlplane.app.serve_process._ANSWER_SECONDS", 0.5)
    async with running("well") as group:
        assert (3, 3) == await totals(group)
        pid = group.processes[1].pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        assert (3, 3) == await totals(group)
        assert ("serve-2",) == await group.failing()
        os.kill(pid, signal.SIGCONT)
        assert () == await group.failing()


@pytest.mark.parametrize(
    ("role", "error", "text"),
    [("refuses", ConfigurationError, "it will not"), ("dies", Unavailable, "serve-2 ended with status 7 before it was ready")],
)
async def test_one_does_not_start(role: str, error: type[CertplaneError], text: str) -> None:
    """When a process does not start, the group does not, says why, and none is left once it is stopped."""
    group = played(role)
    with pytest.raises(error, match=f"^{text}$"):
        await group.start()
    await group.stop()
    assert [False, False] == [process.serving for process in group.processes]


async def test_it_is_started_again() -> None:
    """A process that is killed is started again, with another process id."""
    async with running("well") as group:
        process = group.processes[0]
        before = process.pid
        kept = asyncio.create_task(keep_running(process))
        assert before is not None
        os.kill(before, signal.SIGKILL)
        async with asyncio.timeout(DEADLINE):
            while process.pid == before or not process.serving:
                await asyncio.sleep(0.01)
        kept.cancel()
        assert () == await group.failing()


async def test_nobody_is_left_by_a_start_that_is_given_up() -> None:
    """A start that is cancelled ends the process that it has started."""
    process = ServeProcess(1, [sys.executable, "-c", "import time; time.sleep(1000)"], {})
    start = asyncio.create_task(process.start())
    async with asyncio.timeout(DEADLINE):
        while process.pid is None:
            await asyncio.sleep(0.001)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert not Path(f"/proc/{process.pid}").exists()


async def test_started_by_hand() -> None:
    """The option for one of several, given by hand, is explained."""
    argv = [sys.executable, "-m", "controlplane.cli.main", "serve", "--keys-dir=/none", "--redis-url=redis://127.0.0.1:1", "--process=1"]
    process = await asyncio.create_subprocess_exec(*argv, stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE)
    _, errors = await asyncio.wait_for(process.communicate(), DEADLINE)
    assert (1, b"Error: only `certplane serve --processes` starts a process with this option\n") == (process.returncode, errors)
