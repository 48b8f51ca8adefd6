"""Secrets over gRPC: the aggregated discovery service and the secret discovery service, both variants.

Handlers take and give raw bytes: requests are decoded tolerantly and answers are put together from shared parts (see `wire_codec`).
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import grpc
import grpc.aio
import structlog

from controlplane.core.access import AccessPolicy
from controlplane.endpoints.connection_streams import ConnectionStreams
from controlplane.endpoints.fetch_secrets import fetch_secrets
from controlplane.endpoints.grpc_calls import Context, end_stream, peer_identities
from controlplane.endpoints.secret_stream import ClientHeldUp, SecretStream
from controlplane.endpoints.stream_parts import Client, StreamServices
from controlplane.endpoints.stream_reports import FetchReports, ProcessReports, metrics_of
from controlplane.endpoints.stream_variants import DELTA_ADS, DELTA_SDS, SOTW_ADS, SOTW_SDS, RequestT, Variant
from controlplane.endpoints.write_deadline import WriteDeadline
from controlplane.usecases.nodes import NodeObserver
from controlplane.usecases.secrets import SecretDirectory
from controlplane.xds.messages import MalformedRequest
from controlplane.xds.subscription import Limits

_log = structlog.get_logger(__name__)

_Stream = Callable[[AsyncIterator[bytes], Context], Awaitable[None]]

WRITE_SECONDS = 30.0
"""How long a client may leave an answer unread."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


class SdsServer:
    """The services that hand out secrets. Call `close` before the server is stopped."""

    def __init__(
        self,
        directory: SecretDirectory,
        *,
        limits: Limits,
        access: AccessPolicy,
        nodes: NodeObserver | None = None,
        write_seconds: float = WRITE_SECONDS,
        now: Callable[[], datetime] = _utc_now,
    ) -> None:
        """Makes the services.

        Args:
            directory: what secrets there are.
            limits: what a client on whose behalf strangers ask is given at most. With plain SDS, where a client opens a stream for each
                secret, `max_resources` is the number of streams of a connection.
            access: who may have what.
            nodes: is told which clients are connected.
            write_seconds: a stream whose client leaves an answer unread for so long is ended with DEADLINE_EXCEEDED.
            now: returns the time, in UTC.
        """
        self._reports = ProcessReports()
        self._services = StreamServices(directory, limits, access, nodes, self._reports)
        self._fetch = fetch_secrets(directory, access, FetchReports(self._reports))
        self._connections = ConnectionStreams(limits.max_resources)
        self._deadline = WriteDeadline(write_seconds)
        self._write_seconds = write_seconds
        self._now = now
        self._streams: set[SecretStream[Any]] = set()
        self._draining = False
        self._idle = asyncio.Event()
        self._idle.set()

    def add_to(self, server: grpc.aio.Server) -> None:
        """Adds the services to a server that is not started yet."""
        handlers = (
            grpc.method_handlers_generic_handler(
                "envoy.service.discovery.v3.AggregatedDiscoveryService",
                {
                    "StreamAggregatedResources": grpc.stream_stream_rpc_method_handler(self._stream(SOTW_ADS)),
                    "DeltaAggregatedResources": grpc.stream_stream_rpc_method_handler(self._stream(DELTA_ADS)),
                },
            ),
            grpc.method_handlers_generic_handler(
                "envoy.service.secret.v3.SecretDiscoveryService",
                {
                    "StreamSecrets": grpc.stream_stream_rpc_method_handler(self._stream(SOTW_SDS)),
                    "DeltaSecrets": grpc.stream_stream_rpc_method_handler(self._stream(DELTA_SDS)),
                    "FetchSecrets": grpc.unary_unary_rpc_method_handler(self._fetch),
                },
            ),
        )
        server.add_generic_rpc_handlers(handlers)

    async def close(self, grace: float = 5.0) -> None:
        """Ends all streams politely and refuses new ones; returns when they are gone, or after `grace` seconds."""
        self._draining = True
        for stream in tuple(self._streams):
            stream.end()
        try:
            async with asyncio.timeout(grace):
                await self._idle.wait()
        except TimeoutError:
            _log.warning("streams did not end in time", streams=len(self._streams))
        self._reports.flush()

    def _stream(self, variant: Variant[RequestT]) -> _Stream:
        async def serve(_requests: AsyncIterator[bytes], context: Context) -> None:
            if not variant.many_streams:
                await self._serve(variant, context)
                return
            peer = context.peer()
            limit = self._connections.add(peer)
            if limit is not None:
                metrics_of(variant.label).excess.inc()
                self._reports.excess.add(1)
                fault = f"this connection has {limit} streams of secrets, which is the most: use ADS, where one stream brings all secrets"
                await end_stream(context, grpc.StatusCode.RESOURCE_EXHAUSTED, fault)
                return
            try:
                await self._serve(variant, context)
            finally:
                self._connections.remove(peer)

        return serve

    async def _serve(self, variant: Variant[RequestT], context: Context) -> None:
        # Sent with the first answer otherwise: when that is held up, no status could be sent any more.
        try:
            await context.send_initial_metadata(())
        except grpc.aio.InternalError:
            return  # the client has gone
        if self._draining:
            await end_stream(context, grpc.StatusCode.UNAVAILABLE, "this replica is stopping")
            return
        stream = SecretStream(variant, self._services, Client(context.read, context.write, peer_identities(context), self._now()))
        self._streams.add(stream)
        self._idle.clear()
        self._deadline.watch(stream)
        try:
            fault = await _served(stream, f"an answer was not read for {self._write_seconds:g} seconds")
        finally:
            self._deadline.forget(stream)
            self._streams.discard(stream)
            if not self._streams:
                self._idle.set()
        del stream
        if fault is not None:
            # Reaches a client that does not read once it reads on, after what it has not read yet. All else is freed by now.
            await end_stream(context, *fault)


async def _served(stream: SecretStream[Any], held_up: str) -> tuple[grpc.StatusCode, str] | None:
    """Serves a stream to its end; returns what is wrong with its client, if anything is."""
    try:
        await stream.serve()
    except MalformedRequest as error:
        return grpc.StatusCode.INVALID_ARGUMENT, str(error)
    except ClientHeldUp:
        return grpc.StatusCode.DEADLINE_EXCEEDED, held_up
    return None
