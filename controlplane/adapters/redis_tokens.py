"""TokenStore on Redis."""

from collections.abc import Iterable
from datetime import UTC, datetime

import structlog
from prometheus_client import Counter
from redis.asyncio import Redis

from controlplane.adapters import redis_keys as keys
from controlplane.adapters.multiplexed_reads import MultiplexedReads, packed_get
from controlplane.adapters.record_codec import decode_token, encode_token
from controlplane.adapters.redis_client import milliseconds, store_call
from controlplane.core.errors import RecordRejected
from controlplane.core.ports import RecordAuthenticator, TokenRecord

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
