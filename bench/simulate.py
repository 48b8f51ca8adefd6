"""A year of many domains on a virtual clock: the issuer's real decisions against a CA that enforces Let's Encrypt's limits.

`make simulate` runs it with a million domains, for certificates of 90, 64 and 45 days, each in a process of its own. Prints
Markdown tables; `bench/results/` gets them too, as `simulation.md`, and every number, as `simulation.json`. Exits with 1 when a promise
is missed.

What happens in the year is `bench/simulation/scenario.py`, who the domains are `population.py`, what the CA enforces `virtual_ca.py`, and
what is left out of an attempt, with the reasons, `attempts.py`.
"""

import argparse
import gc
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
    """Runs the same year with each of the lifetimes, in days, so many at a time.

    The shorter the lifetimes, the longer a run takes: those begin first. Where there are more runs than cores, the kernel shares the cores
    out, to each longer run a quarter more, which a step of niceness is. So they end at about the same time, and none has a core for itself
    while another core is idle.
    """
    scenarios = {days: replace(scenario, lifetime=timedelta(days=days)) for days in sorted(lifetimes)}
    # A process for each run: the memory of one is not the next one's.
    with ProcessPoolExecutor(processes, max_tasks_per_child=1) as pool:
        running = {days: pool.submit(_simulate_alone, each, nicer) for nicer, (days, each) in enumerate(scenarios.items())}
        return [running[days].result() for days in lifetimes]


def _simulate_alone(scenario: Scenario, nicer: int) -> Found:
    """Runs one year in a process that does nothing else."""
    os.nice(nicer)
    # There is hardly any garbage in cycles, and a million domains take long to look through.
    gc.disable()
    return simulate(scenario)


def main() -> None:
    """Runs it from the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.simulate", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--domains", type=int, default=1_000_000, help="domains at the beginning (1,000,000)")
    parser.add_argument("--lifetime", type=int, nargs="+", default=[90, 64, 45], metavar="DAYS", help="of certificates (90 64 45)")
    parser.add_argument("--attempts-per-second", type=float, default=40.0, help="what all workers together can begin (40)")
    parser.add_argument("--seed", type=int, default=1, help="of everything that is drawn (1)")
    parser.add_argument(
        "--processes", type=int, metavar="N", help="runs at a time, of which each takes 2 GB with a million domains (all of them)"
    )
    arguments = parser.parse_args()
    if arguments.domains < 1000 or min(arguments.lifetime) < 30 or max(arguments.lifetime) > 90:
        parser.error("at least 1,000 domains are needed, and lifetimes from 30 to 90 days")
    scenario = Scenario(arguments.domains, timedelta(days=90), seed=arguments.seed, attempts_per_second=arguments.attempts_per_second)
    described, begin = machine(), time.monotonic()
    processes = arguments.processes or len(arguments.lifetime)
    found = section(simulate_all(scenario, arguments.lifetime, processes), scenario)
    took = f"All runs together took {(time.monotonic() - begin) / 60:.1f} minutes, {processes} at a time."
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
