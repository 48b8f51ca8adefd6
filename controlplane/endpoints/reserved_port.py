"""A TCP port that belongs to this process and that its child processes listen on together (SO_REUSEPORT, socket(7)).

SO_REUSEPORT alone would let a second installation of the same user join in silently, and take a share of the connections. So the port
is first bound without it: that fails when anybody has it, sharing or not. Then the socket is switched over. It never listens, so the
kernel gives it no connection, but while it is bound nobody can bind the port who does not ask to share it, not even while no child
lives. Linux compares the flags as they are now with those of a newcomer, so the order bind, switch is enough.

What is left: a program of the same user that asks for SO_REUSEPORT by itself can join later.
"""

import contextlib
import errno
import socket
import sys
from collections.abc import Sequence
from typing import Final

from controlplane.core.errors import ConfigurationError
from controlplane.endpoints.addresses import UNIX_PREFIX, join_host_port, split_host_port
from controlplane.endpoints.bind_failure import bind_failure

_ATTEMPTS: Final = 16
"""For a free port: it must be free on every address of the host, and the kernel chooses by the first."""

_WILDCARDS: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 - read, not bound

_Target = tuple[socket.AddressFamily, str, int]


class ReservedPort:
    """Make it with `reserve_port`. `address` has the port really bound: children listen on it with SO_REUSEPORT."""

    def __init__(self, address: str, sockets: Sequence[socket.socket]) -> None:
        self.address = address
        self._sockets = sockets

    def close(self) -> None:
        """Gives the port back."""
        for each in self._sockets:
            each.close()


def reserve_port(address: str) -> ReservedPort:
    """Takes `HOST:PORT` or `[IPV6]:PORT` for processes that share it; port 0 is a free one.

    Raises:
        ConfigurationError: the address is taken, is not of this machine, or cannot be shared: a unix socket, or not on Linux.
    """
    if address.startswith(UNIX_PREFIX):
        raise ConfigurationError(
            f"several processes cannot share {address}: only a TCP port is spread over them; use HOST:PORT or one process"
        )
    if sys.platform != "linux":
        raise ConfigurationError("several processes on one port need Linux: elsewhere the kernel does not spread connections over them")
    host, port = split_host_port(address)
    try:
        return _reserved(host, port, _targets(host))
    except OSError as error:
        raise bind_failure(address, error) from error


def _targets(host: str) -> Sequence[_Target]:
    """Returns family, address and IPV6_V6ONLY of each socket to bind, the way gRPC does: a wildcard is both families in one socket."""
    if host in _WILDCARDS:
        return [(socket.AF_INET6, "::", 0)] if socket.has_dualstack_ipv6() else [(socket.AF_INET, "0.0.0.0", 0)]  # noqa: S104 - as stated
    if host.lower() == "localhost":
        # To gRPC it is both (RFC 6761 section 6.3), whatever the machine's own table says.
        return [(socket.AF_INET, "127.0.0.1", 1), (socket.AF_INET6, "::1", 1)]
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((family, str(where[0]), 1) for family, _, _, _, where in found))


def _reserved(host: str, port: int, targets: Sequence[_Target]) -> ReservedPort:
    for _ in range(1 if port else _ATTEMPTS):
        with contextlib.ExitStack() as stack:
            sockets, taken, absent = [], None, None
            chosen = port
            for target in targets:
                try:
                    sockets.append(stack.enter_context(_bound(target, chosen)))
                except OSError as error:
                    if error.errno == errno.EADDRINUSE:
                        taken = error
                        break
                    # A host that has an IPv6 address too, on a machine without IPv6: gRPC goes on with what there is.
                    absent = error
                else:
                    chosen = sockets[0].getsockname()[1]
            if sockets and taken is None:
                stack.pop_all()
                return ReservedPort(join_host_port(host, chosen), sockets)
    raise taken or absent or OSError(errno.EADDRNOTAVAIL, "the host has no address")


def _bound(target: _Target, port: int) -> socket.socket:
    family, where, v6_only = target
    with contextlib.ExitStack() as stack:
        bound = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, v6_only)
        # Connections that linger from before (TIME_WAIT) are no reason to refuse; a listener still is.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((where, port))
        # From here on a newcomer who states SO_REUSEADDR only, as every server does, is refused.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        stack.pop_all()
    return bound
