import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Node(_message.Message):
    __slots__ = ("name", "node_id", "cluster", "connected", "connect_time", "last_seen_time", "replicas", "identities", "variants", "secrets_held", "acks", "nacks", "refused_secrets", "streams", "connections")
    NAME_FIELD_NUMBER: _ClassVar[int]
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    CONNECTED_FIELD_NUMBER: _ClassVar[int]
    CONNECT_TIME_FIELD_NUMBER: _ClassVar[int]
    LAST_SEEN_TIME_FIELD_NUMBER: _ClassVar[int]
    REPLICAS_FIELD_NUMBER: _ClassVar[int]
    IDENTITIES_FIELD_NUMBER: _ClassVar[int]
    VARIANTS_FIELD_NUMBER: _ClassVar[int]
    SECRETS_HELD_FIELD_NUMBER: _ClassVar[int]
    ACKS_FIELD_NUMBER: _ClassVar[int]
    NACKS_FIELD_NUMBER: _ClassVar[int]
    REFUSED_SECRETS_FIELD_NUMBER: _ClassVar[int]
    STREAMS_FIELD_NUMBER: _ClassVar[int]
    CONNECTIONS_FIELD_NUMBER: _ClassVar[int]
    name: str
    node_id: str
    cluster: str
    connected: bool
    connect_time: _timestamp_pb2.Timestamp
    last_seen_time: _timestamp_pb2.Timestamp
    replicas: _containers.RepeatedScalarFieldContainer[str]
    identities: _containers.RepeatedScalarFieldContainer[str]
    variants: _containers.RepeatedScalarFieldContainer[str]
    secrets_held: int
    acks: int
    nacks: int
    refused_secrets: _containers.RepeatedCompositeFieldContainer[RefusedSecret]
    streams: int
    connections: _containers.RepeatedCompositeFieldContainer[NodeConnection]
    def __init__(self, name: _Optional[str] = ..., node_id: _Optional[str] = ..., cluster: _Optional[str] = ..., connected: _Optional[bool] = ..., connect_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., last_seen_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., replicas: _Optional[_Iterable[str]] = ..., identities: _Optional[_Iterable[str]] = ..., variants: _Optional[_Iterable[str]] = ..., secrets_held: _Optional[int] = ..., acks: _Optional[int] = ..., nacks: _Optional[int] = ..., refused_secrets: _Optional[_Iterable[_Union[RefusedSecret, _Mapping]]] = ..., streams: _Optional[int] = ..., connections: _Optional[_Iterable[_Union[NodeConnection, _Mapping]]] = ...) -> None: ...

class NodeConnection(_message.Message):
    __slots__ = ("replica", "variant", "identities", "connect_time", "secrets_held", "acks", "nacks")
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    VARIANT_FIELD_NUMBER: _ClassVar[int]
    IDENTITIES_FIELD_NUMBER: _ClassVar[int]
    CONNECT_TIME_FIELD_NUMBER: _ClassVar[int]
    SECRETS_HELD_FIELD_NUMBER: _ClassVar[int]
    ACKS_FIELD_NUMBER: _ClassVar[int]
    NACKS_FIELD_NUMBER: _ClassVar[int]
    replica: str
    variant: str
    identities: _containers.RepeatedScalarFieldContainer[str]
    connect_time: _timestamp_pb2.Timestamp
    secrets_held: int
    acks: int
    nacks: int
    def __init__(self, replica: _Optional[str] = ..., variant: _Optional[str] = ..., identities: _Optional[_Iterable[str]] = ..., connect_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., secrets_held: _Optional[int] = ..., acks: _Optional[int] = ..., nacks: _Optional[int] = ...) -> None: ...

class RefusedSecret(_message.Message):
    __slots__ = ("secret", "version", "error")
    SECRET_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    secret: str
    version: str
    error: str
    def __init__(self, secret: _Optional[str] = ..., version: _Optional[str] = ..., error: _Optional[str] = ...) -> None: ...

class NodeSecret(_message.Message):
    __slots__ = ("name", "secret")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SECRET_FIELD_NUMBER: _ClassVar[int]
    name: str
    secret: str
    def __init__(self, name: _Optional[str] = ..., secret: _Optional[str] = ...) -> None: ...

class Replica(_message.Message):
    __slots__ = ("replica", "start_time", "last_seen_time", "connected_nodes", "streams", "secrets_held", "refused_secrets")
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    LAST_SEEN_TIME_FIELD_NUMBER: _ClassVar[int]
    CONNECTED_NODES_FIELD_NUMBER: _ClassVar[int]
    STREAMS_FIELD_NUMBER: _ClassVar[int]
    SECRETS_HELD_FIELD_NUMBER: _ClassVar[int]
    REFUSED_SECRETS_FIELD_NUMBER: _ClassVar[int]
    replica: str
    start_time: _timestamp_pb2.Timestamp
    last_seen_time: _timestamp_pb2.Timestamp
    connected_nodes: int
    streams: int
    secrets_held: int
    refused_secrets: int
    def __init__(self, replica: _Optional[str] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., last_seen_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., connected_nodes: _Optional[int] = ..., streams: _Optional[int] = ..., secrets_held: _Optional[int] = ..., refused_secrets: _Optional[int] = ...) -> None: ...

class Lane(_message.Message):
    __slots__ = ("name", "due", "oldest_wait", "estimated_wait", "due_within_hour")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DUE_FIELD_NUMBER: _ClassVar[int]
    OLDEST_WAIT_FIELD_NUMBER: _ClassVar[int]
    ESTIMATED_WAIT_FIELD_NUMBER: _ClassVar[int]
    DUE_WITHIN_HOUR_FIELD_NUMBER: _ClassVar[int]
    name: str
    due: int
    oldest_wait: _duration_pb2.Duration
    estimated_wait: _duration_pb2.Duration
    due_within_hour: int
    def __init__(self, name: _Optional[str] = ..., due: _Optional[int] = ..., oldest_wait: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., estimated_wait: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., due_within_hour: _Optional[int] = ...) -> None: ...

class CertificateAuthority(_message.Message):
    __slots__ = ("name", "directory_url", "account_url", "breaker_state", "breaker_until_time", "new_orders_allowed", "order_interval", "limits", "report_time")
    class BreakerState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        BREAKER_STATE_UNSPECIFIED: _ClassVar[CertificateAuthority.BreakerState]
        BREAKER_STATE_CLOSED: _ClassVar[CertificateAuthority.BreakerState]
        BREAKER_STATE_OPEN: _ClassVar[CertificateAuthority.BreakerState]
        BREAKER_STATE_HALF_OPEN: _ClassVar[CertificateAuthority.BreakerState]
    BREAKER_STATE_UNSPECIFIED: CertificateAuthority.BreakerState
    BREAKER_STATE_CLOSED: CertificateAuthority.BreakerState
    BREAKER_STATE_OPEN: CertificateAuthority.BreakerState
    BREAKER_STATE_HALF_OPEN: CertificateAuthority.BreakerState
    NAME_FIELD_NUMBER: _ClassVar[int]
    DIRECTORY_URL_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_URL_FIELD_NUMBER: _ClassVar[int]
    BREAKER_STATE_FIELD_NUMBER: _ClassVar[int]
    BREAKER_UNTIL_TIME_FIELD_NUMBER: _ClassVar[int]
    NEW_ORDERS_ALLOWED_FIELD_NUMBER: _ClassVar[int]
    ORDER_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    REPORT_TIME_FIELD_NUMBER: _ClassVar[int]
    name: str
    directory_url: str
    account_url: str
    breaker_state: CertificateAuthority.BreakerState
    breaker_until_time: _timestamp_pb2.Timestamp
    new_orders_allowed: int
    order_interval: _duration_pb2.Duration
    limits: _containers.RepeatedCompositeFieldContainer[CertificateAuthorityLimit]
    report_time: _timestamp_pb2.Timestamp
    def __init__(self, name: _Optional[str] = ..., directory_url: _Optional[str] = ..., account_url: _Optional[str] = ..., breaker_state: _Optional[_Union[CertificateAuthority.BreakerState, str]] = ..., breaker_until_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., new_orders_allowed: _Optional[int] = ..., order_interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., limits: _Optional[_Iterable[_Union[CertificateAuthorityLimit, _Mapping]]] = ..., report_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class CertificateAuthorityLimit(_message.Message):
    __slots__ = ("name", "available", "capacity", "full_time", "blocked_until_time")
    NAME_FIELD_NUMBER: _ClassVar[int]
    AVAILABLE_FIELD_NUMBER: _ClassVar[int]
    CAPACITY_FIELD_NUMBER: _ClassVar[int]
    FULL_TIME_FIELD_NUMBER: _ClassVar[int]
    BLOCKED_UNTIL_TIME_FIELD_NUMBER: _ClassVar[int]
    name: str
    available: int
    capacity: int
    full_time: _timestamp_pb2.Timestamp
    blocked_until_time: _timestamp_pb2.Timestamp
    def __init__(self, name: _Optional[str] = ..., available: _Optional[int] = ..., capacity: _Optional[int] = ..., full_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., blocked_until_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
