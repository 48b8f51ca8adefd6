"""DomainStore on Redis: domains as the API sees them."""

import asyncio
import base64
import binascii
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import NoReturn

import structlog
from google.protobuf.message import DecodeError
from prometheus_client import Counter
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from controlplane.adapters import redis_keys as keys
from controlplane.adapters.record_codec import decode_spec, decode_status, encode_spec, encode_status, parse_sealed_field
from controlplane.adapters.redis_claims import claim_prefix, parse_claim
from controlplane.adapters.redis_client import CHANGE_STREAM_LENGTH, Script, answer, milliseconds, store_call
from controlplane.core.domain_intents import with_renewal, with_revocation
from controlplane.core.errors import AlreadyExists, Conflict, FieldViolation, InvalidArgument, NotFound, RecordRejected, Unavailable
from controlplane.core.lanes import lane_of
from controlplane.core.managed_domain import Domain, DomainSpec, DomainStatus, Revocation
from controlplane.core.names import DomainName
from controlplane.core.ports import Page

_FRESH_CLAIM_MS = 60_000
"""A claim younger than this is never taken over: its owner may be about to be written."""
_ATTEMPTS = 5
_OTHER_CREATION_SECONDS = 0.03
"""Between looks at a domain whose names were claimed a moment ago; each wait is longer than the one before."""
_FIELDS = ["spec", "status", "revision", "sealed"]
_TOMBSTONE_MS = 24 * 3600 * 1000
"""How long a deletion is remembered: an Envoy that was away for longer asks for its names anew when it is back."""

_log = structlog.get_logger(__name__)
_rejected = Counter("certplane_domain_records_rejected_total", "Stored domains that cannot be read")


class RedisDomainStore:
    """Implements `DomainStore`."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._create = Script(client, "schedule", "create_domain")
        self._claim = Script(client, "claim_name")
        self._release = Script(client, "release_claim")
        self._update = Script(client, "schedule", "update_spec")
        self._delete = Script(client, "schedule", "delete_domain")
        self._list = Script(client, "list_names")

    async def create(self, spec: DomainSpec, status: DomainStatus) -> Domain:
        """See `DomainStore.create`."""
        name, shard = spec.fqdn.value, keys.shard_of(spec.fqdn.value)
        claimed: list[DomainName] = []
        try:
            for additional in spec.additional_names:
                await self._claim_name(additional, spec)
                claimed.append(additional)
            stale: str | bytes = ""
            for _ in range(_ATTEMPTS):
                outcome: bytes = await self._create(
                    [
                        keys.domain(name),
                        keys.claim(name),
                        keys.names(shard),
                        keys.sequence(shard),
                        keys.changes(shard),
                        *keys.due_sets(shard),
                    ],
                    [
                        name,
                        encode_spec(spec),
                        encode_status(status),
                        lane_of(Domain(spec, status, 1), spec.create_time),
                        all_names(spec),
                        CHANGE_STREAM_LENGTH,
                        stale,
                    ],
                )
                if outcome == b"created":
                    return Domain(spec, status, 1)
                if outcome == b"exists":
                    _exists(spec.fqdn)
                stale = await self._stale_or_taken(outcome, spec.fqdn)
        except BaseException:
            # Claims of this life only: nobody else has made them, and no record lists them.
            for additional in claimed:
                await self._release_claim(additional, spec, deleted=False)
            raise
        raise Unavailable(f"the claim on {name} keeps changing")

    async def _claim_name(self, additional: DomainName, owner: DomainSpec) -> None:
        stale: str | bytes = ""
        for attempt in range(_ATTEMPTS):
            now = milliseconds(datetime.now(UTC))
            outcome: bytes = await self._claim(
                [keys.domain(additional.value), keys.claim(additional.value)], [f"{claim_prefix(owner)}{now}", claim_prefix(owner), stale]
            )
            if outcome == b"":
                return
            if outcome == b"domain":
                _taken(f"domains/{additional}", f"{additional} is a domain of its own already; delete it first")
            if parse_claim(outcome)[0] == owner.fqdn.value:
                if await self.get(owner.fqdn) is not None:
                    _exists(owner.fqdn)
                if attempt < _ATTEMPTS - 1:
                    # The same domain is being created by somebody else: it is about to be there, unless he was killed.
                    await asyncio.sleep(_OTHER_CREATION_SECONDS * (attempt + 1))
                    continue
            stale = await self._stale_or_taken(outcome, additional)
        raise Unavailable(f"the claim on {additional} keeps changing")

    async def _stale_or_taken(self, claim: bytes, name: DomainName) -> str | bytes:
        """Returns the claim when it does not count any more, so that it may be replaced; raises `AlreadyExists` when it does."""
        owner, uid, since = parse_claim(claim)
        if not owner:
            _log.error("claim rejected", domain=name.value, reason="it cannot be read")
            return claim
        domain = await self.get(DomainName(owner))
        listed = domain is not None and name in domain.spec.additional_names and domain.spec.uid == uid
        if listed or milliseconds(datetime.now(UTC)) - since < _FRESH_CLAIM_MS:
            _taken(f"domains/{owner}", f"{name} is an additional name of domains/{owner} already")
        return claim

    async def _release_claim(self, additional: DomainName, owner: DomainSpec, *, deleted: bool) -> None:
        await self._release(
            [keys.claim(additional.value), keys.tombstone(additional.value)], [claim_prefix(owner), _TOMBSTONE_MS if deleted else 0]
        )

    async def get(self, name: DomainName) -> Domain | None:
        """See `DomainStore.get`."""
        async with store_call():
            fields = await answer(self._client.hmget(keys.domain(name.value), _FIELDS))
        return decode_domain(name.value, fields)

    async def list_page(self, page_size: int, page_token: str) -> Page:
        """See `DomainStore.list_page`. The order is by shard, then by name."""
        shard, after = _decode_token(page_token) if page_token else (0, "")
        found: list[bytes] = await self._list([keys.names(number) for number in range(shard, keys.SHARDS)], [page_size + 1, after])
        names = [name.decode(errors="replace") for name in found]
        page, more = names[:page_size], len(names) > page_size
        domains = await self.get_many(page)
        token = _encode_token(keys.shard_of(page[-1]), page[-1]) if more else ""
        return Page(tuple(domains[name] for name in page if name in domains), token)

    async def get_many(self, names: Sequence[str]) -> Mapping[str, Domain]:
        """Returns the domains among `names` that exist, in one round trip."""
        pipeline = self._client.pipeline(transaction=False)
        for name in names:
            pipeline.hmget(keys.domain(name), _FIELDS)
        async with store_call():
            replies = await pipeline.execute(raise_on_error=False)
        found = {}
        for name, fields in zip(names, replies, strict=True):
            # One domain that cannot be read must not hide all others.
            with contextlib.suppress(RecordRejected):
                domain = decode_domain(name, fields)
                if domain is not None:
                    found[name] = domain
        return found

    async def request_renewal(self, name: DomainName, at: datetime, not_before: datetime | None = None, *, replacement: str = "") -> Domain:
        """See `DomainStore.request_renewal`."""
        for _ in range(_ATTEMPTS):
            domain, raw = await self._read(name)
            spec = with_renewal(domain, at, not_before, replacement)
            if spec is domain.spec:
                return domain
            # A person sees at once when his renewal is planned; a worker need not look at a million domains twice.
            due = not_before if replacement and not_before is not None and not_before > at else None
            if await self._replace_spec(domain, raw, spec, at, due):
                return replace(domain, spec=spec, revision=domain.revision + 1)
        raise Conflict(f"domains/{name} keeps changing; try again")

    async def request_revocation(self, name: DomainName, revocation: Revocation) -> Domain:
        """See `DomainStore.request_revocation`."""
        for _ in range(_ATTEMPTS):
            domain, raw = await self._read(name)
            spec = with_revocation(domain, revocation)
            if spec is domain.spec and domain.pending_revocation is None:
                return domain
            if await self._replace_spec(domain, raw, spec, revocation.request_time):
                return replace(domain, spec=spec, revision=domain.revision + 1)
        raise Conflict(f"domains/{name} keeps changing; try again")

    async def _replace_spec(self, read: Domain, raw: bytes, spec: DomainSpec, now: datetime, due: datetime | None = None) -> bool:
        """Writes a spec in place of the one that was read and makes the domain due by a time, None: at once, in the lane that follows.

        Returns false when it has changed since.
        """
        name = spec.fqdn.value
        shard = keys.shard_of(name)
        outcome: bytes = await self._update(
            [keys.domain(name), keys.sequence(shard), keys.changes(shard), *keys.due_sets(shard)],
            [
                name,
                raw,
                encode_spec(spec),
                "" if due is None else milliseconds(due),
                lane_of(replace(read, spec=spec), due or now),
                all_names(spec),
                CHANGE_STREAM_LENGTH,
            ],
        )
        return outcome == b"updated"

    async def delete(self, name: DomainName, expected_etag: str) -> None:
        """See `DomainStore.delete`."""
        shard = keys.shard_of(name.value)
        for _ in range(_ATTEMPTS):
            domain, raw = await self._read(name)
            if expected_etag and domain.etag != expected_etag:
                raise Conflict(f"domains/{name} has changed since it was read (its etag is now {domain.etag}); read it again")
            outcome: bytes = await self._delete(
                [
                    keys.domain(name.value),
                    keys.names(shard),
                    keys.expiry(shard),
                    keys.lease(name.value),
                    keys.sequence(shard),
                    keys.changes(shard),
                    keys.tombstone(name.value),
                    *keys.due_sets(shard),
                ],
                [
                    name.value,
                    raw,
                    str(domain.revision) if expected_etag else "",
                    all_names(domain.spec),
                    CHANGE_STREAM_LENGTH,
                    _TOMBSTONE_MS,
                ],
            )
            if outcome == b"deleted":
                # Only this life's claims: the domain may have been created anew meanwhile.
                for additional in domain.spec.additional_names:
                    await self._release_claim(additional, domain.spec, deleted=True)
                return
        raise Conflict(f"domains/{name} keeps changing; read it again")

    async def _read(self, name: DomainName) -> tuple[Domain, bytes]:
        async with store_call():
            fields = await answer(self._client.hmget(keys.domain(name.value), _FIELDS))
        domain = decode_domain(name.value, fields)
        if domain is None:
            raise NotFound(f"domains/{name}")
        return domain, fields[0]


def all_names(spec: DomainSpec) -> str:
    """Returns every name of a domain as a change event carries them."""
    return ",".join(name.value for name in spec.all_names)


def decode_domain(name: str, fields: Sequence[bytes | None] | Exception) -> Domain | None:
    """Returns the domain of the hash fields in `_FIELDS`; None when there is none.

    Raises:
        RecordRejected: they cannot be read; logged and counted.
    """
    if isinstance(fields, RedisError) and not isinstance(fields, ResponseError):
        raise Unavailable(f"the store does not answer ({type(fields).__name__})") from fields
    try:
        if isinstance(fields, Exception):
            raise fields
        spec, status, revision, sealed = fields
        if spec is None or status is None or revision is None:
            return None
        return Domain(decode_spec(spec), decode_status(status), int(revision), parse_sealed_field(sealed))
    except (ResponseError, DecodeError, ValueError) as error:
        _rejected.inc()
        _log.error("domain record rejected", domain=name, reason=type(error).__name__)
        raise RecordRejected(f"the stored record of domains/{name} cannot be read") from error


def _exists(name: DomainName) -> NoReturn:
    _taken(f"domains/{name}", f"domains/{name} exists already with other content")


def _taken(resource: str, detail: str) -> NoReturn:
    raise AlreadyExists(resource, detail)


def _encode_token(shard: int, name: str) -> str:
    return base64.urlsafe_b64encode(f"{shard}:{name}".encode()).decode().rstrip("=")


def _decode_token(token: str) -> tuple[int, str]:
    try:
        text = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode()
        shard, _, name = text.partition(":")
        if 0 <= int(shard) < keys.SHARDS and name:
            return int(shard), name
    except (binascii.Error, ValueError):
        pass
    raise InvalidArgument(FieldViolation("page_token", "was not made by this service; send next_page_token of the page before"))
