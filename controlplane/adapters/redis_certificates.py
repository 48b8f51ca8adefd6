"""CertificateStore on Redis, and the codec of authenticated certificate records that the worker's store shares."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import structlog
from prometheus_client import Counter
from redis.asyncio import Redis

from controlplane.adapters import redis_keys as keys
from controlplane.adapters.record_codec import decode_certificate_times, decode_envelope, encode_certificate_times, encode_envelope
from controlplane.adapters.redis_client import Script, answer, from_milliseconds, store_call
from controlplane.api.certplane.store.v1.certificate_pb2 import CertificateRecord as CertificateMessage
from controlplane.core.certificate import CertificateRecord
from controlplane.core.errors import RecordRejected
from controlplane.core.ports import RecordAuthenticator

KIND = "certificate"
_MOST_INTERMEDIATES = 256

_log = structlog.get_logger(__name__)
_rejected = Counter("certplane_records_rejected_total", "Stored records that are not authentic or not allowed", ["kind"])


class CertificateCodec:
    """Certificate records to and from the store; intermediates are kept once for all, by their digest."""

    def __init__(self, client: Redis, authenticator: RecordAuthenticator) -> None:
        self._client = client
        self._authenticator = authenticator
        self._intermediates: dict[bytes, bytes] = {}

    async def encode(self, record: CertificateRecord) -> bytes:
        """Returns the authenticated record, after its intermediates are stored."""
        digests = [hashlib.sha256(certificate).digest() for certificate in record.intermediates]
        for digest, certificate in zip(digests, record.intermediates, strict=True):
            if digest not in self._intermediates:
                async with store_call():
                    await self._client.set(keys.intermediate(digest), certificate)
                self._remember(digest, certificate)
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
        for fqdn, data in stored.items():
            try:
                message = CertificateMessage.FromString(self._authenticator.unwrap(KIND, fqdn, data))
                decode_envelope(message.sealed_leaf_key)
            except RecordRejected as error:
                self._reject(fqdn, str(error))
                continue
            messages[fqdn] = message
        await self._fetch(digest for message in messages.values() for digest in message.intermediate_digests)
        records = {}
        for fqdn, message in messages.items():
            chain = [self._intermediates.get(digest) for digest in message.intermediate_digests]
            if None in chain:
                self._reject(fqdn, "an intermediate certificate is missing or damaged")
                continue
            not_before, not_after, issued = decode_certificate_times(message)
            records[fqdn] = CertificateRecord(
                id=message.id,
                fqdn=message.fqdn,
                generation=message.generation,
                names=tuple(message.names),
                leaf=message.leaf,
                intermediates=tuple(certificate for certificate in chain if certificate is not None),
                sealed_leaf_key=decode_envelope(message.sealed_leaf_key),
                spki_digest=message.spki_digest,
                not_before=not_before,
                not_after=not_after,
                issue_time=issued,
            )
        return records

    def _reject(self, fqdn: str, reason: str) -> None:
        _rejected.labels(KIND).inc()
        _log.error("certificate record rejected", domain=fqdn, reason=reason)

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

    async def lookup(self, names: Sequence[str]) -> Mapping[str, CertificateRecord]:
        """See `CertificateStore.lookup`."""
        pipeline = self._client.pipeline(transaction=False)
        for name in names:
            pipeline.hget(keys.domain(name), "certificate")
            pipeline.get(keys.claim(name))
        async with store_call():
            replies = await pipeline.execute()
        stored: dict[str, bytes] = {}
        owners: dict[str, str] = {}
        for index, name in enumerate(names):
            certificate, claim = replies[2 * index], replies[2 * index + 1]
            if certificate is not None:
                stored[name] = certificate
                owners[name] = name
            elif claim is not None:
                owners[name] = claim.partition(b"|")[0].decode()
        wanted = [owner for owner in dict.fromkeys(owners.values()) if owner not in stored]
        if wanted:
            pipeline = self._client.pipeline(transaction=False)
            for owner in wanted:
                pipeline.hget(keys.domain(owner), "certificate")
            async with store_call():
                found = await pipeline.execute()
            stored.update({owner: data for owner, data in zip(wanted, found, strict=True) if data is not None})
        records = await self._codec.decode(stored)
        # A claim alone serves nothing: the name must be on the owner's authentic certificate.
        return {name: records[owner] for name, owner in owners.items() if owner in records and name in records[owner].names}

    async def least_expiry(self) -> tuple[datetime, str] | None:
        """See `CertificateStore.least_expiry`."""
        found = await self._least([keys.expiry(shard) for shard in range(keys.SHARDS)], [])
        return (from_milliseconds(float(found[1])), found[0].decode()) if found else None

    async def ping(self) -> None:
        """Asks the store for a sign of life.

        Raises:
            Unavailable: there is none.
        """
        async with store_call():
            await answer(self._client.ping())
