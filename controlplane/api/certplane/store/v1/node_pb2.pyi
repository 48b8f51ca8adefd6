import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class NodeStatus(_message.Message):
    __slots__ = ("node_id", "cluster", "connected", "connect_time", "streams", "connections", "identities", "variants", "secrets_held", "acks", "nacks", "refused", "replica", "write_time")
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    CONNECTED_FIELD_NUMBER: _ClassVar[int]
    CONNECT_TIME_FIELD_NUMBER: _ClassVar[int]
    STREAMS_FIELD_NUMBER: _ClassVar[int]
    CONNECTIONS_FIELD_NUMBER: _ClassVar[int]
    IDENTITIES_FIELD_NUMBER: _ClassVar[int]
    VARIANTS_FIELD_NUMBER: _ClassVar[int]
    SECRETS_HELD_FIELD_NUMBER: _ClassVar[int]
    ACKS_FIELD_NUMBER: _ClassVar[int]
    NACKS_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    WRITE_TIME_FIELD_NUMBER: _ClassVar[int]
    node_id: str
    cluster: str
    connected: bool
    connect_time: _timestamp_pb2.Timestamp
    streams: int
    connections: _containers.RepeatedCompositeFieldContainer[NodeConnection]
    identities: _containers.RepeatedScalarFieldContainer[str]
    variants: _containers.RepeatedScalarFieldContainer[str]
    secrets_held: int
    acks: int
    nacks: int
    refused: _containers.RepeatedCompositeFieldContainer[RefusedSecret]
    replica: str
    write_time: _timestamp_pb2.Timestamp
    def __init__(self, node_id: _Optional[str] = ..., cluster: _Optional[str] = ..., connected: _Optional[bool] = ..., connect_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., streams: _Optional[int] = ..., connections: _Optional[_Iterable[_Union[NodeConnection, _Mapping]]] = ..., identities: _Optional[_Iterable[str]] = ..., variants: _Optional[_Iterable[str]] = ..., secrets_held: _Optional[int] = ..., acks: _Optional[int] = ..., nacks: _Optional[int] = ..., refused: _Optional[_Iterable[_Union[RefusedSecret, _Mapping]]] = ..., replica: _Optional[str] = ..., write_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class NodeConnection(_message.Message):
    __slots__ = ("variant", "identities", "connect_time", "secrets_held", "acks", "nacks")
    VARIANT_FIELD_NUMBER: _ClassVar[int]
    IDENTITIES_FIELD_NUMBER: _ClassVar[int]
    CONNECT_TIME_FIELD_NUMBER: _ClassVar[int]
    SECRETS_HELD_FIELD_NUMBER: _ClassVar[int]
    ACKS_FIELD_NUMBER: _ClassVar[int]
    NACKS_FIELD_NUMBER: _ClassVar[int]
    variant: str
    identities: _containers.RepeatedScalarFieldContainer[str]
    connect_time: _timestamp_pb2.Timestamp
    secrets_held: int
    acks: int
    nacks: int
    def __init__(self, variant: _Optional[str] = ..., identities: _Optional[_Iterable[str]] = ..., connect_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., secrets_held: _Optional[int] = ..., acks: _Optional[int] = ..., nacks: _Optional[int] = ...) -> None: ...

class RefusedSecret(_message.Message):
    __slots__ = ("name", "version", "error")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: str
    error: str
    def __init__(self, name: _Optional[str] = ..., version: _Optional[str] = ..., error: _Optional[str] = ...) -> None: ...

class ReplicaStatus(_message.Message):
    __slots__ = ("replica", "start_time", "seen_time", "nodes", "streams", "secrets_held", "refused")
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    SEEN_TIME_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    STREAMS_FIELD_NUMBER: _ClassVar[int]
    SECRETS_HELD_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    replica: str
    start_time: _timestamp_pb2.Timestamp
    seen_time: _timestamp_pb2.Timestamp
    nodes: int
    streams: int
    secrets_held: int
    refused: int
    def __init__(self, replica: _Optional[str] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., seen_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., nodes: _Optional[int] = ..., streams: _Optional[int] = ..., secrets_held: _Optional[int] = ..., refused: _Optional[int] = ...) -> None: ...

class NodeNames(_message.Message):
    __slots__ = ("names", "count")
    NAMES_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    names: bytes
    count: int
    def __init__(self, names: _Optional[bytes] = ..., count: _Optional[int] = ...) -> None: ...
