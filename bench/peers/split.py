"""What the parts of one first touch cost the control plane: the code of `serve`, called name by name in a process that does nothing else.

A program: takes a `Work` as JSON, prints CPU seconds a name of each part as a line of JSON. What `serve` needs beyond these is gRPC, the
xDS protocol and its event loop.
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
from controlplane.core.certificate import CertificateRecord, leaf_seal_context
from controlplane.usecases.tls_material import certificate_chain_pem, private_key_pem

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
    records: list[CertificateRecord] = []
    for name in work.names[:_WARM_UP]:
        await store.lookup([name])
    begun = time.process_time()
    for name in work.names:
        records += [found for found in (await store.lookup([name])).values() if isinstance(found, CertificateRecord)]
    looked_up = time.process_time()
    if len(records) != len(work.names):
        raise AssertionError("not all names are in the store")
    leaf_keys = [opener.open(each.sealed_leaf_key, leaf_seal_context(each.spki_digest, each.names)) for each in records]
    opened = time.process_time()
    for record, leaf_key in zip(records, leaf_keys, strict=True):
        certificate_chain_pem(record)
        private_key_pem(record, leaf_key)
    made = time.process_time()
    await client.aclose()
    count = len(work.names)
    return {"look up": (looked_up - begun) / count, "open": (opened - looked_up) / count, "make": (made - opened) / count}


def main() -> None:
    """Runs it from the command line."""
    uvloop.install()
    print(json.dumps(asyncio.run(parts(Work(**json.loads(sys.argv[1]))))))


if __name__ == "__main__":
    main()
