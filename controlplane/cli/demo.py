"""`certplane demo`: the demonstration that `make up` runs."""

from functools import partial
from pathlib import Path

import click

from controlplane.cli.configuration_errors import told_plainly
from controlplane.cli.options import config_option, option

_PORT = click.IntRange(1, 65535)


@click.command()
@config_option
@option("--state-dir", default=".state", type=click.Path(file_okay=False, path_type=Path), help="Where everything is kept.")
@option("--domain", default="shop.example.com", help="The domain to onboard; with a real CA, one that leads to this machine.")
@option("--additional-name", multiple=True, default=("www.shop.example.com",), help="Further names of its certificate; repeatable.")
@option("--acme-directory", default="", show_default=False, help="Directory URL of a CA; without it, a Pebble is started.")
@option("--acme-ca-bundle", type=click.Path(exists=True, dir_okay=False, path_type=Path), default=None, help="Roots for the CA's HTTPS.")
@option("--http-port", type=_PORT, default=18080, help="HTTP port of Envoy.")
@option("--https-port", type=_PORT, default=18443, help="HTTPS port of Envoy.")
@option("--admin-port", type=_PORT, default=18004, help="Admin port of Envoy.")
@option("--xds-port", type=_PORT, default=18000, help="xDS port of serve.")
@option("--api-port", type=_PORT, default=18001, help="API port of serve.")
@option("--metrics-port", type=_PORT, default=18002, help="Metrics port of serve.")
@option("--worker-metrics-port", type=_PORT, default=18003, help="Metrics port of the worker.")
@option("--pebble-port", type=_PORT, default=14000, help="Port of Pebble's directory.")
@click.option("--since", type=float, default=0.0, hidden=True, help="When the wait began, in seconds since 1970, to tell how long it took.")
@click.option("--once", is_flag=True, help="End after the page was fetched.")
def demo(
    state_dir: Path,
    domain: str,
    additional_name: tuple[str, ...],
    acme_directory: str,
    acme_ca_bundle: Path | None,
    http_port: int,
    https_port: int,
    admin_port: int,
    xds_port: int,
    api_port: int,
    metrics_port: int,
    worker_metrics_port: int,
    pebble_port: int,
    since: float,
    once: bool,
) -> None:
    """Show Certplane at work: an Envoy, a CA, and one customer's domain from nothing to a verified HTTPS page."""
    from controlplane.app.lifecycle import run_role
    from controlplane.demo.run import DemonstrationSettings, run

    settings = DemonstrationSettings(
        state_dir=state_dir,
        domain=domain,
        additional_names=additional_name,
        acme_directory=acme_directory,
        acme_options=(f"--acme-ca-bundle={acme_ca_bundle.absolute()}",) if acme_ca_bundle else (),
        xds_port=xds_port,
        api_port=api_port,
        metrics_port=metrics_port,
        worker_metrics_port=worker_metrics_port,
        http_port=http_port,
        https_port=https_port,
        admin_port=admin_port,
        pebble_port=pebble_port,
        since=since,
        once=once,
    )
    with told_plainly():
        try:
            run_role("demo", "warning", partial(run, settings))
        except TimeoutError:
            raise click.ClickException(f"the certificate did not come in time; the logs are in {state_dir / 'logs'}") from None
