"""What gRPC alone costs the control plane for one first touch: on a bare grpc.aio stream a request comes, ready bytes go, an ACK comes.

A program: takes a `Work` as JSON, prints CPU seconds a round as a line of JSON. The client is the same program as a process of its own; it
pauses between rounds as handshakes that come one at a time do, so that each round wakes the server up.
"""

import asyncio
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass

import grpc
import uvloop

from bench.peers.split import PACE_SECONDS
from controlplane.embedded.free_ports import free_ports

_METHOD = "/bench.Bare/Stream"
_REQUEST, _ACK = b"r" * 60, b"a" * 40
# As long as the answer with one P-256 secret.
_ANSWER = b"s" * 2600
_WARM_UP = 100
_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Work:
    """How many rounds are measured."""

    rounds: int


async def floor(work: Work) -> Mapping[str, float]:
    """Returns CPU seconds of the server for one round, as `gRPC`."""
    rounds, [port] = work.rounds, free_ports(1)
    # Before gRPC has threads, which a fork would have to stop.
    argv = (sys.executable, "-m", "bench.peers.stream_floor", "client", str(port), str(_WARM_UP + rounds))
    client = await asyncio.create_subprocess_exec(*argv)
    marks: list[float] = []

    async def answer(_: object, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        for number in range(_WARM_UP + rounds):
            if number == _WARM_UP:
                marks.append(time.process_time())
            await context.read()
            await context.write(_ANSWER)
            await context.read()
        marks.append(time.process_time())

    server = grpc.aio.server()
    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_stream_rpc_method_handler(answer)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Bare", {"Stream": handler}),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        async with asyncio.timeout(_SECONDS):
            status = await client.wait()
    finally:
        if client.returncode is None:
            client.kill()
        await server.stop(None)
    if status:
        raise AssertionError("the client failed; its message is on standard error")
    begun, ended = marks
    return {"gRPC": (ended - begun) / rounds}


async def ask(port: int, rounds: int) -> None:
    """Is the client."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call: grpc.aio.StreamStreamCall[bytes, bytes] = channel.stream_stream(_METHOD)(wait_for_ready=True)
        for _ in range(rounds):
            await call.write(_REQUEST)
            await call.read()
            await call.write(_ACK)
            await asyncio.sleep(PACE_SECONDS)
        await call.done_writing()
        await call.code()


def main() -> None:
    """Runs it from the command line."""
    uvloop.install()
    if sys.argv[1] == "client":
        asyncio.run(ask(int(sys.argv[2]), int(sys.argv[3])))
    else:
        print(json.dumps(asyncio.run(floor(Work(**json.loads(sys.argv[1]))))))


if __name__ == "__main__":
    main()
