"""The contract of AccountStore."""

from dataclasses import replace

import pytest
from redis.asyncio import Redis

from controlplane.adapters import redis_keys as keys
from controlplane.adapters.record_codec import decode_account, encode_account
from controlplane.adapters.record_hmac import RecordHmac
from controlplane.adapters.redis_accounts import RedisAccountStore
from controlplane.api.certplane.store.v1 import account_pb2
from controlplane.core.errors import RecordRejected
from controlplane.core.ports import AccountRecord, AccountStatus, AccountStore, SealedAccountKey, UnreadableRecord
from tests.fakes import samples

DIRECTORY = "https://ca.example/dir"


def account(directory_url: str = DIRECTORY) -> AccountRecord:
    """An account that the CA has not heard of yet."""
    return AccountRecord(directory_url, "", samples.sealed(), b"\x02" * 32, samples.now())


def everything() -> AccountRecord:
    """An account with every field set."""
    return replace(
        account(),
        account_url="https://ca.example/acct/1",
        successor=SealedAccountKey(samples.sealed(), b"\x03" * 32),
        key_change_time=samples.now(),
        status=AccountStatus.DEACTIVATING,
        contact=("mailto:operator@example.com",),
        terms_of_service="https://ca.example/terms",
        external_account_key_id="kid-1",
    )


async def test_an_account_is_created_once(account_store: AccountStore) -> None:
    """The first record wins; an operator can make it forgotten."""
    record = account()
    assert await account_store.get(record.directory_url) is None
    assert record == await account_store.create(record)
    assert record == await account_store.create(replace(record, spki_digest=b"\x03" * 32))
    assert (True, False) == (await account_store.forget(record.directory_url), await account_store.forget(record.directory_url))


async def test_a_replacement_counts_only_over_what_was_read(account_store: AccountStore) -> None:
    """Of two who read the same record only the first writes; nothing comes into being where nothing is."""
    before, after = account(), everything()
    assert not await account_store.replace(before, after)
    assert await account_store.get(DIRECTORY) is None
    await account_store.create(before)
    assert (True, False) == (await account_store.replace(before, after), await account_store.replace(before, before))
    assert after == await account_store.get(DIRECTORY)


async def test_all_accounts_are_listed_in_order(account_store: AccountStore) -> None:
    """Every account is listed with everything about it, by directory URL."""
    records = [replace(everything(), directory_url=f"https://ca.example/{name}") for name in ("c", "a", "b")]
    for record in records:
        await account_store.create(record)
    assert sorted(records, key=lambda record: record.directory_url) == list(await account_store.all())


async def test_accounts_that_are_not_authentic_are_listed_as_such(client: Redis, authenticator: RecordHmac) -> None:
    """Junk, and an authentic record under another directory's key, are shown with a reason and hide nothing else."""
    store = RedisAccountStore(client, authenticator)
    await store.create(account())
    await client.set(keys.account("https://junk.example/dir"), b"junk")
    await client.set(keys.account("https://moved.example/dir"), await client.get(keys.account(DIRECTORY)))
    found = await store.all()
    assert [account().directory_url] == [each.directory_url for each in found if isinstance(each, AccountRecord)]
    assert 2 == len([each for each in found if isinstance(each, UnreadableRecord) and each.place == "account" and each.reason])


async def test_what_is_not_authentic_is_not_replaced(client: Redis, authenticator: RecordHmac) -> None:
    """A record that somebody forged is neither believed nor overwritten."""
    await client.set(keys.account(DIRECTORY), b"junk")
    with pytest.raises(RecordRejected):
        await RedisAccountStore(client, authenticator).replace(account(), everything())
    assert b"junk" == await client.get(keys.account(DIRECTORY))


def test_a_record_of_an_older_version_is_an_account_in_use() -> None:
    """A record without the newer fields is of a valid account without a successor key."""
    message = account_pb2.AccountRecord.FromString(encode_account(account()))
    message.ClearField("status")
    read = decode_account(message.SerializeToString())
    assert (AccountStatus.VALID, None, None) == (read.status, read.successor, read.key_change_time)


def test_a_status_of_a_newer_version_is_rejected() -> None:
    """A status that this version does not know is never taken for another."""
    message = account_pb2.AccountRecord.FromString(encode_account(account()))
    message.status = 99
    with pytest.raises(RecordRejected):
        decode_account(message.SerializeToString())
