"""From the values of the fleet to the messages of certplane.v1."""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Final, cast

from google.protobuf.duration_pb2 import Duration

from controlplane.api.certplane.v1 import fleet_pb2
from controlplane.core.authority_report import LONGEST_ESTIMATE, AuthorityReport, ReportedLimit
from controlplane.core.breaker import BreakerState
from controlplane.core.lane import Lane
from controlplane.core.node import NodeConnection, NodeStatus, ReplicaStatus, node_resource_name
from controlplane.core.ports import LaneBacklog
from controlplane.endpoints.timestamps import timestamp
from controlplane.usecases.fleet import NodeView

_MOST_IDENTITIES: Final = 16
_BREAKER_STATES: Final = {
    state: cast(
        "fleet_pb2.CertificateAuthority.BreakerState", fleet_pb2.CertificateAuthority.BreakerState.Value(f"BREAKER_STATE_{state.name}")
    )
    for state in BreakerState
}


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


def lane_message(lane: Lane, backlog: LaneBacklog, now: datetime) -> fleet_pb2.Lane:
    """Returns a lane as clients see it at a time."""
    wait = backlog.estimated_wait
    return fleet_pb2.Lane(
        name=lane,
        due=backlog.due,
        oldest_wait=_duration(backlog.oldest_wait(now)),
        estimated_wait=None if wait is None else _duration(wait),
        due_within_hour=backlog.due_soon,
    )


def authority_message(report: AuthorityReport) -> fleet_pb2.CertificateAuthority:
    """Returns a CA as clients see it."""
    interval = timedelta(seconds=min(report.seconds_per_order, LONGEST_ESTIMATE.total_seconds()))
    return fleet_pb2.CertificateAuthority(
        name=report.name,
        directory_url=report.directory_url,
        account_url=report.account_url,
        breaker_state=_BREAKER_STATES[report.breaker],
        breaker_until_time=timestamp(report.breaker_until),
        new_orders_allowed=report.room,
        order_interval=_duration(interval) if interval else None,
        limits=map(_limit_message, report.limits),
        report_time=timestamp(report.report_time),
    )


def _limit_message(limit: ReportedLimit) -> fleet_pb2.CertificateAuthorityLimit:
    return fleet_pb2.CertificateAuthorityLimit(
        name=limit.name,
        available=limit.available,
        capacity=limit.capacity,
        full_time=timestamp(limit.full_time),
        blocked_until_time=timestamp(limit.blocked_until),
    )


def _duration(time: timedelta) -> Duration:
    duration = Duration()
    duration.FromTimedelta(time)
    return duration


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
