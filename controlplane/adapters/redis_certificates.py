"""CertificateStore on Redis, and the codec of authenticated certificate records that the worker's store shares."""

import hashlib
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

import structlog
from google.protobuf.message import DecodeError
from prometheus_client import Counter
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from controlplane.adapters import redis_keys as keys
from controlplane.adapters.record_codec import decode_certificate_times, decode_envelope, encode_certificate_times, encode_envelope
from controlplane.adapters.redis_claims import parse_claim
from controlplane.adapters.redis_client import Script, answer, from_milliseconds, milliseconds, store_call
from controlplane.api.certplane.store.v1.certificate_pb2 import CertificateRecord as CertificateMessage
from controlplane.core.certificate import CertificateRecord
from controlplane.core.errors import RecordRejected, Unavailable
from controlplane.core.ports import Expiries, NoCertificate, RecordAuthenticator
from controlplane.core.sealing import Envelope

KIND = "certificate"
_MOST_INTERMEDIATES = 256
_LINE_SECONDS = 1.0
_CERTIFICATE, _CLAIM, _TOMBSTONE = _COMMANDS = ("certificate", "claim", "tombstone")

_log = structlog.get_logger(__name__)
_rejected = Counter("certplane_records_rejected_total", "Stored records that are not authentic or not allowed", ["kind"])


class CertificateCodec:
    """Certificate records to and from the store; intermediates are kept once for all, by their digest."""

    def __init__(self, client: Redis, authenticator: RecordAuthenticator) -> None:
        self._client = client
        self._authenticator = authenticator
        self._intermediates: dict[bytes, bytes] = {}
        self._next_line = 0.0

    async def encode(self, record: CertificateRecord) -> bytes:
        """Returns the authenticated record, after its intermediates are stored."""
        digests = [hashlib.sha256(certificate).digest() for certificate in record.intermediates]
        # Each time anew: the store may have been emptied or restored since the last one.
        pipeline = self._client.pipeline(transaction=False)
        for digest, certificate in zip(digests, record.intermediates, strict=True):
            pipeline.set(keys.intermediate(digest), certificate, nx=True)
        async with store_call():
            await pipeline.execute()
        message = CertificateMessage(
            id=record.id,
            fqdn=record.fqdn,
            generation=record.generation,
            names=record.names,
            leaf=record.leaf,
            intermediate_digests=digests,
            sealed_leaf_key=encode_envelope(record.sealed_leaf_key),
            spki_digest=record.spki_digest,
        )
        encode_certificate_times(message, record.not_before, record.not_after, record.issue_time)
        return self._authenticator.wrap(KIND, record.fqdn, message.SerializeToString())

    async def decode(self, stored: Mapping[str, bytes]) -> dict[str, CertificateRecord]:
        """Returns the authentic records among `stored` (own name → bytes); the others are logged, counted and left out.

        One round trip more when an intermediate is met for the first time.
        """
        messages: dict[str, CertificateMessage] = {}
        envelopes: dict[str, Envelope] = {}
        for fqdn, data in stored.items():
            try:
                message = CertificateMessage.FromString(self._authenticator.unwrap(KIND, fqdn, data))
                envelopes[fqdn] = decode_envelope(message.sealed_leaf_key)
            except (RecordRejected, DecodeError) as error:
                self.reject(fqdn, str(error))
                continue
            messages[fqdn] = message
        await self._fetch(digest for message in messages.values() for digest in message.intermediate_digests)
        records = {}
        for fqdn, message in messages.items():
            chain = [self._intermediates.get(digest) for digest in message.intermediate_digests]
            if None in chain:
                self.reject(fqdn, "an intermediate certificate is missing or damaged")
                continue
            not_before, not_after, issued = decode_certificate_times(message)
            records[fqdn] = CertificateRecord(
                id=message.id,
                fqdn=message.fqdn,
                generation=message.generation,
                names=tuple(message.names),
                leaf=message.leaf,
                intermediates=tuple(certificate for certificate in chain if certificate is not None),
                sealed_leaf_key=envelopes[fqdn],
                spki_digest=message.spki_digest,
                not_before=not_before,
                not_after=not_after,
                issue_time=issued,
            )
        return records

    def reject(self, fqdn: str, reason: str) -> NoCertificate:
        """Counts a record that is not believed, and logs one a second: whoever may ask for the name must not fill the disk."""
        _rejected.labels(KIND).inc()
        now = time.monotonic()
        if now >= self._next_line:
            self._next_line = now + _LINE_SECONDS
            _log.error("certificate record rejected", domain=fqdn, reason=reason)
        return NoCertificate.REJECTED

    async def _fetch(self, digests: Iterable[bytes]) -> None:
        missing = list({digest for digest in digests if digest not in self._intermediates})
        if not missing:
            return
        pipeline = self._client.pipeline(transaction=False)
        for digest in missing:
            pipeline.get(keys.intermediate(digest))
        async with store_call():
            found = await pipeline.execute()
        for digest, certificate in zip(missing, found, strict=True):
            if certificate is not None and hashlib.sha256(certificate).digest() == digest:
                self._remember(digest, certificate)

    def _remember(self, digest: bytes, certificate: bytes) -> None:
        # Bounded: a CA has a handful of intermediates; whatever fills this up is not worth keeping.
        if len(self._intermediates) >= _MOST_INTERMEDIATES:
            self._intermediates.clear()
        self._intermediates[digest] = certificate


class RedisCertificateStore:
    """Implements `CertificateStore`."""

    def __init__(self, client: Redis, authenticator: RecordAuthenticator) -> None:
        self._client = client
        self._codec = CertificateCodec(client, authenticator)
        self._least = Script(client, "least_score")
        self._count = Script(client, "count_scores")

    async def lookup(self, names: Sequence[str]) -> Mapping[str, CertificateRecord | NoCertificate]:
        """See `CertificateStore.lookup`."""
        found = await self._read([(command, name) for name in names for command in _COMMANDS])
        outcomes: dict[str, CertificateRecord | NoCertificate] = {}
        stored: dict[str, bytes] = {}
        owners: dict[str, str] = {}
        for name in names:
            certificate, claim, tombstone = (found[command, name] for command in _COMMANDS)
            owner = parse_claim(claim)[0] if isinstance(claim, bytes) else ""
            if any(isinstance(reply, Exception) for reply in (certificate, claim, tombstone)) or (claim is not None and not owner):
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
            found |= await self._read([(command, owner) for owner in wanted for command in (_CERTIFICATE, _TOMBSTONE)])
            stored.update({owner: data for owner in wanted if isinstance(data := found[_CERTIFICATE, owner], bytes)})
        records = await self._codec.decode(stored)
        for name, owner in owners.items():
            record = records.get(owner)
            if record is not None:
                # A claim alone serves nothing: the name must be on the owner's authentic certificate.
                outcomes[name] = record if name in record.names else NoCertificate.MISSING
            else:
                outcomes[name] = NoCertificate.REJECTED if owner in stored else _absence(found[_TOMBSTONE, owner])
        return outcomes

    async def _read(self, wanted: Sequence[tuple[str, str]]) -> dict[tuple[str, str], bytes | Exception | None]:
        """Reads several keys in one round trip; what is wrong with one key is its own answer."""
        pipeline = self._client.pipeline(transaction=False)
        for command, name in wanted:
            if command == _CERTIFICATE:
                pipeline.hget(keys.domain(name), "certificate")
            else:
                pipeline.get(keys.claim(name) if command == _CLAIM else keys.tombstone(name))
        async with store_call():
            replies = await pipeline.execute(raise_on_error=False)
        for reply in replies:
            if isinstance(reply, RedisError) and not isinstance(reply, ResponseError):
                raise Unavailable(f"the store does not answer ({type(reply).__name__})") from reply
        return dict(zip(wanted, replies, strict=True))

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
