"""Workers that are killed one after the other in the midst of their work leave nothing undone and waste no order."""

from pathlib import Path

from tests.e2e.killed_workers import installation_without_worker, issue_amid_kills

DOMAINS = 40


async def test_workers_are_killed_again_and_again(tmp_path: Path) -> None:
    """Kill -9 of a random one of three workers every second or so: all end ACTIVE, with hardly an order more than certificates."""
    names = [f"shop{number}.killed.example.com" for number in range(DOMAINS)]
    async with installation_without_worker(tmp_path) as (made, proxy):
        # As Let's Encrypt does: whoever was killed before it had the answer to newOrder leaves its order to its successor.
        proxy.authority.reuses_orders = True
        # Long enough to be killed in the midst of a request.
        proxy.latency = 0.02
        toll = await issue_amid_kills(made, proxy, names, workers=3, concurrency=4, pause=0.4, seconds=120, seed=1, most_kills=6)
        for name in names[:5]:
            await made.fetch(name)
    assert 3 <= toll.kills
    assert 1.02 >= toll.ratio, toll
    assert DOMAINS <= toll.finalized <= toll.orders
