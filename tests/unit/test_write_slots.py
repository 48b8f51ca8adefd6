"""Turns of large answers: how many are held at a time, and for how long anybody waits."""

import asyncio

import pytest

from controlplane.endpoints.write_slots import WriteSlots, WriteTurns
from tests.fakes.eventually import eventually

SECONDS = 0.05


async def test_who_comes_first_is_served_first():
    """So many have a slot at a time; each that is given back goes to the one that has waited longest."""
    slots, order, held = WriteSlots(2, 60), [], []

    async def take(number):
        held.append(await slots.take())
        order.append(number)

    async with asyncio.TaskGroup() as tasks:
        for number in range(4):
            tasks.create_task(take(number))
        await eventually(lambda: len(order) == 2)
        held.pop(0).give_back()
        await eventually(lambda: len(order) == 3)
        held.pop(0).give_back()
    assert [0, 1, 2, 3] == order
    for slot in held:
        slot.give_back()
    assert 2 == slots._free


async def test_a_slot_lapses():
    """Whoever keeps it too long learns that, the next one has it by then, and to give it back changes nothing."""
    slots = WriteSlots(1, SECONDS)
    first = await slots.take()
    second = await asyncio.wait_for(slots.take(), 5)
    assert (True, False) == (first.lapsed, second.lapsed)
    first.give_back()
    assert 0 == slots._free
    second.give_back()
    assert (False, 1) == (second.lapsed, slots._free)
    await asyncio.sleep(2 * SECONDS)
    assert (False, 1) == (second.lapsed, slots._free)


@pytest.mark.parametrize("had_its_turn", [False, True])
async def test_who_goes_away_takes_no_slot_along(had_its_turn):
    """One that is cancelled while it waits, or in the moment of its turn."""
    slots = WriteSlots(1, 60)
    first = await slots.take()
    waiting = asyncio.create_task(slots.take())
    await asyncio.sleep(0)
    if had_its_turn:
        first.give_back()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    if not had_its_turn:
        first.give_back()
    assert 1 == slots._free
    assert not (await slots.take()).lapsed


async def test_slow_clients_have_slots_of_their_own():
    """Those that read need not wait for them, nor the other way round."""
    turns = WriteTurns(1, 1, 60)
    slow, usual = await turns.of(slow=True).take(), await turns.of(slow=False).take()
    waiting = asyncio.create_task(turns.of(slow=True).take())
    usual.give_back()
    await asyncio.sleep(0)
    assert not waiting.done()
    slow.give_back()
    await asyncio.wait_for(waiting, 5)
