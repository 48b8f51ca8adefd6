"""Slots for open orders, shared by the lanes."""

import asyncio

import pytest

from controlplane.core.lane import Lane
from controlplane.usecases.order_slots import OrderSlots


async def settle() -> None:
    """Lets every task go on as far as it can."""
    for _ in range(20):
        await asyncio.sleep(0)


class Orders:
    """Orders that go on until they are told to end; `placed` tells which have a slot or had one, in order."""

    def __init__(self, slots: int) -> None:
        self.slots = OrderSlots(slots)
        self.placed: list[str] = []
        self.ends: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def place(self, name: str, lane: Lane) -> None:
        """Begins one."""
        self.ends[name] = asyncio.Event()
        self.tasks[name] = asyncio.create_task(self._order(name, lane))
        await settle()

    async def end(self, name: str) -> None:
        """Ends one."""
        self.ends[name].set()
        await settle()

    async def _order(self, name: str, lane: Lane) -> None:
        async with self.slots.taken(lane):
            self.placed.append(name)
            await self.ends[name].wait()


async def test_urgent_order_goes_before_those_that_waited_longer() -> None:
    """A slot that becomes free goes to the urgent one, then by weight; the sick come last."""
    orders = Orders(1)
    for name, lane in (("n1", Lane.NEW), ("s1", Lane.SICK), ("n2", Lane.NEW), ("r1", Lane.RENEWAL), ("u1", Lane.URGENT)):
        await orders.place(name, lane)
    for name in ("n1", "u1", "r1", "n2", "s1"):
        await orders.end(name)
    assert ["n1", "u1", "r1", "n2", "s1"] == orders.placed


async def test_sick_orders_are_a_quarter_at_most() -> None:
    """Slots stay free rather than go to more sick ones, and others get them at once."""
    orders = Orders(16)
    for number in range(20):
        await orders.place(f"s{number}", Lane.SICK)
    assert (4, 4) == (orders.slots.in_use(Lane.SICK), len(orders.placed))
    await orders.place("n1", Lane.NEW)
    assert "n1" == orders.placed[-1]
    await orders.end("s0")
    assert "s4" == orders.placed[-1]


async def test_slot_of_an_order_that_fails_is_given_back() -> None:
    """However the block ends, the next one has the slot."""
    slots = OrderSlots(1)
    for _ in range(3):
        with pytest.raises(RuntimeError, match="failed"):
            async with slots.taken(Lane.NEW):
                raise RuntimeError("failed")
    assert 0 == slots.in_use(Lane.NEW)


@pytest.mark.parametrize("granted_first", [False, True], ids=["while-waiting", "just-granted"])
async def test_waiting_order_that_is_cancelled_holds_nothing(granted_first: bool) -> None:
    """An attempt that ends while it waits, or in the moment in which it gets the slot, leaves the slot to the next."""
    orders = Orders(1)
    for name in ("n1", "n2", "n3"):
        await orders.place(name, Lane.NEW)
    if granted_first:
        # The task that has the slot gives it to n2, whose task is cancelled before it runs again.
        orders.ends["n1"].set()
        orders.tasks["n1"].add_done_callback(lambda _: orders.tasks["n2"].cancel())
        while not orders.tasks["n1"].done():
            await asyncio.sleep(0)
    orders.tasks["n2"].cancel()
    await settle()
    if not granted_first:
        await orders.end("n1")
    assert orders.tasks["n2"].cancelled()
    assert ["n1", "n3"] == orders.placed
    assert 1 == orders.slots.in_use(Lane.NEW)
