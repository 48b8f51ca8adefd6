"""The clock around a coroutine of `serve` in the benchmark: it changes nothing but counts the CPU time of its steps."""

import asyncio
import time

import pytest

from bench.million.timed_serve import Clock


async def test_returns_what_the_coroutine_returns() -> None:
    """A timed coroutine that waits gets what it waits for, and its caller what it returns."""
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def add(number: int) -> int:
        return number + await future

    asyncio.get_running_loop().call_soon(future.set_result, 2)
    clock = Clock()
    assert 42 == await clock.steps(add)(40)
    assert 1 == clock.calls


async def test_raises_what_the_coroutine_raises() -> None:
    """An error inside reaches the caller, also one that it waited for."""
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def wait() -> int:
        return await future

    asyncio.get_running_loop().call_soon(future.set_exception, KeyError("gone"))
    with pytest.raises(KeyError, match="gone"):
        await Clock().steps(wait)()


async def test_a_cancellation_reaches_the_coroutine() -> None:
    """Who is cancelled while it waits is cancelled inside, and may clean up."""
    started, cleaned = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        started.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            cleaned.set()

    task = asyncio.create_task(Clock().steps(wait)())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cleaned.is_set()


async def test_counts_its_own_steps_only() -> None:
    """What others do while it waits is not counted, and what it does itself is."""
    burnt = 0.01
    turn = asyncio.Event()

    async def own() -> None:
        burn(burnt)
        await turn.wait()

    async def other() -> None:
        burn(20 * burnt)
        turn.set()

    clock = Clock()
    await asyncio.gather(clock.steps(own)(), other())
    assert burnt <= clock.seconds < 10 * burnt


def burn(seconds: float) -> None:
    """Uses CPU time of this thread."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass
