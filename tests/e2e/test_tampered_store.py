"""Somebody writes to the store, or empties it: what is served goes on being served, and the roles go on working."""

import asyncio
import ssl
from pathlib import Path

import pytest
from redis.asyncio import Redis

from controlplane.adapters import redis_keys as keys
from controlplane.adapters.redis_client import connect
from tests.e2e.installation import Installation, installation

KEPT_SECONDS = 3.0


async def plant(client: Redis) -> None:
    """Writes, under every kind of key, what no part of ours would."""
    await client.zadd(keys.expiry(0), {"x": "-inf"})
    await client.zadd(keys.due(0), {b"\xff": 0, "nobody.example.com": 0})
    await client.set(keys.claim("poison.example.com"), b"\xff\xfe|1")
    await client.set(keys.domain("wrongtype.example.com"), "x")
    await client.zadd(keys.due(keys.shard_of("wrongtype.example.com")), {"wrongtype.example.com": 0})
    await client.zadd(keys.names(0), {b"\xff": 0})
    for shard in range(keys.SHARDS):
        await client.xadd(keys.changes(shard), {"x": "y"})
        await client.publish(f"{keys.changes(shard)}/spec", "")
        await client.publish(f"{keys.changes(shard)}/certificate", "")


async def refused(made: Installation, name: str) -> bool:
    """Whether a handshake for the name fails."""
    try:
        await made.fetch(name)
    except ssl.SSLError:
        return True
    return False


async def test_planted_records_stop_nothing(tmp_path: Path) -> None:
    """With junk under every kind of key: both roles live, what was served is, and a new domain is issued and served."""
    async with installation(tmp_path) as made:
        await made.issued("old.example.com")
        await made.fetch("old.example.com")
        client = connect(made.valkey.url)
        await plant(client)
        assert await refused(made, "poison.example.com")
        assert await refused(made, "wrongtype.example.com")
        await made.issued("new.example.com", "www.new.example.com")
        await made.fetch("www.new.example.com")
        await made.fetch("old.example.com")
        await client.aclose()
        assert (None, None) == (made.serve.returncode, made.worker.returncode)


@pytest.mark.parametrize("damage", ["certificate", "flushall"])
async def test_what_an_envoy_holds_survives_damage(tmp_path: Path, damage: str) -> None:
    """A record that cannot be believed any more, or a store that is suddenly empty, takes no certificate from an Envoy."""
    async with installation(tmp_path) as made:
        domain = await made.issued("old.example.com")
        await made.fetch("old.example.com")
        client = connect(made.valkey.url)
        if damage == "flushall":
            await client.flushall()
        else:
            key = keys.domain("old.example.com")
            stored = bytearray(await client.hget(key, "certificate"))
            stored[len(stored) // 2] ^= 1
            await client.hset(key, "certificate", bytes(stored))
        # Another certificate in the same shard or not: what is held is looked up again after this change.
        stream = keys.changes(keys.shard_of("old.example.com"))
        await client.xadd(stream, {"q": 10**6, "n": "old.example.com", "a": "old.example.com", "k": "certificate"})
        await client.publish(f"{stream}/certificate", "")
        # And a domain that is made after it is served, so the change was worked on.
        await made.issued("new.example.com")
        await made.fetch("new.example.com")
        async with asyncio.timeout(KEPT_SECONDS + 10):
            for _ in range(int(KEPT_SECONDS / 0.1)):
                page = await made.fetch("old.example.com")
                assert int(domain.serial_number, 16) == int(page.serial_number, 16)
                await asyncio.sleep(0.1)
        await client.aclose()
