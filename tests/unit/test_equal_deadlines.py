"""Deadlines that share a timer."""

import asyncio

import pytest

from controlplane.usecases.equal_deadlines import EqualDeadlines
from tests.fakes.virtual_time import run_virtually


async def after(seconds: float) -> float:
    """Takes so long."""
    await asyncio.sleep(seconds)
    return seconds


async def ended(deadlines: EqualDeadlines, start: float, seconds: float) -> tuple[str, float]:
    """Begins at a time what takes so many seconds; returns how and when it ended."""
    await asyncio.sleep(start)
    try:
        how = f"after {await deadlines.keep(after(seconds)):g}"
    except TimeoutError:
        how = "missed"
    return how, round(asyncio.get_running_loop().time(), 3)


def test_each_wait_has_the_whole_time() -> None:
    """Those that take too long are ended when their own time is over, whatever came before, between and after them."""

    async def main() -> list[tuple[str, float]]:
        deadlines = EqualDeadlines(1.5)
        waits = [(0.0, 9.0), (0.2, 0.1), (0.5, 9.0), (0.6, 1.4), (1.9, 9.0), (7.0, 9.0), (8.0, 1.0)]
        return await asyncio.gather(*(ended(deadlines, start, seconds) for start, seconds in waits))

    expected = [
        ("missed", 1.5),
        ("after 0.1", 0.3),
        ("missed", 2.0),
        ("after 1.4", 2.0),
        ("missed", 3.4),
        ("missed", 8.5),
        ("after 1", 9.0),
    ]
    assert expected == run_virtually(main())


def test_a_task_goes_on_after_it() -> None:
    """The cancellation stays inside: the task can wait again, and is not held to be cancelled."""

    async def main() -> tuple[float, int]:
        deadlines = EqualDeadlines(1.0)
        with pytest.raises(TimeoutError):
            await deadlines.keep(after(5.0))
        task = asyncio.current_task()
        assert task is not None
        return await deadlines.keep(after(0.5)), task.cancelling()

    assert (0.5, 0) == run_virtually(main())


def test_others_may_cancel_a_wait() -> None:
    """Then it is cancelled and no deadline was missed, even when both happen in one turn of the loop."""

    async def main() -> None:
        deadlines = EqualDeadlines(1.0)
        for moment in (0.5, 1.0):
            task = asyncio.create_task(deadlines.keep(after(5.0)))
            await asyncio.sleep(0)
            asyncio.get_running_loop().call_later(moment, task.cancel)
            with pytest.raises(asyncio.CancelledError):
                await task

    run_virtually(main())


def test_an_error_passes() -> None:
    """What the work raises is raised."""

    async def fail() -> None:
        await asyncio.sleep(0.1)
        raise LookupError("of its own")

    async def main() -> None:
        await EqualDeadlines(1.0).keep(fail())

    with pytest.raises(LookupError, match="of its own"):
        run_virtually(main())
