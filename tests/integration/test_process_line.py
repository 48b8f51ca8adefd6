"""The line between a supervising and a serving process, with both ends in one event loop."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
import structlog

from controlplane.app.process_line import AnsweringEnd, AskingEnd
from controlplane.core.errors import ConfigurationError, Unavailable

DEADLINE = 10.0


@dataclass
class Served:
    """What the serving end answers: at once, later, or not at all."""

    may_answer: asyncio.Event = field(default_factory=asyncio.Event)

    async def quick(self) -> object:
        """An answer at once, with all that JSON and Python's floats have."""
        return {"text": "\N{SNOWMAN}", "numbers": [1, 2.5, float("inf")], "none": None, "long": "x" * 1_000_000}

    async def slow(self) -> object:
        """An answer once it may be given."""
        await self.may_answer.wait()
        return "slow"

    async def broken(self) -> object:
        """No answer."""
        raise RuntimeError("secret-xyz")


@asynccontextmanager
async def ends() -> AsyncIterator[tuple[AskingEnd, AnsweringEnd, asyncio.StreamWriter]]:
    """Both ends, and what closes the answering one."""
    here, there = socket.socketpair()
    asking = await AskingEnd.open(here)
    reader, writer = await asyncio.open_unix_connection(sock=there)
    yield asking, AnsweringEnd(reader, writer), writer
    await asking.close()
    writer.close()


@asynccontextmanager
async def talking(served: Served) -> AsyncIterator[tuple[AskingEnd, asyncio.StreamWriter]]:
    """An asking end whose other end has started and answers."""
    async with ends() as (asking, answering, writer):
        await answering.tell_started()
        await asking.started()
        answers = asyncio.create_task(answering.answer({"quick": served.quick, "slow": served.slow, "broken": served.broken}))
        yield asking, writer
        served.may_answer.set()
        await asking.close()
        async with asyncio.timeout(DEADLINE):
            await answers


async def test_question_and_answer() -> None:
    """An answer is what was said, however long; a quick one does not wait for a slow one."""
    served = Served()
    async with talking(served) as (asking, _):
        slow = asyncio.create_task(asking.ask("slow", DEADLINE))
        assert await served.quick() == await asking.ask("quick", DEADLINE)
        served.may_answer.set()
        assert "slow" == await slow


async def test_late_answer() -> None:
    """A question that is not answered in time is given up; its answer, when it comes, is nobody else's."""
    served = Served()
    async with talking(served) as (asking, _):
        with pytest.raises(Unavailable, match="does not answer"):
            await asking.ask("slow", 0.05)
        served.may_answer.set()
        assert await served.quick() == await asking.ask("quick", DEADLINE)


async def test_answer_that_fails() -> None:
    """An answer that fails, or a question that is not known, is logged where it is; the asker is told nothing, and may go on."""
    served = Served()
    async with talking(served) as (asking, _):
        with structlog.testing.capture_logs() as logs:
            for question in ("broken", "unheard of"):
                with pytest.raises(Unavailable) as caught:
                    await asking.ask(question, 0.05)
                assert "secret-xyz" not in str(caught.value)
        assert await served.quick() == await asking.ask("quick", DEADLINE)
    assert ["a question of the supervising process is not answered"] * 2 == [line["event"] for line in logs]


async def test_the_other_end_goes() -> None:
    """When the other end goes, questions that wait are given up at once, and so is every later one."""
    async with ends() as (asking, answering, writer):
        await answering.tell_started()
        await asking.started()
        waiting = asyncio.create_task(asking.ask("slow", 10 * DEADLINE))
        await asyncio.sleep(0)
        writer.close()
        async with asyncio.timeout(DEADLINE):
            for question in (waiting, asking.ask("slow", 10 * DEADLINE)):
                with pytest.raises(Unavailable):
                    await question


async def test_refusal() -> None:
    """Why it cannot start is a configuration error with its words."""
    async with ends() as (asking, answering, _):
        await answering.tell_refused("no key")
        with pytest.raises(ConfigurationError, match=r"^no key$"):
            await asking.started()


async def test_an_end_without_a_word() -> None:
    """An end that goes before it has said anything is not taken for one that has started."""
    async with ends() as (asking, _, writer):
        writer.close()
        with pytest.raises(Unavailable):
            await asking.started()
