"""The benchmark: our path, its limits and its peers, in one run on one machine. `make bench` runs it.

Prints Markdown tables, each section when it is done; `bench/results/` gets them too, as `bench.md`, and every single measurement, as
`bench.json`. Exits with 1 when a promise is missed or a section fails. Machines are shared and noisy, so what is compared takes turns,
medians are compared, and promises are ratios.
"""

import argparse
import json
import logging
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import structlog

from bench.machine import machine
from bench.section import Options, Section
from bench.sections import SECTIONS, measure

_RESULTS = Path(__file__).parent / "results"


def run(names: Sequence[str], options: Options) -> tuple[dict[str, Section], dict[str, str]]:
    """Measures the sections and prints each; returns them, and why the others failed."""
    done: dict[str, Section] = {}
    failed: dict[str, str] = {}
    for name in names:
        begun = time.monotonic()
        try:
            done[name] = measure(name, options)
        except Exception as error:
            traceback.print_exc()
            failed[name] = f"{type(error).__name__}: {error}"
            continue
        print(done[name].markdown(), flush=True)
        print(f"{name} took {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
    return done, failed


def as_json(described: str, options: Options, done: dict[str, Section], failed: dict[str, str]) -> dict[str, Any]:
    """Returns everything, durations in seconds and memory in bytes."""
    return {
        "machine": described,
        "quick": options.quick,
        "repeats": options.repeats,
        "domains": options.domains,
        "failed": failed,
        "sections": {
            name: {
                "promises": [
                    {"what": each.what, "value": each.value, "bound": each.bound, "at_least": each.at_least, "kept": each.kept}
                    for each in section.promises
                ],
                "raw": section.raw,
            }
            for name, section in done.items()
        },
    }


def main() -> None:
    """Runs it from the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.run", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", nargs="+", choices=list(SECTIONS), metavar="SECTION", help=f"of {', '.join(SECTIONS)}; by default all")
    parser.add_argument("--quick", action="store_true", help="once and with little, to see that everything works; the numbers mean nothing")
    parser.add_argument("--repeats", type=int, default=3, help="how often what is compared takes turns (3)")
    parser.add_argument("--domains", type=int, default=3000, help="domains, where a section does not need a number of its own (3,000)")
    arguments = parser.parse_args()
    if arguments.repeats < 1 or not 100 <= arguments.domains <= 10_000:
        parser.error("at least 1 repeat and 100 to 10,000 domains are needed")
    # Standard output is for the tables.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    options = Options(quick=arguments.quick, repeats=1 if arguments.quick else arguments.repeats, domains=arguments.domains)
    described = machine()
    print(f"{described}\n", flush=True)
    done, failed = run(arguments.only or list(SECTIONS), options)
    _RESULTS.mkdir(exist_ok=True)
    text = "\n".join([f"{described}\n", *(section.markdown() for section in done.values())])
    (_RESULTS / "bench.md").write_text(text, encoding="utf-8")
    (_RESULTS / "bench.json").write_text(json.dumps(as_json(described, options, done, failed), indent=1) + "\n", encoding="utf-8")
    missed = [f"{name}: {each.what}" for name, section in done.items() for each in section.promises if not each.kept]
    reasons = [f"missed: {', '.join(missed)}"] if missed else []
    reasons += [f"failed: {name} ({reason})" for name, reason in failed.items()]
    if reasons:
        sys.exit("\n".join(reasons))


if __name__ == "__main__":
    main()
