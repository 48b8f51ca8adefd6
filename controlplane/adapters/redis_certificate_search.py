"""CertificateSearch on Redis."""

from collections.abc import AsyncIterator
from typing import Any, Final

from redis.asyncio import Redis

from controlplane.adapters import redis_keys as keys
from controlplane.adapters.redis_client import Script
from controlplane.core.names import DomainName
from controlplane.xds.resource_names import canonical_name

DOMAINS_AT_ONCE: Final = 250
"""For which the store answers nobody else: about a millisecond."""

_SHARDS_AT_ONCE: Final = 16
"""A small fleet is searched in few calls, and for a large one no call names more shards than it comes to."""

# Heads are short, so certificates in force, which are meant most often, are found sooner. A record of an earlier version has none.
_PASSES: Final = (("head", "certificate"), ("previous", "previous"))


class RedisCertificateSearch:
    """Implements `CertificateSearch`: the store looks itself, some domains at a time, and sends only the name."""

    def __init__(self, client: Redis) -> None:
        self._find = Script(client, "find_certificate")

    async def candidates(self, certificate_id: str) -> AsyncIterator[DomainName]:
        """See `CertificateSearch.candidates`."""
        for fields in _PASSES:
            shard, after = 0, b""
            while shard < keys.SHARDS:
                shards = range(shard, min(shard + _SHARDS_AT_ONCE, keys.SHARDS))
                arguments: list[str | bytes | int] = [certificate_id, *fields, DOMAINS_AT_ONCE, after, *map(keys.domain_prefix, shards)]
                found: list[Any] = await self._find([keys.names(each) for each in shards], arguments)
                if not found:
                    shard, after = shards.stop, b""
                    continue
                index, after, matches = found
                shard += int(index)
                name = canonical_name(after)
                if int(matches) and name is not None:
                    yield DomainName(name)
