"""The bare loop: a grpc.aio server that only joins ready bytes, the limit for everything that answers with grpc.aio from one process.

Run as a process of its own: `python -m bench.load.bare_server RECORDING`. RECORDING holds answers as a client of Certplane received them.
Every stream is given the same answers, each joined from its ready `resources` fields, a type URL and a nonce. Requests are read, and
nothing is decoded. `/bench.Echo/Echo` is the same for unary calls. Prints `ready ADDRESS`.
"""

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import grpc
import grpc.aio
import uvloop

from bench.load.wire import answer_tail, recorded_fields

ECHO = "/bench.Echo/Echo"
_Context = grpc.aio.ServicerContext[bytes, bytes]


async def serve(answers: Sequence[Sequence[bytes]]) -> None:
    """Serves until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)

    async def stream(requests: AsyncIterator[bytes], context: _Context) -> None:
        read = context.read
        await read()
        reader = asyncio.ensure_future(_drain(requests))
        try:
            for number, fields in enumerate(answers, 1):
                await context.write(b"".join((*fields, answer_tail(b"%d" % number))))
            await reader
        finally:
            reader.cancel()

    async def echo(data: bytes, _context: _Context) -> bytes:
        return data

    server = grpc.aio.server(options=[("grpc.so_reuseport", 0), ("grpc.max_concurrent_streams", 4096)])
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler(
                "envoy.service.discovery.v3.AggregatedDiscoveryService",
                {"DeltaAggregatedResources": grpc.stream_stream_rpc_method_handler(stream)},
            ),
            grpc.method_handlers_generic_handler("bench.Echo", {"Echo": grpc.unary_unary_rpc_method_handler(echo)}),
        )
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"ready 127.0.0.1:{port}", flush=True)
    await stop.wait()
    await server.stop(0)


async def _drain(requests: AsyncIterator[bytes]) -> None:
    with contextlib.suppress(grpc.aio.AioRpcError, asyncio.CancelledError):
        async for _ in requests:
            pass


def main() -> None:
    """Runs it from the command line."""
    (path,) = sys.argv[1:]
    uvloop.run(serve(recorded_fields(Path(path).read_bytes())))


if __name__ == "__main__":
    main()
