"""The one interceptor of every gRPC server here: maps errors, keeps deadlines, logs and counts calls.

It never logs the content of a request or an answer. Methods that a server does not have are answered by gRPC itself
(UNIMPLEMENTED) and are not counted, so that the label sets stay bounded.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, TypeAlias, cast

import grpc
import structlog
from prometheus_client import Counter, Gauge, Histogram

from controlplane.core.admission import Admission
from controlplane.core.errors import InvalidArgument, PermissionDenied
from controlplane.endpoints.error_mapping import malformed_request_status, status_of, to_grpc_status

UNARY_DEADLINE: Final = 30.0
"""Seconds that a call with one answer may take when its caller sets no deadline, or a later one."""

REQUESTS: Final = Counter("certplane_grpc_requests_total", "gRPC calls that ended, by method and status code.", ["method", "code"])
DURATION: Final = Histogram(
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


class CallInterceptor(grpc.aio.ServerInterceptor):
    """See the module. With an admission, every call is checked against the names on the peer's certificate first."""

    def __init__(self, admission: Admission | None = None) -> None:
        self._admission = admission
        self._wrapped: dict[str, tuple[Handler, Handler]] = {}
        """By method: a server's own handler, and what it is wrapped in; only methods that the server has."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable["Handler | None"]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "Handler | None":
        """Wraps the method's handler."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        method = handler_call_details.method
        known = self._wrapped.get(method)
        if known is None or known[0] is not handler:
            known = self._wrapped[method] = handler, _wrapped(handler, method, self._admission)
        return known[1]


def _wrapped(handler: Handler, method: str, admission: Admission | None) -> Handler:
    parse = None if handler.request_streaming else handler.request_deserializer
    behaviour = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    call = _Call(method, cast("Callable[[Any, Context], Any]", behaviour), parse, admission, streams=handler.response_streaming)
    # A single request is parsed inside the call: left to gRPC, bytes that do not parse become UNKNOWN with the parser's own words.
    deserializer = handler.request_deserializer if handler.request_streaming else None
    make: Callable[..., Any] = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }[handler.request_streaming, handler.response_streaming]
    return cast("Handler", make(call.stream if handler.response_streaming else call.single, deserializer, handler.response_serializer))


class _Call:
    """A handler with everything around it."""

    def __init__(
        self,
        method: str,
        behaviour: Callable[[Any, Context], Any],
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
        self._ended: dict[grpc.StatusCode, Counter] = {}
        self._quiet = method.startswith(_QUIET_PREFIXES)
        self._keeps_time = method.startswith(_CHECK)

    async def single(self, request: Any, context: Context) -> Any:
        """Runs a handler with one answer, within the caller's deadline and ours."""

        async def run() -> Any:
            if self._keeps_time:
                return await self._behaviour(await self._parsed(request, context), context)
            remaining = _time_remaining(context)
            deadline = UNARY_DEADLINE if remaining is None else min(remaining, UNARY_DEADLINE)
            async with asyncio.timeout(deadline):
                return await self._behaviour(await self._parsed(request, context), context)

        return await self._observed(run, context)

    async def stream(self, request: Any, context: Context) -> None:
        """Runs a handler with a stream of answers, be it a generator or a coroutine that writes."""

        async def run() -> None:
            answers: AsyncIterator[Any] | Awaitable[None] = self._behaviour(await self._parsed(request, context), context)
            if isinstance(answers, AsyncIterator):
                async for answer in answers:
                    await context.write(answer)
            else:
                await answers

        with STREAMS.labels(self._method).track_inprogress():
            await self._observed(run, context)

    async def _parsed(self, request: Any, context: Context) -> Any:
        if self._parse is None:
            return request
        try:
            return self._parse(request)
        except Exception:
            await context.abort_with_status(to_grpc_status(malformed_request_status()))

    async def _observed(self, run: Callable[[], Awaitable[Any]], context: Context) -> Any:
        start = time.perf_counter()
        code = grpc.StatusCode.OK
        try:
            self._admit(context)
            answer = await run()
            code = _set_code(context)
            return answer
        except asyncio.CancelledError:
            remaining = _time_remaining(context)
            code = grpc.StatusCode.CANCELLED if remaining is None or remaining > 0 else grpc.StatusCode.DEADLINE_EXCEEDED
            raise
        except grpc.aio.AbortError:
            code = _set_code(context)
            raise
        except Exception as error:
            if context.cancelled() or context.done():
                # The caller has gone and the failure is that of writing to it.
                code = grpc.StatusCode.CANCELLED
                raise
            status = to_grpc_status(status_of(error, method=self._method))
            code = status.code
            if isinstance(error, InvalidArgument):
                _log.info("request refused", method=self._method, fields=_field_names(error))
            await context.abort_with_status(status)
        finally:
            self._note(code, time.perf_counter() - start)

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
    if isinstance(code, grpc.StatusCode):
        return code
    return _CODES.get(code, grpc.StatusCode.OK)
