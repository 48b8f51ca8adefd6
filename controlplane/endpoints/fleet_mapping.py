"""From the values of the fleet to the messages of certplane.v1."""

from collections.abc import Iterable, Iterator
from typing import Final

from controlplane.api.certplane.v1 import fleet_pb2
from controlplane.core.node import NodeConnection, NodeStatus, ReplicaStatus, node_resource_name
from controlplane.endpoints.timestamps import timestamp
from controlplane.usecases.fleet import NodeView

_MOST_IDENTITIES: Final = 16


def node_message(node: NodeView) -> fleet_pb2.Node:
    """Returns a node as clients see it: what its replicas say, added up."""
    statuses = tuple(node.statuses.values())
    newest = max(statuses, key=lambda status: status.connect_time)
    return fleet_pb2.Node(
        name=node_resource_name(node.node_id),
        node_id=node.node_id,
        cluster=newest.cluster,
        connected=node.connected,
        connect_time=timestamp(min(status.connect_time for status in statuses)),
        last_seen_time=timestamp(node.seen_time),
        replicas=sorted(node.statuses),
        identities=_distinct(name for status in statuses for name in status.identities)[:_MOST_IDENTITIES],
        variants=sorted({variant for status in statuses for variant in status.variants}),
        secrets_held=sum(status.secrets_held for status in statuses),
        acks=sum(status.acks for status in statuses),
        nacks=sum(status.nacks for status in statuses),
        refused_secrets=_refused(statuses),
        streams=sum(status.streams for status in statuses),
        connections=[
            _connection_message(replica, connection) for replica, status in node.statuses.items() for connection in status.connections
        ],
    )


def replica_message(replica: ReplicaStatus) -> fleet_pb2.Replica:
    """Returns a replica as clients see it."""
    return fleet_pb2.Replica(
        replica=replica.replica,
        start_time=timestamp(replica.start_time),
        last_seen_time=timestamp(replica.seen_time),
        connected_nodes=replica.nodes,
        streams=replica.streams,
        secrets_held=replica.secrets_held,
        refused_secrets=replica.refused,
    )


def _connection_message(replica: str, connection: NodeConnection) -> fleet_pb2.NodeConnection:
    return fleet_pb2.NodeConnection(
        replica=replica,
        variant=connection.variant,
        identities=connection.identities,
        connect_time=timestamp(connection.connect_time),
        secrets_held=connection.secrets_held,
        acks=connection.acks,
        nacks=connection.nacks,
    )


def _refused(statuses: Iterable[NodeStatus]) -> Iterator[fleet_pb2.RefusedSecret]:
    for status in statuses:
        for refused in status.refused:
            yield fleet_pb2.RefusedSecret(secret=refused.name, version=refused.version, error=refused.error)


def _distinct(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
