"""The rendered configurations on a real Envoy, with no control plane behind them or with one that only answers ext_authz."""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from envoy.service.auth.v3 import external_auth_pb2, external_auth_pb2_grpc

from controlplane.adapters.envoy_templates import EdgeParameters, SidecarParameters, XdsTls, render_edge, render_sidecar
from controlplane.embedded.child_process import ChildFailed
from controlplane.embedded.envoy import envoy_binary, start_envoy
from controlplane.embedded.free_ports import free_ports
from tests.fakes.tiny_pki import TinyPki

DEADLINE = 20.0
CHALLENGE = "/.well-known/acme-challenge/token-1"
HELLO_NAME = "aaaaaaaa.example.com"


@dataclass(slots=True)
class Upstream:
    """A site that keeps the heads of the requests that it gets, lower case, and answers `site`."""

    port: int
    heads: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answers one request."""
        self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode().lower())
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\nsite")
        await writer.drain()
        writer.close()


@dataclass(slots=True)
class Ports:
    http: int
    https: int
    admin: int
    xds: int
    upstream: int


class Authorization(external_auth_pb2_grpc.AuthorizationServicer):
    """Answers token-1 with a key authorization, as `serve` does, and lets everything else pass."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, bool]] = []

    async def Check(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC names it
        """Answers a check."""
        http = request.attributes.request.http
        self.seen.append((http.host, http.path, "cookie" in http.headers))
        reply = external_auth_pb2.CheckResponse()
        if http.path == CHALLENGE:
            reply.status.code = grpc.StatusCode.PERMISSION_DENIED.value[0]
            reply.denied_response.status.code = 200
            reply.denied_response.body = "token-1.thumbprint"
        return reply


@pytest.fixture
def ports() -> Ports:
    return Ports(*free_ports(5))


@pytest.fixture
async def upstream(ports: Ports) -> AsyncIterator[Upstream]:
    site = Upstream(ports.upstream)
    async with await asyncio.start_server(site.serve, "127.0.0.1", ports.upstream):
        yield site


def common(ports: Ports, **changes: Any) -> dict[str, Any]:
    return {
        "xds_address": f"127.0.0.1:{ports.xds}",
        "upstream": f"127.0.0.1:{ports.upstream}",
        "https_port": ports.https,
        "admin_port": ports.admin,
        "node_id": "node-1",
        **changes,
    }


def edge(ports: Ports, **changes: Any) -> str:
    return render_edge(EdgeParameters(http_port=ports.http, **common(ports, **changes)))


@asynccontextmanager
async def authorization_server(ports: Ports, credentials: grpc.ServerCredentials | None = None) -> AsyncIterator[Authorization]:
    service = Authorization()
    server = grpc.aio.server()
    external_auth_pb2_grpc.add_AuthorizationServicer_to_server(service, server)
    address = f"127.0.0.1:{ports.xds}"
    assert ports.xds == (server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address))
    await server.start()
    try:
        yield service
    finally:
        await server.stop(0)


async def exchange(port: int, request: bytes) -> bytes:
    """Sends bytes, returns all that comes back until the other side closes."""
    async with asyncio.timeout(DEADLINE):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(request)
            return await reader.read()
        except ConnectionResetError:
            return b""
        finally:
            writer.close()


async def get(port: int, path: str, *headers: str) -> tuple[int, str]:
    """Returns the status and the body of a GET on a connection of its own."""
    lines = [f"GET {path} HTTP/1.1", *(headers or ("host: shop.example.com",)), "connection: close", "", ""]
    head, _, body = (await exchange(port, "\r\n".join(lines).encode())).partition(b"\r\n\r\n")
    return int(head.split()[1]), body.decode()


async def counter(ports: Ports, suffix: str) -> int:
    """Returns the sum of Envoy's statistics of the HTTPS listener that end in `suffix`."""
    _, text = await get(ports.admin, f"/stats?filter=listener.*{ports.https}.*{suffix}$")
    return sum(int(value) for value in re.findall(r": ([0-9]+)", text))


def client_hello(server_name: bytes) -> bytes:
    """Returns a real ClientHello whose SNI is `server_name`, as long as HELLO_NAME; nothing in it is authenticated yet."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname=HELLO_NAME)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    hello = outgoing.read()
    assert hello.count(HELLO_NAME.encode()) == 1
    assert len(HELLO_NAME) == len(server_name)
    return hello.replace(HELLO_NAME.encode(), server_name)


def variants(ports: Ports, directory: Path) -> dict[str, str]:
    pki = TinyPki(directory)
    client = pki.issue("envoy")
    mutual = XdsTls(str(pki.ca_file), "127.0.0.1", str(client.cert_file), str(client.key_file))
    named: dict[str, Any] = {"secrets": ("shop.example.com", "www.shop.example.com")}
    return {
        "edge": edge(ports),
        "edge mTLS": edge(ports, xds_tls=mutual),
        "edge TLS by name": edge(ports, xds_address="serve.internal:18000", xds_tls=XdsTls(str(pki.ca_file), "serve.internal")),
        "edge by Unix socket": edge(ports, xds_address="unix:/run/certplane/xds.sock"),
        "edge with a prefetch": edge(ports, prefetch=("shop.example.com", "www.shop.example.com")),
        "edge, everything else": edge(ports, access_log=True, listen_address="::", upstream="[::1]:1", max_connections=7),
        "sidecar": render_sidecar(SidecarParameters(**common(ports, **named))),
        "sidecar HTTP": render_sidecar(SidecarParameters(http_port=ports.http, **common(ports, **named))),
        "sidecar delta mTLS": render_sidecar(SidecarParameters(delta=True, **common(ports, xds_tls=mutual, **named))),
    }


async def test_envoy_accepts_every_variant(tmp_path: Path, ports: Ports) -> None:
    """`envoy --mode validate` accepts each configuration, with no warning about a deprecated field."""
    for name, config in variants(ports, tmp_path).items():
        path = tmp_path / "envoy.yaml"
        path.write_text(config)
        process = await asyncio.create_subprocess_exec(
            *(envoy_binary(), "--mode", "validate", "-c", path, "--log-level", "warning"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(DEADLINE):
            output = (await process.communicate())[0].decode()
        assert process.returncode == 0, f"{name}: {output}"
        assert "eprecated" not in output, f"{name}: {output}"


async def test_sidecar_is_ready_without_a_control_plane(tmp_path: Path, ports: Ports) -> None:
    """A sidecar whose secrets do not come is live all the same, and its HTTP side works."""
    config = render_sidecar(SidecarParameters(secrets=("shop.example.com",), http_port=ports.http, **common(ports)))
    async with await start_envoy(config, admin_port=ports.admin, directory=tmp_path / "envoy"):
        assert await get(ports.http, CHALLENGE) == (503, "")


async def test_bad_configuration_is_explained(tmp_path: Path, ports: Ports) -> None:
    """An Envoy that does not start is an error that holds the reason from its log."""
    with pytest.raises(ChildFailed, match="nonsense"):
        await start_envoy("nonsense: 1\n", admin_port=ports.admin, directory=tmp_path / "envoy")


async def test_site_gets_the_original_host_and_scheme(tmp_path: Path, ports: Ports, upstream: Upstream) -> None:
    """Requests reach the upstream with the client's Host; the scheme that a client claims is replaced by the real one."""
    async with await start_envoy(edge(ports), admin_port=ports.admin, directory=tmp_path / "envoy"):
        answer = await get(ports.http, "/cart?x=1", "Host: Shop.example.com:8080", "X-Forwarded-Proto: https")
    (head,) = upstream.heads

    assert answer == (200, "site")
    assert head.startswith("get /cart?x=1 http/1.1\r\n")
    assert "\r\nhost: shop.example.com:8080\r\n" in head
    assert re.findall(r"\r\nx-forwarded-proto: (.*)\r\n", head) == ["http"]


async def test_challenge_without_control_plane_is_unavailable(tmp_path: Path, ports: Ports, upstream: Upstream) -> None:
    """With Certplane away every spelling of a challenge path is 503 or a redirect to it, never the upstream; sites go on."""
    spelled = [CHALLENGE, "//.well-known//acme-challenge/t", "/x/../.well-known/acme-challenge/t", "/.well-known/%61cme-challenge/t"]
    async with await start_envoy(edge(ports), admin_port=ports.admin, directory=tmp_path / "envoy"):
        plain = [(await get(ports.http, path))[0] for path in spelled]
        encoded_slash, _ = await get(ports.http, "/.well-known%2facme-challenge/t")
        reached = list(upstream.heads)
        site = await get(ports.http, "/")

    assert [503] * len(spelled) == plain
    assert encoded_slash == 307
    assert reached == []
    assert site == (200, "site")


async def test_challenge_is_answered_through_ext_authz(tmp_path: Path, ports: Ports, upstream: Upstream) -> None:
    """The key authorization arrives as a plain 200; a request that is let pass ends in 404; cookies stay in Envoy."""
    async with authorization_server(ports) as service, await start_envoy(edge(ports), admin_port=ports.admin, directory=tmp_path / "envoy"):
        known = await get(ports.http, CHALLENGE, "host: shop.example.com", "cookie: session=1")
        unknown = await get(ports.http, "/.well-known/acme-challenge/other")
        site = await get(ports.http, "/", "host: shop.example.com")

    assert known == (200, "token-1.thumbprint")
    assert unknown == (404, "")
    assert site == (200, "site")
    assert service.seen == [("shop.example.com", CHALLENGE, False), ("shop.example.com", "/.well-known/acme-challenge/other", False)]
    assert len(upstream.heads) == 1


@pytest.mark.parametrize(("certified", "expected"), [("serve.internal", 200), ("somebody.internal", 503)])
async def test_mutual_tls_to_certplane(tmp_path: Path, ports: Ports, certified: str, expected: int) -> None:
    """Envoy shows its certificate, and talks only to a server that is certified for the expected name."""
    pki = TinyPki(tmp_path)
    server, client = pki.issue(certified), pki.issue("envoy")
    credentials = grpc.ssl_server_credentials(
        [(server.key_file.read_bytes(), server.cert_file.read_bytes())],
        root_certificates=pki.ca_file.read_bytes(),
        require_client_auth=True,
    )
    tls = XdsTls(str(pki.ca_file), "serve.internal", str(client.cert_file), str(client.key_file))
    config = edge(ports, xds_tls=tls)
    async with authorization_server(ports, credentials), await start_envoy(config, admin_port=ports.admin, directory=tmp_path / "envoy"):
        status, _ = await get(ports.http, CHALLENGE)

    assert expected == status


@pytest.mark.parametrize(
    "hostile",
    [b"\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8.example.com", b"aaa\x00aaaa.example.com", b"*.aaaaaa.example.com", b"aaaa/../.example.com"],
    ids=["not UTF-8", "NUL", "wildcard", "slashes"],
)
async def test_hostile_sni_is_closed_before_a_subscription(tmp_path: Path, ports: Ports, hostile: bytes) -> None:
    """An SNI that is no DNS name gets no TLS answer and asks Certplane for nothing."""
    async with await start_envoy(edge(ports), admin_port=ports.admin, directory=tmp_path / "envoy"):
        answer = await exchange(ports.https, client_hello(hostile))
        requested = await counter(ports, "cert_requested")

    assert answer == b""
    assert requested == 0


async def test_possible_sni_becomes_a_subscription(tmp_path: Path, ports: Ports) -> None:
    """A handshake with a name of the right form waits while its certificate is asked for."""
    async with await start_envoy(edge(ports), admin_port=ports.admin, directory=tmp_path / "envoy"):
        reader, writer = await asyncio.open_connection("127.0.0.1", ports.https)
        writer.write(client_hello(HELLO_NAME.encode()))
        async with asyncio.timeout(DEADLINE):
            while await counter(ports, "cert_requested") == 0:
                await asyncio.sleep(0.02)
        closed = reader.at_eof()
        writer.close()

    assert not closed


async def test_client_without_sni_is_closed(tmp_path: Path, ports: Ports) -> None:
    """A ClientHello without SNI gets no TLS answer and asks Certplane for nothing."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    async with await start_envoy(edge(ports), admin_port=ports.admin, directory=tmp_path / "envoy"):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            async with asyncio.timeout(DEADLINE):
                await asyncio.open_connection("127.0.0.1", ports.https, ssl=context)
        requested = await counter(ports, "cert_requested")

    assert requested == 0
