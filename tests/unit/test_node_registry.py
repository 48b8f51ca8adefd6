"""What a replica knows about the nodes that are connected to it."""

from datetime import timedelta

from controlplane.core.node import (
    MAX_CONNECTIONS_SHOWN,
    MAX_REFUSED_SHOWN,
    Fetched,
    NodeConnection,
    NodeStatus,
    RefusedSecret,
    ReplicaStatus,
)
from controlplane.usecases import nodes
from controlplane.usecases.nodes import NodeRegistry
from tests.fakes.nodes import NOW, Clock, Stream


def registry(*streams: Stream) -> NodeRegistry:
    made = NodeRegistry("replica-1", Clock())
    for stream in streams:
        made.connected(stream)
    return made


def once(*names: str) -> Fetched:
    return Fetched((), tuple(name.encode() for name in names))


def test_node_is_what_its_stream_says() -> None:
    """A connected node shows who it is, what it holds, its ACKs and NACKs, and what it refused."""
    stream = Stream(
        names=["a.example", "b.example"],
        identities=("spiffe://certplane/envoy",),
        acks=3,
        nacks=1,
        refused={"b.example": ("v2", "no private key")},
    )
    expected = NodeStatus(
        node_id="edge-1",
        cluster="edge",
        connected=True,
        connect_time=NOW,
        streams=1,
        connections=(NodeConnection("delta_ads", ("spiffe://certplane/envoy",), NOW, 2, 3, 1),),
        identities=("spiffe://certplane/envoy",),
        variants=("delta_ads",),
        secrets_held=2,
        acks=3,
        nacks=1,
        refused=(RefusedSecret("b.example", "v2", "no private key"),),
    )
    assert expected == registry(stream).status("edge-1")


def test_status_is_read_anew_each_time() -> None:
    """The registry copies nothing at a handshake: what a stream says when it is asked is what counts."""
    stream = Stream()
    made = registry(stream)
    stream.names.append("a.example")
    stream.acks = 7
    status = made.status("edge-1")
    assert status is not None
    assert (1, 7) == (status.secrets_held, status.acks)


def test_streams_with_the_same_id_are_one_node_with_several_connections() -> None:
    """Two Envoys that carry the same id, or ADS and SDS of one Envoy, show as connections of one node."""
    made = registry(
        Stream(names=["a"], acks=1, identities=("one", "both"), connect_time=NOW + timedelta(seconds=9)),
        Stream(names=["b", "c"], variant="sotw_sds", nacks=2, identities=("both", "two"), cluster="late"),
    )
    status = made.status("edge-1")
    assert status is not None
    assert ["delta_ads", "sotw_sds"] == [connection.variant for connection in status.connections]
    assert (2, 3, 1, 2, NOW) == (status.streams, status.secrets_held, status.acks, status.nacks, status.connect_time)
    assert (("one", "both", "two"), ("delta_ads", "sotw_sds"), "late") == (status.identities, status.variants, status.cluster)
    assert (once("a", "b", "c"),) == made.fetched("edge-1")


def test_node_is_connected_until_its_last_stream_ends() -> None:
    """A node goes with its last stream."""
    first, second = Stream(), Stream()
    made = registry(first, second)
    made.disconnected(first)
    assert "edge-1" in made
    made.disconnected(second)
    assert "edge-1" not in made
    assert made.status("edge-1") is None


def test_client_without_an_id_is_no_node() -> None:
    """Nobody could ask for a node without an id, so it is not kept."""
    stream = Stream(node_id="")
    made = registry(stream)
    made.disconnected(stream)
    assert (set(), {}) == (set(made.node_ids()), made.departures())


def test_end_of_an_unknown_stream_is_ignored() -> None:
    """A stream that was never connected, or ends twice, changes nothing."""
    stream, other = Stream(), Stream()
    made = registry(stream)
    made.disconnected(other)
    assert "edge-1" in made
    made.disconnected(stream)
    made.disconnected(stream)
    assert ["edge-1"] == list(made.departures())


def test_departure_keeps_what_was_held() -> None:
    """What a node held when it went is kept, with how it stood and when that was, though the stream is gone."""
    stream = Stream(names=["b", "a"], acks=5)
    made = registry(stream)
    made.disconnected(stream)
    stream.names.clear()
    departure = made.departure("edge-1")
    assert departure is not None
    assert (False, 2, 5, ()) == (
        departure.status.connected,
        departure.status.secrets_held,
        departure.status.acks,
        departure.status.connections,
    )
    assert (NOW, (once("b", "a"),)) == (departure.time, departure.parts)
    assert (once("b", "a"),) == made.fetched("edge-1")


def test_departure_of_many_streams_is_how_the_node_stood_at_the_first() -> None:
    """A sidecar's streams end one after the other; what it held on all of them is remembered."""
    streams = [Stream(names=[f"n{index}"], variant="sotw_sds") for index in range(4)]
    made = registry(*streams)
    for stream in streams:
        made.disconnected(stream)
    departure = made.departures()["edge-1"]
    assert (4, 4) == (departure.status.streams, departure.status.secrets_held)
    assert tuple(once(f"n{index}") for index in range(4)) == departure.parts


def test_node_that_comes_back_has_what_it_held_before_and_what_it_holds() -> None:
    """What ended and is not written yet comes before what is held now, and each is a list of its own."""
    first, second = Stream(names=["b", "a"]), Stream(names=["a", "c"])
    made = registry(first, second)
    made.disconnected(first)
    assert (once("b", "a"), once("a", "c")) == made.fetched("edge-1")


def test_written_departure_is_forgotten() -> None:
    """Once a departure is written nothing of it is left."""
    stream = Stream(names=["a"])
    made = registry(stream)
    made.disconnected(stream)
    made.written(made.departures()["edge-1"])
    assert (None, {}, ()) == (made.departure("edge-1"), made.departures(), made.fetched("edge-1"))


def test_departure_that_grew_while_it_was_written_stays() -> None:
    """A node that came and went again meanwhile is written once more, with the newer status."""
    first, second = Stream(names=["a"]), Stream(names=["b"], acks=9)
    made = registry(first)
    made.disconnected(first)
    writing = made.departures()["edge-1"]
    made.connected(second)
    made.connected(Stream())
    made.disconnected(second)
    made.written(writing)
    departure = made.departures()["edge-1"]
    assert (9, (once("a"), once("b"))) == (departure.status.acks, departure.parts)


def test_start_counts_as_late_for_a_day() -> None:
    """A node that is connected for long is not `started_lately`; one that is not known is."""
    clock = Clock()
    made = NodeRegistry("replica-1", clock)
    stream = Stream()
    made.connected(stream)
    assert made.started_lately("edge-1")
    clock.advance(days=1)
    assert not made.started_lately("edge-1")
    made.disconnected(stream)
    assert not made.started_lately("edge-1")
    assert made.started_lately("edge-2")


def test_departures_are_bounded(monkeypatch) -> None:
    """While the store is away the names of nodes that left first are forgotten, so that memory stays bounded."""
    monkeypatch.setattr(nodes, "MAX_DEPARTED_NAMES", 5)
    made = registry()
    for index in range(4):
        stream = Stream(node_id=f"edge-{index}", names=["a", "b"])
        made.connected(stream)
        made.disconnected(stream)
    assert ["edge-2", "edge-3"] == list(made.departures())


def test_departed_nodes_are_bounded(monkeypatch) -> None:
    """Nodes that held nothing are bounded too."""
    monkeypatch.setattr(nodes, "MAX_DEPARTURES", 3)
    made = registry()
    for index in range(5):
        stream = Stream(node_id=f"edge-{index}")
        made.connected(stream)
        made.disconnected(stream)
    assert ["edge-2", "edge-3", "edge-4"] == list(made.departures())


def test_what_is_shown_of_a_node_is_bounded() -> None:
    """Of many streams the newest are described, of many refusals the first, and long words are cut."""
    streams = [
        Stream(acks=index, refused={f"r{index}-{n}": ("v", "x" * 900) for n in range(10)}) for index in range(MAX_CONNECTIONS_SHOWN + 4)
    ]
    status = registry(*streams).status("edge-1")
    assert status is not None
    assert list(range(4, MAX_CONNECTIONS_SHOWN + 4)) == [connection.acks for connection in status.connections]
    assert MAX_CONNECTIONS_SHOWN + 4 == status.streams
    assert MAX_REFUSED_SHOWN == len(status.refused)
    assert {300} == {len(refused.error) for refused in status.refused}


def test_replica_adds_up_its_nodes() -> None:
    """The replica's own status counts nodes once, and streams, secrets and refusals of all of them."""
    made = registry(
        Stream(names=["a"], refused={"a": ("v", "e")}),
        Stream(names=["b"]),
        Stream(node_id="edge-2", names=["a", "c"]),
    )
    assert ReplicaStatus("replica-1", NOW, NOW, nodes=2, streams=3, secrets_held=4, refused=1) == made.replica_status()
