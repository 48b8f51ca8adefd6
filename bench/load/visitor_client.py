"""Visitors of known names, a process of its own: full, verified TLS handshakes, so many a second whatever else happens.

`python -m bench.load.visitor_client '{"port": …}'` (see `Work`) prints one line of JSON (see `Outcome`).
"""

import json
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.peers.client import Client

_THREADS = 16


@dataclass(frozen=True, slots=True)
class Work:
    """What to do: `rate` handshakes a second for `seconds` at a port of 127.0.0.1, with the names in `names_file` (one a line) in turn."""

    port: int
    roots: str
    names_file: str
    rate: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """`latencies` in seconds from when a handshake was due until it was verified; `failed` ones have none."""

    latencies: list[float]
    failed: int


def run(work: Work) -> Outcome:
    """Does the work."""
    names = Path(work.names_file).read_text().split()
    latencies: list[float] = []
    failed: list[str] = []
    begun = time.perf_counter()
    visits = iter(range(int(work.rate * work.seconds)))
    turn = threading.Lock()

    def visit() -> None:
        client = Client(work.roots)
        while True:
            with turn:
                number = next(visits, None)
            if number is None:
                return
            due = begun + number / work.rate
            time.sleep(max(0.0, due - time.perf_counter()))
            name = names[number % len(names)]
            if client.touch(work.port, [name])["failed"]:
                failed.append(name)
            else:
                latencies.append(time.perf_counter() - due)

    threads = [threading.Thread(target=visit) for _ in range(_THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Outcome(latencies, len(failed))


def main() -> None:
    """Runs it from the command line."""
    print(json.dumps(asdict(run(Work(**json.loads(sys.argv[1]))))))


if __name__ == "__main__":
    main()
