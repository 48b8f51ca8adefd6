"""WorkStore on Redis: leases, fenced writes and the schedule."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from google.protobuf.message import DecodeError
from redis.asyncio import Redis

from controlplane.adapters import redis_keys as keys
from controlplane.adapters.certificate_codec import CertificateCodec
from controlplane.adapters.record_codec import decode_order, encode_order, encode_status, sealed_field
from controlplane.adapters.redis_client import CHANGE_STREAM_LENGTH, Script, answer, from_milliseconds, milliseconds, store_call
from controlplane.adapters.redis_domains import decode_domain
from controlplane.core.certificate import CertificateRecord
from controlplane.core.errors import DomainGone, LeaseLost, RecordRejected
from controlplane.core.lane import Lane
from controlplane.core.managed_domain import DomainStatus
from controlplane.core.names import DomainName
from controlplane.core.order import OrderRecord
from controlplane.core.ports import Clock, DueDomains, Lease, RecordAuthenticator, Work
from controlplane.xds.resource_names import canonical_name

_log = structlog.get_logger(__name__)
_DUE_SETS: Mapping[Lane, Sequence[str]] = {lane: [keys.due(shard, lane) for shard in range(keys.SHARDS)] for lane in Lane}


class RedisWorkStore:
    """Implements `WorkStore`.

    Orders are authenticated records: whoever can write to the store could otherwise plant a CSR of his own.
    """

    def __init__(self, client: Redis, authenticator: RecordAuthenticator, clock: Clock = lambda: datetime.now(UTC)) -> None:
        self._client = client
        self._authenticator = authenticator
        self._certificates = CertificateCodec(client, authenticator)
        self._clock = clock
        self._due = Script(client, "due_domains")
        self._acquire = Script(client, "schedule", "acquire_lease")
        self._extend = Script(client, "schedule", "extend_lease")
        self._release = Script(client, "schedule", "release_lease")
        self._load = Script(client, "load_work")
        self._save = Script(client, "schedule", "save_work")
        # What a lease of this process has read or saved, so that events name the domain's names and release knows what was saved.
        self._names: dict[Lease, str] = {}
        self._scheduled: set[Lease] = set()

    async def due(self, now: datetime, limits: Mapping[Lane, int]) -> DueDomains:
        """See `WorkStore.due`."""
        looks = await asyncio.gather(*(self._look(lane, now, limit) for lane, limit in limits.items()))
        return DueDomains(
            {lane: names for lane, (names, _) in zip(limits, looks, strict=True)},
            min((following for _, following in looks if following is not None), default=None),
        )

    async def _look(self, lane: Lane, now: datetime, limit: int) -> tuple[Sequence[DomainName], datetime | None]:
        following, *found = await self._due(_DUE_SETS[lane], [milliseconds(now), limit])
        ready: list[DomainName] = []
        for member, shard in zip(found[::3], found[2::3], strict=True):
            name = canonical_name(member)
            if name is None or keys.shard_of(name) != int(shard):
                # Nobody could ever lease it, and it would come first at every look.
                _log.error("schedule entry rejected", entry=repr(member)[:100], shard=int(shard), lane=lane)
                async with store_call():
                    await answer(self._client.zrem(keys.due(int(shard), lane), member))
            else:
                ready.append(DomainName(name))
        return ready, from_milliseconds(float(following)) if following else None

    async def acquire(self, name: DomainName, owner: str, ttl: timedelta, *, due_by: datetime | None = None) -> Lease | None:
        """See `WorkStore.acquire`."""
        taken: list[Any] = await self._acquire(
            [keys.domain(name.value), keys.lease(name.value), keys.fence(keys.shard_of(name.value)), *_due_sets(name.value)],
            [name.value, owner, ttl // timedelta(milliseconds=1), "" if due_by is None else milliseconds(due_by)],
        )
        return Lease(name, owner, taken[0], Lane(taken[1].decode())) if taken else None

    async def extend(self, lease: Lease, ttl: timedelta) -> None:
        """See `WorkStore.extend`."""
        name = lease.name.value
        kept: int = await self._extend(
            [keys.domain(name), keys.lease(name), *_due_sets(name)],
            [name, lease.owner, lease.token, ttl // timedelta(milliseconds=1), 1 if lease in self._scheduled else 0],
        )
        self._held(lease, kept)

    async def release(self, lease: Lease) -> None:
        """See `WorkStore.release`."""
        name = lease.name.value
        scheduled = lease in self._scheduled
        self._forget(lease)
        await self._release(
            [keys.domain(name), keys.lease(name), *_due_sets(name)], [name, lease.owner, lease.token, 1 if scheduled else 0]
        )

    async def load(self, lease: Lease) -> Work:
        """See `WorkStore.load`. An order or certificate that is not authentic is logged and treated as absent."""
        name = lease.name.value
        fields: list[bytes | None] = await self._load([keys.domain(name)], [lease.token])
        domain = decode_domain(name, fields[:4]) if fields else None
        if domain is None:
            self._forget(lease)
            raise LeaseLost(f"domains/{name} is gone or leased by another worker")
        order_data, certificate_data = fields[4], fields[5]
        order = None
        if order_data is not None:
            try:
                order = decode_order(self._authenticator.unwrap("order", name, order_data))
            except (RecordRejected, DecodeError, ValueError) as error:
                _log.error("order record rejected", domain=name, reason=str(error))
        certificate = (await self._certificates.decode({name: certificate_data})).get(name) if certificate_data else None
        self._names[lease] = ",".join(each.value for each in domain.spec.all_names)
        return Work(domain, order, certificate)

    async def save_status(
        self, lease: Lease, status: DomainStatus, due: datetime | None, lane: Lane | None = None, *, publish: bool = True
    ) -> None:
        """See `WorkStore.save_status`."""
        event = "status" if publish else ""
        await self._write(lease, status=encode_status(status), due=_score(due), lane=lane or "", event=event)
        self._scheduled.add(lease)

    async def save_order(self, lease: Lease, order: OrderRecord | None, status: DomainStatus | None = None) -> None:
        """See `WorkStore.save_order`."""
        data = b"-" if order is None else self._authenticator.wrap("order", lease.name.value, encode_order(order))
        encoded = b"" if status is None else encode_status(status)
        await self._write(lease, order=data, status=encoded, event="" if status is None else "status")

    async def save_certificate(
        self, lease: Lease, certificate: CertificateRecord, status: DomainStatus, due: datetime | None, lane: Lane = Lane.RENEWAL
    ) -> CertificateRecord:
        """See `WorkStore.save_certificate`. The generation is the time in microseconds, so a restored store does not count backwards."""
        generation = max(certificate.generation + 1, milliseconds(self._clock()) * 1000)
        stored = replace(certificate, generation=generation)
        await self._write(
            lease,
            status=encode_status(status),
            order=b"-",
            certificate=await self._certificates.encode(stored),
            head=self._certificates.encode_head(stored),
            sealed=sealed_field(stored.sealed_leaf_key),
            due=_score(due),
            lane=lane,
            expiry=str(milliseconds(stored.not_after)),
            event="certificate",
        )
        self._scheduled.add(lease)
        return stored

    async def _write(
        self,
        lease: Lease,
        *,
        status: bytes = b"",
        order: bytes = b"",
        certificate: bytes = b"",
        head: bytes = b"",
        sealed: str = "",
        due: str = "",
        lane: str = "",
        expiry: str = "",
        event: str = "",
    ) -> None:
        name = lease.name.value
        shard = keys.shard_of(name)
        kept: int = await self._save(
            [keys.domain(name), keys.expiry(shard), keys.sequence(shard), keys.changes(shard), *keys.due_sets(shard)],
            [
                name,
                lease.token,
                status,
                order,
                certificate,
                head,
                due,
                expiry,
                self._names.get(lease, name),
                event,
                CHANGE_STREAM_LENGTH,
                sealed,
                lane,
            ],
        )
        self._held(lease, kept)

    def _held(self, lease: Lease, kept: int) -> None:
        if kept != 1:
            self._forget(lease)
            if kept < 0:
                raise DomainGone(f"domains/{lease.name} was deleted")
            raise LeaseLost(f"domains/{lease.name} is gone or leased by another worker")

    def _forget(self, lease: Lease) -> None:
        self._names.pop(lease, None)
        self._scheduled.discard(lease)


def _due_sets(name: str) -> Sequence[str]:
    return keys.due_sets(keys.shard_of(name))


def _score(due: datetime | None) -> str:
    return "-" if due is None else str(milliseconds(due))
