"""TokenStore and AccountStore on Redis."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime

import structlog
from prometheus_client import Counter
from redis.asyncio import Redis

from controlplane.adapters import redis_keys as keys
from controlplane.adapters.multiplexed_reads import MultiplexedReads, packed_get
from controlplane.adapters.record_codec import decode_account, decode_token, encode_account, encode_token
from controlplane.adapters.redis_client import answer, milliseconds, store_call
from controlplane.core.errors import NotFound, RecordRejected
from controlplane.core.ports import AccountRecord, RecordAuthenticator, TokenRecord

_log = structlog.get_logger(__name__)
_rejected = Counter("certplane_token_records_rejected_total", "Stored tokens that are not authentic")


class RedisTokenStore:
    """Implements `TokenStore`."""

    def __init__(self, client: Redis, authenticator: RecordAuthenticator) -> None:
        self._client = client
        self._authenticator = authenticator
        self._read = MultiplexedReads(client)

    async def plant(self, record: TokenRecord) -> None:
        """See `TokenStore.plant`."""
        data = self._authenticator.wrap("token", record.token, encode_token(record))
        async with store_call():
            await self._client.set(keys.token(record.token), data, pxat=milliseconds(record.expire_time))

    async def find(self, token: str) -> TokenRecord | None:
        """See `TokenStore.find`."""
        [data] = await self._read([packed_get(keys.token(token))])
        if data is None:
            return None
        try:
            if not isinstance(data, bytes):
                raise RecordRejected("a key of the store has another type than it should")
            record = decode_token(self._authenticator.unwrap("token", token, data))
        except RecordRejected as error:
            _rejected.inc()
            _log.error("token record rejected", reason=str(error))
            return None
        return record if record.expire_time > datetime.now(UTC) else None

    async def withdraw(self, tokens: Iterable[str]) -> None:
        """See `TokenStore.withdraw`."""
        pipeline = self._client.pipeline(transaction=False)
        for token in tokens:
            pipeline.delete(keys.token(token))
        async with store_call():
            await pipeline.execute()


class RedisAccountStore:
    """Implements `AccountStore`."""

    def __init__(self, client: Redis, authenticator: RecordAuthenticator) -> None:
        self._client = client
        self._authenticator = authenticator

    async def get(self, directory_url: str) -> AccountRecord | None:
        """See `AccountStore.get`."""
        async with store_call():
            data: bytes | None = await answer(self._client.get(keys.account(directory_url)))
        return None if data is None else decode_account(self._authenticator.unwrap("account", directory_url, data))

    async def create(self, record: AccountRecord) -> AccountRecord:
        """See `AccountStore.create`."""
        async with store_call():
            await self._client.set(keys.account(record.directory_url), self._wrap(record), nx=True)
        stored = await self.get(record.directory_url)
        return record if stored is None else stored

    async def set_url(self, directory_url: str, account_url: str) -> None:
        """See `AccountStore.set_url`.

        Raises:
            NotFound: the account was forgotten meanwhile.
        """
        record = await self.get(directory_url)
        if record is None:
            raise NotFound(f"the ACME account at {directory_url}")
        async with store_call():
            await self._client.set(keys.account(directory_url), self._wrap(replace(record, account_url=account_url)), xx=True)

    async def forget(self, directory_url: str) -> bool:
        """See `AccountStore.forget`."""
        return await forget_account(self._client, directory_url)

    def _wrap(self, record: AccountRecord) -> bytes:
        return self._authenticator.wrap("account", record.directory_url, encode_account(record))


async def forget_account(client: Redis, directory_url: str) -> bool:
    """Removes an account; needs no record key. Returns whether there was one."""
    async with store_call():
        return bool(await client.delete(keys.account(directory_url)))
