"""What the parts of one first touch cost the control plane: the code of `serve`, called name by name in a process that does nothing else.

A program: takes a `Work` as JSON, prints CPU seconds a name of each part as a line of JSON. What `serve` needs beyond these is gRPC, the
xDS protocol and its event loop. Names come at the pace of handshakes that follow one another: code that runs every few milliseconds finds
the processor's caches cold, and takes twice what it takes in a loop.
"""

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import uvloop

from controlplane.adapters.key_files import load_key_directory
from controlplane.adapters.redis_certificates import RedisCertificateStore
from controlplane.adapters.redis_client import connect
from controlplane.core.certificate import ServableCertificate, leaf_seal_context
from controlplane.usecases.tls_material import certificate_chain_pem, private_key_pem

PACE_SECONDS = 0.003
"""About what a full handshake through an Envoy takes, client included."""

_WARM_UP = 20


@dataclass(frozen=True, slots=True)
class Work:
    """Where the store is, the keys of `serve`, and the names."""

    redis_url: str
    serve_keys: str
    names: Sequence[str]


async def parts(work: Work) -> dict[str, float]:
    """Returns CPU seconds a name: `look up` (read, authenticate and decode its record), `open` (its leaf key), `make` (PEM of both)."""
    keys = load_key_directory(Path(work.serve_keys))
    client, opener = connect(work.redis_url), keys.opener()
    store = RedisCertificateStore(client, keys.authenticator())
    for name in work.names[:_WARM_UP]:
        await store.servable([name])
    looked_up = opened = made = 0.0
    for name in work.names:
        await asyncio.sleep(PACE_SECONDS)
        begun = time.process_time()
        record = (await store.servable([name]))[name]
        if not isinstance(record, ServableCertificate):
            raise TypeError(f"{name} is not in the store")
        after_lookup = time.process_time()
        leaf_key = opener.open(record.sealed_leaf_key, leaf_seal_context(record.spki_digest, record.names))
        after_open = time.process_time()
        certificate_chain_pem(record)
        private_key_pem(record, leaf_key)
        looked_up += after_lookup - begun
        opened += after_open - after_lookup
        made += time.process_time() - after_open
    await client.aclose()
    count = len(work.names)
    return {"look up": looked_up / count, "open": opened / count, "make": made / count}


def main() -> None:
    """Runs it from the command line."""
    uvloop.install()
    print(json.dumps(asyncio.run(parts(Work(**json.loads(sys.argv[1]))))))


if __name__ == "__main__":
    main()
