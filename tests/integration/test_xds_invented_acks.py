"""ACKs of answers that were never sent or not read, and answers that no client acknowledges: the reader goes on reading."""

from collections.abc import AsyncIterator

import pytest

from tests.fakes.eventually import eventually
from tests.fakes.secret_streams import Served, names_held, sample, serving
from tests.integration.test_sds_flow_control import put_large, unread

NAMES = [f"n{number}.example" for number in range(40)]
OWN = [f"own{number}.example" for number in range(10)]


@pytest.fixture
async def known() -> AsyncIterator[Served]:
    """A server that can answer for large secrets without asking its store."""
    async with serving() as served:
        await put_large(served, *NAMES)
        other = served.delta_ads()
        await other.delta(*NAMES)
        await other.read()
        yield served


@pytest.mark.parametrize("nonces", [("17",), ("1", "1", "1"), ("of an earlier stream",)])
async def test_only_answers_that_were_sent_count_as_accepted(nonces: tuple[str, ...]) -> None:
    """The count of accepted answers is that of answers, whatever nonces a client makes up or repeats."""
    async with serving() as served:
        acks = sample("certplane_xds_acks_total", "delta_ads")
        stream = served.delta_ads()
        await stream.delta("a.example")
        answer = await stream.read()
        for nonce in nonces:
            await stream.delta(response_nonce=nonce)
        await stream.delta("b.example", response_nonce=answer.nonce)
        await stream.read()
        assert acks + 1 == sample("certplane_xds_acks_total", "delta_ads")


@pytest.mark.parametrize("invented", [0, 100])
async def test_who_acknowledges_what_it_has_not_read_is_heard_all_the_same(known: Served, invented: int) -> None:
    """A client that invents ACKs and does not read is heard: names that it asks for later are held while an answer waits for it."""
    held = names_held()
    async with unread(known) as stream:
        for number in range(invented):
            await stream.delta(response_nonce=f"invented {number}")
        for name in NAMES[:20]:
            await stream.delta(name)
        await stream.delta(*OWN)
        await eventually(lambda: names_held() == held + len(OWN), 5)
        stream.call.cancel()


async def test_a_first_answer_that_is_not_read_keeps_nobody_from_reading(known: Served) -> None:
    """A client that is answered at once with more than its window takes is heard while it does not read."""
    held = names_held()
    async with unread(known) as stream:
        await stream.delta(*NAMES[:8])
        await stream.delta(*OWN)
        await eventually(lambda: names_held() == held + len(OWN), 5)
        stream.call.cancel()
