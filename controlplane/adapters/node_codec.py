"""Nodes and replicas to and from the protobuf messages of certplane.store.v1."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from google.protobuf.message import DecodeError

from controlplane.adapters.stored_times import get_time, stored_time
from controlplane.api.certplane.store.v1 import node_pb2
from controlplane.core.errors import RecordRejected
from controlplane.core.node import MAX_REMEMBERED_NAMES, NodeConnection, NodeStatus, RefusedSecret, ReplicaStatus

_COMPRESSION = 1
"""Higher levels take three times as long and save a tenth."""

_MAX_NAMES_BYTES = MAX_REMEMBERED_NAMES * 254
"""DNS names have 253 characters at most; behind each but the last is a line feed."""


@dataclass(frozen=True, slots=True)
class WrittenStatus:
    """A status with who wrote it, and when."""

    status: NodeStatus
    replica: str
    write_time: datetime


def encode_status(status: NodeStatus, replica: str, write_time: datetime) -> bytes:
    """Serialises the status of a node as a replica sees it."""
    return node_pb2.NodeStatus(
        node_id=status.node_id,
        cluster=status.cluster,
        connected=status.connected,
        connect_time=stored_time(status.connect_time),
        streams=status.streams,
        connections=[
            node_pb2.NodeConnection(
                variant=connection.variant,
                identities=connection.identities,
                connect_time=stored_time(connection.connect_time),
                secrets_held=connection.secrets_held,
                acks=connection.acks,
                nacks=connection.nacks,
            )
            for connection in status.connections
        ],
        identities=status.identities,
        variants=status.variants,
        secrets_held=status.secrets_held,
        acks=status.acks,
        nacks=status.nacks,
        refused=[node_pb2.RefusedSecret(name=refused.name, version=refused.version, error=refused.error) for refused in status.refused],
        replica=replica,
        write_time=stored_time(write_time),
    ).SerializeToString()


def decode_status(data: bytes) -> WrittenStatus:
    """Reads the status of a node.

    Raises:
        RecordRejected: it cannot be read.
    """
    try:
        message = node_pb2.NodeStatus.FromString(data)
        status = NodeStatus(
            node_id=message.node_id,
            cluster=message.cluster,
            connected=message.connected,
            connect_time=get_time(message.connect_time),
            streams=message.streams,
            connections=tuple(
                NodeConnection(
                    connection.variant,
                    tuple(connection.identities),
                    get_time(connection.connect_time),
                    connection.secrets_held,
                    connection.acks,
                    connection.nacks,
                )
                for connection in message.connections
            ),
            identities=tuple(message.identities),
            variants=tuple(message.variants),
            secrets_held=message.secrets_held,
            acks=message.acks,
            nacks=message.nacks,
            refused=tuple(RefusedSecret(refused.name, refused.version, refused.error) for refused in message.refused),
        )
        return WrittenStatus(status, message.replica, get_time(message.write_time))
    except (DecodeError, ValueError, OverflowError) as error:
        raise RecordRejected("the stored status of a node cannot be read") from error


def encode_replica(replica: ReplicaStatus) -> bytes:
    """Serialises the status of a replica."""
    return node_pb2.ReplicaStatus(
        replica=replica.replica,
        start_time=stored_time(replica.start_time),
        seen_time=stored_time(replica.seen_time),
        nodes=replica.nodes,
        streams=replica.streams,
        secrets_held=replica.secrets_held,
        refused=replica.refused,
    ).SerializeToString()


def decode_replica(data: bytes) -> ReplicaStatus:
    """Reads the status of a replica.

    Raises:
        RecordRejected: it cannot be read.
    """
    try:
        message = node_pb2.ReplicaStatus.FromString(data)
        return ReplicaStatus(
            replica=message.replica,
            start_time=get_time(message.start_time),
            seen_time=get_time(message.seen_time),
            nodes=message.nodes,
            streams=message.streams,
            secrets_held=message.secrets_held,
            refused=message.refused,
        )
    except (DecodeError, ValueError, OverflowError) as error:
        raise RecordRejected("the stored status of a replica cannot be read") from error


def encode_names(names: Sequence[bytes]) -> bytes:
    """Serialises names, compressed."""
    return node_pb2.NodeNames(names=zlib.compress(b"\n".join(names), _COMPRESSION), count=len(names)).SerializeToString()


def decode_names(data: bytes) -> tuple[bytes, ...]:
    """Reads names.

    Raises:
        RecordRejected: they cannot be read, or are more than anybody writes.
    """
    try:
        message = node_pb2.NodeNames.FromString(data)
        unpacker = zlib.decompressobj()
        joined = unpacker.decompress(message.names, _MAX_NAMES_BYTES)
    except (DecodeError, zlib.error) as error:
        raise RecordRejected("the stored names of a node cannot be read") from error
    names = tuple(joined.split(b"\n")) if joined else ()
    if not unpacker.eof or len(names) != message.count or len(names) > MAX_REMEMBERED_NAMES:
        raise RecordRejected("the stored names of a node are damaged")
    return names
