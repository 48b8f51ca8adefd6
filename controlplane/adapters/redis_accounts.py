"""AccountStore on Redis."""

from collections.abc import Sequence

from google.protobuf.message import DecodeError
from redis.asyncio import Redis

from controlplane.adapters import redis_keys as keys
from controlplane.adapters.record_codec import decode_account, encode_account
from controlplane.adapters.redis_client import Script, answer, keys_like, store_call
from controlplane.api.certplane.store.v1.account_pb2 import AccountRecord as AccountMessage
from controlplane.api.certplane.store.v1.envelope_pb2 import AuthenticatedRecord
from controlplane.core.errors import RecordRejected
from controlplane.core.ports import AccountRecord, RecordAuthenticator, UnreadableRecord

_KIND = "account"


class RedisAccountStore:
    """Implements `AccountStore`."""

    def __init__(self, client: Redis, authenticator: RecordAuthenticator) -> None:
        self._client = client
        self._authenticator = authenticator
        self._replace_string = Script(client, "replace_string")

    async def get(self, directory_url: str) -> AccountRecord | None:
        """See `AccountStore.get`."""
        data = await self._read(keys.account(directory_url))
        return None if data is None else self._decode(directory_url, data)

    async def all(self) -> Sequence[AccountRecord | UnreadableRecord]:
        """See `AccountStore.all`. The directory's URL is in the record only."""
        found: list[AccountRecord] = []
        unreadable: list[UnreadableRecord] = []
        for key in await keys_like(self._client, keys.ACCOUNTS_PATTERN):
            shown = key.decode(errors="replace")
            try:
                data = await self._read(shown)
                if data is None:
                    continue
                # Only to learn which account it claims to be; it is believed below.
                claimed = AccountMessage.FromString(AuthenticatedRecord.FromString(data).payload).directory_url
                if keys.account(claimed) != shown:
                    raise RecordRejected("it is the account of another directory")
                found.append(self._decode(claimed, data))
            except (RecordRejected, DecodeError) as error:
                unreadable.append(UnreadableRecord(_KIND, shown, str(error)))
        return [*sorted(found, key=lambda record: record.directory_url), *sorted(unreadable, key=lambda record: record.owner)]

    async def create(self, record: AccountRecord) -> AccountRecord:
        """See `AccountStore.create`."""
        async with store_call():
            await self._client.set(keys.account(record.directory_url), self._encode(record), nx=True)
        stored = await self.get(record.directory_url)
        return record if stored is None else stored

    async def replace(self, before: AccountRecord, after: AccountRecord) -> bool:
        """See `AccountStore.replace`."""
        key = keys.account(before.directory_url)
        data = await self._read(key)
        if data is None or self._decode(before.directory_url, data) != before:
            return False
        return bool(await self._replace_string([key], [data, self._encode(after)]))

    async def forget(self, directory_url: str) -> bool:
        """See `AccountStore.forget`."""
        return await forget_account(self._client, directory_url)

    async def _read(self, key: str) -> bytes | None:
        async with store_call():
            data: bytes | None = await answer(self._client.get(key))
        return data

    def _encode(self, record: AccountRecord) -> bytes:
        return self._authenticator.wrap(_KIND, record.directory_url, encode_account(record))

    def _decode(self, directory_url: str, data: bytes) -> AccountRecord:
        return decode_account(self._authenticator.unwrap(_KIND, directory_url, data))


async def forget_account(client: Redis, directory_url: str) -> bool:
    """Removes an account; needs no record key. Returns whether there was one."""
    async with store_call():
        return bool(await client.delete(keys.account(directory_url)))
