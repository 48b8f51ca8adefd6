"""CertificateStore on Redis."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

from redis.asyncio import Redis

from controlplane.adapters import redis_keys as keys
from controlplane.adapters.certificate_codec import CertificateCodec
from controlplane.adapters.multiplexed_reads import MultiplexedReads, packed_get, packed_hget
from controlplane.adapters.redis_claims import parse_claim
from controlplane.adapters.redis_client import Script, answer, from_milliseconds, milliseconds, store_call
from controlplane.core.certificate import CertificateHead, CertificateRecord, ServableCertificate
from controlplane.core.ports import Expiries, NoCertificate, RecordAuthenticator

C = TypeVar("C", bound=ServableCertificate)

_IN_FORCE, _BEFORE, _HEAD = b"certificate", b"previous", b"head"


class RedisCertificateStore:
    """Implements `CertificateStore`."""

    def __init__(self, client: Redis, authenticator: RecordAuthenticator) -> None:
        self._client = client
        self._reads = MultiplexedReads(client)
        self._codec = CertificateCodec(client, authenticator)
        self._least = Script(client, "least_score")
        self._count = Script(client, "count_scores")

    async def lookup(self, names: Sequence[str]) -> Mapping[str, CertificateRecord | NoCertificate]:
        """See `CertificateStore.lookup`."""
        return await self._find(_IN_FORCE, names, self._codec.decode)

    async def servable(self, names: Sequence[str]) -> Mapping[str, ServableCertificate | NoCertificate]:
        """See `CertificateStore.servable`."""
        return await self._find(_IN_FORCE, names, self._codec.decode_servable)

    async def previous(self, names: Sequence[str]) -> Mapping[str, CertificateRecord | NoCertificate]:
        """See `CertificateStore.previous`."""
        return await self._find(_BEFORE, names, self._codec.decode)

    async def _find(
        self, field: bytes, names: Sequence[str], decode: Callable[[Mapping[str, bytes]], Awaitable[Mapping[str, C]]]
    ) -> Mapping[str, C | NoCertificate]:
        commands: list[bytes] = []
        for name in names:
            domain, claim, tombstone = keys.of_name(name)
            commands += (packed_hget(domain, field), packed_get(claim), packed_get(tombstone))
        replies = iter(await self._reads(commands))
        outcomes: dict[str, C | NoCertificate] = {}
        stored: dict[str, bytes] = {}
        owners: dict[str, str] = {}
        tombstones: dict[str, object] = {}
        for name, certificate, claim, tombstone in zip(names, replies, replies, replies, strict=True):
            owner = parse_claim(claim)[0] if isinstance(claim, bytes) else ""
            if isinstance(certificate, bytes) and claim is None and tombstone is None:
                stored[name] = certificate
                owners[name] = name
            elif any(isinstance(reply, Exception) for reply in (certificate, claim, tombstone)) or (claim is not None and not owner):
                outcomes[name] = self._codec.reject(name, "a key of this name cannot be read")
            elif isinstance(certificate, bytes):
                stored[name] = certificate
                owners[name] = name
            elif owner:
                owners[name] = owner
            else:
                outcomes[name] = _absence(tombstone)
        wanted = [owner for owner in dict.fromkeys(owners.values()) if owner not in stored]
        if wanted:
            await self._read_owners(field, wanted, stored, tombstones)
        records = await decode(stored)
        for name, owner in owners.items():
            record = records.get(owner)
            if record is not None:
                # A claim alone serves nothing: the name must be on the owner's authentic certificate.
                outcomes[name] = record if name in record.names else NoCertificate.MISSING
            else:
                outcomes[name] = NoCertificate.REJECTED if owner in stored else _absence(tombstones.get(owner))
        return outcomes

    async def _read_owners(self, field: bytes, owners: Iterable[str], stored: dict[str, bytes], tombstones: dict[str, object]) -> None:
        """Reads what domains have of which only additional names were asked for."""
        commands: list[bytes] = []
        for owner in owners:
            commands += (packed_hget(keys.domain(owner), field), packed_get(keys.tombstone(owner)))
        replies = iter(await self._reads(commands))
        for owner, certificate, tombstone in zip(owners, replies, replies, strict=True):
            tombstones[owner] = tombstone
            if isinstance(certificate, bytes):
                stored[owner] = certificate

    async def heads(self, names: Sequence[str]) -> Mapping[str, CertificateHead | None]:
        """See `CertificateStore.heads`."""
        stored = await self._heads_of(names)
        others = [name for name in names if name not in stored]
        owners: dict[str, str] = {}
        if others:
            for name, claim in zip(others, await self._reads([packed_get(keys.claim(name)) for name in others]), strict=True):
                owner = parse_claim(claim)[0] if isinstance(claim, bytes) else ""
                if owner:
                    owners[name] = owner
            stored |= await self._heads_of([owner for owner in dict.fromkeys(owners.values()) if owner not in stored])
        heads = {fqdn: self._codec.decode_head(fqdn, data) for fqdn, data in stored.items()}
        return {name: heads.get(owners.get(name, name)) for name in names}

    async def _heads_of(self, fqdns: Sequence[str]) -> dict[str, bytes]:
        if not fqdns:
            return {}
        replies: list[Any] = await self._reads([packed_hget(keys.domain(fqdn), _HEAD) for fqdn in fqdns])
        return {fqdn: head for fqdn, head in zip(fqdns, replies, strict=True) if isinstance(head, bytes)}

    async def expiries(self, now: datetime, close: timedelta) -> Expiries:
        """See `CertificateStore.expiries`."""
        shards = [keys.expiry(shard) for shard in range(keys.SHARDS)]
        least = await self._least(shards, [milliseconds(now)])
        expired, up_to_close = await self._count(shards, [milliseconds(now), milliseconds(now + close)])
        following = (from_milliseconds(float(least[1])), least[0].decode(errors="replace")) if least else None
        return Expiries(following, expired, up_to_close - expired)

    async def ping(self) -> None:
        """Asks the store for a sign of life.

        Raises:
            Unavailable: there is none.
        """
        async with store_call():
            await answer(self._client.ping())


def _absence(tombstone: object) -> NoCertificate:
    return NoCertificate.MISSING if tombstone is None else NoCertificate.DELETED
