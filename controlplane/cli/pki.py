"""`certplane pki`: a private CA and certificates for mutual TLS, for a trial or a small fleet."""

from datetime import UTC, datetime
from pathlib import Path

import click

from controlplane.cli.configuration_errors import told_plainly
from controlplane.cli.options import config_option, option

_DIRECTORY = click.Path(file_okay=False, path_type=Path)


@click.group()
def pki() -> None:
    """Make and renew the certificates of mutual TLS between serve, Envoy, operators and workers."""


@pki.command()
@config_option
@click.argument("directory", metavar="DIR", type=_DIRECTORY)
@option(
    "--serve-host",
    "serve_hosts",
    multiple=True,
    metavar="NAME_OR_IP",
    help="A name or address at which Envoy and operators reach `certplane serve`; repeatable.  [default: localhost, 127.0.0.1, ::1]",
)
def init(directory: Path, serve_hosts: tuple[str, ...]) -> None:
    """Make a private CA and certificates for all roles in a new directory."""
    from controlplane.adapters.pki_files import CA_KEY, init_pki
    from controlplane.adapters.private_pki import DEFAULT_SERVE_HOSTS

    with told_plainly():
        made = init_pki(directory, datetime.now(UTC), serve_hosts or DEFAULT_SERVE_HOSTS)
    for path in made:
        click.echo(f"made {path}")
    click.echo(f"Give each machine ca.pem and the two files of its own role; keep {directory / CA_KEY} on none of them.")
    click.echo(f"Certificates last a year: run `certplane pki renew {directory}` before.")


@pki.command()
@config_option
@click.argument("directory", metavar="DIR", type=_DIRECTORY)
@option(
    "--serve-host",
    "serve_hosts",
    multiple=True,
    metavar="NAME_OR_IP",
    help="As for init; without it `serve` keeps the names that it has.",
)
def renew(directory: Path, serve_hosts: tuple[str, ...]) -> None:
    """Make the certificates anew from the same CA, for the same keys."""
    from controlplane.adapters.pki_files import renew_pki

    with told_plainly():
        replaced = renew_pki(directory, datetime.now(UTC), serve_hosts)
    for path in replaced:
        click.echo(f"renewed {path}")
