"""`certplane serve`: certificates and challenge answers for Envoy, the API for everybody else."""

from datetime import timedelta
from functools import partial
from pathlib import Path

import click

from controlplane.cli.configuration_errors import told_plainly
from controlplane.cli.listener_options import redis_options, tls_files, tls_options
from controlplane.cli.options import Duration, config_option, log_level_option, option


@click.command()
@config_option
@option("--keys-dir", required=True, type=click.Path(file_okay=False, path_type=Path), help="Key directory of this role.")
@redis_options(required=True)
@option("--xds-address", default="127.0.0.1:18000", help="Where Envoys connect: SDS, ADS and ext_authz.")
@option("--api-address", default="127.0.0.1:18001", help="certplane.v1, health and reflection.")
@option("--metrics-address", default="127.0.0.1:18002", help="/metrics, /healthz and /readyz.")
@option("--metrics-insecure", is_flag=True, default=False, help="Allow metrics beyond loopback: plain HTTP, without a secret or a name.")
@tls_options
@option("--expiry-alert", type=Duration(), default="7d", help="Log an error while a certificate in force has less left than this.")
@log_level_option
def serve(
    keys_dir: Path,
    redis_url: str,
    redis_insecure: bool,
    redis_ca: Path | None,
    xds_address: str,
    api_address: str,
    metrics_address: str,
    metrics_insecure: bool,
    tls_cert: Path | None,
    tls_key: Path | None,
    tls_client_ca: Path | None,
    xds_client: tuple[str, ...],
    api_client: tuple[str, ...],
    expiry_alert: timedelta,
    log_level: str,
) -> None:
    """Serve certificates to Envoys, answer HTTP-01 challenges, offer the API."""
    from controlplane.app.lifecycle import run_role
    from controlplane.app.serve import ServeSettings
    from controlplane.app.serve import serve as main

    with told_plainly():
        settings = ServeSettings(
            keys_dir=keys_dir,
            redis_url=redis_url,
            redis_insecure=redis_insecure,
            redis_ca=redis_ca,
            xds_address=xds_address,
            api_address=api_address,
            metrics_address=metrics_address,
            metrics_insecure=metrics_insecure,
            tls=tls_files(tls_cert, tls_key, tls_client_ca),
            xds_clients=xds_client,
            api_clients=api_client,
            expiry_alert=expiry_alert,
        )
        run_role("serve", log_level, partial(main, settings))
