"""What is special about nodes on Redis: expiry, bounds, and damaged records."""

from datetime import timedelta
from pathlib import Path

import pytest
import structlog
from redis.asyncio import Redis

from controlplane.adapters import redis_keys as keys
from controlplane.adapters import redis_nodes
from controlplane.adapters.node_codec import encode_names
from controlplane.adapters.redis_client import connect
from controlplane.adapters.redis_nodes import REMEMBERED, REPLICA_LASTS, RedisNodeStore
from controlplane.api.certplane.store.v1 import node_pb2
from controlplane.core.errors import Unavailable
from controlplane.core.ports.nodes import StoredNode
from tests.contract.test_node_store import START, gone, node, replica


@pytest.fixture
def store(client: Redis) -> RedisNodeStore:
    """A store on a fresh Valkey."""
    return RedisNodeStore(client)


async def test_what_is_connected_expires_with_its_replica(client: Redis, store: RedisNodeStore) -> None:
    """A replica that is not heard of any more takes its nodes out of the fleet; each beat puts that off."""
    await store.save(replica(), [node()], [])
    assert 0 < await client.pttl(keys.replica("r1")) <= REPLICA_LASTS / timedelta(milliseconds=1)
    await client.pexpire(keys.replica("r1"), 1_000)
    await store.save(replica(), [], [])
    assert 50_000 < await client.pttl(keys.replica("r1"))


async def test_node_of_a_replica_that_ended_without_a_word_was_seen_as_long_as_the_replica(client: Redis, store: RedisNodeStore) -> None:
    """A killed replica's nodes are not connected, and were seen when the replica was last heard of."""
    await store.save(replica(), [node()], [])
    later = START + timedelta(seconds=30)
    await store.save(replica(seen=later), [], [])
    await client.delete(keys.replica("r1"))
    assert {"edge-1": StoredNode(False, {"r1": node()}, later)} == await store.get(["edge-1"])
    assert [] == await store.replicas()


async def test_what_is_remembered_expires_after_a_week(client: Redis, store: RedisNodeStore) -> None:
    """Status and names of a node last a week from the last time that one of them was written."""
    week = REMEMBERED / timedelta(milliseconds=1)
    await store.save(replica(), [node()], [])
    assert week - 60_000 < await client.pttl(keys.node("edge-1")) <= week
    await client.pexpire(keys.node("edge-1"), 1_000)
    await store.save_names("edge-1", [b"a.example"])
    assert week - 60_000 < await client.pttl(keys.node("edge-1")) <= week


async def test_nodes_that_were_not_seen_for_a_week_leave_the_list(client: Redis, store: RedisNodeStore) -> None:
    """The index is pruned with time, so that it never lists what has expired."""
    await store.save(replica(), [node("new")], [gone(node("old"))])
    later = START + REMEMBERED
    await store.save(replica(seen=later), [node("new")], [])
    assert ["new", "old"] == list(await store.list_ids("", 10))
    await store.save(replica(seen=later + timedelta(seconds=1)), [], [])
    assert ["new"] == list(await store.list_ids("", 10))
    assert [b"new"] == await client.zrange(keys.NODES_SEEN, 0, -1)


async def test_replicas_of_long_ago_are_forgotten(client: Redis, store: RedisNodeStore) -> None:
    """Ids of replicas that ended without a word do not pile up."""
    await store.save(replica("old"), [], [])
    await store.save(replica("new", seen=START + REMEMBERED + timedelta(seconds=1)), [], [])
    assert [b"new"] == await client.zrange(keys.REPLICAS, 0, -1)


async def test_surplus_nodes_are_forgotten(client: Redis, store: RedisNodeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more nodes than are remembered, those written longest ago go, with their records: ids that never come back cannot fill a store."""
    monkeypatch.setattr(redis_nodes, "MAX_REMEMBERED_NODES", 3)
    for index in range(5):
        status = node(f"edge-{index}")
        await store.save_names(status.node_id, [b"a.example"])
        await store.save(replica(seen=START + timedelta(seconds=index)), [], [gone(status)])
    assert ["edge-2", "edge-3", "edge-4"] == list(await store.list_ids("", 10))
    assert 3 == sum([await client.exists(keys.node(f"edge-{index}")) for index in range(5)])


@pytest.mark.parametrize(
    "names",
    [
        b"\xff",
        node_pb2.NodeNames(names=b"not compressed", count=1).SerializeToString(),
        encode_names([b"a.example"])[:-3],
        node_pb2.NodeNames(names=node_pb2.NodeNames.FromString(encode_names([b"a"])).names[:-2], count=1).SerializeToString(),
        node_pb2.NodeNames(names=node_pb2.NodeNames.FromString(encode_names([b"a", b"b"])).names, count=1).SerializeToString(),
        encode_names([b"x" * 200] * 20_000),
    ],
    ids=["no message", "not compressed", "cut", "cut within", "other count", "a bomb"],
)
async def test_damaged_names_count_as_missing(client: Redis, store: RedisNodeStore, names: bytes) -> None:
    """Names that cannot be read, or unfold to more than anybody writes, are as none; other nodes keep theirs."""
    await client.hset(keys.node("edge-1"), "names", names)
    await store.save_names("edge-2", [b"b.example"])
    with structlog.testing.capture_logs() as logs:
        assert ((), (b"b.example",)) == (await store.names("edge-1"), await store.names("edge-2"))
    assert ["node record rejected"] == [entry["event"] for entry in logs]


async def test_damaged_statuses_count_as_missing(client: Redis, store: RedisNodeStore) -> None:
    """A status that cannot be read hides its own node or replica, and no other."""
    await store.save(replica("r1"), [node("a"), node("b")], [])
    await store.save(replica("r2"), [], [])
    for key, field in ((keys.replica("r1"), "a"), (keys.node("a"), "status"), (keys.replica("r2"), "")):
        await client.hset(key, field, b"\xff")
    with structlog.testing.capture_logs():
        assert {"b": {"r1": node("b")}} == {node_id: found.statuses for node_id, found in (await store.get(["a", "b"])).items()}
        assert ["r1"] == [found.status.replica for found in await store.replicas()]


async def test_keys_of_another_type_count_as_missing(client: Redis, store: RedisNodeStore) -> None:
    """Somebody else's key in the place of a record hides that record, and no other."""
    await store.save(replica("r1"), [node("a"), node("b")], [])
    await store.save(replica("r2"), [node("c")], [])
    await client.set(keys.node("a"), "x")
    await client.set(keys.replica("r1"), "x")
    with structlog.testing.capture_logs():
        assert {"b": False, "c": True} == {node_id: stored.live for node_id, stored in (await store.get(["a", "b", "c"])).items()}
        assert ["r2"] == [live.status.replica for live in await store.replicas()]
        assert () == await store.names("a")


async def test_store_that_is_away_is_unavailable(tmp_path: Path) -> None:
    """Every call says that the store does not answer."""
    store = RedisNodeStore(connect(f"unix://{tmp_path}/nobody.sock", retries=0))
    for call in (
        store.save(replica(), [], []),
        store.leave("r1"),
        store.names("a"),
        store.save_names("a", [b"b"]),
        store.list_ids("", 1),
        store.get(["a"]),
        store.replicas(),
    ):
        with pytest.raises(Unavailable):
            await call
