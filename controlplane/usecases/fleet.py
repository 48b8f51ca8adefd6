"""What `certplane.v1.FleetService` tells: the nodes of all replicas, those of this one as they are now."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from controlplane.core.authority_report import AuthorityReport
from controlplane.core.errors import FieldViolation, InvalidArgument, NotFound
from controlplane.core.lane import Lane
from controlplane.core.node import NodeStatus, ReplicaStatus, node_resource_name, parse_node_name, remembered_names
from controlplane.core.ports.authority_reports import AuthorityReports
from controlplane.core.ports.clock import Clock
from controlplane.core.ports.lanes import LaneBacklog, LaneStore
from controlplane.core.ports.nodes import NodeStore, StoredNode
from controlplane.usecases.bound_tokens import decode_token, encode_token
from controlplane.usecases.nodes import NodeRegistry
from controlplane.xds.resource_names import canonical_name

DEFAULT_PAGE_SIZE: Final = 100
MAX_SECRETS_PAGE: Final = 1_000
MAX_NODES_PAGE: Final = 200
"""Each takes about 80 microseconds, in which no handshake is answered."""

PAGE_WEIGHT: Final = 3_000_000
"""Bytes, estimated: a gRPC client refuses messages above 4 MiB unless told otherwise."""


@dataclass(frozen=True, slots=True)
class NodeView:
    """A node as the fleet sees it. `statuses`: by replica, of those that it is connected to; else the last one, as it was then."""

    node_id: str
    statuses: Mapping[str, NodeStatus]
    seen_time: datetime

    @property
    def connected(self) -> bool:
        """Whether it is connected to some replica."""
        return any(status.connected for status in self.statuses.values())


@dataclass(frozen=True, slots=True)
class NodePage:
    """A page of nodes. `next_token` is empty at the end."""

    nodes: Sequence[NodeView]
    next_token: str


@dataclass(frozen=True, slots=True)
class SecretPage:
    """A page of a node's canonical names. `next_token` is empty at the end."""

    node_id: str
    names: Sequence[str]
    next_token: str


@dataclass(frozen=True, slots=True)
class FleetStatus:
    """The replicas that live, how many nodes are connected to any of them, what waits for a worker at a time, and the workers' CAs."""

    replicas: Sequence[ReplicaStatus]
    connected_nodes: int
    lanes: Mapping[Lane, LaneBacklog]
    time: datetime
    authorities: Sequence[AuthorityReport]


class Fleet:
    """The use cases. Every method raises `Unavailable` when the store does not answer."""

    def __init__(self, registry: NodeRegistry, store: NodeStore, clock: Clock, lanes: LaneStore, authorities: AuthorityReports) -> None:
        self._registry = registry
        self._store = store
        self._clock = clock
        self._lanes = lanes
        self._authorities = authorities

    async def get(self, name: str) -> NodeView:
        """Returns a node.

        Raises:
            InvalidArgument: `name` is not a resource name.
            NotFound: no such node was seen lately.
        """
        return await self._node(parse_node_name(name, field="name"))

    async def list_page(self, page_size: int, page_token: str) -> NodePage:
        """Returns nodes in the order of their ids.

        Args:
            page_size: 0 means 100, more than 200 means 200 (AIP-158).
            page_token: of the page before; empty for the first.

        Raises:
            InvalidArgument: a negative size, or a token from elsewhere.
        """
        size = _checked_size(page_size, MAX_NODES_PAGE)
        after = decode_token(page_token, "nodes", "", field="page_token", bound_to="list") if page_token else ""
        stored = await self._store.list_ids(after, size + 1)
        own = (node_id for node_id in self._registry.node_ids() if node_id > after)
        node_ids = sorted({*stored, *own})
        page = node_ids[:size]
        nodes: list[NodeView] = []
        weight = 0
        for node_id, node in (await self._views(page)).items():
            weight += _weight(node)
            if nodes and weight > PAGE_WEIGHT:
                return NodePage(nodes, encode_token("nodes", "", page[page.index(node_id) - 1]))
            nodes.append(node)
        return NodePage(nodes, encode_token("nodes", "", page[-1]) if len(node_ids) > size else "")

    async def list_secrets(self, parent: str, page_size: int, page_token: str) -> SecretPage:
        """Returns the names that a node holds or held lately, the busiest first.

        Args:
            parent: the node's resource name.
            page_size: 0 means 100, more than 1,000 means 1,000.
            page_token: of the page before, of the same node; empty for the first.

        Raises:
            InvalidArgument: `parent` is not a resource name, a negative size, or a token from elsewhere.
            NotFound: no such node was seen lately.
        """
        node_id, size = parse_node_name(parent, field="parent"), _checked_size(page_size, MAX_SECRETS_PAGE)
        start = int(decode_token(page_token, "secrets", node_id, field="page_token", bound_to="node")) if page_token else 0
        await self._node(node_id)
        names = await self._store.names(node_id)
        keep_earlier = self._registry.started_lately(node_id)
        for part in self._registry.fetched(node_id):
            names = remembered_names(part, names, keep_earlier=keep_earlier)
        # Whoever writes to the store could have put anything there.
        page = [canonical for name in names[start : start + size] if (canonical := canonical_name(name)) and canonical.encode() == name]
        more = len(names) > start + size
        return SecretPage(node_id, page, encode_token("secrets", node_id, str(start + size)) if more else "")

    async def status(self) -> FleetStatus:
        """Returns the replicas in the order of their names, totals, the lanes, and the CAs in the workers' order of preference."""
        found = await self._store.replicas()
        own = self._registry.replica_status()
        connected = {node_id for replica in found if replica.status.replica != own.replica for node_id in replica.node_ids}
        replicas = {replica.status.replica: replica.status for replica in found} | {own.replica: own}
        now = self._clock()
        return FleetStatus(
            [replicas[name] for name in sorted(replicas)],
            len(connected | self._registry.node_ids()),
            await self._lanes.backlog(now),
            now,
            await self._authorities.live(),
        )

    async def _node(self, node_id: str) -> NodeView:
        view = (await self._views([node_id])).get(node_id)
        if view is None:
            raise NotFound(node_resource_name(node_id))
        return view

    async def _views(self, node_ids: Sequence[str]) -> Mapping[str, NodeView]:
        # This replica knows better than the store what is connected to it.
        stored = await self._store.get(node_ids, beside=self._registry.replica)
        views = {node_id: self._view(node_id, stored.get(node_id)) for node_id in node_ids}
        return {node_id: view for node_id, view in views.items() if view is not None}

    def _view(self, node_id: str, stored: StoredNode | None) -> NodeView | None:
        live = stored.statuses if stored is not None and stored.live else {}
        own = self._registry.status(node_id)
        if own is not None:
            return NodeView(node_id, {**live, self._registry.replica: own}, self._clock())
        departure = self._registry.departure(node_id)
        if departure is not None and not live:
            return NodeView(node_id, {self._registry.replica: _ended(departure.status)}, departure.time)
        if stored is None:
            return None
        return NodeView(node_id, live or {replica: _ended(status) for replica, status in stored.statuses.items()}, stored.seen_time)


def _ended(status: NodeStatus) -> NodeStatus:
    return replace(status, connected=False, connections=(), streams=0)


def _checked_size(page_size: int, most: int) -> int:
    if page_size < 0:
        raise InvalidArgument(FieldViolation("page_size", "must not be negative"))
    return min(page_size or DEFAULT_PAGE_SIZE, most)


def _weight(node: NodeView) -> int:
    """Returns about how many bytes the node takes in a response."""
    texts = 0
    for status in node.statuses.values():
        texts += sum(len(name) + 3 for connection in status.connections for name in connection.identities)
        texts += sum(len(name) + 3 for name in status.identities)
        texts += sum(len(refused.name) + len(refused.version) + 4 * len(refused.error) + 10 for refused in status.refused)
        texts += 80 * len(status.connections)
    return 400 + 4 * len(node.node_id) + texts
