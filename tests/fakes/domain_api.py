"""The management API as a running server on a free loopback port, over the in-memory store."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from controlplane.api.certplane.v1 import domain_service_pb2_grpc
from controlplane.core.ports import ChangeFeed, DomainStore
from controlplane.endpoints.domain_service import add_domain_service
from controlplane.endpoints.grpc_server import TlsFiles, build_server
from controlplane.endpoints.health_reflection import HealthFollower, add_health_and_reflection
from controlplane.endpoints.readiness import Check, Readiness
from controlplane.usecases.domains import DomainService
from tests.fakes.domains import InMemoryDomains

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
DEADLINE = 10.0
"""Seconds after which a test gives up waiting."""


@dataclass(frozen=True, slots=True)
class RunningApi:
    """A started server and what is behind it."""

    address: str
    domains: InMemoryDomains
    health: HealthFollower
    stopping: asyncio.Event
    server: grpc.aio.Server


@asynccontextmanager
async def running_api(
    *,
    tls: TlsFiles | None = None,
    checks: Mapping[str, Check] | None = None,
    address: str = "127.0.0.1:0",
    behind: tuple[DomainStore, ChangeFeed] | None = None,
) -> AsyncIterator[RunningApi]:
    """Serves the API until the block ends, over `behind` or else in memory. The clock stands at `NOW`; uids are counted."""
    domains = InMemoryDomains()
    store, feed = behind or (domains, domains)
    counter = itertools.count(1)
    service = DomainService(store, feed, lambda: NOW, lambda: f"{next(counter):032x}"[::-1])
    listener = build_server(address, tls)
    stopping = asyncio.Event()
    name = add_domain_service(listener.server, service, stopping)
    health = add_health_and_reflection(listener.server, [name], Readiness(checks or {}))
    await listener.server.start()
    await health.refresh()
    try:
        yield RunningApi(listener.address, domains, health, stopping, listener.server)
    finally:
        await listener.server.stop(None)


@asynccontextmanager
async def connected(address: str) -> AsyncIterator[Any]:
    """Gives a stub of DomainService on a plain-text connection."""
    async with grpc.aio.insecure_channel(address) as channel:
        yield domain_service_pb2_grpc.DomainServiceStub(channel)


async def failure_of(call: Any) -> grpc.aio.AioRpcError:
    """Returns the error that a call ends with; fails when it ends well."""
    try:
        answer = await call
    except grpc.aio.AioRpcError as error:
        return error
    raise AssertionError(f"the call ended well: {answer}")


def rich_status(error: grpc.aio.AioRpcError) -> status_pb2.Status:
    """Returns the google.rpc.Status in the trailers; fails when there is none."""
    status = rpc_status.from_call(error)
    assert status is not None, f"no google.rpc.Status beside {error.code()}: {error.details()}"
    return status


def detail(error: grpc.aio.AioRpcError, kind: type[Message]) -> Any:
    """Returns the detail of a type; fails when there is none."""
    for packed in rich_status(error).details:
        message = kind()
        if packed.Unpack(message):
            return message
    raise AssertionError(f"no {kind.__name__} in {rich_status(error)}")


def violations(error: grpc.aio.AioRpcError) -> dict[str, str]:
    """Returns the field violations: description by field."""
    return {v.field: v.description for v in detail(error, error_details_pb2.BadRequest).field_violations}
