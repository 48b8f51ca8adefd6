"""What `certplane account` is made of: the worker's keys, the store, and a client of the CA."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from controlplane.adapters.acme_account_changes import AccountChanges
from controlplane.adapters.live_keys import LiveKeys
from controlplane.adapters.redis_accounts import RedisAccountStore, forget_account
from controlplane.adapters.redis_client import connect
from controlplane.app.authority_clients import acme_client
from controlplane.core.certificate_authorities import AuthoritySettings
from controlplane.core.errors import FailedPrecondition, Unavailable
from controlplane.core.exposure import check_redis_url
from controlplane.core.key_protection import NOTHING, Unlock
from controlplane.core.keyring import Role
from controlplane.core.ports import AccountRecord, AcmeError, AcmeUnreachable, UnreadableRecord


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """Where the accounts are."""

    redis_url: str = field(repr=False)
    redis_insecure: bool
    redis_ca: Path | None


@dataclass(frozen=True, slots=True)
class AccountSettings:
    """Settings of a command that opens accounts: it needs the keys of the worker's role."""

    store: StoreSettings
    keys_dir: Path
    unlock: Unlock = NOTHING


async def all_accounts(settings: AccountSettings) -> Sequence[AccountRecord | UnreadableRecord]:
    """Returns all accounts as stored.

    Raises:
        CertplaneError: the keys are not the worker's, or the store does not answer.
    """
    async with _accounts(settings) as (accounts, _):
        return await accounts.all()


@asynccontextmanager
async def account_at(settings: AccountSettings, authority: AuthoritySettings) -> AsyncIterator[AccountChanges]:
    """Gives what can be done to the account at one CA.

    Raises:
        FailedPrecondition: the CA refused; the text has its problem document.
        Unavailable: the CA or the store does not answer.
        CertplaneError: the keys are not the worker's.
    """
    async with _accounts(settings) as (accounts, keys):
        client = acme_client(authority, accounts=accounts, sealer=keys, opener=keys, clock=partial(datetime.now, UTC))
        try:
            yield client.account_changes
        except AcmeError as error:
            raise FailedPrecondition(f"the CA refuses: {error.problem.detail} ({error.problem.type})") from error
        except AcmeUnreachable as error:
            raise Unavailable(str(error)) from error
        finally:
            await client.close()


async def forget(settings: StoreSettings, directory_url: str) -> bool:
    """Removes an account from the store, with its sealed key. Returns whether there was one."""
    check_redis_url(settings.redis_url, settings.redis_insecure)
    client = connect(settings.redis_url, ca_file=str(settings.redis_ca) if settings.redis_ca else None)
    try:
        return await forget_account(client, directory_url)
    finally:
        await client.aclose()


@asynccontextmanager
async def _accounts(settings: AccountSettings) -> AsyncIterator[tuple[RedisAccountStore, LiveKeys]]:
    store = settings.store
    check_redis_url(store.redis_url, store.redis_insecure)
    keys = LiveKeys(settings.keys_dir, Role.WORKER, settings.unlock)
    client = connect(store.redis_url, ca_file=str(store.redis_ca) if store.redis_ca else None)
    try:
        yield RedisAccountStore(client, keys), keys
    finally:
        await client.aclose()
