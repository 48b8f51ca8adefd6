"""How fast domains become ACTIVE beside what Pebble itself can do, and what hopeless names among them cost the good ones.

`python -m bench.issuance --domains 2000 --hopeless 200`. Everything is real and on this machine: `serve`, `worker`, Envoy, Valkey, Pebble.
The domains are created in one burst, first good ones only, then in a fresh installation with the hopeless ones among them. Before and
after that a bare client gets certificates from a Pebble of its own, with as many requests in flight as a worker has.

Prints Markdown; `bench/results/` gets it too, as `issuance.md`, and every single duration, as `issuance.json`.
"""

import argparse
import asyncio
import contextlib
import json
import logging
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import structlog

from bench.bare_acme import BareClient, bare_clients
from bench.hopeless import Hopelessness, hopeless_hosts, point_away
from bench.installation import PEBBLE_ENVIRONMENT
from bench.machine import machine
from bench.tables import percentile, ratio, table
from controlplane.adapters.acme_requests import MOST_IN_FLIGHT
from controlplane.api.certplane.v1 import domain_pb2, domain_service_pb2
from tests.e2e.installation import ACTIVE, Installation, installation

_RESULTS = Path(__file__).parent / "results"
_CREATED_AT_A_TIME = 32
_REQUESTS = "certplane_acme_requests_total"
# A name is not waited for longer than this at the rate of one a second, and a minute.
_SLOWEST = 1.0


@dataclass(slots=True)
class Run:
    """One burst: seconds from each good name's creation until it was ACTIVE, and the requests to the CA by endpoint."""

    good: int
    hopeless: int
    durations: list[float] = field(default_factory=list)
    seconds: float = 0.0
    requests: dict[str, float] = field(default_factory=dict)
    hopeless_states: dict[str, int] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """ACTIVE domains a second, from the first creation to the last good name."""
        return self.good / self.seconds

    @property
    def requests_each(self) -> float:
        """HTTP requests to the CA for each certificate, those for the hopeless names too."""
        return sum(self.requests.values()) / self.good


@dataclass(slots=True)
class Found:
    """Both bursts, and the bare client's certificates a second before and after them."""

    alone: Run
    among: Run
    bare: list[float]

    @property
    def bare_rate(self) -> float:
        """What Pebble can do, in certificates a second."""
        return sum(self.bare) / len(self.bare)

    def markdown(self) -> str:
        """Returns all tables."""
        head = ("", "good names", "hopeless", "ACTIVE a second", "share of bare Pebble", "p50 to ACTIVE", "p99 to ACTIVE", "requests each")
        rows = [
            (
                title,
                *(f"{run.good:,}", f"{run.hopeless:,}", f"{run.rate:.1f}", ratio(run.rate / self.bare_rate)),
                *(f"{percentile(run.durations, rank):.2f} s" for rank in (50, 99)),
                f"{run.requests_each:.2f}",
            )
            for title, run in (("good names only", self.alone), ("with hopeless names", self.among))
        ]
        bare = ("bare client", "", "", f"{self.bare_rate:.1f}", "1.00", "", "", "")
        endpoints = sorted(self.alone.requests.keys() | self.among.requests.keys())
        each = [
            (endpoint, *(f"{run.requests.get(endpoint, 0) / run.good:.2f}" for run in (self.alone, self.among))) for endpoint in endpoints
        ]
        slower = percentile(self.among.durations, 99) / percentile(self.alone.durations, 99)
        return "\n".join(
            [
                table("Issuance in a burst", head, [bare, *rows]),
                f"p99 of the good names with the hopeless ones among them, against without: {slower:.2f}.",
                f"The hopeless names at the end: {', '.join(f'{n} {state}' for state, n in sorted(self.among.hopeless_states.items()))}.",
                "",
                table("HTTP requests to the CA for a certificate", ("endpoint", "good names only", "with hopeless names"), each),
            ]
        )


async def bare_rate(directory: Path, count: int) -> float:
    """Returns how many certificates a second a bare client gets, with as many requests in flight as a worker has."""
    async with bare_clients(directory, MOST_IN_FLIGHT) as clients:
        names = iter([f"bare{number}.example.com" for number in range(count)])

        def work(client: BareClient) -> None:
            # Taking the next name is one operation of the interpreter.
            for name in names:
                client.order(name)

        begun = time.perf_counter()
        await asyncio.gather(*(asyncio.to_thread(work, client) for client in clients))
        return count / (time.perf_counter() - begun)


async def burst(directory: Path, good: int, hopeless: int) -> Run:
    """Onboards good and hopeless names in a fresh installation, mixed evenly, until every good one is ACTIVE."""
    run = Run(good, hopeless)
    quiet = ("--log-level=warning",)
    directory.mkdir()
    async with installation(directory, serve_options=quiet, worker_options=quiet) as made, hopeless_hosts(made.http_port):
        away = [f"hopeless{number}.example.com" for number in range(hopeless)]
        await point_away(made.pebble, away)
        names = _mixed([f"shop{number}.example.com" for number in range(good)], away)
        before = await _requests(made)
        await _onboard(made, names, set(away), run)
        after = await _requests(made)
        run.requests = {endpoint: after[endpoint] - before.get(endpoint, 0) for endpoint in after}
        for name in away:
            state = domain_pb2.Domain.State.Name((await made.get(name)).state).removeprefix("STATE_")
            run.hopeless_states[state] = run.hopeless_states.get(state, 0) + 1
    return run


async def _onboard(made: Installation, names: Sequence[str], hopeless: set[str], run: Run) -> None:
    created: dict[str, float] = {}
    missing = {f"domains/{name}" for name in names if name not in hopeless}
    watch = made.stub.WatchDomains(domain_service_pb2.WatchDomainsRequest())
    while not (await watch.read()).HasField("snapshot_complete"):
        pass

    async def create() -> None:
        for index in range(0, len(names), _CREATED_AT_A_TIME):
            part = names[index : index + _CREATED_AT_A_TIME]
            created.update({f"domains/{name}": time.perf_counter() for name in part})
            await asyncio.gather(*(made.create(name) for name in part))

    begun = time.perf_counter()
    try:
        async with asyncio.timeout(60 + len(names) / _SLOWEST), asyncio.TaskGroup() as group:
            group.create_task(create())
            while missing:
                domain = (await watch.read()).domain
                if domain.state == ACTIVE and domain.name in missing:
                    missing.discard(domain.name)
                    run.durations.append(time.perf_counter() - created[domain.name])
            run.seconds = time.perf_counter() - begun
    except TimeoutError:
        raise AssertionError(f"{len(missing)} of {run.good} good names are not ACTIVE, such as {min(missing)}") from None
    finally:
        watch.cancel()


def _mixed(good: Sequence[str], hopeless: Sequence[str]) -> list[str]:
    """Returns all names, the hopeless ones spread evenly; they come first where it is a tie."""
    placed = [((number + 0.5) / len(names), kind, name) for kind, names in ((0, hopeless), (1, good)) for number, name in enumerate(names)]
    return [name for _, _, name in sorted(placed)]


async def _requests(made: Installation) -> Mapping[str, float]:
    """Returns how many requests the worker has sent to the CA, by endpoint."""
    found: dict[str, float] = {}
    for sample, value in (await made.metrics(made.worker_metrics)).items():
        if sample.startswith(_REQUESTS + "{"):
            endpoint = sample.partition('endpoint="')[2].partition('"')[0]
            found[endpoint] = found.get(endpoint, 0) + value
    return found


async def measure(domains: int, hopeless: int, bare: int) -> Found:
    """Measures everything, the bare client on both sides of the rest."""
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="certplane-issuance-")))
        rates = [await bare_rate(directory / "bare-before", bare)]
        alone = await burst(directory / "alone", domains, 0)
        among = await burst(directory / "among", domains, hopeless)
        rates.append(await bare_rate(directory / "bare-after", bare))
    return Found(alone, among, rates)


def main() -> None:
    """Runs it from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--domains", type=int, default=2000, help="good names in each burst")
    parser.add_argument("--hopeless", type=int, default=200, help=f"names among them that point to {', '.join(Hopelessness)}")
    parser.add_argument(
        "--bare", type=int, default=0, metavar="N", help="certificates of the bare client, each time (a quarter of DOMAINS)"
    )
    arguments = parser.parse_args()
    # Standard output is for the tables.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    # As for the bare client, which would give up at the second refused nonce in a row: neither side meets any.
    os.environ |= PEBBLE_ENVIRONMENT
    described = machine()
    found = asyncio.run(measure(arguments.domains, arguments.hopeless, arguments.bare or max(arguments.domains // 4, MOST_IN_FLIGHT)))
    text = f"{described}\n\n{found.markdown()}"
    print(text, flush=True)
    alone, among = asdict(found.alone), asdict(found.among)
    results = {"machine": described, "bare": found.bare, "alone": alone, "among": among}
    elsewhere = {"durations": "in issuance.json"}
    print(json.dumps({**results, "alone": alone | elsewhere, "among": among | elsewhere}))
    _RESULTS.mkdir(exist_ok=True)
    (_RESULTS / "issuance.md").write_text(text, encoding="utf-8")
    (_RESULTS / "issuance.json").write_text(json.dumps(results) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
