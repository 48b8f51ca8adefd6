"""`certplane envoy-bootstrap`: prints a complete Envoy configuration."""

import socket
from typing import Any

import click

from controlplane.adapters.envoy_templates import (
    EdgeParameters,
    SidecarParameters,
    XdsTls,
    parse_endpoint,
    render_edge,
    render_sidecar,
)
from controlplane.cli.options import config_option, option
from controlplane.cli.prefetch import names_to_prefetch, prefetch_options
from controlplane.core.errors import ConfigurationError

_DEFAULT_HTTP_PORT = 8080


def _endpoint(text: str) -> str:
    try:
        parse_endpoint(text)
    except ConfigurationError as error:
        raise click.BadParameter(str(error)) from error
    return text


_PORT = click.IntRange(1, 65535)


@click.command("envoy-bootstrap")
@config_option
@option("--kind", type=click.Choice(["edge", "sidecar"]), default="edge",
        help="edge: any name, at the handshake, over delta ADS. sidecar: the named secrets, over SDS.")  # fmt: skip
@option(
    "--xds-address", type=_endpoint, metavar="HOST:PORT", default="127.0.0.1:18000", help="Where `certplane serve` is, seen from Envoy."
)
@option("--upstream", type=_endpoint, metavar="HOST:PORT", required=True, help="Where requests for the sites go.")
@option("--listen-address", metavar="IP", default="127.0.0.1", help="Where the HTTP and HTTPS listeners are; 0.0.0.0 or :: for everywhere.")
@option(
    "--http-port", type=_PORT, help=f"Port of the HTTP listener; {_DEFAULT_HTTP_PORT} for an edge, no listener for a sidecar, if not given."
)
@option("--https-port", type=_PORT, default=8443, help="Port of the HTTPS listener.")
@option("--admin-port", type=_PORT, default=19000, help="Port of Envoy's admin interface, on 127.0.0.1 only.")
@option("--xds-ca", metavar="FILE", help="PEM of the CA that certifies `serve`; turns TLS on.")
@option("--xds-cert", metavar="FILE", help="PEM certificate of this Envoy, for mutual TLS.")
@option("--xds-key", metavar="FILE", help="PEM key of that certificate.")
@option("--xds-server-name", metavar="NAME", help="Name that the certificate of `serve` must carry; by default the host of --xds-address.")
@option("--node-id", metavar="ID", help="xDS node id; by default the kind and this host's name.")
@option("--node-cluster", metavar="NAME", help="xDS node cluster; by default the kind.")
@option("--secret", metavar="NAME", multiple=True, help="A domain whose certificate a sidecar serves; repeat for more.")
@option("--sds-api", type=click.Choice(["grpc", "delta"]), default="grpc",
        help="How a sidecar asks for its secrets: StreamSecrets or DeltaSecrets.")  # fmt: skip
@prefetch_options
@option("--max-connections", type=click.IntRange(min=1), default=50_000, help="Clients' connections, all listeners together.")
@option("--access-log", is_flag=True, help="Write each request to standard output as a line of JSON.")
def envoy_bootstrap(
    *,
    kind: str,
    xds_address: str,
    upstream: str,
    listen_address: str,
    http_port: int | None,
    https_port: int,
    admin_port: int,
    xds_ca: str | None,
    xds_cert: str | None,
    xds_key: str | None,
    xds_server_name: str | None,
    node_id: str | None,
    node_cluster: str | None,
    secret: tuple[str, ...],
    sds_api: str,
    max_connections: int,
    access_log: bool,
    **prefetch: Any,
) -> None:
    """Print a complete Envoy configuration in YAML.

    File names are written as given; Envoy reads them when it starts.
    """
    edge = kind == "edge"
    if edge and secret:
        raise click.UsageError("--secret is for --kind sidecar: an edge gets every name at the handshake")
    if not edge and (prefetch["prefetch"] or prefetch["prefetch_from"]):
        raise click.UsageError("--prefetch and --prefetch-from are for --kind edge: a sidecar fetches every --secret when it starts")
    try:
        common: dict[str, Any] = {
            "xds_address": xds_address,
            "upstream": upstream,
            "https_port": https_port,
            "admin_port": admin_port,
            "node_id": node_id or f"{kind}-{socket.gethostname()}",
            **({"node_cluster": node_cluster} if node_cluster else {}),
            "listen_address": listen_address,
            "xds_tls": _xds_tls(xds_address, xds_ca, xds_cert, xds_key, xds_server_name),
            "access_log": access_log,
            "max_connections": max_connections,
        }
        if edge:
            names = names_to_prefetch(**prefetch)
            text = render_edge(EdgeParameters(http_port=http_port or _DEFAULT_HTTP_PORT, prefetch=names, **common))
        else:
            text = render_sidecar(SidecarParameters(http_port=http_port, secrets=secret, delta=sds_api == "delta", **common))
    except ConfigurationError as error:
        raise click.UsageError(str(error)) from error
    click.echo(text, nl=False)


def _xds_tls(xds_address: str, ca: str | None, cert: str | None, key: str | None, server_name: str | None) -> XdsTls | None:
    if ca is None:
        if cert or key or server_name:
            raise click.UsageError("--xds-cert, --xds-key and --xds-server-name need --xds-ca")
        return None
    return XdsTls(ca_file=ca, server_name=server_name or parse_endpoint(xds_address).host, cert_file=cert or "", key_file=key or "")
