"""In-memory certificates, changes and tokens that keep the contracts of their ports, and certificates with real keys."""

import asyncio
import datetime as dt
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from controlplane.core.certificate import CertificateHead, CertificateRecord
from controlplane.core.errors import SealingError, Unavailable
from controlplane.core.ports import ALL_KINDS, ChangeKind, ChangesLost, DomainChanged, Expiries, NoCertificate
from controlplane.core.redacted import SecretBytes
from controlplane.core.sealing import Envelope, Scheme, SealContext, spki_digest


class InMemorySealing:
    """Seals by keeping the plaintext with its context; opens only for the same context, as the real thing does."""

    def __init__(self) -> None:
        self._sealed: dict[bytes, tuple[SecretBytes, bytes]] = {}
        self.opened: list[bytes] = []

    def seal(self, plaintext: SecretBytes, context: SealContext) -> Envelope:
        """Returns an envelope whose ciphertext is a ticket."""
        ticket = str(len(self._sealed)).encode()
        self._sealed[ticket] = (plaintext, context.info())
        return Envelope("00112233", Scheme.HPKE_X25519, ticket)

    def open(self, envelope: Envelope, context: SealContext) -> SecretBytes:
        """Returns the plaintext, or raises SealingError."""
        self.opened.append(envelope.ciphertext)
        plaintext, info = self._sealed.get(envelope.ciphertext, (None, b""))
        if plaintext is None or info != context.info():
            raise SealingError("the envelope does not open")
        return plaintext


class InMemoryCertificates:
    """A store of certificates with its change feed: CertificateStore and ChangeFeed.

    `away` makes look-ups raise Unavailable. `lookups` lists the names of each look-up of records, `head_lookups` and `previous_lookups`
    those of the others. `gate` holds look-ups back while it is clear, after they have read what they will answer. Records and heads of the
    domains in `rejected` cannot be read; those in `headless` were written without a head.
    """

    def __init__(self, sealing: InMemorySealing) -> None:
        self.sealing = sealing
        self.away = False
        self.lookups: list[tuple[str, ...]] = []
        self.head_lookups: list[tuple[str, ...]] = []
        self.previous_lookups: list[tuple[str, ...]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.waiting = 0
        self.rejected: set[str] = set()
        self.headless: set[str] = set()
        self.interrupt: Callable[[bool], None] = lambda _: None
        self._before: dict[str, CertificateRecord] = {}
        self._by_domain: dict[str, CertificateRecord] = {}
        self._deleted: set[str] = set()
        self._generation = 0
        self._events: list[DomainChanged | ChangesLost] = []
        self._published = asyncio.Condition()

    # ---- CertificateStore ----

    async def lookup(self, names: Sequence[str]) -> Mapping[str, CertificateRecord | NoCertificate]:
        """Returns certificates by name, or why there is none."""
        self.lookups.append(tuple(names))
        return await self._find(self._by_domain, names)

    async def servable(self, names: Sequence[str]) -> Mapping[str, CertificateRecord | NoCertificate]:
        """Returns certificates by name, or why there is none."""
        return await self.lookup(names)

    async def previous(self, names: Sequence[str]) -> Mapping[str, CertificateRecord | NoCertificate]:
        """Returns the certificates before these by name, or why there is none."""
        self.previous_lookups.append(tuple(names))
        return await self._find(self._before, names)

    async def heads(self, names: Sequence[str]) -> Mapping[str, CertificateHead | None]:
        """Returns which certificates are in force by name."""
        self.head_lookups.append(tuple(names))
        readable = {fqdn: record for fqdn, record in self._by_domain.items() if fqdn not in self.headless}
        return {
            name: CertificateHead(found.fqdn, found.version, found.generation, found.tenant)
            if isinstance(found, CertificateRecord)
            else None
            for name, found in (await self._find(readable, names)).items()
        }

    async def _find(self, records: Mapping[str, CertificateRecord], names: Sequence[str]) -> dict[str, CertificateRecord | NoCertificate]:
        if self.away:
            raise Unavailable("the store is away")
        found: dict[str, CertificateRecord | NoCertificate] = {
            name: NoCertificate.DELETED if name in self._deleted else NoCertificate.MISSING for name in names
        }
        for record in records.values():
            answer = NoCertificate.REJECTED if record.fqdn in self.rejected else record
            found.update((name, answer) for name in record.names if name in found)
        self.waiting += 1
        await self.gate.wait()
        self.waiting -= 1
        return found

    async def expiries(self, now: dt.datetime, close: dt.timedelta) -> Expiries:
        """Returns what expires when."""
        ends = sorted((record.not_after, record.fqdn) for record in self._by_domain.values())
        ahead = [end for end in ends if end[0] > now]
        return Expiries(ahead[0] if ahead else None, len(ends) - len(ahead), sum(end[0] <= now + close for end in ahead))

    # ---- ChangeFeed ----

    async def position(self) -> str:
        """Returns the position now."""
        return str(len(self._events))

    async def follow(
        self, position: str = "", *, kinds: frozenset[ChangeKind] = ALL_KINDS, current: Callable[[bool], None] = lambda _: None
    ) -> AsyncIterator[DomainChanged | ChangesLost]:
        """Yields changes from a position; `interrupt` tells `current` of an interruption."""
        self.interrupt = current
        number = int(position) if position else len(self._events)
        while True:
            async with self._published:
                while len(self._events) <= number:
                    await self._published.wait()
            event = self._events[number]
            if isinstance(event, ChangesLost) or event.kind in kinds:
                yield event
            number += 1

    # ---- what a worker and an operator do ----

    async def put(
        self, fqdn: str, *additional: str, publish: bool = True, key_of: str = "", tenant: str = "acme"
    ) -> CertificateRecord:  # fmt: skip
        """Issues and stores a new certificate. `key_of` seals that other domain's leaf key in place of its own."""
        self._generation += 1
        record, leaf_key = issue(fqdn, *additional, generation=self._generation)
        if key_of:
            other = self._by_domain[key_of]
            leaf_key = self.sealing.open(other.sealed_leaf_key, other.seal_context)
        sealed = self.sealing.seal(leaf_key, record.seal_context)
        return await self.put_record(replace(record, sealed_leaf_key=sealed, tenant=tenant), publish=publish)

    async def put_record(self, record: CertificateRecord, *, publish: bool = True) -> CertificateRecord:
        """Stores a record as it is."""
        before = self._by_domain.get(record.fqdn)
        if before is not None:
            self._before[record.fqdn] = before
        self._by_domain[record.fqdn] = record
        self._deleted -= set(record.names)
        if publish:
            names = tuple(dict.fromkeys((*record.names, *(before.names if before else ()))))
            await self.publish(record.fqdn, names, ChangeKind.CERTIFICATE)
        return record

    async def delete(self, fqdn: str, *, publish: bool = True) -> None:
        """Removes a domain."""
        record = self._by_domain.pop(fqdn)
        self._before.pop(fqdn, None)
        self._deleted.update(record.names)
        if publish:
            await self.publish(fqdn, record.names, ChangeKind.DELETED)

    def empty(self) -> None:
        """Loses everything, as a store does that was restored or failed over to a replica without data; nobody is told."""
        self._by_domain.clear()
        self._before.clear()
        self._deleted.clear()

    async def publish(self, fqdn: str, names: tuple[str, ...], kind: ChangeKind) -> None:
        """Publishes a change."""
        await self._append(DomainChanged(fqdn, names, kind, str(len(self._events) + 1)))

    async def lose_changes(self) -> None:
        """Publishes that changes may have been missed."""
        await self._append(ChangesLost(str(len(self._events) + 1)))

    async def _append(self, change: DomainChanged | ChangesLost) -> None:
        async with self._published:
            self._events.append(change)
            self._published.notify_all()


def issue(fqdn: str, *additional: str, generation: int = 1) -> tuple[CertificateRecord, SecretBytes]:
    """Returns a self-signed certificate for the names, and its leaf key in DER PKCS#8; the envelope in it is empty."""
    key = ec.generate_private_key(ec.SECP256R1())
    names = (fqdn, *additional)
    start = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    end = start + dt.timedelta(days=3650)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(x509.Name([]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=True)
        .sign(key, hashes.SHA256())
    )
    leaf = certificate.public_bytes(serialization.Encoding.DER)
    spki = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    record = CertificateRecord(
        id=hashlib.sha256(leaf).hexdigest()[:32],
        fqdn=fqdn,
        generation=generation,
        names=names,
        leaf=leaf,
        intermediates=(leaf,),
        sealed_leaf_key=Envelope("", Scheme.HPKE_X25519, b""),
        spki_digest=spki_digest(spki),
        not_before=start,
        not_after=end,
        issue_time=start,
    )
    pkcs8 = key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return record, SecretBytes(pkcs8)
