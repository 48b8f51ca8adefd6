"""How gRPC servers bind, whom they let in, and what surrounds each call."""

import asyncio
import contextlib
import socket
import tempfile
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from prometheus_client import REGISTRY

from controlplane.adapters.private_pki import PrivateCa, TlsIdentity, make_tls_identity
from controlplane.api.certplane.v1 import domain_service_pb2 as pb
from controlplane.api.certplane.v1 import domain_service_pb2_grpc
from controlplane.core.errors import ConfigurationError
from controlplane.endpoints.grpc_server import GrpcListener, TlsFiles, build_server
from tests.fakes.domain_api import DEADLINE, connected, failure_of, running_api

# ---- binding ----


async def test_taken_port() -> None:
    """A port that another process serves is a configuration error that names the address."""
    async with running_api() as api:
        with pytest.raises(ConfigurationError, match=f"cannot listen on {api.address}: it is taken"):
            build_server(api.address)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
async def test_free_port(host: str) -> None:
    """Port 0 binds a free port, and the address tells which."""
    async with running_api(address=f"{host}:0") as api, connected(api.address) as stub:
        assert api.address.startswith(f"{host}:")
        assert not api.address.endswith(":0")
        await stub.ListDomains(pb.ListDomainsRequest())


@pytest.mark.parametrize(
    "address", ["", "18001", "127.0.0.1", "127.0.0.1:65536", "192.0.2.1:0", "no-such-host.invalid:0", "unix:/nonexistent/x"]
)
async def test_bad_addresses(address: str) -> None:
    """What is no address, or not of this machine, is a configuration error."""
    with pytest.raises(ConfigurationError):
        build_server(address)


async def test_unix_socket() -> None:
    """A unix socket is served; while it is, a second server on it is an error; one that is left over is replaced."""
    with tempfile.TemporaryDirectory() as directory:
        address = f"unix:{directory}/api"
        async with running_api(address=address), connected(address) as stub:
            await stub.ListDomains(pb.ListDomainsRequest())
            with pytest.raises(ConfigurationError, match="another process"):
                build_server(address)
        Path(f"{directory}/api").unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as left_over:
            left_over.bind(f"{directory}/api")
        async with running_api(address=address), connected(address) as stub:
            await stub.ListDomains(pb.ListDomainsRequest())


async def test_unix_path_of_a_file(tmp_path: Path) -> None:
    """A file that is no socket is never replaced."""
    path = tmp_path / "precious"
    path.write_text("content")
    with pytest.raises(ConfigurationError):
        build_server(f"unix:{path}")
    assert path.read_text() == "content"


# ---- TLS ----


def written(directory: Path, identity: TlsIdentity, ca: bytes) -> TlsFiles:
    """Writes the files of a listener."""
    files = TlsFiles(directory / "ca.pem", directory / "cert.pem", directory / "key.pem")
    files.ca.write_bytes(ca)
    files.certificate.write_bytes(identity.certificate)
    files.private_key.write_bytes(identity.private_key.reveal())
    return files


def identity_of(ca: PrivateCa, *, server: bool = False) -> TlsIdentity:
    """A certificate for 127.0.0.1, for a server or a client."""
    return make_tls_identity(ca, "test", datetime.now(UTC), hosts=("127.0.0.1",), server=server, client=not server)


@pytest.fixture
def ca() -> PrivateCa:
    """The CA that the listener trusts."""
    return PrivateCa.create(datetime.now(UTC))


@pytest.fixture
def files(tmp_path: Path, ca: PrivateCa) -> TlsFiles:
    """The listener's files."""
    identity = identity_of(ca, server=True)
    return written(tmp_path, identity, identity.ca_certificate)


async def call_with(address: str, files: TlsFiles, client: TlsIdentity | None) -> Any:
    """Calls ListDomains over TLS, with a client certificate or none."""
    key, chain = (None, None) if client is None else (client.private_key.reveal(), client.certificate)
    credentials = grpc.ssl_channel_credentials(files.ca.read_bytes(), key, chain)
    async with grpc.aio.secure_channel(address, credentials) as channel:
        return await domain_service_pb2_grpc.DomainServiceStub(channel).ListDomains(pb.ListDomainsRequest(), timeout=DEADLINE)


async def test_client_certificate(files: TlsFiles, ca: PrivateCa) -> None:
    """With TLS a client is served only with a certificate of the CA; none, another CA's, and plain text are not."""
    async with running_api(tls=files) as api:
        await call_with(api.address, files, identity_of(ca))
        stranger = identity_of(PrivateCa.create(datetime.now(UTC)))
        for refused in (None, stranger):
            assert (await failure_of(call_with(api.address, files, refused))).code() == grpc.StatusCode.UNAVAILABLE
        async with connected(api.address) as stub:
            error = await failure_of(stub.ListDomains(pb.ListDomainsRequest(), timeout=DEADLINE))
            assert error.code() == grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("broken", ["ca", "certificate", "private_key"])
@pytest.mark.parametrize("content", [None, b"", b"no PEM", "another key"])
def test_broken_tls_files(files: TlsFiles, ca: PrivateCa, broken: str, content: bytes | str | None) -> None:
    """A TLS file that is missing or cannot be used is found before anything is served, and named."""
    path: Path = getattr(files, broken)
    if content is None:
        path.unlink()
    elif isinstance(content, str):
        path.write_bytes(identity_of(ca).private_key.reveal())
    else:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        build_server("127.0.0.1:0", files)
    assert str(path) in str(caught.value)
    assert "PRIVATE KEY-----" not in str(caught.value)


# ---- around a call ----


class Hanging:
    """A method that never answers, and tells when it was left."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.left = asyncio.Event()

    async def hang(self, _request: bytes, _context: Any) -> bytes:
        """Waits for ever."""
        self.started.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.left.set()
        return b""


@contextlib.asynccontextmanager
async def serving(
    name: str, behaviour: Callable[..., Any], make: Callable[..., Any] = grpc.unary_unary_rpc_method_handler
) -> AsyncIterator[Any]:
    """Serves one method and gives a channel."""
    listener: GrpcListener = build_server("127.0.0.1:0")
    listener.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Service", {name: make(behaviour)}),))
    await listener.server.start()
    async with grpc.aio.insecure_channel(listener.address) as channel:
        yield channel
    await listener.server.stop(None)


def counted(name: str, code: str) -> float:
    """How many calls of a test method ended with a code."""
    labels = {"method": f"/test.Service/{name}", "code": code}
    return REGISTRY.get_sample_value("certplane_grpc_requests_total", labels) or 0.0


async def wait_for_count(name: str, code: str) -> None:
    """Waits until a call of the method is counted with the code."""
    async with asyncio.timeout(DEADLINE):
        while not counted(name, code):
            await asyncio.sleep(0.01)


async def test_callers_deadline() -> None:
    """When the caller's deadline passes the handler is left, and the call counts as DEADLINE_EXCEEDED."""
    hanging = Hanging()
    async with serving("CallersDeadline", hanging.hang) as channel:
        error = await failure_of(channel.unary_unary("/test.Service/CallersDeadline")(b"", timeout=0.3))
        assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        async with asyncio.timeout(DEADLINE):
            await hanging.left.wait()
        await wait_for_count("CallersDeadline", "DEADLINE_EXCEEDED")


async def test_own_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call without a deadline has ours."""
    monkeypatch.setattr("controlplane.endpoints.observed_calls.UNARY_DEADLINE", 0.1)
    hanging = Hanging()
    async with serving("OwnDeadline", hanging.hang) as channel:
        error = await failure_of(channel.unary_unary("/test.Service/OwnDeadline")(b""))
        assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        assert hanging.left.is_set()
        await wait_for_count("OwnDeadline", "DEADLINE_EXCEEDED")


async def test_caller_goes() -> None:
    """When the caller cancels the handler is left, and the call counts as CANCELLED."""
    hanging = Hanging()
    async with serving("CallerGoes", hanging.hang) as channel:
        call = channel.unary_unary("/test.Service/CallerGoes")(b"")
        async with asyncio.timeout(DEADLINE):
            await hanging.started.wait()
            call.cancel()
            await hanging.left.wait()
        await wait_for_count("CallerGoes", "CANCELLED")


async def test_own_status_is_kept() -> None:
    """A handler that aborts with a status of its own has that status counted and sent."""

    async def abort(_request: bytes, context: Any) -> bytes:
        await context.abort(grpc.StatusCode.PERMISSION_DENIED, "not you")
        return b""

    async with serving("Abort", abort) as channel:
        error = await failure_of(channel.unary_unary("/test.Service/Abort")(b""))
        assert (error.code(), error.details()) == (grpc.StatusCode.PERMISSION_DENIED, "not you")
        await wait_for_count("Abort", "PERMISSION_DENIED")


async def test_streams_both_ways() -> None:
    """Streams pass through, from a generator and from a coroutine that writes; an error in one is mapped like any other."""

    async def generate(requests: Any, _context: Any) -> AsyncIterator[bytes]:
        async for request in requests:
            if request == b"fail":
                raise RuntimeError("secret-xyz")
            yield request.upper()

    async def write(requests: Any, context: Any) -> None:
        async for answer in generate(requests, context):
            await context.write(answer)

    async def send(*requests: bytes) -> AsyncIterator[bytes]:
        for request in requests:
            yield request

    for name, behaviour in (("Generate", generate), ("Write", write)):
        async with serving(name, behaviour, grpc.stream_stream_rpc_method_handler) as channel:
            method = channel.stream_stream(f"/test.Service/{name}")
            assert [answer async for answer in method(send(b"a", b"b"))] == [b"A", b"B"]
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                [answer async for answer in method(send(b"a", b"fail"))]
            assert caught.value.code() == grpc.StatusCode.INTERNAL
            assert "secret-xyz" not in str(caught.value)
            await wait_for_count(name, "OK")
            await wait_for_count(name, "INTERNAL")
            assert REGISTRY.get_sample_value("certplane_grpc_open_streams", {"method": f"/test.Service/{name}"}) == 0


async def test_a_burst_is_not_shed() -> None:
    """Three thousand calls at once are all answered: none is cancelled because too many wait."""
    async with running_api() as api, connected(api.address) as stub:
        calls = [stub.ListDomains(pb.ListDomainsRequest(), timeout=4 * DEADLINE) for _ in range(3000)]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [] == [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
