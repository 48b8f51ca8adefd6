"""TLS handshakes through Envoy, one connection at a time: the first for each name, the next ones, and a static certificate beside them."""

import socket
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.installation import STATIC_NAME, Installation

_SECONDS = 20.0
_WARM_UP = 50


@dataclass(slots=True)
class Handshakes:
    """Durations in seconds, TCP connection included. Each list has the static handshakes of the same pass beside it."""

    first_touch: list[float] = field(default_factory=list)
    static_beside_first: list[float] = field(default_factory=list)
    warm: list[float] = field(default_factory=list)
    static_beside_warm: list[float] = field(default_factory=list)


def trusting(roots: Path) -> ssl.SSLContext:
    """Returns a client's context that verifies chain and host name."""
    context = ssl.create_default_context(cafile=str(roots))
    context.set_alpn_protocols(["http/1.1"])
    return context


def handshake(context: ssl.SSLContext, port: int, name: str) -> tuple[float, int]:
    """Connects and verifies; returns the seconds until the TLS connection stood, and the serial number of the peer's certificate."""
    begun = time.perf_counter()
    with (
        socket.create_connection(("127.0.0.1", port), _SECONDS) as connection,
        context.wrap_socket(connection, server_hostname=name) as tls,
    ):
        seconds = time.perf_counter() - begun
        return seconds, int(tls.getpeercert()["serialNumber"], 16)


def measure(made: Installation, names: Sequence[str]) -> Handshakes:
    """Touches every name that Envoy has not got yet, then all again; before or after each a handshake with the static certificate."""
    context, found = trusting(made.roots), Handshakes()
    for _ in range(_WARM_UP):
        handshake(context, made.static_port, STATIC_NAME)

    def one_pass(on_demand: list[float], static: list[float]) -> None:
        for index, name in enumerate(names):
            # Taking turns at being first: whatever one leaves behind in a cache helps the other as often.
            pair = [(on_demand, made.https_port, name), (static, made.static_port, STATIC_NAME)]
            for durations, port, server_name in pair if index % 2 else reversed(pair):
                durations.append(handshake(context, port, server_name)[0])

    one_pass(found.first_touch, found.static_beside_first)
    one_pass(found.warm, found.static_beside_warm)
    return found
