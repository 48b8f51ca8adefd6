"""`certplane keys`: makes and shows recipient and record keys."""

from datetime import UTC, datetime
from pathlib import Path

import click

from controlplane.cli.configuration_errors import told_plainly
from controlplane.cli.options import config_option, option
from controlplane.core.sealing import Scheme

_SCHEMES = {"hpke-x25519": Scheme.HPKE_X25519, "hpke-mlkem768-x25519": Scheme.HPKE_MLKEM768_X25519}

_DIRECTORY = click.Path(file_okay=False, path_type=Path)


@click.group()
def keys() -> None:
    """Make and show the keys that seal and authenticate what is stored."""


@keys.command()
@config_option
@option("--serve-dir", type=_DIRECTORY, required=True, help="New key directory of `certplane serve`.")
@option("--worker-dir", type=_DIRECTORY, required=True, help="New key directory of `certplane worker`.")
@option("--scheme", type=click.Choice(list(_SCHEMES)), default="hpke-x25519", help="How keys are sealed.")
def generate(serve_dir: Path, worker_dir: Path, scheme: str) -> None:
    """Make all keys of a new installation.

    Both directories must be new or empty: nothing is ever overwritten, since what is sealed to a lost key is lost with it.
    """
    from controlplane.adapters.key_generation import generate_role_directories

    with told_plainly():
        made = generate_role_directories(serve_dir, worker_dir, _SCHEMES[scheme], datetime.now(UTC))
    for path in made:
        click.echo(f"made {path}")
    click.echo(f"Give {serve_dir} to `certplane serve` only and {worker_dir} to `certplane worker` only, and back both up.")


@keys.command("list")
@click.argument("directory", metavar="DIR", type=_DIRECTORY)
def list_keys(directory: Path) -> None:
    """Show the keys of a key directory, without their content."""
    from controlplane.adapters.key_file_format import PrivateKeyFile, RecordKeyFile
    from controlplane.adapters.key_files import load_key_directory

    with told_plainly():
        loaded = load_key_directory(directory)
    rows = [("CLASS", "KIND", "SCHEME", "PHASE", "KEY ID", "CREATED", "FILE")]
    for path, file in loaded.files:
        about = file.about
        created = f"{about.create_time.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
        if isinstance(file, RecordKeyFile):
            rows.append(("-", "record", "HMAC_SHA256", about.phase, about.key_id, created, path.name))
        else:
            kind = "private" if isinstance(file, PrivateKeyFile) else "public"
            rows.append((file.about.key_class, kind, file.about.scheme.name, about.phase, about.key_id, created, path.name))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
