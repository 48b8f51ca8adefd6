"""Kill -9 of random workers while they issue: `python -m bench.killed_workers --domains 500`.

Three `certplane worker` processes, one Valkey, one Pebble behind a proxy that hands it one request at a time and counts. A worker that is
killed is started again at once; the domains that it had leased are taken over when the leases have run out. The proxy gives an open order
out again to whoever orders the same names, as Let's Encrypt does and Pebble does not.
"""

import argparse
import asyncio
import logging
import tempfile
from pathlib import Path

import structlog

from bench.machine import machine
from bench.tables import ratio, table
from tests.e2e.killed_workers import Toll, installation_without_worker, issue_amid_kills

WORKERS = 3
MOST_ORDERS = 1.02
"""Orders a certificate."""


def markdown(toll: Toll) -> str:
    """Returns a table with one row."""
    head = ("certificates", "orders", "ratio", "newOrder repeated", "never asked for again", "finalized", "kills", "in doubt then", "time")
    counts = (toll.repeated, toll.unfollowed, toll.finalized, toll.kills, toll.in_doubt)
    row = (
        *(f"{toll.certificates:,}", f"{toll.orders:,}", ratio(toll.ratio)),
        *(f"{number:,}" for number in counts),
        f"{toll.seconds:.0f} s",
    )
    return table(f"Kill -9 of a random one of {WORKERS} workers", head, [row])


async def measure(domains: int, concurrency: int, pause: float, latency: float, seed: int, *, reuse: bool) -> Toll:
    """Issues for so many domains; see `issue_amid_kills`, `FaultProxy.latency`, and `reuses_orders` of the CA."""
    names = [f"shop{number}.killed.example.com" for number in range(domains)]
    with tempfile.TemporaryDirectory(prefix="certplane-killed-") as directory:
        async with installation_without_worker(Path(directory)) as (made, proxy):
            proxy.latency, proxy.authority.reuses_orders = latency, reuse
            return await issue_amid_kills(
                made, proxy, names, workers=WORKERS, concurrency=concurrency, pause=pause, seconds=120 + domains, seed=seed
            )


def main() -> None:
    """Measures and prints; ends with 1 when more orders were placed than is right."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--domains", type=int, default=500)
    parser.add_argument("--concurrency", type=int, default=8, help="domains that each worker works on at a time")
    parser.add_argument("--pause", type=float, default=1.0, help="mean seconds between one kill and the next")
    parser.add_argument("--latency", type=float, default=0.05, help="seconds that a request is on its way to the CA, and as many back")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-order-reuse", action="store_true", help="a CA that makes a new order for names that have an open one")
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    before = machine()
    reuse = not arguments.no_order_reuse
    how = (arguments.concurrency, arguments.pause, arguments.latency, arguments.seed)
    toll = asyncio.run(measure(arguments.domains, *how, reuse=reuse))
    print(markdown(toll))
    print(f"{arguments.concurrency} domains at a time each, latency {arguments.latency:g} s each way, seed {arguments.seed}. {before}.")
    # Where orders are not given out again, those whose answer died with the worker that had asked are lost to everybody.
    lost = 0 if reuse else min(toll.unfollowed, toll.in_doubt)
    if toll.orders - lost > MOST_ORDERS * toll.certificates:
        raise SystemExit("more orders than are right")


if __name__ == "__main__":
    main()
