"""Health (grpc.health.v1) and reflection of a server, for load balancers, `grpcurl` and `buf curl`."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

from controlplane.endpoints.readiness import Readiness

POLL_SECONDS: Final = 2.0


class HealthFollower:
    """Keeps the health service's answer at what readiness says. Every service of the server has the same status."""

    def __init__(self, servicer: health.aio.HealthServicer, services: Sequence[str], readiness: Readiness) -> None:
        self._servicer = servicer
        self._services = ("", *services)
        self._readiness = readiness

    async def refresh(self) -> None:
        """Runs the checks once and sets the status."""
        failing = await self._readiness.failing()
        status = health_pb2.HealthCheckResponse.NOT_SERVING if failing else health_pb2.HealthCheckResponse.SERVING
        for service in self._services:
            await self._servicer.set(service, status)

    async def run(self, interval: float = POLL_SECONDS) -> None:
        """Refreshes every `interval` seconds until it is cancelled."""
        while True:
            await self.refresh()
            await asyncio.sleep(interval)

    async def drain(self) -> None:
        """Says NOT_SERVING from now on, whatever readiness says: the first step of stopping."""
        await self._servicer.enter_graceful_shutdown()


def add_health_and_reflection(server: grpc.aio.Server, services: Sequence[str], readiness: Readiness) -> HealthFollower:
    """Adds both to a server that is not started.

    Args:
        server: the server.
        services: full names of its services, such as `certplane.v1.DomainService`.
        readiness: what the health status follows; it is NOT_SERVING until the first `refresh`.

    Returns:
        The follower: run it in a task beside the server.
    """
    servicer = health.aio.HealthServicer()
    follower = HealthFollower(servicer, services, readiness)
    # The servicer of the package starts as SERVING.
    servicer._server_status.update(dict.fromkeys(("", *services), health_pb2.HealthCheckResponse.NOT_SERVING))  # noqa: SLF001
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    listed = (*services, health.SERVICE_NAME, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(listed, server)
    server.add_generic_rpc_handlers((_reflection_v1(listed),))
    return follower


def _reflection_v1(listed: Sequence[str]) -> grpc.GenericRpcHandler:
    """Returns reflection under its newer name. `grpc.reflection.v1` has the messages of v1alpha; the package has no code for it."""
    servicer: Any = reflection.aio.ReflectionServicer(listed)
    method = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    return grpc.method_handlers_generic_handler("grpc.reflection.v1.ServerReflection", {"ServerReflectionInfo": method})
