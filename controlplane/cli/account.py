"""`certplane account`: the ACME account, where an operator must decide."""

import asyncio
from pathlib import Path

import click

from controlplane.cli.acme_options import LETS_ENCRYPT_STAGING
from controlplane.cli.configuration_errors import told_plainly
from controlplane.cli.listener_options import redis_options
from controlplane.cli.options import config_option, option


@click.group()
def account() -> None:
    """Look after the ACME account in the store."""


@account.command()
@config_option
@redis_options(required=True)
@option("--acme-directory", default=LETS_ENCRYPT_STAGING, help="Directory URL of the CA.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def forget(redis_url: str, redis_insecure: bool, redis_ca: Path | None, acme_directory: str, yes: bool) -> None:
    """Forget the account at a CA, with its sealed key; the worker then registers a new one.

    For a CA that does not know the account any more, and nothing else: a new account starts without the old one's limits and
    authorizations.
    """
    from controlplane.adapters.redis_client import connect
    from controlplane.adapters.redis_tokens import forget_account
    from controlplane.core.exposure import check_redis_url

    if not yes:
        click.confirm(f"Forget the ACME account at {acme_directory}?", abort=True)

    async def run() -> bool:
        client = connect(redis_url, ca_file=str(redis_ca) if redis_ca else None)
        try:
            return await forget_account(client, acme_directory)
        finally:
            await client.aclose()

    with told_plainly():
        check_redis_url(redis_url, redis_insecure)
        found = asyncio.run(run())
    if not found:
        raise click.ClickException(f"there is no account at {acme_directory} in the store")
    click.echo(f"The account at {acme_directory} is forgotten. Restart the worker: it registers a new one at its next order.")
