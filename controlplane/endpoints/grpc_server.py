"""How every gRPC server of Certplane is built: options, TLS, binding, and what surrounds all calls.

Reference: grpc/doc/keepalive.md and the channel arguments in `grpc/impl/channel_arg_names.h`.
"""

import ssl
from dataclasses import dataclass
from typing import Final

import grpc

from controlplane.core.admission import Admission
from controlplane.core.errors import ConfigurationError
from controlplane.endpoints.addresses import UNIX_PREFIX, join_host_port, refuse_live_unix_socket, split_host_port
from controlplane.endpoints.observed_calls import ObservingServer
from controlplane.endpoints.tls_files import TlsFiles

MAX_CONCURRENT_STREAMS: Final = 4_096
"""A connection. An Envoy with plain SDS opens one stream for each secret."""

MAX_PENDING_REQUESTS: Final = 65_536
"""Calls that wait to be taken up, a server."""

MAX_RECEIVE_BYTES: Final = 4 * 1024 * 1024
MAX_SEND_BYTES: Final = 64 * 1024 * 1024

_OPTIONS: Final = (
    # By default calls beyond about a thousand that wait to be taken up are cancelled at random: a burst of creates, or a fleet that
    # comes back at once.
    ("grpc.server.max_pending_requests", MAX_PENDING_REQUESTS),
    ("grpc.server.max_pending_requests_hard_limit", MAX_PENDING_REQUESTS),
    # Envoy's `connection_keepalive` may ping often and without a stream: never answer that with GOAWAY ENHANCE_YOUR_CALM.
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 0),
    # A peer that vanished without a FIN is noticed within about 80 seconds.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
)
"""What every server has, whatever it serves."""


@dataclass(frozen=True, slots=True)
class GrpcListener:
    """A server that is bound but not started: add services, then `await server.start()`. `address` has the port really bound."""

    server: grpc.aio.Server
    address: str


def build_server(
    address: str,
    tls: TlsFiles | None = None,
    *,
    admission: Admission | None = None,
    shared: bool = False,
    max_concurrent_streams: int = MAX_CONCURRENT_STREAMS,
    max_receive_bytes: int = MAX_RECEIVE_BYTES,
    max_send_bytes: int = MAX_SEND_BYTES,
) -> GrpcListener:
    """Returns a bound server. Call it in the event loop that will serve.

    Args:
        address: `HOST:PORT` (port 0: a free one), `[IPV6]:PORT` or `unix:PATH`.
        tls: None serves plain text; else clients must show a certificate.
        admission: whose certificates are admitted; None admits all. Over plain text there are none, and everybody is admitted.
        shared: whether other processes listen on the same port, which somebody has reserved for them (see `reserved_port`); otherwise
            a second one must fail, not take a share of the connections.
        max_concurrent_streams: a connection.
        max_receive_bytes: a message.
        max_send_bytes: a message.

    Raises:
        ConfigurationError: the address is taken or cannot be bound, or a TLS file cannot be used. The text says which.
    """
    host = ""
    if address.startswith(UNIX_PREFIX):
        refuse_live_unix_socket(address.removeprefix(UNIX_PREFIX))
    else:
        host, _ = split_host_port(address)
    credentials = None if tls is None else _server_credentials(tls)
    options = [
        ("grpc.so_reuseport", int(shared)),
        ("grpc.max_concurrent_streams", max_concurrent_streams),
        ("grpc.max_receive_message_length", max_receive_bytes),
        ("grpc.max_send_message_length", max_send_bytes),
        *_OPTIONS,
    ]
    server = ObservingServer(grpc.aio.server(options=options), admission if tls is not None else None)
    try:
        port = server.add_insecure_port(address) if credentials is None else server.add_secure_port(address, credentials)
    except RuntimeError as error:
        fault = "it is taken by another process, or not an address of this machine"
        raise ConfigurationError(f"cannot listen on {address}: {fault}") from error
    return GrpcListener(server, join_host_port(host, port) if host else address)


def _server_credentials(tls: TlsFiles) -> grpc.ServerCredentials:
    contents = []
    for path in (tls.private_key, tls.certificate, tls.ca):
        try:
            contents.append(path.read_bytes())
        except OSError as error:
            raise ConfigurationError(f"cannot read {path}: {error.strerror}") from error
    _check_tls_files(tls)
    private_key, certificate, ca = contents
    return grpc.ssl_server_credentials([(private_key, certificate)], root_certificates=ca, require_client_auth=True)


def _check_tls_files(tls: TlsFiles) -> None:
    """Tries the files: gRPC finds broken ones at the first handshake only."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # An encrypted key must fail instead of asking a terminal for its password.
        context.load_cert_chain(tls.certificate, tls.private_key, password=lambda: b"")
    except (ssl.SSLError, OSError, ValueError) as error:
        raise ConfigurationError(
            f"{tls.certificate} and {tls.private_key} are not a PEM certificate chain and its unencrypted private key"
        ) from error
    try:
        context.load_verify_locations(tls.ca)
    except (ssl.SSLError, OSError, ValueError) as error:
        raise ConfigurationError(f"{tls.ca} is not a PEM file of CA certificates") from error
