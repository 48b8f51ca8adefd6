"""When and what a replica writes down about its nodes."""

import asyncio
from datetime import timedelta

import pytest
import structlog

from controlplane.core.errors import Unavailable
from controlplane.core.node import EARLIER_NAMES_LAST
from controlplane.usecases import node_snapshots
from controlplane.usecases.node_snapshots import NodeSnapshots, SnapshotTimes
from controlplane.usecases.nodes import NodeRegistry
from tests.fakes.eventually import eventually
from tests.fakes.nodes import Clock, InMemoryNodes, Stream

TIMES = SnapshotTimes(pause=timedelta(0))


class World:
    """A replica with its registry and its snapshots, over a store in memory."""

    def __init__(self, *, times: SnapshotTimes = TIMES) -> None:
        self.clock = Clock()
        self.store = InMemoryNodes()
        self.registry = NodeRegistry("replica-1", self.clock)
        self.snapshots = NodeSnapshots(self.registry, self.store, self.clock, times)

    def connect(self, *names: str, **properties) -> Stream:
        """Connects a stream that holds these names."""
        stream = Stream(names=list(names), connect_time=self.clock(), **properties)
        self.registry.connected(stream)
        return stream

    async def beats(self, **time: float) -> None:
        """Lets time pass, with a beat each five seconds."""
        end = self.clock() + timedelta(**time)
        while self.clock() < end:
            self.clock.advance(seconds=5)
            await self.snapshots.beat()

    def names(self, node_id: str = "edge-1") -> list[str]:
        """The names that the store remembers."""
        return [name.decode() for name in self.store.remembered_names.get(node_id, ())]

    async def live(self, node_id: str = "edge-1"):
        """The status of a node that the store has as connected."""
        found = (await self.store.get([node_id])).get(node_id)
        return found.statuses["replica-1"] if found is not None and found.live else None


@pytest.fixture
def world() -> World:
    return World()


async def test_nothing_is_written_when_a_node_connects(world: World) -> None:
    """A handshake waits for no store: connecting and disconnecting write nothing."""
    world.registry.disconnected(world.connect("a"))
    world.connect("b")
    assert {} == world.store.calls


async def test_connected_node_is_written_with_the_next_beat(world: World) -> None:
    """Other replicas see a new node some seconds after it connected, and its names not yet."""
    world.connect("a.example")
    await world.snapshots.beat()
    status = await world.live()
    assert status is not None
    assert ("edge-1", True, 1) == (status.node_id, status.connected, status.secrets_held)
    assert [] == world.names()


async def test_beat_says_that_the_replica_lives(world: World) -> None:
    """A replica without any node is written down too."""
    await world.beats(seconds=5)
    (replica,) = await world.store.replicas()
    assert ("replica-1", world.clock(), 0) == (replica.status.replica, replica.status.seen_time, replica.status.nodes)


async def test_counts_follow_in_turns(world: World) -> None:
    """What changed about a node is written within half a minute, and not at every beat."""
    streams = [world.connect(node_id=f"edge-{index}") for index in range(60)]
    await world.snapshots.beat()
    for stream in streams:
        stream.acks = 5
    written = []
    for _ in range(TIMES.slices):
        await world.beats(seconds=5)
        written.append(sum([(await world.live(f"edge-{index}")).acks == 5 for index in range(60)]))
    assert sorted(set(written)) == written
    assert 60 == written[-1]


async def test_what_did_not_change_is_not_written(world: World) -> None:
    """A node whose counts stay is not written again for an hour; then it is, because what is remembered expires."""
    world.connect("a")
    await world.snapshots.beat()
    saved = []
    save = world.store.save

    async def spy(replica, changed, gone):
        saved.extend(status.node_id for status in (*changed, *gone))
        return await save(replica, changed, gone)

    world.store.save = spy
    await world.beats(minutes=59)
    assert [] == saved
    await world.beats(minutes=2)
    assert ["edge-1"] == saved


async def test_names_are_written_after_a_minute_and_then_every_few_minutes(world: World) -> None:
    """Names are written a minute after the start, in the order of their first fetches, and ten minutes later again if they changed."""
    stream = world.connect("b", "a")
    await world.beats(seconds=50)
    assert [] == world.names()
    await world.beats(seconds=15)
    assert ["b", "a"] == world.names()
    stream.names.append("c")
    await world.beats(minutes=9)
    assert ["b", "a"] == world.names()
    await world.beats(minutes=2)
    assert ["b", "a", "c"] == world.names()


async def test_names_that_did_not_change_are_not_written_again(world: World) -> None:
    """Names that stay as they are cost the store neither a read nor a write."""
    world.connect("a")
    await world.beats(minutes=2)
    before = (world.store.calls["names"], world.store.calls["save_names"])
    await world.beats(minutes=30)
    assert before == (world.store.calls["names"], world.store.calls["save_names"])


async def test_departure_is_written_with_the_next_beat(world: World) -> None:
    """A node that went is not connected any more with the next beat, and its names are written though no minute has passed."""
    stream = world.connect("b", "a")
    await world.snapshots.beat()
    world.registry.disconnected(stream)
    await world.beats(seconds=5)
    found = (await world.store.get(["edge-1"]))["edge-1"]
    assert (False, world.clock(), 2) == (found.live, found.seen_time, found.statuses["replica-1"].secrets_held)
    assert ["b", "a"] == world.names()


async def test_node_that_came_and_went_between_two_beats_is_remembered(world: World) -> None:
    """A short visit leaves a status and names."""
    world.registry.disconnected(world.connect("a"))
    await world.snapshots.beat()
    assert [False] == [found.live for found in (await world.store.get(["edge-1"])).values()]
    assert ["a"] == world.names()


async def test_node_that_held_nothing_has_no_names_record(world: World) -> None:
    """A visit without a single secret overwrites no names."""
    world.store.remembered_names["edge-1"] = (b"a",)
    stream = world.connect()
    await world.beats(minutes=2)
    world.registry.disconnected(stream)
    await world.beats(seconds=5)
    assert (["a"], 0) == (world.names(), world.store.calls.get("save_names", 0))


async def test_restart_that_ends_soon_forgets_nothing(world: World) -> None:
    """A node that starts anew and holds little keeps what it held before behind that, for a day."""
    world.registry.disconnected(world.connect("a", "b", "c"))
    await world.snapshots.beat()
    stream = world.connect("c")
    await world.beats(seconds=70)
    assert ["c", "a", "b"] == world.names()
    world.clock.advance(seconds=EARLIER_NAMES_LAST.total_seconds())
    stream.names.append("d")
    await world.beats(minutes=11)
    assert ["c", "d"] == world.names()


async def test_reconnect_to_another_replica_keeps_the_order(world: World) -> None:
    """A node that comes with its secrets from another replica keeps the order that this one wrote down."""
    world.registry.disconnected(world.connect("c", "a", "b"))
    await world.snapshots.beat()
    other = NodeRegistry("replica-2", world.clock)
    snapshots = NodeSnapshots(other, world.store, world.clock, TIMES)
    other.connected(Stream(names=["a", "b", "c", "d"], resumed=True, connect_time=world.clock()))
    await snapshots.beat()
    world.clock.advance(minutes=2)
    await snapshots.beat()
    assert ["c", "a", "b", "d"] == world.names()


async def test_reconnect_before_the_next_beat_keeps_the_order(world: World) -> None:
    """What a node held on the stream that just ended orders what it comes back with."""
    world.registry.disconnected(world.connect("c", "a", "b"))
    world.connect("a", "b", "c", resumed=True)
    await world.beats(seconds=70)
    assert ["c", "a", "b"] == world.names()
    assert (await world.live()).connected


async def test_departures_wait_for_the_store(world: World) -> None:
    """While the store is away nothing is lost: a departure is written when it is back."""
    stream = world.connect("a")
    await world.snapshots.beat()
    world.store.away = True
    world.registry.disconnected(stream)
    for _ in range(3):
        with pytest.raises(Unavailable):
            await world.beats(seconds=5)
    world.store.away = False
    await world.beats(seconds=5)
    assert [False] == [found.live for found in (await world.store.get(["edge-1"])).values()]
    assert ["a"] == world.names()


async def test_store_that_lost_the_replica_is_written_anew(world: World) -> None:
    """When the store has other nodes of this replica than it should have, all of them are written again."""
    for index in range(3):
        world.connect(node_id=f"edge-{index}")
    await world.snapshots.beat()
    world.store.lose_replicas()
    with structlog.testing.capture_logs():
        await world.beats(seconds=10)
    assert [f"edge-{index}" for index in range(3)] == sorted((await world.store.replicas())[0].node_ids)


async def test_many_names_are_spread_over_beats(world: World, monkeypatch) -> None:
    """A fleet that comes at once is written in pieces, so that the replica goes on saying that it lives."""
    monkeypatch.setattr(node_snapshots, "_NODES_A_BEAT", 4)
    monkeypatch.setattr(node_snapshots, "_STATUSES_AT_ONCE", 3)
    for index in range(10):
        world.connect("a", node_id=f"edge-{index}")
    await world.snapshots.beat()
    assert 10 == len((await world.store.replicas())[0].node_ids)
    world.clock.advance(minutes=2)
    written = []
    for _ in range(3):
        await world.snapshots.beat()
        written.append(len(world.store.remembered_names))
    assert [4, 8, 10] == written


async def test_many_departures_are_spread_over_beats(world: World, monkeypatch) -> None:
    """Departures beyond a beat's share are written with the next ones."""
    monkeypatch.setattr(node_snapshots, "_NODES_A_BEAT", 4)
    for stream in [world.connect("a", node_id=f"edge-{index}") for index in range(6)]:
        world.registry.disconnected(stream)
    await world.snapshots.beat()
    assert (4, 6) == (len(world.store.remembered_names), len(await world.store.list_ids("", 100)))
    await world.snapshots.beat()
    assert 6 == len(world.store.remembered_names)


async def test_close_writes_everything(world: World) -> None:
    """A replica that stops leaves its nodes with all names, not connected, and is no replica any more."""
    gone = world.connect("a", node_id="edge-1")
    world.connect("c", "b", node_id="edge-2")
    world.registry.disconnected(gone)
    await world.snapshots.close()
    found = await world.store.get(["edge-1", "edge-2"])
    assert {"edge-1": False, "edge-2": False} == {node_id: node.live for node_id, node in found.items()}
    assert [False, False] == [status.connected for node in found.values() for status in node.statuses.values()]
    assert (["a"], ["c", "b"]) == (world.names("edge-1"), world.names("edge-2"))
    assert [] == await world.store.replicas()


async def test_close_does_not_wait_for_a_store_that_is_away(world: World) -> None:
    """A replica stops though nothing can be written, and says so."""
    world.connect("a")
    world.store.away = True
    with structlog.testing.capture_logs() as logs:
        await world.snapshots.close()
    assert ["nodes not written down at the end"] == [entry["event"] for entry in logs]


async def test_nothing_is_written_after_the_end(world: World) -> None:
    """Streams that end after the replica has said goodbye do not bring it back."""
    stream = world.connect("a")
    await world.snapshots.close()
    world.registry.disconnected(stream)
    calls = dict(world.store.calls)
    await world.snapshots.beat()
    assert calls == world.store.calls
    assert [] == await world.store.replicas()


async def test_close_waits_for_a_beat_under_way(world: World) -> None:
    """The end does not mix with a beat: what the beat writes comes first."""
    world.connect("a")
    gate, order = asyncio.Event(), []
    save, leave = world.store.save, world.store.leave

    async def slow_save(*arguments):
        await gate.wait()
        order.append("save")
        return await save(*arguments)

    async def noted_leave(name):
        order.append("leave")
        await leave(name)

    world.store.save, world.store.leave = slow_save, noted_leave
    beat = asyncio.create_task(world.snapshots.beat())
    await asyncio.sleep(0)
    closing = asyncio.create_task(world.snapshots.close())
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(beat, closing)
    assert (["save", "save", "leave"], []) == (order, await world.store.replicas())


async def test_close_takes_a_bounded_time(world: World) -> None:
    """A store that hangs does not keep a replica from stopping."""

    async def hang(*_arguments):
        await asyncio.Event().wait()

    world.connect("a")
    world.store.save = hang
    with structlog.testing.capture_logs() as logs:
        async with asyncio.timeout(5):
            await world.snapshots.close(seconds=0.01)
    assert ["TimeoutError"] == [entry["reason"] for entry in logs]


async def test_failures_are_logged_once_a_minute() -> None:
    """A store that is away for long fills no log; writing goes on when it is back."""
    world = World(times=SnapshotTimes(beat=timedelta(milliseconds=1), pause=timedelta(0)))
    world.connect("a")
    world.store.away = True
    with structlog.testing.capture_logs() as logs:
        running = asyncio.create_task(world.snapshots.run())
        await eventually(lambda: world.store.calls.get("save", 0) > 20)
        events = [entry["event"] for entry in logs]
        world.clock.advance(minutes=1)
        await eventually(lambda: len(logs) > 1)
        world.store.away = False
        await eventually(lambda: world.store.remembered_names or world.clock.advance(seconds=30))
        running.cancel()
    assert ["nodes not written down, trying again"] == events
    assert logs[1]["failures"] > 10
