"""A year of many domains on a virtual clock: the issuer's real decisions against a CA that enforces Let's Encrypt's limits.

`make simulate` runs it with a million domains, for certificates of 90, 64 and 45 days, in as many processes as there are cores. Prints
Markdown tables; `bench/results/` gets them too, as `simulation.md`, and every number, as `simulation.json`. Exits with 1 when a promise
is missed.

What happens in the year is `bench/simulation/scenario.py`, who the domains are `population.py`, what the CA enforces `virtual_ca.py`, and
what is left out of an attempt, with the reasons, `attempts.py`.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from bench.machine import machine
from bench.simulation.report import Found, section, summarize
from bench.simulation.scenario import Scenario
from bench.simulation.world import World

_RESULTS = Path(__file__).parent / "results"


def simulate(scenario: Scenario) -> Found:
    """Runs one year."""
    begin = time.monotonic()
    world = World(scenario)
    processor_seconds = world.run()
    return summarize(world, processor_seconds, time.monotonic() - begin)


def simulate_all(scenario: Scenario, lifetimes: Sequence[int], processes: int) -> list[Found]:
    """Runs the same year with each of the lifetimes, in days; the longest runs, those of the shortest lifetimes, begin first."""
    scenarios = {days: replace(scenario, lifetime=timedelta(days=days)) for days in sorted(lifetimes)}
    # A process for each run: the memory of one is not the next one's.
    with ProcessPoolExecutor(processes, max_tasks_per_child=1) as pool:
        running = {days: pool.submit(simulate, each) for days, each in scenarios.items()}
        return [running[days].result() for days in lifetimes]


def main() -> None:
    """Runs it from the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.simulate", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--domains", type=int, default=1_000_000, help="domains at the beginning (1,000,000)")
    parser.add_argument("--lifetime", type=int, nargs="+", default=[90, 64, 45], metavar="DAYS", help="of certificates (90 64 45)")
    parser.add_argument("--attempts-per-second", type=float, default=40.0, help="what all workers together can begin (40)")
    parser.add_argument("--seed", type=int, default=1, help="of everything that is drawn (1)")
    parser.add_argument(
        "--processes", type=int, default=os.cpu_count() or 1, help="runs at a time; a million domains take 3 GB (%(default)s)"
    )
    arguments = parser.parse_args()
    if arguments.domains < 1000 or min(arguments.lifetime) < 30 or max(arguments.lifetime) > 90:
        parser.error("at least 1,000 domains are needed, and lifetimes from 30 to 90 days")
    scenario = Scenario(arguments.domains, timedelta(days=90), seed=arguments.seed, attempts_per_second=arguments.attempts_per_second)
    described, begin = machine(), time.monotonic()
    found = section(simulate_all(scenario, arguments.lifetime, arguments.processes), scenario)
    took = f"All runs together took {(time.monotonic() - begin) / 60:.1f} minutes, in {arguments.processes} processes at a time."
    text = f"{described}\n\n{found.markdown()}\n{took}\n"
    print(text, flush=True)
    _RESULTS.mkdir(exist_ok=True)
    (_RESULTS / "simulation.md").write_text(text, encoding="utf-8")
    raw = {"machine": described, "took": took, "runs": found.raw}
    (_RESULTS / "simulation.json").write_text(json.dumps(raw, indent=1) + "\n", encoding="utf-8")
    missed = [promise.what for promise in found.promises if not promise.kept]
    if missed:
        sys.exit(f"missed: {', '.join(missed)}")


if __name__ == "__main__":
    main()
