"""The contract of NodeStore."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from controlplane.adapters.redis_client import connect
from controlplane.adapters.redis_nodes import RedisNodeStore
from controlplane.core.node import NodeConnection, NodeStatus, RefusedSecret, ReplicaStatus
from controlplane.core.ports.nodes import LiveReplica, NodeStore, StoredNode
from tests.contract.conftest import BOTH
from tests.fakes import samples
from tests.fakes.nodes import InMemoryNodes

START = samples.now()


@pytest.fixture(params=BOTH)
async def store(request: pytest.FixtureRequest, redis_url: str) -> AsyncIterator[NodeStore]:
    """Each NodeStore in turn."""
    if request.param == "memory":
        yield InMemoryNodes()
        return
    client = connect(redis_url)
    yield RedisNodeStore(client)
    await client.aclose()


def replica(name: str = "r1", seen: datetime = START, **counts: int) -> ReplicaStatus:
    return replace(ReplicaStatus(name, START, seen, nodes=0, streams=0, secrets_held=0, refused=0), **counts)


def node(node_id: str = "edge-1", **properties) -> NodeStatus:
    status = NodeStatus(
        node_id=node_id,
        cluster="edge",
        connected=True,
        connect_time=START,
        streams=1,
        connections=(NodeConnection("delta_ads", ("spiffe://certplane/envoy",), START, 2, 3, 4),),
        identities=("spiffe://certplane/envoy",),
        variants=("delta_ads",),
        secrets_held=2,
        acks=3,
        nacks=4,
        refused=(RefusedSecret("a.example", "v1", "größer than it should be"),),
    )
    return replace(status, **properties)


def gone(status: NodeStatus) -> NodeStatus:
    return replace(status, connected=False, connections=())


async def test_connected_node_comes_back_as_it_was_saved(store: NodeStore) -> None:
    """A node is live at the replica that saved it, with everything about it, and is seen when the replica was."""
    assert 1 == await store.save(replica(), [node()], [])
    assert {"edge-1": StoredNode(True, {"r1": node()}, START)} == await store.get(["edge-1", "other"])


async def test_node_is_seen_as_long_as_its_replica_is(store: NodeStore) -> None:
    """A beat of the replica alone says that its nodes are still there; what did not change is not written again."""
    await store.save(replica(), [node("a"), node("b")], [])
    later = START + timedelta(seconds=20)
    assert 2 == await store.save(replica(seen=later), [], [])
    assert {later} == {found.seen_time for found in (await store.get(["a", "b"])).values()}


async def test_change_replaces_a_status(store: NodeStore) -> None:
    """A node that is saved again counts once, and shows what was saved last."""
    await store.save(replica(), [node()], [])
    assert 1 == await store.save(replica(), [node(acks=9)], [])
    assert {"r1": node(acks=9)} == (await store.get(["edge-1"]))["edge-1"].statuses


async def test_node_that_is_gone_stays_remembered(store: NodeStore) -> None:
    """A node that went is not live, and shows how it stood and when that was."""
    await store.save(replica(), [node("a"), node("b")], [])
    later = START + timedelta(seconds=5)
    assert 1 == await store.save(replica(seen=later), [], [gone(node("a"))])
    assert 1 == await store.save(replica(seen=later + timedelta(seconds=5)), [], [])
    assert {"a": StoredNode(False, {"r1": gone(node("a"))}, later)} == await store.get(["a"])


async def test_gone_node_that_was_never_connected_is_remembered(store: NodeStore) -> None:
    """A node that came and went between two beats is saved once, as gone."""
    assert 0 == await store.save(replica(), [], [gone(node())])
    assert ["edge-1"] == list(await store.list_ids("", 10))


async def test_node_with_two_replicas_is_live_at_both(store: NodeStore) -> None:
    """Envoys with the same id at different replicas show as one node, live at each, until the last has gone."""
    await store.save(replica("r1"), [node(acks=1)], [])
    await store.save(replica("r2"), [node(acks=2)], [])
    assert {"r1": node(acks=1), "r2": node(acks=2)} == (await store.get(["edge-1"]))["edge-1"].statuses
    await store.save(replica("r1"), [], [gone(node(acks=1))])
    assert {"edge-1": StoredNode(True, {"r2": node(acks=2)}, START)} == await store.get(["edge-1"])


async def test_what_is_connected_to_a_replica_can_be_left_out(store: NodeStore) -> None:
    """A replica that knows its own nodes better asks for what is known beside that."""
    await store.save(replica("r1"), [node("a"), node("b")], [])
    await store.save(replica("r2"), [node("b", acks=2)], [])
    found = await store.get(["a", "b"], beside="r1")
    assert {"a": False, "b": True} == {node_id: stored.live for node_id, stored in found.items()}
    assert {"r2": node("b", acks=2)} == found["b"].statuses


async def test_replica_that_leaves_takes_its_nodes_out_of_the_fleet(store: NodeStore) -> None:
    """After a replica left, nothing is connected to it; what is remembered stays."""
    await store.save(replica("r1"), [node("a")], [])
    await store.save(replica("r2"), [node("b")], [])
    await store.leave("r1")
    await store.leave("r3")
    assert ["r2"] == [found.status.replica for found in await store.replicas()]
    found = (await store.get(["a"]))["a"]
    assert (False, {"r1": node("a")}) == (found.live, found.statuses)


async def test_replicas_say_what_is_connected_to_them(store: NodeStore) -> None:
    """Replicas are told in the order of their names, with their counts and the ids of their nodes."""
    first, second = replica("r1", nodes=2, streams=3, secrets_held=40, refused=1), replica("r2")
    await store.save(second, [], [])
    await store.save(first, [node("a"), node("größer/edge 1")], [])
    assert [LiveReplica(first, frozenset({"a", "größer/edge 1"})), LiveReplica(second, frozenset())] == list(await store.replicas())


async def test_names_come_back_in_their_order(store: NodeStore) -> None:
    """Names are replaced as a whole, keep their order, and are nobody else's."""
    assert () == await store.names("edge-1")
    await store.save_names("edge-1", [b"c.example", b"a.example"])
    await store.save_names("edge-2", (b"b.example",))
    assert (b"c.example", b"a.example") == await store.names("edge-1")
    await store.save_names("edge-1", [b"d.example"])
    assert ((b"d.example",), (b"b.example",)) == (await store.names("edge-1"), await store.names("edge-2"))


async def test_ten_thousand_names_are_kept(store: NodeStore) -> None:
    """As many names as are ever remembered come back whole, also when they are as long as names can be."""
    names = tuple((f"{index:05d}." + ".".join(["x" * 60] * 5))[:253].encode() for index in range(10_000))
    await store.save_names("edge-1", names)
    assert names == await store.names("edge-1")


async def test_status_and_names_do_not_disturb_each_other(store: NodeStore) -> None:
    """Saving the one keeps the other."""
    await store.save_names("edge-1", [b"a.example"])
    await store.save(replica(), [node()], [])
    await store.save(replica(), [], [gone(node())])
    assert (b"a.example",) == await store.names("edge-1")
    await store.save_names("edge-1", [b"b.example"])
    assert {"r1": gone(node())} == (await store.get(["edge-1"]))["edge-1"].statuses


async def test_ids_are_listed_in_order_from_anywhere(store: NodeStore) -> None:
    """Ids come in the order of their UTF-8 bytes, those behind a given one, as many as are asked for."""
    ids = ["Z", "a", "a-1", "a-10", "ä", "𝔞"]
    await store.save(replica(), [node(node_id) for node_id in reversed(ids)], [])
    assert ids == list(await store.list_ids("", 10))
    assert ids[:2] == list(await store.list_ids("", 2))
    assert ids[3:] == list(await store.list_ids("a-1", 10))
    assert ids[2:4] == list(await store.list_ids("a-0", 2))
    assert [] == list(await store.list_ids("𝔞", 10))


async def test_nothing_is_asked_for_nothing(store: NodeStore) -> None:
    """Empty questions have empty answers."""
    assert {} == await store.get([])
    assert [] == list(await store.replicas())
