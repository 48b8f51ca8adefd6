"""`certplane up`: everything on one machine."""

from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import click

from controlplane.cli.acme_options import Network, acme_options, as_arguments, authorities_from
from controlplane.cli.configuration_errors import told_plainly
from controlplane.cli.listener_options import envoy_options, redis_options, tls_options
from controlplane.cli.options import Duration, config_option, log_level_option, option

_PORT = click.IntRange(1, 65535)


@click.command()
@config_option
@option("--state-dir", default=".state", type=click.Path(file_okay=False, path_type=Path), help="Where everything is kept.")
@redis_options(required=False)
@acme_options
@option("--scheme", type=click.Choice(["hpke-x25519", "hpke-mlkem768-x25519"]), default="hpke-x25519", help="Sealing, if new.")
@option("--xds-address", default="127.0.0.1:18000", help="Where Envoys connect: SDS, ADS and ext_authz.")
@option("--api-address", default="127.0.0.1:18001", help="certplane.v1, health and reflection.")
@option("--metrics-address", default="127.0.0.1:18002", help="/metrics, /healthz and /readyz of serve.")
@option("--worker-metrics-address", default="127.0.0.1:0", help="The same of the worker; port 0 is a free one.")
@option("--metrics-insecure", is_flag=True, default=False, help="Allow metrics beyond loopback: plain HTTP, without a secret or a name.")
@tls_options
@envoy_options
@option("--serve-processes", type=click.IntRange(1, 64), default=1, help="Processes of serve that share the two gRPC ports.")
@option("--expiry-alert", type=Duration(), default="7d", help="Log an error while a certificate in force has less left than this.")
@option("--envoy/--no-envoy", default=False, help="Run an Envoy edge too.")
@option("--http-port", type=_PORT, default=18080, help="HTTP port of that Envoy.")
@option("--https-port", type=_PORT, default=18443, help="HTTPS port of that Envoy.")
@option("--admin-port", type=click.IntRange(0, 65535), default=0, help="Admin port of that Envoy; 0 is a free one.")
@option("--upstream", default="127.0.0.1:8000", metavar="HOST:PORT", help="Where that Envoy sends requests.")
@log_level_option
@click.pass_context
def up(
    context: click.Context,
    /,
    state_dir: Path,
    redis_url: str,
    redis_insecure: bool,
    redis_ca: Path | None,
    preflight_allow: tuple[Network, ...],
    scheme: str,
    xds_address: str,
    api_address: str,
    metrics_address: str,
    worker_metrics_address: str,
    metrics_insecure: bool,
    tls_cert: Path | None,
    tls_key: Path | None,
    tls_client_ca: Path | None,
    xds_client: tuple[str, ...],
    api_client: tuple[str, ...],
    access_policy: Path | None,
    max_secrets_per_node: int,
    serve_processes: int,
    expiry_alert: timedelta,
    envoy: bool,
    http_port: int,
    https_port: int,
    admin_port: int,
    upstream: str,
    log_level: str,
    **_: Any,
) -> None:
    """Run serve, worker, a Valkey and, with --envoy, an Envoy in one tree of processes. Ctrl-C or SIGTERM ends all."""
    from controlplane.app.lifecycle import run_role
    from controlplane.app.up import EnvoySettings, UpSettings, loopback_networks
    from controlplane.app.up import up as main
    from controlplane.core.errors import ConfigurationError
    from controlplane.core.sealing import Scheme

    shared = [f"--log-level={log_level}"]
    shared += ["--redis-insecure"] if redis_insecure else []
    shared += [f"--redis-ca={redis_ca.absolute()}"] if redis_ca else []
    shared += ["--metrics-insecure"] if metrics_insecure else []
    shared += [f"--expiry-alert={expiry_alert.total_seconds()}s"]
    files = {"--tls-cert": tls_cert, "--tls-key": tls_key, "--tls-client-ca": tls_client_ca}
    serve_options = [
        f"--xds-address={xds_address}",
        f"--api-address={api_address}",
        f"--metrics-address={metrics_address}",
        *(f"{name}={path.absolute()}" for name, path in files.items() if path),
        *(f"--xds-client={identity}" for identity in xds_client or [""]),
        *(f"--api-client={identity}" for identity in api_client or [""]),
        *([f"--access-policy={access_policy.absolute()}"] if access_policy else []),
        f"--max-secrets-per-node={max_secrets_per_node}",
        f"--processes={serve_processes}",
    ]
    with told_plainly():
        # A CA on this machine validates over loopback: so does the pre-flight then.
        local = (networks for each in authorities_from(context) if (networks := loopback_networks(each.directory_url)))
        worker_options = as_arguments(context, preflight_allow or next(local, ()))
        if envoy and any(files.values()):
            raise ConfigurationError(
                "the Envoy of --envoy speaks plaintext on loopback: leave out --envoy and run an Envoy with the configuration that"
                " `certplane envoy-bootstrap --xds-ca F --xds-cert F --xds-key F` prints"
            )
        settings = UpSettings(
            state_dir=state_dir,
            redis_url=redis_url,
            scheme=Scheme[scheme.upper().replace("-", "_")],
            serve_options=(*shared, *serve_options),
            worker_options=(*shared, *worker_options, f"--metrics-address={worker_metrics_address}"),
            envoy=EnvoySettings(http_port, https_port, admin_port, upstream) if envoy else None,
        )
        run_role("up", log_level, partial(main, settings))
