"""certplane.v1.FleetService, called over gRPC."""

from collections.abc import AsyncIterator
from datetime import UTC, timedelta
from typing import Any

import grpc
import pytest
import structlog
from google.rpc import error_details_pb2

from controlplane.api.certplane.v1 import fleet_pb2, fleet_service_pb2_grpc
from controlplane.api.certplane.v1 import fleet_service_pb2 as pb
from controlplane.core.lane import Lane
from controlplane.usecases import fleet as fleet_usecase
from tests.fakes import samples
from tests.fakes.domain_api import detail, failure_of, rich_status, violations
from tests.fakes.nodes import NOW, RunningFleet, running_fleet


@pytest.fixture
async def fleet() -> AsyncIterator[RunningFleet]:
    """Two replicas, the API of one of them."""
    with structlog.testing.capture_logs():
        async with running_fleet() as running:
            yield running


@pytest.fixture
async def stub(fleet: RunningFleet) -> AsyncIterator[Any]:
    """A client of the API."""
    async with grpc.aio.insecure_channel(fleet.address) as channel:
        yield fleet_service_pb2_grpc.FleetServiceStub(channel)


async def listed(stub: Any, **request: Any) -> list[str]:
    return [node.node_id for node in (await stub.ListNodes(pb.ListNodesRequest(**request))).nodes]


async def secrets(stub: Any, node_id: str = "edge-1", **request: Any) -> list[str]:
    response = await stub.ListNodeSecrets(pb.ListNodeSecretsRequest(parent=f"nodes/{node_id}", **request))
    return [secret.secret for secret in response.secrets]


async def test_node_of_this_replica_is_shown_at_once(fleet: RunningFleet, stub: Any) -> None:
    """A node that connected a moment ago is there with all that is known of it, before anything was written to the store."""
    fleet.here.connect(
        "edge-1",
        "a.example",
        "b.example",
        identities=("spiffe://certplane/envoy",),
        acks=3,
        nacks=1,
        refused={"b.example": ("v2", "no key")},
    )
    fleet.clock.advance(seconds=2)
    node = await stub.GetNode(pb.GetNodeRequest(name="nodes/edge-1"))
    expected = fleet_pb2.Node(
        name="nodes/edge-1",
        node_id="edge-1",
        cluster="edge",
        connected=True,
        replicas=["here"],
        identities=["spiffe://certplane/envoy"],
        variants=["delta_ads"],
        secrets_held=2,
        acks=3,
        nacks=1,
        refused_secrets=[fleet_pb2.RefusedSecret(secret="b.example", version="v2", error="no key")],
        streams=1,
        connections=[
            fleet_pb2.NodeConnection(
                replica="here", variant="delta_ads", identities=["spiffe://certplane/envoy"], secrets_held=2, acks=3, nacks=1
            )
        ],
    )
    expected.connect_time.FromDatetime(NOW)
    expected.last_seen_time.FromDatetime(NOW + timedelta(seconds=2))
    expected.connections[0].connect_time.FromDatetime(NOW)
    assert expected == node
    assert {} == {method: calls for method, calls in fleet.store.calls.items() if method.startswith("save")}
    assert node == (await stub.ListNodes(pb.ListNodesRequest())).nodes[0]


async def test_nodes_of_other_replicas_are_shown(fleet: RunningFleet, stub: Any) -> None:
    """Any replica answers for the whole fleet."""
    fleet.here.connect("edge-1")
    fleet.there.connect("edge-2", acks=4)
    assert ["edge-1"] == await listed(stub)
    await fleet.there.snapshots.beat()
    assert ["edge-1", "edge-2"] == await listed(stub)
    node = await stub.GetNode(pb.GetNodeRequest(name="nodes/edge-2"))
    assert (True, 4, ["there"]) == (node.connected, node.acks, list(node.replicas))


async def test_node_with_streams_to_two_replicas_is_one_node(fleet: RunningFleet, stub: Any) -> None:
    """Envoys that carry the same id show as connections of one node, with what they have together."""
    fleet.here.connect("edge-1", "a", acks=1)
    fleet.there.connect("edge-1", "a", "b", acks=2, variant="sotw_sds")
    await fleet.there.snapshots.beat()
    await fleet.here.snapshots.beat()
    (node,) = (await stub.ListNodes(pb.ListNodesRequest())).nodes
    assert ["here", "there"] == list(node.replicas)
    assert (2, 3, 3, ["delta_ads", "sotw_sds"]) == (node.streams, node.secrets_held, node.acks, list(node.variants))
    assert {("here", "delta_ads"), ("there", "sotw_sds")} == {(connection.replica, connection.variant) for connection in node.connections}


async def test_node_that_left_is_remembered(fleet: RunningFleet, stub: Any) -> None:
    """A node that went is listed as not connected, as it was when it was last seen."""
    stream = fleet.here.connect("edge-1", "a.example", acks=3)
    await fleet.here.snapshots.beat()
    fleet.clock.advance(minutes=1)
    fleet.here.registry.disconnected(stream)
    await fleet.here.snapshots.beat()
    fleet.clock.advance(minutes=9)
    (node,) = (await stub.ListNodes(pb.ListNodesRequest())).nodes
    assert (False, 3, 1, 0, []) == (node.connected, node.acks, node.secrets_held, node.streams, list(node.connections))
    assert NOW + timedelta(minutes=1) == node.last_seen_time.ToDatetime(UTC)
    assert node == await stub.GetNode(pb.GetNodeRequest(name="nodes/edge-1"))


async def test_departure_from_this_replica_is_shown_at_once(fleet: RunningFleet, stub: Any) -> None:
    """The replica does not believe the store about what is connected to itself."""
    stream = fleet.here.connect("edge-1")
    await fleet.here.snapshots.beat()
    fleet.here.registry.disconnected(stream)
    assert not (await stub.GetNode(pb.GetNodeRequest(name="nodes/edge-1"))).connected


async def test_node_that_came_and_went_is_shown_at_once(fleet: RunningFleet, stub: Any) -> None:
    """What is not written yet about a node that left this replica is told all the same, its names included."""
    fleet.here.registry.disconnected(fleet.here.connect("edge-1", "b.example", "a.example", acks=2))
    fleet.clock.advance(seconds=2)
    node = await stub.GetNode(pb.GetNodeRequest(name="nodes/edge-1"))
    assert (False, 2, 2, ["here"]) == (node.connected, node.acks, node.secrets_held, list(node.replicas))
    assert NOW == node.last_seen_time.ToDatetime(UTC)
    assert ["b.example", "a.example"] == await secrets(stub)


async def test_nodes_of_a_replica_that_died_are_not_connected(fleet: RunningFleet, stub: Any) -> None:
    """When a replica is not heard of any more, its nodes stay listed and are not connected."""
    fleet.there.connect("edge-2")
    await fleet.there.snapshots.beat()
    fleet.store.lose_replicas()
    (node,) = (await stub.ListNodes(pb.ListNodesRequest())).nodes
    assert ("edge-2", False, []) == (node.node_id, node.connected, list(node.connections))


async def test_pages_show_every_node_once(fleet: RunningFleet, stub: Any) -> None:
    """Pages go through all nodes in the order of their ids, whichever replica has them, and end with an empty token."""
    ids = [f"edge-{index:02d}" for index in range(23)]
    for index, node_id in enumerate(ids):
        (fleet.here if index % 3 else fleet.there).connect(node_id)
    await fleet.there.snapshots.beat()
    found, token = [], ""
    for _ in range(5):
        response = await stub.ListNodes(pb.ListNodesRequest(page_size=5, page_token=token))
        found += [node.node_id for node in response.nodes]
        token = response.next_page_token
        if not token:
            break
    assert (ids, "") == (found, token)


async def test_page_stays_below_what_a_client_takes(fleet: RunningFleet, stub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page ends early when its nodes have much to tell, and the next goes on behind it."""
    monkeypatch.setattr(fleet_usecase, "PAGE_WEIGHT", 3_000)
    for index in range(6):
        fleet.here.connect(f"edge-{index}", refused={"a.example": ("v", "x" * 250)})
    found, token = [], ""
    sizes = []
    while True:
        response = await stub.ListNodes(pb.ListNodesRequest(page_token=token))
        sizes.append(len(response.nodes))
        found += [node.node_id for node in response.nodes]
        token = response.next_page_token
        if not token:
            break
    assert [f"edge-{index}" for index in range(6)] == found
    assert max(sizes) < 6


async def test_ids_of_any_characters_have_names(fleet: RunningFleet, stub: Any) -> None:
    """The name that a list shows gets the node, whatever its id is."""
    for node_id in ("spiffe://certplane/edge", "größer 50%", "../x"):
        fleet.here.connect(node_id)
    for node in (await stub.ListNodes(pb.ListNodesRequest())).nodes:
        assert node == await stub.GetNode(pb.GetNodeRequest(name=node.name))


async def test_secrets_of_a_node_here_are_as_they_are_now(fleet: RunningFleet, stub: Any) -> None:
    """The names of a node of this replica are those that it holds now, the busiest first, then those of before its start."""
    fleet.store.remembered_names["edge-1"] = (b"old.example", b"a.example")
    stream = fleet.here.connect("edge-1", "b.example", "a.example", "c.example", again={"c.example": 2})
    assert ["c.example", "b.example", "a.example", "old.example"] == await secrets(stub)
    stream.names.append("d.example")
    assert ["c.example", "b.example", "a.example", "d.example", "old.example"] == await secrets(stub)


async def test_secrets_of_other_nodes_are_as_they_were_written(fleet: RunningFleet, stub: Any) -> None:
    """The names of a node of another replica, or of none, come from the store."""
    stream = fleet.there.connect("edge-1", "b.example", "a.example")
    fleet.there.registry.disconnected(stream)
    await fleet.there.snapshots.beat()
    response = await stub.ListNodeSecrets(pb.ListNodeSecretsRequest(parent="nodes/edge-1"))
    assert [
        fleet_pb2.NodeSecret(name="nodes/edge-1/secrets/b.example", secret="b.example"),
        fleet_pb2.NodeSecret(name="nodes/edge-1/secrets/a.example", secret="a.example"),
    ] == list(response.secrets)


async def test_secrets_come_in_pages(fleet: RunningFleet, stub: Any) -> None:
    """Pages hold the names in their order; the last has no token."""
    names = [f"n{index}.example" for index in range(250)]
    fleet.here.connect("edge-1", *names)
    found, token = [], ""
    for _ in range(4):
        response = await stub.ListNodeSecrets(pb.ListNodeSecretsRequest(parent="nodes/edge-1", page_size=100, page_token=token))
        found += [secret.secret for secret in response.secrets]
        token = response.next_page_token
        if not token:
            break
    assert (names, "") == (found, token)
    assert names[:100] == await secrets(stub)


async def test_names_that_nobody_could_have_written_are_left_out(fleet: RunningFleet, stub: Any) -> None:
    """Whatever somebody puts into the store, only canonical names are told."""
    fleet.here.connect("edge-1", "a.example")
    fleet.store.remembered_names["edge-1"] = (b"\xff", b"*", b"A.example", b"x y", b"b.example")
    assert ["a.example", "b.example"] == await secrets(stub)


async def test_status_adds_up_the_fleet(fleet: RunningFleet, stub: Any) -> None:
    """All replicas are told; a node that is connected to two of them counts once."""
    fleet.here.connect("edge-1", "a", "b", refused={"a": ("v", "e")})
    fleet.there.connect("edge-1", "a")
    fleet.there.connect("edge-2", "a", "b", "c")
    await fleet.there.snapshots.beat()
    status = await stub.GetFleetStatus(pb.GetFleetStatusRequest())
    assert [("here", 1, 2), ("there", 2, 4)] == [
        (replica.replica, replica.connected_nodes, replica.secrets_held) for replica in status.replicas
    ]
    assert (2, 6, 1) == (status.connected_nodes, status.secrets_held, status.refused_secrets)
    assert [NOW, NOW] == [replica.start_time.ToDatetime(UTC) for replica in status.replicas]


async def test_status_shows_what_waits_in_each_lane(fleet: RunningFleet, stub: Any) -> None:
    """Every lane tells how many are due and for how long, and how long the next one will wait, when anything tells that."""
    for name in ("a", "b", "c"):
        await fleet.here.work.add(samples.spec(f"{name}.example.com"))
    fleet.clock.advance(minutes=2)
    lanes = {lane.name: lane for lane in (await stub.GetFleetStatus(pb.GetFleetStatusRequest())).lanes}
    assert ["urgent", "renewal", "new", "sick"] == list(lanes)
    assert (3, 3, 120, False) == (
        lanes["new"].due,
        lanes["new"].due_within_hour,
        lanes["new"].oldest_wait.seconds,
        lanes["new"].HasField("estimated_wait"),
    )
    assert (0, 0, True, 0) == (
        lanes["sick"].due,
        lanes["sick"].oldest_wait.seconds,
        lanes["sick"].HasField("estimated_wait"),
        lanes["sick"].estimated_wait.seconds,
    )
    await fleet.here.work.add_completed(fleet.clock(), {Lane.NEW: 6})
    fleet.clock.advance(minutes=1)
    (new,) = [lane for lane in (await stub.GetFleetStatus(pb.GetFleetStatusRequest())).lanes if lane.name == "new"]
    assert 30 == new.estimated_wait.seconds


async def test_status_knows_departures_from_this_replica_at_once(fleet: RunningFleet, stub: Any) -> None:
    """A node that just left this replica is not counted, though the store still has it."""
    stream = fleet.here.connect("edge-1", "a")
    await fleet.here.snapshots.beat()
    fleet.here.registry.disconnected(stream)
    status = await stub.GetFleetStatus(pb.GetFleetStatusRequest())
    assert (0, 0, 1) == (status.connected_nodes, status.secrets_held, len(status.replicas))


@pytest.mark.parametrize("method", ["GetNode", "ListNodeSecrets"])
async def test_unknown_node(stub: Any, method: str) -> None:
    """A node that nobody saw is NOT_FOUND, with its name."""
    request = pb.GetNodeRequest(name="nodes/edge-1") if method == "GetNode" else pb.ListNodeSecretsRequest(parent="nodes/edge-1")
    error = await failure_of(getattr(stub, method)(request))
    assert grpc.StatusCode.NOT_FOUND == error.code()
    assert "nodes/edge-1" == detail(error, error_details_pb2.ResourceInfo).resource_name


@pytest.mark.parametrize(
    ("method", "request_", "field"),
    [
        ("GetNode", pb.GetNodeRequest(name="edge-1"), "name"),
        ("ListNodeSecrets", pb.ListNodeSecretsRequest(parent="domains/a.example"), "parent"),
        ("ListNodeSecrets", pb.ListNodeSecretsRequest(parent="nodes/edge-1", page_size=-1), "page_size"),
        ("ListNodeSecrets", pb.ListNodeSecretsRequest(parent="nodes/edge-1", page_token="x"), "page_token"),
        ("ListNodes", pb.ListNodesRequest(page_size=-1), "page_size"),
        ("ListNodes", pb.ListNodesRequest(page_token="x"), "page_token"),
    ],
)
async def test_bad_requests(fleet: RunningFleet, stub: Any, method: str, request_: Any, field: str) -> None:
    """What is wrong with a request is told by field."""
    fleet.here.connect("edge-1")
    error = await failure_of(getattr(stub, method)(request_))
    assert grpc.StatusCode.INVALID_ARGUMENT == error.code()
    assert [field] == list(violations(error))


async def test_token_of_another_list_is_refused(fleet: RunningFleet, stub: Any) -> None:
    """A token leads on in the list that it came from, and in no other."""
    for index in range(2):
        fleet.here.connect(f"edge-{index}", "a", "b")
    token = (await stub.ListNodes(pb.ListNodesRequest(page_size=1))).next_page_token
    secret_token = (await stub.ListNodeSecrets(pb.ListNodeSecretsRequest(parent="nodes/edge-0", page_size=1))).next_page_token
    for call in (
        stub.ListNodeSecrets(pb.ListNodeSecretsRequest(parent="nodes/edge-0", page_token=token)),
        stub.ListNodeSecrets(pb.ListNodeSecretsRequest(parent="nodes/edge-1", page_token=secret_token)),
        stub.ListNodes(pb.ListNodesRequest(page_token=secret_token)),
    ):
        assert ["page_token"] == list(violations(await failure_of(call)))


async def test_store_that_is_away(fleet: RunningFleet, stub: Any) -> None:
    """Without the store nobody can answer for the fleet: UNAVAILABLE, with a time to retry after."""
    fleet.here.connect("edge-1")
    fleet.store.away = True
    for call in (
        stub.GetNode(pb.GetNodeRequest(name="nodes/edge-1")),
        stub.ListNodes(pb.ListNodesRequest()),
        stub.ListNodeSecrets(pb.ListNodeSecretsRequest(parent="nodes/edge-1")),
        stub.GetFleetStatus(pb.GetFleetStatusRequest()),
    ):
        error = await failure_of(call)
        assert grpc.StatusCode.UNAVAILABLE == error.code()
        assert detail(error, error_details_pb2.RetryInfo).retry_delay.seconds > 0
        assert "UNAVAILABLE" == detail(error, error_details_pb2.ErrorInfo).reason
        assert "the store is away" not in str(rich_status(error))
