"""Answers to names that do not exist: the first at once, those that follow it together."""

import asyncio
import time

import pytest

from tests.fakes.secret_streams import ON_DEMAND, serving

APART = 0.4


@pytest.fixture(autouse=True)
def far_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """So far that a busy machine changes nothing."""
    monkeypatch.setattr("controlplane.endpoints.secret_stream._REFUSALS_APART_SECONDS", APART)


async def ask(stream, *names: str) -> None:
    """Asks for each name in a request of its own, as an Envoy does."""
    for name in names:
        await stream.delta(name)
        await asyncio.sleep(APART / 20)


async def test_names_that_do_not_exist_share_an_answer_when_many_come() -> None:
    """The first is answered at once; the next ones, with one that is repeated, in one answer a moment later; and then again at once."""
    async with serving() as served:
        stream = served.delta_ads()
        await stream.delta("first.example.com", node=ON_DEMAND)
        assert ["first.example.com"] == list((await stream.read()).removed_resources)
        refused = time.monotonic()
        await ask(stream, "a.example.com", "b.example.com", "first.example.com", "c.example.com")
        answer = await stream.read()
        assert {"a.example.com", "b.example.com", "c.example.com", "first.example.com"} == set(answer.removed_resources)
        assert time.monotonic() - refused >= APART * 0.9
        await asyncio.sleep(1.5 * APART)
        asked = time.monotonic()
        await ask(stream, "last.example.com")
        assert ["last.example.com"] == list((await stream.read()).removed_resources)
        assert time.monotonic() - asked < APART


async def test_a_name_that_exists_comes_with_them() -> None:
    """It waits for no longer than the names that do not exist, and puts nobody off after it."""
    async with serving() as served:
        await served.store.put("shop.example.com")
        stream = served.delta_ads()
        await stream.delta("first.example.com", node=ON_DEMAND)
        await stream.read()
        await ask(stream, "a.example.com", "shop.example.com", "b.example.com")
        answer = await stream.read()
        assert ["shop.example.com"] == [resource.name for resource in answer.resources]
        assert {"a.example.com", "b.example.com"} == set(answer.removed_resources)
        asked = time.monotonic()
        await ask(stream, "last.example.com")
        assert ["last.example.com"] == list((await stream.read()).removed_resources)
        assert time.monotonic() - asked < APART


async def test_a_stream_ends_while_answers_wait() -> None:
    """Nobody waits for them."""
    async with serving() as served:
        stream = served.delta_ads()
        await stream.delta("first.example.com", node=ON_DEMAND)
        await stream.read()
        await ask(stream, "a.example.com")
        begun = time.monotonic()
        await served.sds.close()
        assert time.monotonic() - begun < APART
