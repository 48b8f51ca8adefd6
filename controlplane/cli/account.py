"""`certplane account`: the ACME accounts, where an operator must decide."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from controlplane.cli.acme_options import account_authority, account_authority_options
from controlplane.cli.configuration_errors import told_plainly
from controlplane.cli.key_options import unlock_from, unlock_options
from controlplane.cli.listener_options import redis_options
from controlplane.cli.options import config_option, option

if TYPE_CHECKING:
    from controlplane.adapters.acme_account_changes import AccountChanges
    from controlplane.app.accounts import AccountSettings, StoreSettings

Function = TypeVar("Function", bound=Callable[..., Any])
T = TypeVar("T")

_UNLOCKING = ("key_passphrase_file", "key_passphrase_fd", "token_module", "token_label", "token_key_label", "token_pin_file")


@click.group()
def account() -> None:
    """Look after the ACME accounts in the store. What changes one needs the worker's keys, which open account keys."""
    from controlplane.app.hardening import forbid_core_dumps

    forbid_core_dumps()


def _worker_options(function: Function) -> Function:
    """Adds what every command that opens accounts needs; `_settings` reads it."""
    keys = option("--keys-dir", required=True, type=click.Path(file_okay=False, path_type=Path), help="Key directory of the worker.")
    return config_option(keys(unlock_options(redis_options(required=True)(function))))


_JSON = click.option("--json", "as_json_", is_flag=True, help="Print JSON.")
_YES = click.option("--yes", is_flag=True, help="Do not ask.")


@account.command("list")
@_worker_options
@_JSON
@click.pass_context
def list_accounts(context: click.Context, /, as_json_: bool, **_: Any) -> None:
    """Show all accounts as stored; no CA is asked."""
    from controlplane.app.accounts import all_accounts
    from controlplane.cli.account_text import as_json, as_table, unreadable_as_json
    from controlplane.core.ports import AccountRecord, UnreadableRecord

    with told_plainly():
        found = asyncio.run(all_accounts(_settings(context)))
    records = [each for each in found if isinstance(each, AccountRecord)]
    unreadable = [each for each in found if isinstance(each, UnreadableRecord)]
    if as_json_:
        shown = {"accounts": [as_json(each) for each in records], "unreadable": [unreadable_as_json(each) for each in unreadable]}
        click.echo(json.dumps(shown, indent=2))
    else:
        click.echo(as_table(records) if records else "There is no account in the store.")
        for each in unreadable:
            click.echo(f"{each.owner} is not believed: {each.reason}", err=True)
    if unreadable:
        context.exit(1)


@account.command()
@_worker_options
@account_authority_options
@_JSON
@click.pass_context
def show(context: click.Context, /, as_json_: bool, **_: Any) -> None:
    """Show the account at a CA, as stored and as the CA has it."""
    from controlplane.cli.account_text import as_json, as_lines
    from controlplane.core.ports import AcmeError, AcmeUnreachable

    async def look(changes: "AccountChanges") -> dict[str, Any]:
        shown = dict(as_json(await changes.record(), account_authority(context).name))
        try:
            remote = await changes.remote()
            shown["statusAtTheCa"], shown["contactAtTheCa"] = remote.status, list(remote.contact)
            shown["termsOfServiceNow"] = await changes.terms_of_service()
        except (AcmeError, AcmeUnreachable) as error:
            shown["statusAtTheCa"] = f"not known: {error}"
        return shown

    shown = _run(context, look)
    click.echo(json.dumps(shown, indent=2) if as_json_ else as_lines(shown))


@account.command()
@_worker_options
@account_authority_options
@click.pass_context
def rollover(context: click.Context, /, **_: Any) -> None:
    """Exchange the account key for a new one (RFC 8555 section 7.3.5); workers go on with it by themselves.

    The new key is stored, sealed, before the CA hears of it. If this is interrupted, run it again, or let a worker: whoever comes next
    finds out which key the CA has, and completes it.
    """
    record = _run(context, lambda changes: changes.rollover())
    click.echo(
        f"The account {record.account_url} has a new key, SHA-256 {record.spki_digest.hex()[:16]}. Workers take it up within a minute."
    )


@account.command("update-contact")
@_worker_options
@account_authority_options
@option("--acme-contact", required=True, help="E-mail address that the CA may write to; empty: none.")
@click.pass_context
def update_contact(context: click.Context, /, acme_contact: str, **_: Any) -> None:
    """Tell the CA another contact (RFC 8555 section 7.3.2)."""
    from controlplane.adapters.acme_client import contact_urls

    record = _run(context, lambda changes: changes.set_contact(contact_urls(acme_contact)))
    click.echo(f"The contact of {record.account_url} is now {', '.join(record.contact) or 'nobody'}.")


@account.command()
@_worker_options
@account_authority_options
@_YES
@click.pass_context
def deactivate(context: click.Context, /, yes: bool, **_: Any) -> None:
    """Deactivate the account at a CA for ever (RFC 8555 section 7.3.6): when its key may be known to somebody.

    Workers stop using it at once, and no other is made in its place until it is forgotten. Certificates stay valid.
    """
    with told_plainly():
        directory = account_authority(context).directory_url
    if not yes:
        click.confirm(f"Deactivate the ACME account at {directory}? That cannot be undone", abort=True)
    record = _run(context, lambda changes: changes.deactivate())
    click.echo(
        f"The account {record.account_url or 'at ' + directory} is deactivated. `certplane account forget` lets workers make a new one."
    )


@account.command()
@config_option
@redis_options(required=True)
@account_authority_options
@_YES
@click.pass_context
def forget(context: click.Context, /, yes: bool, **_: Any) -> None:
    """Forget the account at a CA, with its sealed key; the worker then registers a new one.

    For a CA that does not know the account any more, or after `deactivate`, and nothing else: a new account starts without the old one's
    limits and authorizations.
    """
    from controlplane.app import accounts

    with told_plainly():
        directory = account_authority(context).directory_url
        if not yes:
            click.confirm(f"Forget the ACME account at {directory}?", abort=True)
        found = asyncio.run(accounts.forget(_store(context), directory))
    if not found:
        raise click.ClickException(f"there is no account at {directory} in the store")
    click.echo(f"The account at {directory} is forgotten. A worker registers a new one at its next order, within a minute.")


def _run(context: click.Context, do: "Callable[[AccountChanges], Awaitable[T]]") -> T:
    """Does something to the account at the CA that the options say."""
    from controlplane.app.accounts import account_at

    async def run() -> T:
        async with account_at(_settings(context), account_authority(context)) as changes:
            return await do(changes)

    with told_plainly():
        return asyncio.run(run())


def _settings(context: click.Context) -> "AccountSettings":
    from controlplane.app.accounts import AccountSettings

    given = context.params
    return AccountSettings(_store(context), given["keys_dir"], unlock_from(**{name: given[name] for name in _UNLOCKING}))


def _store(context: click.Context) -> "StoreSettings":
    from controlplane.app.accounts import StoreSettings

    given = context.params
    return StoreSettings(given["redis_url"], given["redis_insecure"], given["redis_ca"])
