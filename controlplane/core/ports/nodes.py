"""What replicas write down about the Envoys that are connected to them, so that each can answer for the whole fleet."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from controlplane.core.node import NodeStatus, ReplicaStatus


@dataclass(frozen=True, slots=True)
class StoredNode:
    """What the store knows of a node.

    `statuses` are by replica. `live`: of the replicas that it is connected to; else there is one, the last that any replica wrote down.
    `seen_time` is when some replica last saw it connected.
    """

    live: bool
    statuses: Mapping[str, NodeStatus]
    seen_time: datetime


@dataclass(frozen=True, slots=True)
class LiveReplica:
    """A replica that was heard of lately, with the ids of the nodes that are connected to it."""

    status: ReplicaStatus
    node_ids: AbstractSet[str]


class NodeStore(Protocol):
    """Nodes of the whole fleet.

    Two kinds of records: what is connected to a replica, which vanishes by itself a minute after the replica was last heard of; and what
    is remembered of a node, which lasts a week from the last time that it was written. Of more nodes than `MAX_REMEMBERED_NODES`
    those seen longest ago are forgotten. A record that cannot be read counts as missing.
    """

    async def save(self, replica: ReplicaStatus, changed: Sequence[NodeStatus], gone: Sequence[NodeStatus]) -> int:
        """Writes that the replica lives, and the nodes whose status changed. Returns how many nodes are connected to it by the store.

        Not atomic: a part may be written when it fails. Written again, nothing is counted twice.

        Args:
            replica: the replica, as of now.
            changed: nodes that are connected to it.
            gone: nodes that are not any more; `connected` is false in them.
        """
        ...

    async def leave(self, replica: str) -> None:
        """Removes a replica with all that is connected to it. What is remembered of its nodes stays."""
        ...

    async def names(self, node_id: str) -> tuple[bytes, ...]:
        """Returns the remembered names of a node, the busiest first; none when there are none."""
        ...

    async def save_names(self, node_id: str, names: Sequence[bytes]) -> None:
        """Replaces the remembered names of a node, atomically."""
        ...

    async def list_ids(self, after: str, limit: int) -> Sequence[str]:
        """Returns ids of remembered nodes behind `after`, in the order of their UTF-8 bytes."""
        ...

    async def get(self, node_ids: Sequence[str], *, beside: str = "") -> Mapping[str, StoredNode]:
        """Returns the nodes among `node_ids` that are connected or remembered; what is connected to the replica `beside` is left out."""
        ...

    async def replicas(self) -> Sequence[LiveReplica]:
        """Returns the replicas that live, in the order of their names."""
        ...
