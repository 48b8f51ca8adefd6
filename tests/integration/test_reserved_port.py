"""Ports that belong to one process and that several listen on."""

import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager

import grpc
import pytest

from controlplane.core.errors import ConfigurationError
from controlplane.endpoints.grpc_server import build_server
from controlplane.endpoints.reserved_port import ReservedPort, reserve_port

HOSTS = ["127.0.0.1", "localhost", "[::1]", "0.0.0.0", "[::]"]


@contextmanager
def reserved(address: str) -> Iterator[ReservedPort]:
    """A reserved port, given back at the end."""
    with closing(reserve_port(address)) as port:
        yield port


def is_refused(address: str) -> bool:
    """Whether neither a server by itself nor another group gets the address."""
    for take in (build_server, reserve_port):
        with pytest.raises(ConfigurationError, match="it is taken by another process"):
            take(address)
    return True


@pytest.mark.parametrize("host", HOSTS)
async def test_servers_share_it(host: str) -> None:
    """A free port is chosen once; servers that share listen on it together and are reached."""
    with reserved(f"{host}:0") as port:
        assert port.address.startswith(f"{host}:")
        assert not port.address.endswith(":0")
        servers = [build_server(port.address, shared=True) for _ in range(2)]
        for each in servers:
            await each.server.start()
        number = port.address.rpartition(":")[2]
        target = {"0.0.0.0": f"127.0.0.1:{number}", "[::]": f"[::1]:{number}"}.get(host, port.address)
        async with grpc.aio.insecure_channel(target) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary("/test.Service/Nothing")(b"", timeout=10)
        assert grpc.StatusCode.UNIMPLEMENTED == caught.value.code()
        for each in servers:
            await each.server.stop(None)


@pytest.mark.parametrize("host", HOSTS)
async def test_nobody_else_gets_it(host: str) -> None:
    """While it is reserved nobody else gets it: not before the first server, not beside one, and not after the last."""
    with reserved(f"{host}:0") as port:
        assert is_refused(port.address)
        listener = build_server(port.address, shared=True)
        await listener.server.start()
        assert is_refused(port.address)
        await listener.server.stop(None)
        assert is_refused(port.address)
    await build_server(port.address).server.stop(None)


@pytest.mark.parametrize("shares", [False, True])
async def test_a_port_of_somebody_else(shares: bool) -> None:
    """A port on which somebody listens cannot be reserved, even when that one would share."""
    listener = build_server("127.0.0.1:0", shared=shares)
    await listener.server.start()
    port = listener.address.rpartition(":")[2]
    for host in ("127.0.0.1", "localhost", "0.0.0.0", "[::]"):
        with pytest.raises(ConfigurationError, match=rf"cannot listen on .*:{port}: it is taken by another process"):
            reserve_port(f"{host}:{port}")
    await listener.server.stop(None)


async def test_connections_that_linger() -> None:
    """Connections that the last listener closed, and that the kernel remembers for a minute, do not keep the port."""
    with socket.create_server(("127.0.0.1", 0)) as before:
        port = before.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            accepted, _ = before.accept()
            accepted.close()
            assert b"" == client.recv(1)
    with reserved(f"127.0.0.1:{port}") as again:
        assert f"127.0.0.1:{port}" == again.address


@pytest.mark.parametrize("address", ["unix:/tmp/x", "", "18001", "127.0.0.1:65536", "192.0.2.1:0", "no-such-host.invalid:0"])
def test_what_cannot_be_reserved(address: str) -> None:
    """A unix socket, what is no address, and what is not of this machine is a configuration error."""
    with pytest.raises(ConfigurationError):
        reserve_port(address)
