"""Secrets over gRPC: the aggregated discovery service and the secret discovery service, both variants.

Handlers take and give raw bytes: requests are decoded tolerantly and answers are put together from shared parts (see `wire_codec`).
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Never

import grpc
import grpc.aio
import structlog

from controlplane.endpoints.secret_stream import DELTA_ADS, DELTA_SDS, NAMES_PER_STEP, SOTW_ADS, SOTW_SDS, RequestT, SecretStream, Variant
from controlplane.endpoints.wire_codec import decode_sotw_request, encode_sotw_response
from controlplane.usecases.known_secrets import Known
from controlplane.usecases.secrets import SecretDirectory
from controlplane.xds.messages import MAX_RESPONSE_RESOURCES, MalformedRequest, Response
from controlplane.xds.sotw import SotwSubscription
from controlplane.xds.subscription import Claim
from controlplane.xds.type_urls import SECRET

_log = structlog.get_logger(__name__)

_Context = grpc.aio.ServicerContext[bytes, bytes]
_Stream = Callable[[AsyncIterator[bytes], _Context], Awaitable[None]]


MAX_SECRETS_PER_STREAM = 20_000
"""At about 37 kB of an Envoy's memory for each: 0.7 GB."""


class SdsServer:
    """The services that hand out secrets. Call `close` before the server is stopped."""

    def __init__(self, directory: SecretDirectory, *, max_secrets_per_stream: int = MAX_SECRETS_PER_STREAM) -> None:
        """Makes the services. A client of the incremental variant is given so many secrets at most; the longest unasked go first.

        Raises:
            ValueError: `max_secrets_per_stream` is less than one answer may bring.
        """
        if max_secrets_per_stream < MAX_RESPONSE_RESOURCES:
            raise ValueError(f"max_secrets_per_stream is less than {MAX_RESPONSE_RESOURCES}")
        self._directory = directory
        self._max_secrets = max_secrets_per_stream
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

    def _stream(self, variant: Variant[RequestT]) -> _Stream:
        async def serve(requests: AsyncIterator[bytes], context: _Context) -> None:
            if self._draining:
                await _abort(context, grpc.StatusCode.UNAVAILABLE, "this replica is stopping")
            stream = SecretStream(variant, self._directory, context.write, self._max_secrets)
            self._streams.add(stream)
            self._idle.clear()
            try:
                await stream.serve(requests)
            except MalformedRequest as error:
                await _abort(context, grpc.StatusCode.INVALID_ARGUMENT, str(error))
            finally:
                self._streams.discard(stream)
                if not self._streams:
                    self._idle.set()

        return serve

    async def _fetch(self, data: bytes, context: _Context) -> bytes:
        """Answers FetchSecrets with those of the names that exist."""
        try:
            request = decode_sotw_request(data)
        except MalformedRequest as error:
            await _abort(context, grpc.StatusCode.INVALID_ARGUMENT, str(error))
        subscription = SotwSubscription(SECRET)
        subscription.receive(request)
        claims: list[Claim] = []
        known: dict[str, Known] = {}
        while taken := subscription.take(NAMES_PER_STEP):
            claims += taken
            known |= await self._directory.resolve(claim.key for claim in taken)
        if any(claim.key not in known for claim in claims):
            await _abort(context, grpc.StatusCode.UNAVAILABLE, "the store does not answer")
        responses = list(subscription.answers(claims, known, self._directory.content))
        if len(responses) > 1:
            await _abort(context, grpc.StatusCode.RESOURCE_EXHAUSTED, "too many secrets for one answer: ask for fewer names")
        return encode_sotw_response(responses[0] if responses else Response(SECRET, "", ""))


async def _abort(context: _Context, code: grpc.StatusCode, detail: str) -> Never:
    await context.abort(code, detail)
    raise AssertionError("abort raises")
