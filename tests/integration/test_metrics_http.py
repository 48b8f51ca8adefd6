"""The HTTP listener: metrics, liveness, readiness."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.parser import text_string_to_metric_families

from controlplane.core.errors import ConfigurationError, Unavailable
from controlplane.endpoints.metrics_http import MAX_HEAD_BYTES, MetricsServer
from controlplane.endpoints.readiness import Readiness

DEADLINE = 10.0


class Checks:
    """Two readiness checks with switches, and one of liveness."""

    def __init__(self) -> None:
        self.store_away = False
        self.feed_hangs = False
        self.silent: tuple[str, ...] = ()

    async def failing(self) -> tuple[str, ...]:
        """Who gives no sign of life."""
        return self.silent

    async def store(self) -> None:
        """Fails when the store is away."""
        if self.store_away:
            raise Unavailable("redis at 10.0.0.7 refused")

    async def feed(self) -> None:
        """Never ends when the feed hangs."""
        if self.feed_hangs:
            await asyncio.Event().wait()


@pytest.fixture
def checks() -> Checks:
    """The checks of the server."""
    return Checks()


@pytest.fixture
async def server(checks: Checks) -> AsyncIterator[MetricsServer]:
    """A listener on a free port, with a registry of its own."""
    registry = CollectorRegistry()
    Counter("certplane_samples_total", "Samples.", registry=registry).inc(3)

    async def metrics() -> CollectorRegistry:
        return registry

    server = MetricsServer(Readiness({"store": checks.store, "feed": checks.feed}, timeout=0.2), metrics, checks)
    await server.start("127.0.0.1:0")
    yield server
    await server.close()


async def exchange(server: MetricsServer, raw: bytes) -> tuple[int, dict[str, str], str]:
    """Sends bytes and reads until the server closes; returns status, header fields and body."""
    host, port = server.address.rsplit(":", 1)
    async with asyncio.timeout(DEADLINE):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(raw)
        answer = (await reader.read()).decode()
        writer.close()
        await writer.wait_closed()
    head, _, body = answer.partition("\r\n\r\n")
    status_line, *lines = head.split("\r\n")
    return int(status_line.split(" ")[1]), dict(line.split(": ", 1) for line in lines), body


async def get(server: MetricsServer, path: str, method: str = "GET") -> tuple[int, dict[str, str], str]:
    """Makes a request."""
    return await exchange(server, f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())


async def test_metrics(server: MetricsServer) -> None:
    """`/metrics` is what Prometheus reads, with or without a query."""
    for path in ("/metrics", "/metrics?x=1"):
        status, headers, body = await get(server, path)
        assert status == 200
        assert headers["Content-Type"].startswith("text/plain")
        samples = {sample.name: sample.value for family in text_string_to_metric_families(body) for sample in family.samples}
        assert samples["certplane_samples_total"] == 3


async def test_openmetrics(server: MetricsServer) -> None:
    """A scraper that accepts OpenMetrics gets it."""
    accept = "application/openmetrics-text; version=1.0.0"
    status, headers, body = await exchange(server, f"GET /metrics HTTP/1.1\r\nAccept: {accept}\r\n\r\n".encode())
    assert status == 200
    assert headers["Content-Type"].startswith("application/openmetrics-text")
    assert body.endswith("# EOF\n")


async def test_health(server: MetricsServer, checks: Checks) -> None:
    """`/healthz` says that the process lives, whether it is ready or not."""
    checks.store_away = True
    assert (await get(server, "/healthz"))[0] == 200


async def test_not_alive(server: MetricsServer, checks: Checks) -> None:
    """`/healthz` is 503 with the names of those that give no sign of life."""
    checks.silent = ("serve-1", "serve-3")
    assert (503, "not alive: serve-1, serve-3\n") == (await get(server, "/healthz"))[::2]


async def test_own_metrics(checks: Checks) -> None:
    """A listener that is told nothing else shows the metrics of its process, and is alive as long as it answers."""
    server = MetricsServer(Readiness({}))
    await server.start("127.0.0.1:0")
    assert "\npython_info{" in (await get(server, "/metrics"))[2]
    assert 200 == (await get(server, "/healthz"))[0]
    await server.close()


async def test_ready(server: MetricsServer, checks: Checks) -> None:
    """`/readyz` is 200 when all checks pass, else 503 with the names of those that fail or hang, and nothing of why."""
    assert (await get(server, "/readyz"))[0] == 200
    checks.store_away = True
    status, _, body = await get(server, "/readyz")
    assert (status, body) == (503, "not ready: store\n")
    checks.feed_hangs = True
    status, _, body = await get(server, "/readyz")
    assert (status, body) == (503, "not ready: store, feed\n")
    checks.store_away = checks.feed_hangs = False
    assert (await get(server, "/readyz"))[0] == 200


async def test_head(server: MetricsServer) -> None:
    """HEAD has the header of GET and no body."""
    _, headers, body = await get(server, "/healthz")
    assert await get(server, "/healthz", "HEAD") == (200, headers, "")
    assert headers["Content-Length"] == str(len(body))


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 404),
        (b"GET /metrics/ HTTP/1.1\r\n\r\n", 404),
        (b"GET /../etc/passwd HTTP/1.1\r\n\r\n", 404),
        (b"POST /metrics HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 405),
        (b"DELETE /healthz HTTP/1.1\r\n\r\n", 405),
        (b"get /healthz HTTP/1.1\r\n\r\n", 405),
        (b"GET /healthz\r\n\r\n", 400),
        (b"GET /healthz HTTP/2.0\r\n\r\n", 400),
        (b"\x16\x03\x01\x00\xff\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nX: " + b"a" * MAX_HEAD_BYTES + b"\r\n\r\n", 400),
    ],
)
async def test_refuses(server: MetricsServer, raw: bytes, status: int) -> None:
    """Everything but GET and HEAD of the three paths is refused, and the listener goes on."""
    assert status == (await exchange(server, raw))[0]
    assert (await get(server, "/healthz"))[0] == 200


async def test_peer_that_goes(server: MetricsServer) -> None:
    """A peer that closes in the middle of a request does no harm."""
    host, port = server.address.rsplit(":", 1)
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /met")
    writer.close()
    await writer.wait_closed()
    assert (await get(server, "/healthz"))[0] == 200


async def test_taken_address(server: MetricsServer) -> None:
    """A taken address is a configuration error that names it."""
    with pytest.raises(ConfigurationError, match=f"cannot listen on {server.address}: it is taken"):
        await MetricsServer(Readiness({})).start(server.address)


@pytest.mark.parametrize("address", ["", "18002", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "http://127.0.0.1:1", "192.0.2.1:0"])
async def test_bad_addresses(address: str) -> None:
    """What is no address, or not of this machine, is a configuration error."""
    with pytest.raises(ConfigurationError):
        await MetricsServer(Readiness({})).start(address)


async def test_a_page_that_cannot_be_made_is_answered() -> None:
    """A fault while metrics are gathered is answered with 500, not with a closed connection, and the listener goes on."""

    async def broken() -> CollectorRegistry:
        raise RuntimeError("a child has just gone")

    server = MetricsServer(Readiness({}), broken)
    await server.start("127.0.0.1:0")
    try:
        status, _, body = await get(server, "/metrics")
        assert (500, False) == (status, "child" in body)
        assert 200 == (await get(server, "/healthz"))[0]
    finally:
        await server.close()
