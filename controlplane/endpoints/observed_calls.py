"""What surrounds every call of every gRPC server here: errors are mapped, deadlines kept, calls logged and counted.

It never logs the content of a request or an answer. Methods that a server does not have are answered by gRPC itself
(UNIMPLEMENTED) and are not counted, so that the label sets stay bounded.

Handlers are wrapped where they are found. gRPC's own interceptors do the same in four coroutines a call, which a check of an HTTP
request, the smallest and most frequent call, pays for with a tenth of its time.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias, cast

import grpc
import grpc.aio
import structlog
from google.rpc.status_pb2 import Status
from prometheus_client import Gauge

from controlplane.core.admission import Admission
from controlplane.core.errors import InvalidArgument, PermissionDenied
from controlplane.endpoints.error_mapping import malformed_request_status, status_of, to_grpc_status
from controlplane.usecases.loop_counter import LoopCounter, LoopTally
from controlplane.usecases.loop_histogram import LoopHistogram

UNARY_DEADLINE: Final = 30.0
"""Seconds that a call with one answer may take when its caller sets no deadline, or a later one."""

REQUESTS: Final = LoopCounter("certplane_grpc_requests_total", "gRPC calls that ended, by method and status code.", ["method", "code"])
DURATION: Final = LoopHistogram(
    "certplane_grpc_request_duration_seconds",
    "Duration of gRPC calls with one answer.",
    ["method"],
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
STREAMS: Final = Gauge("certplane_grpc_open_streams", "gRPC calls with a stream of answers that are open now.", ["method"])

_CHECK: Final = "/envoy.service.auth."
"""Keeps a shorter time by itself, and is called so often that another timer would be felt."""

_QUIET_PREFIXES: Final = ("/grpc.health.", "/grpc.reflection.", _CHECK)

_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}

_log = structlog.get_logger(__name__)

# Generic in the stubs only.
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
_Behaviour: TypeAlias = Callable[[Any, Context], Any]


class ObservingServer(grpc.aio.Server):
    """A server all of whose handlers are wrapped; see the module.

    With an admission, every call is checked against the names on the peer's certificate first.
    """

    def __init__(self, server: grpc.aio.Server, admission: Admission | None = None) -> None:
        """Takes a server that has no handlers yet."""
        self._server = server
        self._handlers = _ObservedHandlers(admission)
        server.add_generic_rpc_handlers((self._handlers,))

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        """See `grpc.aio.Server`."""
        self._handlers.add(generic_rpc_handlers)

    def add_registered_method_handlers(self, service_name: str, method_handlers: Mapping[str, Handler]) -> None:
        """Does nothing: generated code adds the same handlers as generic ones, too."""

    def add_insecure_port(self, address: str) -> int:
        """See `grpc.aio.Server`."""
        return self._server.add_insecure_port(address)

    def add_secure_port(self, address: str, server_credentials: grpc.ServerCredentials) -> int:
        """See `grpc.aio.Server`."""
        return self._server.add_secure_port(address, server_credentials)

    async def start(self) -> None:
        """See `grpc.aio.Server`."""
        await self._server.start()

    async def stop(self, grace: float | None) -> None:
        """See `grpc.aio.Server`."""
        await self._server.stop(grace)

    async def wait_for_termination(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109 - the library's signature
        """See `grpc.aio.Server`."""
        return await self._server.wait_for_termination(timeout)


class _ObservedHandlers(grpc.GenericRpcHandler):
    """The handlers of all services, each wrapped when its first call comes."""

    def __init__(self, admission: Admission | None) -> None:
        self._handlers: list[grpc.GenericRpcHandler] = []
        self._admission = admission
        self._wrapped: dict[str, Handler] = {}
        """By method; only methods that there are."""

    def add(self, handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        """Adds handlers after those that are there."""
        self._handlers.extend(handlers)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "Handler | None":
        """Returns the wrapped handler of a method; None when there is none."""
        method = handler_call_details.method
        wrapped = self._wrapped.get(method)
        if wrapped is None:
            found = (handler for each in self._handlers if (handler := each.service(handler_call_details)) is not None)
            handler = next(found, None)
            if handler is None:
                return None
            wrapped = self._wrapped[method] = _wrapped(handler, method, self._admission)
        return wrapped


def _wrapped(handler: Handler, method: str, admission: Admission | None) -> Handler:
    parse = None if handler.request_streaming else handler.request_deserializer
    behaviour = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    call = _Call(method, cast("_Behaviour", behaviour), parse, admission, streams=handler.response_streaming)
    # A single request is parsed inside the call: left to gRPC, bytes that do not parse become UNKNOWN with the parser's own words.
    deserializer = handler.request_deserializer if handler.request_streaming else None
    make: Callable[..., Any] = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }[handler.request_streaming, handler.response_streaming]
    return cast("Handler", make(call.serve, deserializer, handler.response_serializer))


class _Call:
    """A handler with everything around it."""

    def __init__(
        self,
        method: str,
        behaviour: _Behaviour,
        parse: Callable[[bytes], Any] | None,
        admission: Admission | None,
        *,
        streams: bool,
    ) -> None:
        self._method = method
        self._behaviour = behaviour
        self._parse = parse
        self._admission = admission
        # Looked up once: it costs as much as a small call does otherwise.
        self._duration = None if streams else DURATION.labels(method)
        self._ended: dict[grpc.StatusCode, LoopTally] = {}
        self._quiet = method.startswith(_QUIET_PREFIXES)
        if streams:
            self._perform: _Behaviour = self._streaming
        else:
            self._perform = behaviour if method.startswith(_CHECK) else self._in_time

    async def serve(self, request: Any, context: Context) -> Any:
        """Runs the handler; returns its one answer, or None when it has written a stream of them."""
        start = time.perf_counter()
        code = grpc.StatusCode.OK
        try:
            self._admit(context)
            if self._parse is not None:
                request = await self._parsed(request, context)
            answer = await self._perform(request, context)
            code = _set_code(context)
            return answer
        except (Exception, asyncio.CancelledError) as error:
            code, status = self._failed(error, context)
            if status is None:
                raise
            await context.abort_with_status(to_grpc_status(status))
        finally:
            self._note(code, time.perf_counter() - start)

    async def _in_time(self, request: Any, context: Context) -> Any:
        """Runs a handler with one answer, within the caller's deadline and ours."""
        remaining = _time_remaining(context)
        async with asyncio.timeout(UNARY_DEADLINE if remaining is None else min(remaining, UNARY_DEADLINE)):
            return await self._behaviour(request, context)

    async def _streaming(self, request: Any, context: Context) -> None:
        """Runs a handler with a stream of answers, be it a generator or a coroutine that writes."""
        with STREAMS.labels(self._method).track_inprogress():
            answers: AsyncIterator[Any] | Awaitable[None] = self._behaviour(request, context)
            if isinstance(answers, AsyncIterator):
                async for answer in answers:
                    await context.write(answer)
            else:
                await answers

    async def _parsed(self, request: Any, context: Context) -> Any:
        try:
            return cast("Callable[[bytes], Any]", self._parse)(request)
        except Exception:
            await context.abort_with_status(to_grpc_status(malformed_request_status()))

    def _failed(self, error: Exception | asyncio.CancelledError, context: Context) -> tuple[grpc.StatusCode, Status | None]:
        """Returns how a call ended that raised `error`, and what to tell its caller, unless that is told or cannot be."""
        if isinstance(error, asyncio.CancelledError):
            remaining = _time_remaining(context)
            return grpc.StatusCode.CANCELLED if remaining is None or remaining > 0 else grpc.StatusCode.DEADLINE_EXCEEDED, None
        if isinstance(error, grpc.aio.AbortError):
            return _set_code(context), None
        if context.cancelled() or context.done():
            # The caller has gone and the failure is that of writing to it.
            return grpc.StatusCode.CANCELLED, None
        status = status_of(error, method=self._method)
        if isinstance(error, InvalidArgument):
            _log.info("request refused", method=self._method, fields=_field_names(error))
        return _CODES[status.code], status

    def _admit(self, context: Context) -> None:
        if self._admission is None:
            return
        names = context.auth_context().get("x509_subject_alternative_name", ())
        refusal = self._admission.refusal(name.decode(errors="replace") for name in names)
        if refusal:
            _log.warning("peer refused", method=self._method, reason=refusal)
            raise PermissionDenied(refusal)

    def _note(self, code: grpc.StatusCode, seconds: float) -> None:
        ended = self._ended.get(code)
        if ended is None:
            ended = self._ended[code] = REQUESTS.labels(self._method, code.name)
        ended.inc()
        if self._duration is not None:
            self._duration.observe(seconds)
        if not self._quiet:
            _log.info("call ended", method=self._method, code=code.name, milliseconds=round(seconds * 1000, 1))


def _field_names(error: InvalidArgument) -> list[str]:
    """Returns the fields that were wrong, without keys of maps: those are the caller's content."""
    return sorted({violation.field.partition("[")[0] for violation in error.violations})


def _time_remaining(context: Context) -> float | None:
    """Returns the seconds that the caller's deadline leaves; None when there is no deadline (which the stubs do not know)."""
    remaining: Any = context.time_remaining()
    return None if remaining is None else float(remaining)


def _set_code(context: Context) -> grpc.StatusCode:
    """Returns the status code that the handler set itself; OK when it set none."""
    code: Any = context.code()
    return code if isinstance(code, grpc.StatusCode) else _CODES.get(code, grpc.StatusCode.OK)
