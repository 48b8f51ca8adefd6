"""`certplane keys`: makes and shows recipient and record keys."""

import asyncio
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from controlplane.cli.configuration_errors import told_plainly
from controlplane.cli.key_options import SCHEMES, unlock_from, unlock_options
from controlplane.cli.listener_options import redis_options
from controlplane.cli.options import config_option, option
from controlplane.core.errors import ConfigurationError
from controlplane.core.sealing import KeyClass

if TYPE_CHECKING:
    from controlplane.app.rotation import RotationSettings
    from controlplane.usecases.reseal import Tally

Function = TypeVar("Function", bound=Callable[..., Any])

_RECORD = "record"

_DIRECTORY = click.Path(file_okay=False, path_type=Path)


@click.group()
def keys() -> None:
    """Make and show the keys that seal and authenticate what is stored."""
    from controlplane.app.hardening import forbid_core_dumps

    # Some of these commands have private keys in memory, and open what is sealed to them.
    forbid_core_dumps()


@keys.command()
@config_option
@option("--serve-dir", type=_DIRECTORY, required=True, help="Key directory of `certplane serve`.")
@option("--worker-dir", type=_DIRECTORY, required=True, help="Key directory of `certplane worker`.")
@option("--add", type=click.Choice([*map(str, KeyClass), _RECORD]), default=None,
        help="Add one PREPARED key to directories that have keys already, to rotate to it.")  # fmt: skip
@option("--scheme", type=click.Choice(list(SCHEMES)), default="hpke-x25519", help="How keys are sealed.")
@option("--rsa-bits", type=click.Choice(["2048", "3072", "4096"]), default="3072", help="Size of a key for rsa-oaep-aes256gcm.")
@unlock_options
def generate(serve_dir: Path, worker_dir: Path, add: str | None, scheme: str, rsa_bits: str, **unlocking: Any) -> None:
    """Make all keys of a new installation, or one more with --add.

    For a new installation both directories must be new or empty: nothing is ever overwritten, since what is sealed to a lost key is lost
    with it. A passphrase or a token, if given, protects private recipient keys.
    """
    from controlplane.adapters import key_generation

    now = datetime.now(UTC)
    with told_plainly():
        unlock, kind = unlock_from(**unlocking), key_generation.KeyKind(SCHEMES[scheme], int(rsa_bits))
        match add:
            case None:
                made = key_generation.generate_role_directories(serve_dir, worker_dir, kind, now, unlock)
            case "record":
                made = key_generation.add_record_key((serve_dir, worker_dir), now)
            case _:
                private, public = (serve_dir, worker_dir) if add == KeyClass.LEAF else (worker_dir, None)
                made = key_generation.add_recipient_key(KeyClass(add), kind, now, private_dir=private, public_dir=public, unlock=unlock)
    for path in made:
        click.echo(f"made {path}")
    if add is None:
        click.echo(f"Give {serve_dir} to `certplane serve` only and {worker_dir} to `certplane worker` only, and back both up.")
    else:
        click.echo("The new key is PREPARED: give it to every replica, then run `certplane keys activate`.")


@keys.command("list")
@click.argument("directory", metavar="DIR", type=_DIRECTORY)
@unlock_options
def list_keys(directory: Path, **unlocking: Any) -> None:
    """Show the keys of a key directory, without their content."""
    from controlplane.adapters.key_file_format import PrivateKeyFile, RecordKeyFile
    from controlplane.adapters.key_files import load_key_directory

    with told_plainly():
        loaded = load_key_directory(directory, unlock_from(**unlocking))
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


@keys.command("export-public")
@click.argument("directory", metavar="DIR", type=_DIRECTORY)
@option("--to", "target", type=_DIRECTORY, required=True, help="Directory that gets the public key files.")
@unlock_options
def export_public(directory: Path, target: Path, **unlocking: Any) -> None:
    """Write the public halves of a directory's private keys, for the role that seals to them.

    A public key that the target has already stays as it is, with its phase.
    """
    from controlplane.adapters.key_files import load_key_directory
    from controlplane.adapters.key_generation import export_public_keys

    with told_plainly():
        made = export_public_keys(load_key_directory(directory, unlock_from(**unlocking)), target)
    for path in made:
        click.echo(f"made {path}")
    if not made:
        click.echo(f"{target} has all of them already")


def _rotation_options(function: Function) -> Function:
    """Adds what every command that rotates needs."""
    function = option("--worker-dir", type=_DIRECTORY, default=None, help="Key directory of `certplane worker`.")(function)
    function = option("--serve-dir", type=_DIRECTORY, default=None, help="Key directory of `certplane serve`.")(function)
    return config_option(redis_options(required=True)(unlock_options(function)))


@keys.command()
@click.argument("key_id")
@option("--without-replicas", is_flag=True, default=False, help="Do not ask whether running replicas have the key: nothing is running.")
@_rotation_options
def activate(key_id: str, without_replicas: bool, **where: Any) -> None:
    """Make a PREPARED key ACTIVE: what is written from now on is sealed to it. The key before it becomes RETIRING.

    Refused until every live replica says that it has the key. Running processes notice the change within seconds.
    """
    from controlplane.app import rotation

    with told_plainly():
        changed = asyncio.run(rotation.activate(_settings(**where), key_id, without_replicas=without_replicas))
    for path in changed:
        click.echo(f"changed {path}")
    click.echo(f"{key_id} is ACTIVE" if changed else f"{key_id} is ACTIVE already")


@keys.command()
@click.argument("key_id")
@option("--delete", is_flag=True, default=False, help="Delete the key's files too: what is sealed to it in old backups is then lost.")
@_rotation_options
def retire(key_id: str, delete: bool, **where: Any) -> None:
    """Make a RETIRING key RETIRED. Refused while anything stored refers to it: run `certplane keys reseal` first."""
    from controlplane.app import rotation

    with told_plainly():
        changed = asyncio.run(rotation.retire(_settings(**where), key_id, delete=delete))
    for path in changed:
        click.echo(f"{'deleted' if delete else 'changed'} {path}")
    click.echo(f"{key_id} is RETIRED")


@keys.command()
@option("--class", "key_class", type=click.Choice(list(map(str, KeyClass))), default="leaf", help="What is sealed anew.")
@option("--rate", type=click.FloatRange(min=0.1), default=500.0, help="Records a second, at most.")
@option("--seal-with-legacy-scheme", is_flag=True, default=False, help="Allow that the ACTIVE key is for rsa-oaep-aes256gcm.")
@_rotation_options
def reseal(key_class: str, rate: float, seal_with_legacy_scheme: bool, **where: Any) -> None:
    """Seal what is stored anew to the ACTIVE key. Can be stopped and run again; runs beside everything else; pushes nothing.

    `leaf` needs the key directory of `serve`, `account` that of the worker.
    """
    from controlplane.app import rotation

    with told_plainly():
        settings, chosen = _settings(**where), KeyClass(key_class)
        if len(settings.directories) != 1:
            raise ConfigurationError("give one directory: --serve-dir for `leaf` keys, --worker-dir for `account` keys")
        domains = asyncio.run(rotation.count_domains(settings))
        with click.progressbar(length=domains, label="reseal", file=sys.stderr) as bar:

            def show(tally: "Tally") -> None:
                bar.update(max(min(tally.seen, domains) - bar.pos, 0))

            tally, census, target = asyncio.run(rotation.reseal(settings, chosen, rate, show, seal_with_legacy=seal_with_legacy_scheme))
    for owner, reason in tally.failed:
        click.echo(f"{owner}: {reason}", err=True)
    others = {key_id: count for key_id, count in census.recipients.items() if key_id != target.recipient_key_id}
    click.echo(f"sealed anew: {tally.resealed}; changed meanwhile: {tally.changed_meanwhile}; failed: {tally.failures}")
    for key_id, count in sorted(others.items()):
        click.echo(f"still sealed to {key_id}: {count}")
    for key_id, count in sorted(census.record_keys.items()):
        if key_id != target.record_key_id:
            click.echo(f"still authenticated under {key_id}: {count}")
    if census.unreadable:
        click.echo(f"cannot be read: {census.unreadable}")
    click.echo(f"left: {census.left(target)}")
    if census.left(target):
        sys.exit(1)


def _settings(
    *,
    serve_dir: Path | None,
    worker_dir: Path | None,
    redis_url: str,
    redis_insecure: bool,
    redis_ca: Path | None,
    **unlocking: Any,
) -> "RotationSettings":
    from controlplane.app.rotation import RotationSettings

    directories = [directory for directory in (serve_dir, worker_dir) if directory is not None]
    return RotationSettings(directories, redis_url, redis_insecure, redis_ca, unlock_from(**unlocking))


@keys.command("prepare-token")
@unlock_options
def prepare_token(**unlocking: Any) -> None:
    """Make the AES key on a PKCS#11 token that wraps private keys. It never leaves the token."""
    from controlplane.adapters.pkcs11_token import Pkcs11Token

    with told_plainly():
        token = unlock_from(**unlocking).provider
        if not isinstance(token, Pkcs11Token):
            raise ConfigurationError("say which token: --token-module, --token-label and --token-pin-file")
        made = token.make_key()
    click.echo("the token has a new wrapping key" if made else "the token has its wrapping key already")
