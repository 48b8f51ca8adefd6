"""How many sealed leaf keys one process opens, and nothing else: the limit for whatever must open each secret that it sends.

`python -m bench.load.hpke_client '{"scheme": 1, …}'` (see `Work`) prints one line of JSON (see `Outcome`). The suite, the size of the leaf
key and the bound context are Certplane's; around `decrypt` there is only a loop.
"""

import json
import sys
import threading
import time
from dataclasses import asdict, dataclass

from controlplane.adapters.hpke_keys import generate, suite
from controlplane.adapters.leaf_key import make_leaf_key
from controlplane.core.certificate import leaf_seal_context
from controlplane.core.sealing import Scheme

_NAME = "shop1.bench.example.net"


@dataclass(frozen=True, slots=True)
class Work:
    """What to do: open `opens` times a thread, with `threads` threads. `scheme` is a value of `Scheme`."""

    scheme: int
    opens: int
    threads: int = 1


@dataclass(frozen=True, slots=True)
class Outcome:
    """All threads together."""

    opens: int
    seconds: float
    cpu_seconds: float


def run(work: Work) -> Outcome:
    """Does the work."""
    scheme, leaf_key = Scheme(work.scheme), make_leaf_key((_NAME,))
    hpke, private_key = suite(scheme), generate(scheme)
    info = leaf_seal_context(leaf_key.spki_digest, (_NAME,)).info()
    sealed = hpke.encrypt(leaf_key.private_key.reveal(), private_key.public.for_hpke, info=info)
    opened_by = private_key.for_hpke

    def open_all() -> None:
        for _ in range(work.opens):
            hpke.decrypt(sealed, opened_by, info=info)

    threads = [threading.Thread(target=open_all) for _ in range(work.threads)]
    begun, cpu_begun = time.perf_counter(), time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Outcome(work.opens * work.threads, time.perf_counter() - begun, time.process_time() - cpu_begun)


def main() -> None:
    """Runs it from the command line."""
    print(json.dumps(asdict(run(Work(**json.loads(sys.argv[1]))))))


if __name__ == "__main__":
    main()
