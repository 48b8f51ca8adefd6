"""What `serve` does with a record to have a secret ready, and nothing around it: no look-up before and nobody to send it to after.

`python -m bench.load.open_client '{"secrets": …}'` (see `Work`) prints one line of JSON (see `bench.load.hpke_client.Outcome`).
"""

import json
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench.load.hpke_client import Outcome
from bench.million.authority import LifelikeCa
from bench.million.filling import name_of
from bench.million.maker import Maker
from controlplane.adapters.key_files import load_key_directory
from controlplane.adapters.key_generation import KeyKind, generate_role_directories
from controlplane.endpoints.wire_codec import delta_field, serialise_tls_certificate
from controlplane.usecases.known_secrets import KnownSecret


@dataclass(frozen=True, slots=True)
class Work:
    """What to do: make so many secrets ready."""

    secrets: int


def run(work: Work) -> Outcome:
    """Does the work."""
    with tempfile.TemporaryDirectory(prefix="certplane-open-") as directory:
        serve_keys, worker_keys = Path(directory) / "serve", Path(directory) / "worker"
        generate_role_directories(serve_keys, worker_keys, KeyKind(), datetime.now(UTC))
        maker = Maker(LifelikeCa().leaf_template(name_of(0)), load_key_directory(worker_keys).sealer())
        opener = load_key_directory(serve_keys).opener()
    secrets = [KnownSecret(stored.record.fqdn, stored.record) for stored in maker.make(map(name_of, range(work.secrets)))]
    begun, cpu_begun = time.perf_counter(), time.process_time()
    for secret in secrets:
        if not secret.open(opener, serialise_tls_certificate):
            raise AssertionError(f"{secret} does not open")
        secret.field(delta_field, secret.spelling)
    return Outcome(work.secrets, time.perf_counter() - begun, time.process_time() - cpu_begun)


def main() -> None:
    """Runs it from the command line."""
    print(json.dumps(asdict(run(Work(**json.loads(sys.argv[1]))))))


if __name__ == "__main__":
    main()
