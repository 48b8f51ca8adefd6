"""Visitors of known names, a process of its own: full, verified TLS handshakes, so many a second whatever else happens.

Visitors sit at machines of their own, so what this one waits for a core is told apart from what they would notice.
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
_SCHEDSTAT = Path("/proc/thread-self/schedstat")


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
    """`latencies` in seconds, one for each handshake that did not fail, until it was verified.

    They count from when the client began, which is a little after the handshake was due: `late` is by how much. When all threads were busy
    with handshakes until then, that was for lack of an answer, and they count from when it was due. `waited` is how long of it
    the client's thread could have run but had no core.
    """

    latencies: list[float]
    late: list[float]
    waited: list[float]
    failed: int


def run(work: Work) -> Outcome:
    """Does the work."""
    names = Path(work.names_file).read_text().split()
    latencies: list[float] = []
    late: list[float] = []
    waited: list[float] = []
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
            since = due = begun + number / work.rate
            # Open loop: visitors come when they come, however long those before them wait.
            if (left := due - time.perf_counter()) > 0.0:
                time.sleep(left)
                since = time.perf_counter()
            waited_before = _waited_seconds()
            name = names[number % len(names)]
            if client.touch(work.port, [name])["failed"]:
                failed.append(name)
                continue
            latencies.append(time.perf_counter() - since)
            late.append(since - due)
            waited.append(_waited_seconds() - waited_before)

    threads = [threading.Thread(target=visit) for _ in range(_THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Outcome(latencies, late, waited, len(failed))


def _waited_seconds() -> float:
    """Returns how long this thread could have run but had no core (proc(5), `schedstat`)."""
    return int(_SCHEDSTAT.read_text().split()[1]) / 1e9


def main() -> None:
    """Runs it from the command line."""
    print(json.dumps(asdict(run(Work(**json.loads(sys.argv[1]))))))


if __name__ == "__main__":
    main()
