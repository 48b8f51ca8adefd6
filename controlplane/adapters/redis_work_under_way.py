"""WorkUnderWay on Redis: what a census of the stored envelopes does not show, or not for long."""

from collections import Counter
from collections.abc import Mapping

from redis.asyncio import Redis

from controlplane.adapters import redis_keys as keys
from controlplane.adapters.redis_client import answer, keys_like, store_call
from controlplane.core.errors import RecordRejected
from controlplane.core.ports import RecordAuthenticator


class RedisWorkUnderWay:
    """Implements `WorkUnderWay`."""

    def __init__(self, client: Redis, authenticator: RecordAuthenticator) -> None:
        self._client = client
        self._authenticator = authenticator

    async def leases(self) -> Mapping[bytes, bytes]:
        """See `WorkUnderWay.leases`."""
        return await self._values(keys.LEASES_PATTERN)

    async def still_held(self, leases: Mapping[bytes, bytes]) -> Mapping[bytes, bytes]:
        """See `WorkUnderWay.still_held`."""
        return {key: value for key, value in leases.items() if await self._get(key) == value}

    async def tokens(self) -> Mapping[str, int]:
        """See `WorkUnderWay.tokens`."""
        counts: Counter[str] = Counter()
        for data in (await self._values(keys.TOKENS_PATTERN)).values():
            try:
                counts[self._authenticator.key_id_of(data)] += 1
            except RecordRejected:
                # Damaged: nobody is answered with it, whatever keys there are.
                continue
        return counts

    async def _values(self, pattern: str) -> Mapping[bytes, bytes]:
        found = {key: await self._get(key) for key in await keys_like(self._client, pattern)}
        return {key: value for key, value in found.items() if value is not None}

    async def _get(self, key: bytes) -> bytes | None:
        """Returns a string of the store; None when there is none, or something else that others have put there."""
        try:
            async with store_call():
                value: bytes | None = await answer(self._client.get(key))
        except RecordRejected:
            return None
        return value
