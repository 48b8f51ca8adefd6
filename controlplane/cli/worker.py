"""`certplane worker`: gets and renews certificates over ACME."""

from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import click

from controlplane.cli.acme_options import AUTHORITY_PARAMETERS, Network, acme_options, authorities_from
from controlplane.cli.configuration_errors import told_plainly
from controlplane.cli.key_options import allowed_schemes, scheme_options, unlock_from, unlock_options
from controlplane.cli.listener_options import redis_options
from controlplane.cli.options import Duration, config_option, log_level_option, option


@click.command()
@config_option
@option("--keys-dir", required=True, type=click.Path(file_okay=False, path_type=Path), help="Key directory of this role.")
@unlock_options
@scheme_options
@option("--seal-with-legacy-scheme", is_flag=True, default=False, help="Seal new keys by rsa-oaep-aes256gcm, if such a key is ACTIVE.")
@redis_options(required=True)
@acme_options
@option("--metrics-address", default="127.0.0.1:18003", help="/metrics, /healthz and /readyz.")
@option("--metrics-insecure", is_flag=True, default=False, help="Allow metrics beyond loopback: plain HTTP, without a secret or a name.")
@option("--expiry-alert", type=Duration(), default="7d", help="Log an error while a certificate in force has less left than this.")
@option("--departure-grace", type=Duration(), default="7d", help="How long a domain may point elsewhere before work on it is suspended.")
@log_level_option
@click.pass_context
def worker(
    context: click.Context,
    /,
    keys_dir: Path,
    allowed_scheme: tuple[str, ...],
    seal_with_legacy_scheme: bool,
    redis_url: str,
    redis_insecure: bool,
    redis_ca: Path | None,
    dns_resolver: str,
    http01_port: int,
    preflight_allow: tuple[Network, ...],
    concurrency: int,
    metrics_address: str,
    metrics_insecure: bool,
    expiry_alert: timedelta,
    departure_grace: timedelta,
    log_level: str,
    **others: Any,
) -> None:
    """Issue and renew certificates: pre-flight, ACME orders, sealing."""
    from controlplane.app.lifecycle import run_role
    from controlplane.app.worker import WorkerSettings
    from controlplane.app.worker import worker as main

    with told_plainly():
        settings = WorkerSettings(
            keys_dir=keys_dir,
            redis_url=redis_url,
            redis_insecure=redis_insecure,
            redis_ca=redis_ca,
            authorities=authorities_from(context),
            dns_resolver=dns_resolver,
            http01_port=http01_port,
            preflight_allow=preflight_allow,
            concurrency=concurrency,
            metrics_address=metrics_address,
            metrics_insecure=metrics_insecure,
            expiry_alert=expiry_alert,
            departure_grace=departure_grace,
            unlock=unlock_from(**{name: value for name, value in others.items() if name not in AUTHORITY_PARAMETERS}),
            allowed_schemes=allowed_schemes(allowed_scheme),
            seal_with_legacy_scheme=seal_with_legacy_scheme,
        )
        run_role("worker", log_level, partial(main, settings))
