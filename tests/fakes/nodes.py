"""Streams of nodes as plain values, a NodeStore in memory, and replicas that share it."""

import bisect
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from controlplane.core.errors import Unavailable
from controlplane.core.node import NodeStatus, ReplicaStatus
from controlplane.core.ports.authority_reports import AuthorityReports
from controlplane.core.ports.nodes import LiveReplica, NodeStore, StoredNode
from controlplane.endpoints.fleet_service import add_fleet_service
from controlplane.endpoints.grpc_server import build_server
from controlplane.usecases.fleet import Fleet
from controlplane.usecases.node_snapshots import NodeSnapshots
from controlplane.usecases.nodes import NodeRegistry
from controlplane.usecases.replacement_steps import ReplacementSteps
from controlplane.usecases.replacements import Replacements
from controlplane.xds.messages import Node, NodeMetadata
from tests.fakes.authority_reports import InMemoryAuthorityReports
from tests.fakes.domains import InMemoryDomains
from tests.fakes.replacements import InMemoryReplacements
from tests.fakes.work import InMemoryWork

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


@dataclass(eq=False)
class Stream:
    """A `NodeStream` that is what it is told to be. `names` are held, all in version `v1`, the one fetched longest ago first."""

    node_id: str = "edge-1"
    names: list[str] = field(default_factory=list)
    cluster: str = "edge"
    pinned: Sequence[str] = ()
    variant: str = "delta_ads"
    identities: tuple[str, ...] = ()
    connect_time: datetime = NOW
    resumed: bool = False
    acks: int = 0
    nacks: int = 0
    refused: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    again: Mapping[str, int] = field(default_factory=dict)

    @property
    def node(self) -> Node:
        """See `NodeStream.node`."""
        return Node(self.node_id, self.cluster, NodeMetadata(True, frozenset(name.encode() for name in self.pinned)))

    @property
    def secrets_held(self) -> int:
        """See `NodeStream.secrets_held`."""
        return len(self.names)

    def held(self) -> Iterable[tuple[bytes, str]]:
        """See `NodeStream.held`."""
        return ((name.encode(), "v1") for name in self.names)

    def refetched(self) -> Mapping[bytes, int]:
        """See `NodeStream.refetched`."""
        return {name.encode(): count for name, count in self.again.items()}


class InMemoryNodes:
    """Implements `NodeStore`. `away` makes every call raise Unavailable; `calls` counts them by method."""

    def __init__(self) -> None:
        self.away = False
        self.calls: dict[str, int] = {}
        self.remembered_names: dict[str, tuple[bytes, ...]] = {}
        self._last: dict[str, tuple[NodeStatus, str, datetime]] = {}
        self._replicas: dict[str, tuple[ReplicaStatus, dict[str, NodeStatus]]] = {}

    def _call(self, method: str) -> None:
        self.calls[method] = self.calls.get(method, 0) + 1
        if self.away:
            raise Unavailable("the store is away")

    async def save(self, replica: ReplicaStatus, changed: Sequence[NodeStatus], gone: Sequence[NodeStatus]) -> int:
        """See `NodeStore.save`."""
        self._call("save")
        _, nodes = self._replicas.get(replica.replica, (replica, {}))
        for status in gone:
            nodes.pop(status.node_id, None)
        nodes.update((status.node_id, status) for status in changed)
        self._last.update((status.node_id, (status, replica.replica, replica.seen_time)) for status in (*gone, *changed))
        self._replicas[replica.replica] = replica, nodes
        return len(nodes)

    async def leave(self, replica: str) -> None:
        """See `NodeStore.leave`."""
        self._call("leave")
        self._replicas.pop(replica, None)

    async def names(self, node_id: str) -> tuple[bytes, ...]:
        """See `NodeStore.names`."""
        self._call("names")
        return self.remembered_names.get(node_id, ())

    async def save_names(self, node_id: str, names: Sequence[bytes]) -> None:
        """See `NodeStore.save_names`."""
        self._call("save_names")
        self.remembered_names[node_id] = tuple(names)

    async def list_ids(self, after: str, limit: int) -> Sequence[str]:
        """See `NodeStore.list_ids`."""
        self._call("list_ids")
        node_ids = sorted(self._last)
        start = bisect.bisect_right(node_ids, after)
        return node_ids[start : start + limit]

    async def get(self, node_ids: Sequence[str], *, beside: str = "") -> Mapping[str, StoredNode]:
        """See `NodeStore.get`."""
        self._call("get")
        found = {}
        for node_id in node_ids:
            live = {name: nodes[node_id] for name, (_, nodes) in self._replicas.items() if node_id in nodes and name != beside}
            if live:
                found[node_id] = StoredNode(True, live, max(self._replicas[name][0].seen_time for name in live))
            elif node_id in self._last:
                last, replica, written = self._last[node_id]
                heard = self._replicas[replica][0].seen_time if last.connected and replica in self._replicas else written
                found[node_id] = StoredNode(False, {replica: last}, max(written, heard))
        return found

    async def replicas(self) -> Sequence[LiveReplica]:
        """See `NodeStore.replicas`."""
        self._call("replicas")
        return [LiveReplica(status, frozenset(nodes)) for _, (status, nodes) in sorted(self._replicas.items())]

    def lose_replicas(self) -> None:
        """Forgets what is connected, as expiry does when a replica was not heard of; what is remembered stays."""
        self._replicas.clear()


@dataclass
class Clock:
    """The time, which goes on when it is told to."""

    now: datetime = NOW

    def __call__(self) -> datetime:
        """Returns it."""
        return self.now

    def advance(self, **time: float) -> None:
        """Lets time pass; arguments are those of timedelta."""
        self.now += timedelta(**time)


class Replica:
    """A replica of `serve`, as far as nodes are concerned: its registry, its snapshots, and what it answers."""

    def __init__(self, name: str, store: NodeStore, clock: Clock, authorities: AuthorityReports | None = None) -> None:
        self.clock = clock
        self.registry = NodeRegistry(name, clock)
        self.snapshots = NodeSnapshots(self.registry, store, clock)
        self.work = InMemoryWork(clock)
        self.fleet = Fleet(self.registry, store, clock, self.work, authorities or InMemoryAuthorityReports())

    def connect(self, node_id: str, *names: str, **properties: Any) -> Stream:
        """Connects a stream of a node that holds these names."""
        stream = Stream(node_id, list(names), connect_time=self.clock(), **properties)
        self.registry.connected(stream)
        return stream


@dataclass(frozen=True)
class RunningFleet:
    """The address of the API of `here`, beside `there`, another replica on the same store."""

    address: str
    store: InMemoryNodes
    clock: Clock
    here: Replica
    there: Replica


async def _at_once(_orders: int) -> timedelta:
    return timedelta()


def no_replacements(clock: Clock) -> Replacements:
    """Replacements of a fleet without a domain."""
    domains = InMemoryDomains()
    return Replacements(InMemoryReplacements(), ReplacementSteps(domains, _at_once, clock), clock)


@asynccontextmanager
async def running_fleet(authorities: AuthorityReports | None = None) -> AsyncIterator[RunningFleet]:
    """Serves FleetService of the replica `here` until the block ends. `authorities` is where it learns of the workers' CAs."""
    store, clock = InMemoryNodes(), Clock()
    here, there = Replica("here", store, clock, authorities), Replica("there", store, clock, authorities)
    listener = build_server("127.0.0.1:0")
    add_fleet_service(listener.server, here.fleet, no_replacements(clock))
    await listener.server.start()
    try:
        yield RunningFleet(listener.address, store, clock, here, there)
    finally:
        await listener.server.stop(None)
