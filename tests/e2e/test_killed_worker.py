"""A worker that is killed in the middle of its work leaves nothing undone and wastes no order."""

import asyncio
from pathlib import Path

from controlplane.adapters import redis_keys as keys
from controlplane.adapters.key_files import load_key_directory
from controlplane.adapters.record_codec import decode_order
from controlplane.adapters.redis_client import connect
from controlplane.core.order import Phase
from tests.e2e.installation import Installation, installation

MANY = 20


async def unanswered_orders(made: Installation, names: list[str]) -> tuple[int, int]:
    """How many stored orders have no URL yet (their newOrder may have been lost), and how many are under way in all."""
    client = connect(made.valkey.url)
    authenticator = load_key_directory(made.worker_keys).authenticator()
    phases = []
    for name in names:
        data = await client.hget(keys.domain(name), "order")
        if data is not None:
            phases.append(decode_order(authenticator.unwrap("order", name, data)).phase)
    await client.aclose()
    return phases.count(Phase.PREPARED), len(phases)


async def test_killed_worker_is_succeeded_without_wasted_orders(tmp_path: Path) -> None:
    """Kill -9 amid twenty issuances: the next worker finishes all; Pebble saw no order more than those whose answer was lost."""
    async with installation(tmp_path) as made:
        names = [f"shop{index}.example.com" for index in range(MANY)]
        await asyncio.gather(*(made.create(name) for name in names))
        async with asyncio.timeout(60):
            while True:
                lost, underway = await unanswered_orders(made, names)
                if underway - lost >= 3:
                    break
                await asyncio.sleep(0.001)
        await made.worker.kill()
        lost, underway = await unanswered_orders(made, names)
        assert underway > 0
        await made.start_worker()
        # The dead worker's leases must run out first.
        await made.wait_until_active(*names, seconds=150)
        assert MANY <= made.orders_at_pebble() <= MANY + lost
        for name in names:
            await made.fetch(name)
