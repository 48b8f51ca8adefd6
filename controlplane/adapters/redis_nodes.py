"""NodeStore on Redis.

What is connected to a replica is one hash, so that a single expiry takes all of it away when the replica is not heard of any more, and
counting its fields tells a replica whether the store still has what it wrote.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

import structlog
from prometheus_client import Counter
from redis.asyncio import Redis
from redis.exceptions import RedisError

from controlplane.adapters import redis_keys as keys
from controlplane.adapters.node_codec import (
    WrittenStatus,
    decode_names,
    decode_replica,
    decode_status,
    encode_names,
    encode_replica,
    encode_status,
)
from controlplane.adapters.redis_client import Script, answer, from_milliseconds, milliseconds, store_call
from controlplane.core.errors import RecordRejected, Unavailable
from controlplane.core.node import MAX_REMEMBERED_NODES, NodeStatus, ReplicaStatus
from controlplane.core.ports.nodes import LiveReplica, StoredNode

REMEMBERED: Final = timedelta(days=7)
"""How long a node is remembered after it was last written."""

REPLICA_LASTS: Final = timedelta(seconds=60)
"""How long what is connected to a replica lasts after it was last heard of."""

_CLOCKS_APART: Final = timedelta(minutes=10)
"""Replicas that said so long ago that they live are not asked for: beyond any difference of clocks their hashes have expired."""

_FORGOTTEN_AT_ONCE: Final = 200
_OWN: Final = ""
"""The field of a replica's hash that holds the replica's own status. No node has this id."""

_log = structlog.get_logger(__name__)
_rejected = Counter("certplane_node_records_rejected_total", "Stored records of nodes or replicas that cannot be read")

T = TypeVar("T")


class RedisNodeStore:
    """Implements `NodeStore`."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._prune = Script(client, "prune_nodes")

    async def save(self, replica: ReplicaStatus, changed: Sequence[NodeStatus], gone: Sequence[NodeStatus]) -> int:
        """See `NodeStore.save`."""
        connected, now = keys.replica(replica.replica), milliseconds(replica.seen_time)
        encoded = {status.node_id: encode_status(status, replica.replica, replica.seen_time) for status in (*gone, *changed)}
        pipeline = self._client.pipeline(transaction=False)
        for node_id, data in encoded.items():
            pipeline.hset(keys.node(node_id), "status", data)
            pipeline.pexpire(keys.node(node_id), REMEMBERED)
        if encoded:
            pipeline.zadd(keys.NODES, dict.fromkeys(encoded, 0))
            pipeline.zadd(keys.NODES_SEEN, dict.fromkeys(encoded, now))
        if gone:
            pipeline.hdel(connected, *(status.node_id for status in gone))
        pipeline.hset(connected, mapping={_OWN: encode_replica(replica), **{status.node_id: encoded[status.node_id] for status in changed}})
        pipeline.pexpire(connected, REPLICA_LASTS)
        pipeline.zadd(keys.REPLICAS, {replica.replica: now})
        pipeline.hlen(connected)
        async with store_call():
            replies = await pipeline.execute()
        await self._forget(replica.seen_time)
        return int(replies[-1]) - 1

    async def _forget(self, now: datetime) -> None:
        """Removes what is too old from the indexes, and the records of surplus nodes; records that are too old go by themselves."""
        cutoff = milliseconds(now - REMEMBERED)
        forgotten: list[bytes] = await self._prune([keys.NODES, keys.NODES_SEEN], [cutoff, MAX_REMEMBERED_NODES, _FORGOTTEN_AT_ONCE])
        pipeline = self._client.pipeline(transaction=False)
        pipeline.zremrangebyscore(keys.REPLICAS, "-inf", cutoff)
        for node_id in forgotten:
            pipeline.unlink(keys.node(node_id.decode(errors="replace")))
        async with store_call():
            await pipeline.execute()

    async def leave(self, replica: str) -> None:
        """See `NodeStore.leave`."""
        pipeline = self._client.pipeline(transaction=False)
        pipeline.unlink(keys.replica(replica))
        pipeline.zrem(keys.REPLICAS, replica)
        async with store_call():
            await pipeline.execute()

    async def names(self, node_id: str) -> tuple[bytes, ...]:
        """See `NodeStore.names`."""
        pipeline = self._client.pipeline(transaction=False)
        pipeline.hget(keys.node(node_id), "names")
        (data,) = await self._replies(pipeline)
        return await asyncio.to_thread(_read, decode_names, data) or ()

    async def save_names(self, node_id: str, names: Sequence[bytes]) -> None:
        """See `NodeStore.save_names`."""
        pipeline = self._client.pipeline(transaction=False)
        pipeline.hset(keys.node(node_id), "names", await asyncio.to_thread(encode_names, names))
        pipeline.pexpire(keys.node(node_id), REMEMBERED)
        async with store_call():
            await pipeline.execute()

    async def list_ids(self, after: str, limit: int) -> Sequence[str]:
        """See `NodeStore.list_ids`."""
        start = b"(" + after.encode() if after else b"-"
        async with store_call():
            found: list[bytes] = await answer(self._client.zrange(keys.NODES, start, "+", bylex=True, offset=0, num=limit))
        return [node_id.decode(errors="replace") for node_id in found]

    async def get(self, node_ids: Sequence[str], *, beside: str = "") -> Mapping[str, StoredNode]:
        """See `NodeStore.get`."""
        if not node_ids:
            return {}
        heard = await self._heard()
        lately = [replica for replica in self._lately(heard) if replica != beside]
        pipeline = self._client.pipeline(transaction=False)
        for node_id in node_ids:
            pipeline.hget(keys.node(node_id), "status")
        for replica in lately:
            pipeline.hmget(keys.replica(replica), node_ids)
        replies = await self._replies(pipeline)
        rows = [(replica, row) for replica, row in zip(lately, replies[len(node_ids) :], strict=True) if row is not None]
        found = {}
        for index, node_id in enumerate(node_ids):
            live = {replica: written.status for replica, row in rows if (written := _read(decode_status, row[index]))}
            if live:
                found[node_id] = StoredNode(True, live, max(heard[replica] for replica in live))
            elif last := _read(decode_status, replies[index]):
                found[node_id] = StoredNode(False, {last.replica: last.status}, _seen(last, heard))
        return found

    async def replicas(self) -> Sequence[LiveReplica]:
        """See `NodeStore.replicas`."""
        lately = sorted(self._lately(await self._heard()))
        pipeline = self._client.pipeline(transaction=False)
        for replica in lately:
            pipeline.hget(keys.replica(replica), _OWN)
            pipeline.hkeys(keys.replica(replica))
        replies = await self._replies(pipeline)
        found = []
        for own, fields in zip(replies[0::2], replies[1::2], strict=True):
            status = _read(decode_replica, own)
            if status is not None and fields is not None:
                found.append(LiveReplica(status, frozenset(field.decode(errors="replace") for field in fields if field)))
        return found

    async def _heard(self) -> Mapping[str, datetime]:
        """Returns when each replica was last heard of."""
        async with store_call():
            found: list[tuple[bytes, float]] = await answer(self._client.zrange(keys.REPLICAS, 0, -1, withscores=True))
        return {replica.decode(errors="replace"): from_milliseconds(score) for replica, score in found}

    def _lately(self, heard: Mapping[str, datetime]) -> Sequence[str]:
        return [replica for replica, time in heard.items() if time > datetime.now(UTC) - _CLOCKS_APART]

    async def _replies(self, pipeline: Any) -> list[Any]:
        """Runs a pipeline of reads; what is of another type than it should be counts as missing."""
        async with store_call():
            replies: list[Any] = await pipeline.execute(raise_on_error=False)
        return [_unless_damaged(reply) for reply in replies]


def _unless_damaged(reply: Any) -> Any:
    if not isinstance(reply, RedisError):
        return reply
    if "WRONGTYPE" not in str(reply):
        raise Unavailable(f"the store refused a command ({type(reply).__name__})") from reply
    _note_rejected("a key has another type than it should")
    return None


def _read(decode: Callable[[bytes], T], data: bytes | None) -> T | None:
    """Returns what a record holds, None when there is none or it cannot be read."""
    if data is None:
        return None
    try:
        return decode(data)
    except RecordRejected as error:
        _note_rejected(str(error))
        return None


def _note_rejected(reason: str) -> None:
    _rejected.inc()
    _log.error("node record rejected", reason=reason)


def _seen(last: WrittenStatus, heard: Mapping[str, datetime]) -> datetime:
    """Returns when a node was last seen: a replica that ended without a word had it until it was last heard of."""
    return max(last.write_time, heard.get(last.replica, last.write_time)) if last.status.connected else last.write_time
