"""HTTP on the metrics address: `/metrics` for Prometheus, `/healthz` (the process lives) and `/readyz` (it can do its work).

A small HTTP/1.1 server (RFC 9112) that answers GET and HEAD, one request a connection, and nothing else.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final, Protocol

import structlog
from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from controlplane.endpoints.addresses import join_host_port, split_host_port
from controlplane.endpoints.bind_failure import bind_failure

REQUEST_SECONDS: Final = 5.0
"""For reading a request, and again for sending its answer."""

MAX_HEAD_BYTES: Final = 8_192
MAX_CONNECTIONS: Final = 64

_log = structlog.get_logger(__name__)

_TEXT: Final = "text/plain; charset=utf-8"


class Checks(Protocol):
    """What is asked for a page that says yes or no."""

    async def failing(self) -> tuple[str, ...]:
        """Returns what is not as it should be, by short fixed names; empty when all is well. Does not raise."""
        ...


async def own_metrics() -> Collector:
    """Returns the metrics of this process."""
    return REGISTRY


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    path: str
    accept: str


@dataclass(frozen=True, slots=True)
class _Answer:
    status: HTTPStatus
    body: bytes
    content_type: str = _TEXT
    headers: Mapping[str, str] = field(default_factory=dict)

    def encoded(self, *, with_body: bool) -> bytes:
        """The answer as bytes; a HEAD is told the length of the body that it does not get (RFC 9110 section 9.3.2)."""
        lines = [
            f"HTTP/1.1 {self.status.value} {self.status.phrase}",
            f"Content-Type: {self.content_type}",
            f"Content-Length: {len(self.body)}",
            "Cache-Control: no-store",
            "Connection: close",
            *(f"{name}: {value}" for name, value in self.headers.items()),
        ]
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + (self.body if with_body else b"")


class MetricsServer:
    """The listener. `address` has the port really bound."""

    def __init__(
        self, readiness: Checks, metrics: Callable[[], Awaitable[Collector]] = own_metrics, liveness: Checks | None = None
    ) -> None:
        """Makes a listener.

        Args:
            readiness: for `/readyz`.
            metrics: for `/metrics`; called for each request.
            liveness: for `/healthz`; None: that this listener answers is enough.
        """
        self._readiness = readiness
        self._metrics = metrics
        self._liveness = liveness
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.StreamWriter] = set()
        self.address = ""

    async def start(self, address: str) -> str:
        """Listens on `HOST:PORT` (port 0: a free one) and returns the address with the port bound.

        Raises:
            ConfigurationError: the address cannot be bound.
        """
        host, port = split_host_port(address)
        try:
            self._server = await asyncio.start_server(self._serve, host, port, limit=MAX_HEAD_BYTES)
        except OSError as error:
            # The text of asyncio's own error has the address a second time.
            raise bind_failure(address, error) from error
        self.address = join_host_port(host, self._server.sockets[0].getsockname()[1])
        return self.address

    async def close(self) -> None:
        """Stops listening and cuts what is open."""
        if self._server is not None:
            self._server.close()
            for writer in tuple(self._connections):
                writer.transport.abort()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= MAX_CONNECTIONS:
            writer.transport.abort()
            return
        self._connections.add(writer)
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                request = await _read_request(reader)
            answer = _Answer(HTTPStatus.BAD_REQUEST, b"bad request\n") if request is None else await self._told(request)
            writer.write(answer.encoded(with_body=request is None or request.method != "HEAD"))
            async with asyncio.timeout(REQUEST_SECONDS):
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (TimeoutError, OSError, EOFError):
            writer.transport.abort()
        finally:
            self._connections.discard(writer)

    async def _told(self, request: _Request) -> _Answer:
        """Returns the answer, whatever goes wrong with making it: who watches must not take a fault for a process that is gone."""
        try:
            return await self._answer(request)
        except Exception:
            _log.exception("page cannot be made", path=request.path[:100])
            return _Answer(HTTPStatus.INTERNAL_SERVER_ERROR, b"this page cannot be made now; the log says why\n")

    async def _answer(self, request: _Request) -> _Answer:
        if request.method not in {"GET", "HEAD"}:
            return _Answer(HTTPStatus.METHOD_NOT_ALLOWED, b"only GET and HEAD\n", headers={"Allow": "GET, HEAD"})
        match request.path:
            case "/metrics":
                encode, content_type = choose_encoder(request.accept)
                return _Answer(HTTPStatus.OK, encode(await self._metrics()), content_type)
            case "/healthz":
                return await _yes_or_no("ok", "not alive", self._liveness)
            case "/readyz":
                return await _yes_or_no("ready", "not ready", self._readiness)
            case _:
                return _Answer(HTTPStatus.NOT_FOUND, b"only /metrics, /healthz and /readyz\n")


async def _yes_or_no(yes: str, no: str, checks: Checks | None) -> _Answer:
    failing = await checks.failing() if checks else ()
    if failing:
        return _Answer(HTTPStatus.SERVICE_UNAVAILABLE, f"{no}: {', '.join(failing)}\n".encode())
    return _Answer(HTTPStatus.OK, f"{yes}\n".encode())


async def _read_request(reader: asyncio.StreamReader) -> _Request | None:
    """Returns the request, or None when it is not HTTP or its head is too long. A body is not read."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.LimitOverrunError:
        return None
    request_line, *fields = head.split("\r\n")
    parts = request_line.split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        return None
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in fields if line)}
    return _Request(parts[0], parts[1].partition("?")[0], headers.get("accept", ""))
