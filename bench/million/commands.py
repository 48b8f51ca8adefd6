"""Writes domains with plain commands: the keys and fields that the Lua scripts of the store adapters leave behind, without a lease.

One writer has a shard for itself and counts its fencing tokens and change numbers. A domain takes one fencing token (its lease) and two
changes (created, certificate in force), as if a worker had issued it at the first attempt. A test compares the result, key for key, with
what the adapters write.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from redis import Redis

from bench.fill_store import StoredDomain, stored_domain
from controlplane.adapters import redis_keys as keys
from controlplane.adapters.certificate_codec import encode_head, encode_record
from controlplane.adapters.record_codec import encode_spec, encode_status, sealed_field
from controlplane.adapters.record_hmac import RecordHmac
from controlplane.adapters.redis_client import CHANGE_STREAM_LENGTH, milliseconds
from controlplane.adapters.redis_domains import all_names
from controlplane.core.chain import CheckedChain
from controlplane.core.ports import RecordAuthenticator
from controlplane.core.redacted import SecretBytes
from controlplane.core.sealing import Envelope, Scheme

_REVISION = 2
"""Created, and a certificate put in force: two writes of a spec or a status."""


class ShardWriter:
    """Writes domains of one shard of an empty store."""

    def __init__(self, authenticator: RecordAuthenticator, shard: int) -> None:
        self._authenticator = authenticator
        self._shard = shard
        self._tokens = self._changes = 0

    def write(self, client: Redis, domains: Sequence[StoredDomain], now: datetime) -> None:
        """Writes some domains in one round trip; `now` is the clock of who puts their certificates in force."""
        pipeline = client.pipeline(transaction=False)
        for command in self.commands(domains, now):
            pipeline.execute_command(*command)  # type: ignore[no-untyped-call]
        pipeline.execute()

    def commands(self, domains: Sequence[StoredDomain], now: datetime) -> Iterator[tuple[Any, ...]]:
        """Returns the commands that write some domains."""
        shard = self._shard
        for stored in domains:
            yield from self._domain(stored, now)
        named = [(stored.spec.fqdn.value, stored) for stored in domains]
        yield ("ZADD", keys.names(shard), *(word for name, _ in named for word in (0, name)))
        yield ("ZADD", keys.due(shard), *(word for name, stored in named for word in (milliseconds(stored.due), name)))
        yield ("ZADD", keys.expiry(shard), *(word for name, stored in named for word in (milliseconds(stored.record.not_after), name)))
        yield ("SET", keys.fence(shard), self._tokens)
        yield ("SET", keys.sequence(shard), self._changes)

    def _domain(self, stored: StoredDomain, now: datetime) -> Iterator[tuple[Any, ...]]:
        name = stored.spec.fqdn.value
        if keys.shard_of(name) != self._shard:
            raise ValueError(f"{name} is not of shard {self._shard}")
        self._tokens += 1
        # The generation that the store gives to a first certificate: the time in microseconds.
        record = replace(stored.record, generation=milliseconds(now) * 1000)
        yield (
            *("HSET", keys.domain(name), "spec", encode_spec(stored.spec), "status", encode_status(stored.status)),
            *("revision", _REVISION, "fence", self._tokens),
            *("certificate", encode_record(record, self._authenticator), "head", encode_head(record, self._authenticator)),
            *("sealed", sealed_field(record.sealed_leaf_key)),
        )
        for kind in ("spec", "certificate"):
            self._changes += 1
            yield (
                *("XADD", keys.changes(self._shard), "MAXLEN", "~", CHANGE_STREAM_LENGTH, "*"),
                *("q", self._changes, "n", name, "a", all_names(stored.spec), "k", kind),
            )


def write_intermediates(client: Redis, certificates: Iterable[bytes]) -> None:
    """Writes the intermediate certificates (DER) that records name by their digest."""
    for certificate in certificates:
        client.set(keys.intermediate(hashlib.sha256(certificate).digest()), certificate)


def layout_fingerprint() -> str:
    """Returns a digest that changes when what is written for a domain does: of the commands for one whose values are all fixed."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    chain = CheckedChain("0" * 32, b"leaf", (b"intermediate",), "1", now, now + timedelta(days=90))
    stored = stored_domain("shop.example.net", chain, Envelope("0" * 16, Scheme.HPKE_X25519, b"sealed"), b"digest", now)
    stored = replace(stored, spec=replace(stored.spec, uid="uid", create_request_id="request"))
    authenticator = RecordHmac({"0" * 16: SecretBytes(bytes(32))}, "0" * 16)
    writer = ShardWriter(authenticator, keys.shard_of("shop.example.net"))
    return hashlib.sha256(repr(list(writer.commands([stored], now))).encode()).hexdigest()
