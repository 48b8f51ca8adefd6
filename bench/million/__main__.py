"""`make bench-million`: fills a store with a million domains, once, and measures start and handshakes with it.

Prints Markdown tables; `bench/results/` gets them too, as `million.md`, and every single measurement, as `million.json`. Exits with 1 when
a promise is missed. The store is kept as a dump, for the next run.
"""

import argparse
import asyncio
import json
import logging
import sys
from pathlib import Path

import structlog

from bench.machine import machine
from bench.million.dump import default_directory
from bench.million.filling import MOST_DOMAINS
from bench.million.measuring import measure
from bench.million.section import NAMES, plan, section
from bench.section import Options

_RESULTS = Path(__file__).parents[1] / "results"


def main() -> None:
    """Runs it from the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.million", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--names", type=int, help=f"domains in the large store ({NAMES:,}; with --quick 20,000)")
    parser.add_argument("--dump", type=Path, default=default_directory(), metavar="DIR", help="where filled stores are kept (%(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="how often everything is started anew and touched (3)")
    parser.add_argument("--quick", action="store_true", help="once and with little, to see that everything works; the numbers mean nothing")
    arguments = parser.parse_args()
    if arguments.names is not None and not 3000 <= arguments.names <= MOST_DOMAINS:
        parser.error(f"--names is from 3,000 to {MOST_DOMAINS:,}")
    # Standard output is for the tables.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    described = machine()
    options = Options(quick=arguments.quick, repeats=arguments.repeats)
    found = section(asyncio.run(measure(plan(options, arguments.names, arguments.dump.absolute()))))
    text = f"{described}\n\n{found.markdown()}"
    print(text, flush=True)
    _RESULTS.mkdir(exist_ok=True)
    (_RESULTS / "million.md").write_text(text, encoding="utf-8")
    (_RESULTS / "million.json").write_text(json.dumps({"machine": described, "raw": found.raw}) + "\n", encoding="utf-8")
    missed = [promise.what for promise in found.promises if not promise.kept]
    if missed:
        sys.exit(f"missed: {', '.join(missed)}")


if __name__ == "__main__":
    main()
