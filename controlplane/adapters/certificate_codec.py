"""Authenticated certificate records to and from the store, for both sides: the worker writes them, `serve` reads them."""

import hashlib
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar, cast

import structlog
from google.protobuf.message import DecodeError
from prometheus_client import Counter
from redis.asyncio import Redis

from controlplane.adapters import redis_keys as keys
from controlplane.adapters.multiplexed_reads import MultiplexedReads, packed_get
from controlplane.adapters.record_codec import decode_certificate_times, decode_envelope, encode_certificate_times, encode_envelope
from controlplane.adapters.redis_client import store_call
from controlplane.api.certplane.store.v1.certificate_pb2 import CertificateHead as HeadMessage
from controlplane.api.certplane.store.v1.certificate_pb2 import CertificateRecord as CertificateMessage
from controlplane.core.certificate import CertificateHead, CertificateRecord, ServableCertificate
from controlplane.core.errors import RecordRejected
from controlplane.core.line_limit import LineLimit
from controlplane.core.ports import NoCertificate, RecordAuthenticator
from controlplane.usecases.cache_metrics import CacheMetrics

C = TypeVar("C", bound=ServableCertificate)

KIND = "certificate"
HEAD_KIND = "certificate-head"
_MOST_INTERMEDIATES = 256
_LINE_SECONDS = 1.0

_log = structlog.get_logger(__name__)
_rejected = Counter("certplane_records_rejected_total", "Stored records that are not authentic or not allowed", ["kind"])


def encode_record(record: CertificateRecord, authenticator: RecordAuthenticator) -> bytes:
    """Returns the authenticated record; its intermediates are to be stored besides, by their SHA-256."""
    message = CertificateMessage(
        id=record.id,
        fqdn=record.fqdn,
        generation=record.generation,
        names=record.names,
        leaf=record.leaf,
        intermediate_digests=[hashlib.sha256(certificate).digest() for certificate in record.intermediates],
        sealed_leaf_key=encode_envelope(record.sealed_leaf_key),
        spki_digest=record.spki_digest,
        tenant=record.tenant,
        directory_url=record.directory_url,
        account_url=record.account_url,
        profile=record.profile,
    )
    encode_certificate_times(message, record.not_before, record.not_after, record.issue_time)
    return authenticator.wrap(KIND, record.fqdn, message.SerializeToString())


def encode_head(record: CertificateRecord, authenticator: RecordAuthenticator) -> bytes:
    """Returns the authenticated head of a record."""
    message = HeadMessage(id=record.id, generation=record.generation, tenant=record.tenant)
    return authenticator.wrap(HEAD_KIND, record.fqdn, message.SerializeToString())


class CertificateCodec:
    """Certificate records and their heads as bytes; intermediates are kept once for all, by their digest."""

    def __init__(self, client: Redis, authenticator: RecordAuthenticator) -> None:
        self._client = client
        self._reads = MultiplexedReads(client)
        self._authenticator = authenticator
        self._intermediates: dict[bytes, bytes] = {}
        self._lines = LineLimit(_LINE_SECONDS)
        self._metrics = CacheMetrics("intermediates")

    async def encode(self, record: CertificateRecord) -> bytes:
        """Returns the authenticated record, after its intermediates are stored."""
        # Each time anew: the store may have been emptied or restored since the last one.
        pipeline = self._client.pipeline(transaction=False)
        for certificate in record.intermediates:
            pipeline.set(keys.intermediate(hashlib.sha256(certificate).digest()), certificate, nx=True)
        async with store_call():
            await pipeline.execute()
        return encode_record(record, self._authenticator)

    def encode_head(self, record: CertificateRecord) -> bytes:
        """Returns the authenticated head, which is stored in the same write as the record."""
        return encode_head(record, self._authenticator)

    def decode_head(self, fqdn: str, data: bytes) -> CertificateHead | None:
        """Returns the head of a domain, None when it is not authentic: the record then says what is wrong."""
        try:
            message = HeadMessage.FromString(self._authenticator.unwrap(HEAD_KIND, fqdn, data))
        except (RecordRejected, DecodeError):
            return None
        return CertificateHead(fqdn, message.id, message.generation, sys.intern(message.tenant))

    async def decode(self, stored: Mapping[str, bytes]) -> dict[str, CertificateRecord]:
        """Returns the authentic records among `stored` (own name → bytes); the others are logged, counted and left out.

        One round trip more when an intermediate is met for the first time.
        """
        return await self._decode(stored, _record)

    async def decode_servable(self, stored: Mapping[str, bytes]) -> dict[str, ServableCertificate]:
        """As `decode`, for what is needed to serve."""
        return await self._decode(stored, _servable)

    async def _decode(self, stored: Mapping[str, bytes], read: Callable[[CertificateMessage, tuple[bytes, ...]], C]) -> dict[str, C]:
        certificates: dict[str, C] = {}
        incomplete: dict[str, CertificateMessage] = {}
        wanted = 0
        for fqdn, data in stored.items():
            try:
                message = CertificateMessage.FromString(self._authenticator.unwrap(KIND, fqdn, data))
                intermediates = self._known_intermediates(message)
                if intermediates is None:
                    incomplete[fqdn] = message
                else:
                    certificates[fqdn] = read(message, intermediates)
                    wanted += len(intermediates)
            except (RecordRejected, DecodeError) as error:
                self.reject(fqdn, str(error))
        missing = await self._read_intermediates(incomplete.values()) if incomplete else 0
        for fqdn, message in incomplete.items():
            wanted += len(message.intermediate_digests)
            intermediates = self._known_intermediates(message)
            if intermediates is None:
                self.reject(fqdn, "an intermediate certificate is missing or damaged")
                continue
            try:
                certificates[fqdn] = read(message, intermediates)
            except RecordRejected as error:
                self.reject(fqdn, str(error))
        self._metrics.asked(wanted, wanted - missing)
        return certificates

    def _known_intermediates(self, message: CertificateMessage) -> tuple[bytes, ...] | None:
        """Returns the intermediates of a chain, None while one of them is not known."""
        found = tuple(map(self._intermediates.get, message.intermediate_digests))
        return None if None in found else cast("tuple[bytes, ...]", found)

    def reject(self, fqdn: str, reason: str) -> NoCertificate:
        """Counts a record that is not believed, and logs one a second: whoever may ask for the name must not fill the disk."""
        _rejected.labels(KIND).inc()
        records = self._lines.due(time.monotonic())
        if records:
            _log.error("certificate record rejected", domain=fqdn, reason=reason, records=records)
        return NoCertificate.REJECTED

    async def _read_intermediates(self, messages: Iterable[CertificateMessage]) -> int:
        """Reads the intermediates of these that are not known; returns how many those are."""
        digests = (digest for message in messages for digest in message.intermediate_digests)
        missing = list(dict.fromkeys(digest for digest in digests if digest not in self._intermediates))
        for digest, certificate in zip(missing, await self._reads([packed_get(keys.intermediate(each)) for each in missing]), strict=True):
            if isinstance(certificate, bytes) and hashlib.sha256(certificate).digest() == digest:
                self._remember(digest, certificate)
        return len(missing)

    def _remember(self, digest: bytes, certificate: bytes) -> None:
        # Bounded: a CA has a handful of intermediates; whatever fills this up is not worth keeping.
        if len(self._intermediates) >= _MOST_INTERMEDIATES:
            self._intermediates.clear()
        self._intermediates[digest] = certificate
        self._metrics.size(len(self._intermediates))


def _record(message: CertificateMessage, intermediates: tuple[bytes, ...]) -> CertificateRecord:
    """Returns all of a record.

    Raises:
        RecordRejected: an envelope of a scheme that this version does not know.
    """
    not_before, not_after, issued = decode_certificate_times(message)
    return CertificateRecord(
        id=message.id,
        fqdn=message.fqdn,
        generation=message.generation,
        names=tuple(message.names),
        leaf=message.leaf,
        intermediates=intermediates,
        sealed_leaf_key=decode_envelope(message.sealed_leaf_key),
        spki_digest=message.spki_digest,
        not_before=not_before,
        not_after=not_after,
        issue_time=issued,
        tenant=sys.intern(message.tenant),
        directory_url=sys.intern(message.directory_url),
        account_url=sys.intern(message.account_url),
        profile=sys.intern(message.profile),
    )


def _servable(message: CertificateMessage, intermediates: tuple[bytes, ...]) -> ServableCertificate:
    """Returns what is needed to serve, in half the time.

    Raises: see `_record`.
    """
    return ServableCertificate(
        id=message.id,
        fqdn=message.fqdn,
        generation=message.generation,
        names=tuple(message.names),
        leaf=message.leaf,
        intermediates=intermediates,
        sealed_leaf_key=decode_envelope(message.sealed_leaf_key),
        spki_digest=message.spki_digest,
        tenant=sys.intern(message.tenant),
    )
