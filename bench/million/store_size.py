"""What a domain takes in the store, and of what that is made."""

import random
from dataclasses import dataclass

from redis import Redis

from bench.million.edge import Store
from bench.million.filling import name_of
from bench.processes import resident_bytes
from controlplane.adapters import redis_keys as keys

_SAMPLES = 500


@dataclass(frozen=True, slots=True)
class StoreSize:
    """Bytes for a domain, by part, and of the whole store. `renewed`: how much a renewal adds, which keeps the certificate before.

    `record_fields` are the lengths of the record's fields without the store's overhead.
    """

    parts: dict[str, float]
    record_fields: dict[str, float]
    renewed: float
    used: int
    resident: int
    file: int
    load_seconds: float
    each: float


def measure(store: Store) -> StoreSize:
    """Asks Valkey; of the records a sample, of the indexes all."""
    domains = store.dump.domains
    with store.valkey.client() as client:
        sampled = [keys.domain(name_of(index)) for index in random.sample(range(domains), min(_SAMPLES, domains))]
        records, renewed = [], []
        fields: dict[str, float] = {}
        for key in sampled:
            records.append(_usage(client, key))
            renewed.append(_with_previous(client, key) - records[-1])
            for field, value in client.hgetall(key).items():
                fields[field.decode()] = fields.get(field.decode(), 0.0) + len(value) / len(sampled)
        indexes = {
            "change streams": keys.changes,
            "names, for listing": keys.names,
            "due times": keys.due,
            "ends of validity": keys.expiry,
        }
        parts = {"the record (a hash)": sum(records) / len(records)}
        for what, key_of in indexes.items():
            parts[what] = sum(_usage(client, key_of(shard)) for shard in range(keys.SHARDS)) / domains
        memory = client.info("memory")
    used = memory["used_memory"] - memory["used_memory_startup"]
    parts["the rest: table of keys, allocator"] = used / domains - sum(parts.values())
    return StoreSize(
        parts=parts,
        record_fields=fields,
        renewed=sum(renewed) / len(renewed),
        used=memory["used_memory"],
        resident=resident_bytes(store.valkey.process.pid),
        file=store.dump.file_bytes,
        load_seconds=store.valkey.load_seconds,
        each=used / domains,
    )


def _usage(client: Redis, key: str) -> int:
    return int(client.memory_usage(key, samples=0) or 0)


def _with_previous(client: Redis, key: str) -> int:
    """Returns what the record takes when it has the certificate before it too; on a copy."""
    copy = f"{key}:copy"
    client.copy(key, copy)
    certificate = client.hget(copy, "certificate")
    if certificate is None:
        raise AssertionError("a domain of the dump has no certificate")
    client.hset(copy, "previous", certificate)
    size = _usage(client, copy)
    client.delete(copy)
    # Its key is longer.
    return size - len(":copy")
