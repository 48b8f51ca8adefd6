"""`certplane serve`: certificates and challenge answers for Envoy, the API for everybody else."""

import sys
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import click

from controlplane.cli.command_line import as_arguments
from controlplane.cli.configuration_errors import told_plainly
from controlplane.cli.importing import collector_paused
from controlplane.cli.key_options import allowed_schemes, scheme_options, unlock_from, unlock_options
from controlplane.cli.listener_options import envoy_options, redis_options, tls_files, tls_options
from controlplane.cli.options import Duration, config_option, log_level_option, option
from controlplane.core.errors import ConfigurationError
from controlplane.core.key_protection import NOTHING

_OF_THE_GROUP = ("redis_url", "processes", "process", "xds_address", "api_address")
"""What a process of several is not told by its command line, or told otherwise."""


@click.command()
@config_option
@option("--keys-dir", required=True, type=click.Path(file_okay=False, path_type=Path), help="Key directory of this role.")
@unlock_options
@scheme_options
@redis_options(required=True)
@option("--xds-address", default="127.0.0.1:18000", help="Where Envoys connect: SDS, ADS and ext_authz.")
@option("--api-address", default="127.0.0.1:18001", help="certplane.v1, health and reflection.")
@option("--metrics-address", default="127.0.0.1:18002", help="/metrics, /healthz and /readyz.")
@option("--metrics-insecure", is_flag=True, default=False, help="Allow metrics beyond loopback: plain HTTP, without a secret or a name.")
@tls_options
@envoy_options
@option("--expiry-alert", type=Duration(), default="7d", help="Log an error while a certificate in force has less left than this.")
@option("--processes", type=click.IntRange(1, 64), default=1, help="Processes that share the two gRPC ports.")
@option("--process", type=click.IntRange(0), default=0, hidden=True, help="The number of this process among several.")
@log_level_option
@click.pass_context
def serve(
    context: click.Context,
    /,
    keys_dir: Path,
    allowed_scheme: tuple[str, ...],
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
    access_policy: Path | None,
    max_secrets_per_node: int,
    expiry_alert: timedelta,
    processes: int,
    process: int,
    log_level: str,
    **unlocking: Any,
) -> None:
    """Serve certificates to Envoys, answer HTTP-01 challenges, offer the API."""
    with collector_paused():
        from controlplane.app.lifecycle import run_role
        from controlplane.app.serve_settings import ServeSettings

        if processes > 1:
            # Without what only a serving process needs: gRPC, the store, the keys.
            from controlplane.app.serve_group import serve_group
        else:
            from controlplane.app.serve import serve_alone, serve_as_one_of_many

    def one_of_many(xds: str, api: str) -> list[str]:
        arguments = as_arguments(context, _OF_THE_GROUP)
        return [sys.executable, "-m", "controlplane.cli.main", "serve", *arguments, f"--xds-address={xds}", f"--api-address={api}"]

    with told_plainly():
        if processes > 1 and unlocking["key_passphrase_fd"] is not None:
            raise ConfigurationError("several processes cannot read one file descriptor: use --key-passphrase-file with --processes")
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
            access_policy=access_policy,
            max_secrets_per_node=max_secrets_per_node,
            expiry_alert=expiry_alert,
            processes=processes,
            # A process that only starts others unlocks nothing.
            unlock=unlock_from(**unlocking) if processes == 1 else NOTHING,
            allowed_schemes=allowed_schemes(allowed_scheme),
        )
        if processes > 1:
            run_role("serve", log_level, partial(serve_group, settings, one_of_many))
        else:
            run_role("serve", log_level, partial(serve_as_one_of_many if process else serve_alone, settings), process)
