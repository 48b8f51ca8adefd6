"""The first benchmark: onboarding, handshakes and memory, each against a peer or a limit in the same run. `make bench-first` runs it.

Prints Markdown tables; `bench/results/` gets them too, as `first.md`, and every single duration, as `first.json`. Exits with 1 when
a limit is missed. Machines are shared and noisy, so what is compared takes turns, medians are compared, and limits are ratios.
"""

import argparse
import asyncio
import contextlib
import json
import logging
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

import structlog

from bench import handshakes, onboarding, report
from bench.bare_acme import bare_client
from bench.installation import installation
from bench.processes import peak_resident_bytes, resident_bytes

_RESULTS = Path(__file__).parent / "results"
_WARM_UP = 6


async def run(onboardings: int, domains: int) -> report.Results:
    """Measures everything once."""
    stored_names = [f"shop{index}.bench.example.net" for index in range(domains)]
    async with contextlib.AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="certplane-bench-")))
        made = await stack.enter_async_context(installation(directory, stored_names))
        bare = await stack.enter_async_context(bare_client(directory / "bare-pebble"))
        onboarded = await onboarding.measure(made, bare, onboardings, _WARM_UP)
        shaken = await asyncio.to_thread(handshakes.measure, made, stored_names)
        memory = {name: resident_bytes(pid) for name, pid in made.pids.items()}
        peaks = {name: peak_resident_bytes(pid) for name, pid in made.pids.items()}
        return report.Results(onboarded, shaken, domains, memory, peaks)


def main() -> None:
    """Runs it from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--onboardings", type=int, default=60, help="counted ones, 30 at least for a result that means something")
    parser.add_argument("--domains", type=int, default=1000, help="domains in the store")
    arguments = parser.parse_args()
    # Standard output is for the tables.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    begun = time.monotonic()
    results = asyncio.run(run(arguments.onboardings, arguments.domains))
    tables = results.markdown()
    print(tables)
    print(f"{os.cpu_count()} cores, Python {platform.python_version()}; took {time.monotonic() - begun:.0f} s", flush=True)
    _RESULTS.mkdir(exist_ok=True)
    (_RESULTS / "first.md").write_text(tables, encoding="utf-8")
    (_RESULTS / "first.json").write_text(json.dumps(results.as_json(), indent=2) + "\n", encoding="utf-8")
    missed = [limit.what for limit in results.limits() if not limit.kept]
    if missed:
        sys.exit(f"missed: {', '.join(missed)}")


if __name__ == "__main__":
    main()
