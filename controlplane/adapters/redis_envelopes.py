"""EnvelopeStore and ReplicaReports on Redis.

A cursor is `SHARD:NAME`, the last domain that was read of a shard, and `accounts` for what comes after the last shard. Names are read in
order, so a cursor stays good while domains come and go. Bytes of a name are characters of a cursor one to one (Latin-1): others write to
this store too, and a cursor that is not exactly where the last page ended would never come to an end.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC

import structlog
from google.protobuf.message import DecodeError
from redis.asyncio import Redis

from controlplane.adapters import redis_keys as keys
from controlplane.adapters.certificate_codec import HEAD_KIND
from controlplane.adapters.record_codec import decode_envelope, encode_envelope, parse_sealed_field, sealed_field
from controlplane.adapters.redis_client import Script, answer, keys_like, store_call
from controlplane.api.certplane.store.v1.account_pb2 import AccountRecord as AccountMessage
from controlplane.api.certplane.store.v1.certificate_pb2 import CertificateHead as HeadMessage
from controlplane.api.certplane.store.v1.certificate_pb2 import CertificateRecord as CertificateMessage
from controlplane.api.certplane.store.v1.envelope_pb2 import AuthenticatedRecord
from controlplane.api.certplane.store.v1.order_pb2 import OrderRecord as OrderMessage
from controlplane.api.certplane.store.v1.replica_pb2 import ReplicaKeys as ReplicaMessage
from controlplane.core.certificate import leaf_seal_context
from controlplane.core.chain import csr_spki_digest
from controlplane.core.errors import CertplaneError, FieldViolation, InvalidArgument, RecordRejected
from controlplane.core.keyring import Role
from controlplane.core.ports import RecordAuthenticator, SealedPage, SealedRecord, UnreadableRecord
from controlplane.core.rotation import ReplicaKeys
from controlplane.core.sealing import Envelope, KeyClass, Scheme, SealContext

_ACCOUNTS, _SUCCESSORS = "accounts", "account-successors"
_REPORT_SECONDS = 30
_ENCODING = "latin-1"

_CERTIFICATE, _PREVIOUS, _ORDER = _FIELDS = ("certificate", "previous", "order")
_ACCOUNT, _SUCCESSOR = "account", "account-successor"
"""The account key, and the key that is to take its place while a rollover is under way."""

_SHARD = re.compile(r"[0-9]{1,3}")
_KINDS = {_CERTIFICATE: "certificate", _PREVIOUS: "certificate", _ORDER: "order", _ACCOUNT: "account", _SUCCESSOR: "account"}
"""Kinds of authenticated records, by place."""

_log = structlog.get_logger(__name__)

_Message = CertificateMessage | OrderMessage | AccountMessage


class RedisEnvelopeStore:
    """Implements `EnvelopeStore`."""

    def __init__(self, client: Redis, authenticator: RecordAuthenticator) -> None:
        self._client = client
        self._authenticator = authenticator
        self._replace_field = Script(client, "replace_field")
        self._replace_order = Script(client, "replace_order")
        self._replace_string = Script(client, "replace_string")

    async def page(self, cursor: str, domains: int) -> SealedPage:
        """See `EnvelopeStore.page`."""
        if cursor == _ACCOUNTS:
            return SealedPage(await self._accounts(_ACCOUNT), _SUCCESSORS)
        if cursor == _SUCCESSORS:
            # A page of their own: the records are read again, since the account keys in them were replaced just now.
            successors = await self._accounts(_SUCCESSOR)
            # What cannot be read at all was told with the account keys.
            told = {record.owner for record in await self._accounts(_ACCOUNT) if isinstance(record, UnreadableRecord)}
            return SealedPage([record for record in successors if record.owner not in told], "")
        shard, after = _parse(cursor)
        names: list[bytes] = []
        # Over several shards: a small installation has a few domains in each.
        while shard < keys.SHARDS and len(names) < domains:
            found = await self._names(shard, after, domains - len(names))
            names += found
            full = len(names) == domains
            shard, after = (shard, found[-1]) if full else (shard + 1, b"")
        # What is no name has no domain either.
        records = await self._read([name.decode() for name in names if name.isascii()])
        return SealedPage(records, _ACCOUNTS if shard == keys.SHARDS else f"{shard}:{after.decode(_ENCODING)}")

    async def replace(self, record: SealedRecord, envelope: Envelope) -> bool:
        """See `EnvelopeStore.replace`."""
        kind = _KINDS[record.place]
        message, field = _parse_record(record.place, self._authenticator.unwrap(kind, record.owner, record.stored))
        getattr(message, field).CopyFrom(encode_envelope(envelope))
        data = self._authenticator.wrap(kind, record.owner, message.SerializeToString())
        if record.place in (_ACCOUNT, _SUCCESSOR):
            return bool(await self._replace_string([keys.account(record.owner)], [record.stored, data]))
        if record.place == _ORDER:
            places = [keys.domain(record.owner), keys.lease(record.owner), keys.fence(keys.shard_of(record.owner))]
            return bool(await self._replace_order(places, [record.stored, data]))
        sealed, head = "", b""
        if record.place == _CERTIFICATE and isinstance(message, CertificateMessage):
            # The head is authenticated too, so it moves to another record key with its record.
            sealed = sealed_field(envelope)
            content = HeadMessage(id=message.id, generation=message.generation, tenant=message.tenant).SerializeToString()
            head = self._authenticator.wrap(HEAD_KIND, record.owner, content)
        return bool(await self._replace_field([keys.domain(record.owner)], [record.place, record.stored, data, sealed, head]))

    async def progress(self, target: str) -> str:
        """See `EnvelopeStore.progress`."""
        try:
            async with store_call():
                data: bytes | None = await answer(self._client.get(keys.reseal(target)))
            cursor = (data or b"").decode(_ENCODING)
            if cursor not in (_ACCOUNTS, _SUCCESSORS):
                _parse(cursor)
        except (RecordRejected, InvalidArgument) as error:
            _log.error("place of a stopped run rejected, beginning anew", reason=str(error))
            return ""
        return cursor

    async def save_progress(self, target: str, cursor: str) -> None:
        """See `EnvelopeStore.save_progress`."""
        async with store_call():
            if cursor:
                await self._client.set(keys.reseal(target), cursor.encode(_ENCODING))
            else:
                await self._client.delete(keys.reseal(target))

    async def count(self) -> int:
        """Returns how many domains there are."""
        pipeline = self._client.pipeline(transaction=False)
        for shard in range(keys.SHARDS):
            pipeline.zcard(keys.names(shard))
        async with store_call():
            return sum(await pipeline.execute())

    async def _names(self, shard: int, after: bytes, limit: int) -> list[bytes]:
        async with store_call():
            found: list[bytes] = await answer(
                self._client.zrangebylex(keys.names(shard), b"(" + after if after else "-", "+", start=0, num=limit)
            )
        return found

    async def _read(self, names: Sequence[str]) -> list[SealedRecord | UnreadableRecord]:
        pipeline = self._client.pipeline(transaction=False)
        for name in names:
            pipeline.hmget(keys.domain(name), list(_FIELDS))
        async with store_call():
            replies = await pipeline.execute(raise_on_error=False)
        records: list[SealedRecord | UnreadableRecord] = []
        for name, reply in zip(names, replies, strict=True):
            if isinstance(reply, Exception):
                records.append(UnreadableRecord(_CERTIFICATE, name, "its key has another type than it should"))
                continue
            records += [self._decode(place, name, data) for place, data in zip(_FIELDS, reply, strict=True) if data is not None]
        return records

    async def _accounts(self, place: str) -> list[SealedRecord | UnreadableRecord]:
        records: list[SealedRecord | UnreadableRecord] = []
        for key in await keys_like(self._client, keys.ACCOUNTS_PATTERN):
            shown = key.decode(errors="replace")
            try:
                async with store_call():
                    data: bytes | None = await answer(self._client.get(key))
            except RecordRejected as error:
                records.append(UnreadableRecord(place, shown, str(error)))
                continue
            decoded = None if data is None else self._decode_account(place, shown, data)
            if decoded is not None:
                records.append(decoded)
        return records

    def _decode_account(self, place: str, key: str, data: bytes) -> SealedRecord | UnreadableRecord | None:
        """Reads an account, whose directory URL is in the record only; returns None when there is no such key in it."""
        try:
            # Only to learn which account it claims to be; it is believed below.
            claimed = AccountMessage.FromString(AuthenticatedRecord.FromString(data).payload)
        except DecodeError as error:
            return UnreadableRecord(place, key, str(error))
        if place == _SUCCESSOR and not claimed.HasField("sealed_successor_key"):
            return None
        if keys.account(claimed.directory_url) != key:
            return UnreadableRecord(place, key, "it is the account of another directory")
        return self._decode(place, claimed.directory_url, data)

    def _decode(self, place: str, owner: str, data: bytes) -> SealedRecord | UnreadableRecord:
        try:
            message, field = _parse_record(place, self._authenticator.unwrap(_KINDS[place], owner, data))
            envelope, context = decode_envelope(getattr(message, field)), _context_of(place, message)
        except (CertplaneError, DecodeError, ValueError) as error:
            return UnreadableRecord(place, owner, str(error))
        return SealedRecord(place, owner, envelope, context, self._authenticator.key_id_of(data), data)


def _parse_record(place: str, payload: bytes) -> tuple[_Message, str]:
    """Returns the message, and its field that holds the envelope."""
    if place == _ACCOUNT:
        return AccountMessage.FromString(payload), "sealed_account_key"
    if place == _SUCCESSOR:
        return AccountMessage.FromString(payload), "sealed_successor_key"
    if place == _ORDER:
        return OrderMessage.FromString(payload), "sealed_leaf_key"
    return CertificateMessage.FromString(payload), "sealed_leaf_key"


def _context_of(place: str, message: _Message) -> SealContext:
    if isinstance(message, AccountMessage):
        digest = message.successor_spki_digest if place == _SUCCESSOR else message.spki_digest
        return SealContext(KeyClass.ACCOUNT, digest, (message.directory_url,))
    if isinstance(message, OrderMessage):
        return leaf_seal_context(csr_spki_digest(message.csr), tuple(message.names))
    return leaf_seal_context(message.spki_digest, tuple(message.names))


def _parse(cursor: str) -> tuple[int, bytes]:
    if not cursor:
        return 0, b""
    shard, colon, after = cursor.partition(":")
    if not colon or not _SHARD.fullmatch(shard) or int(shard) >= keys.SHARDS:
        raise InvalidArgument(FieldViolation("cursor", "it was not made by this store"))
    return int(shard), after.encode(_ENCODING)


class RedisEnvelopeCounts:
    """Implements `EnvelopeCounts`: one script a shard, which looks at one short field of each domain."""

    def __init__(self, client: Redis) -> None:
        self._count = Script(client, "count_sealed")

    async def by_scheme(self) -> Mapping[Scheme, int]:
        """See `EnvelopeCounts.by_scheme`."""
        counts: Counter[Scheme] = Counter()
        for shard in range(keys.SHARDS):
            found = await self._count([keys.names(shard)], [keys.domain_prefix(shard)])
            for sealed, count in zip(found[::2], found[1::2], strict=True):
                scheme = parse_sealed_field(sealed)
                if scheme is not None:
                    counts[scheme] += int(count)
        return counts


class RedisReplicaReports:
    """Implements `ReplicaReports`."""

    def __init__(self, client: Redis, authenticator: RecordAuthenticator) -> None:
        self._client = client
        self._authenticator = authenticator

    async def report(self, report: ReplicaKeys) -> None:
        """See `ReplicaReports.report`."""
        message = ReplicaMessage(
            replica=report.replica,
            role=report.role,
            opens=sorted(report.opens),
            believes=sorted(report.believes),
            writes=sorted(report.writes),
        )
        message.seen.FromDatetime(report.seen)
        data = self._authenticator.wrap("replica", report.replica, message.SerializeToString())
        async with store_call():
            await self._client.set(keys.key_report(report.replica), data, ex=_REPORT_SECONDS)

    async def withdraw(self, replica: str) -> None:
        """See `ReplicaReports.withdraw`."""
        async with store_call():
            await self._client.delete(keys.key_report(replica))

    async def live(self) -> Sequence[ReplicaKeys]:
        """See `ReplicaReports.live`."""
        reports = []
        for key in await keys_like(self._client, keys.KEY_REPORTS_PATTERN):
            try:
                async with store_call():
                    data: bytes | None = await answer(self._client.get(key))
                if data is None:
                    continue
                replica = key.decode().removeprefix(keys.key_report(""))
                message = ReplicaMessage.FromString(self._authenticator.unwrap("replica", replica, data))
                role = Role(message.role)
            except (RecordRejected, DecodeError, ValueError) as error:
                _log.error("report of a replica rejected", reason=str(error))
                continue
            reports.append(
                ReplicaKeys(
                    replica,
                    role,
                    frozenset(message.opens),
                    frozenset(message.believes),
                    frozenset(message.writes),
                    message.seen.ToDatetime(UTC),
                )
            )
        return reports
