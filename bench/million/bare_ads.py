"""The least delta ADS server in grpc.aio that an Envoy on demand can use: every answer is ready, and is looked up in a dictionary.

`python -m bench.million.bare_ads REDIS_URL KEYS_DIR NAMES_FILE` reads the certificates of all names (one a line) from the store and opens
their keys before it prints `ready ADDRESS`. What it costs for a first touch is what gRPC, its event loop and this way of asking cost:
a subscription read, an answer written, an acknowledgement read.
"""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import uvloop
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2
from envoy.service.discovery.v3 import discovery_pb2

from bench.load.wire import SECRET, answer_tail
from controlplane.adapters.key_files import load_key_directory
from controlplane.adapters.redis_certificates import RedisCertificateStore
from controlplane.adapters.redis_client import connect
from controlplane.core.certificate import CertificateRecord
from controlplane.usecases.tls_material import certificate_chain_pem, private_key_pem

_Context = grpc.aio.ServicerContext[bytes, bytes]


async def serve(redis_url: str, keys_dir: Path, names: list[str]) -> None:
    """Serves until SIGTERM."""
    fields = await _ready_fields(redis_url, keys_dir, names)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)

    async def stream(requests: AsyncIterator[bytes], context: _Context) -> None:
        number = 0
        async for data in requests:
            asked = discovery_pb2.DeltaDiscoveryRequest.FromString(data).resource_names_subscribe
            if asked:
                number += 1
                await context.write(b"".join((*(fields[name] for name in asked), answer_tail(b"%d" % number))))

    server = grpc.aio.server()
    handler: Any = grpc.stream_stream_rpc_method_handler(stream)
    service = "envoy.service.discovery.v3.AggregatedDiscoveryService"
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"DeltaAggregatedResources": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"ready 127.0.0.1:{port}", flush=True)
    await stop.wait()
    await server.stop(0)


async def _ready_fields(redis_url: str, keys_dir: Path, names: list[str]) -> Mapping[str, bytes]:
    """Returns each name's serialised `resources` field."""
    keys, client = load_key_directory(keys_dir), connect(redis_url)
    found = await RedisCertificateStore(client, keys.authenticator()).lookup(names)
    await client.aclose()
    opener = keys.opener()
    fields = {}
    records = {name: record for name, record in found.items() if isinstance(record, CertificateRecord)}
    if len(records) != len(names):
        raise AssertionError("not all names have a certificate")
    for name, record in records.items():
        secret = secret_pb2.Secret(name=name)
        secret.tls_certificate.certificate_chain.inline_bytes = certificate_chain_pem(record)
        leaf_key = private_key_pem(record, opener.open(record.sealed_leaf_key, record.seal_context))
        secret.tls_certificate.private_key.inline_bytes = leaf_key.reveal()
        resource = discovery_pb2.Resource(name=name, version=record.version)
        resource.resource.type_url, resource.resource.value = SECRET, secret.SerializeToString()
        fields[name] = discovery_pb2.DeltaDiscoveryResponse(resources=[resource]).SerializeToString()
    return fields


def main() -> None:
    """Runs it from the command line."""
    redis_url, keys_dir, names = sys.argv[1:]
    uvloop.run(serve(redis_url, Path(keys_dir), Path(names).read_text().split()))


if __name__ == "__main__":
    main()
