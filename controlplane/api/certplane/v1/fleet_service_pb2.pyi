import datetime

from controlplane.api.certplane.v1 import fleet_pb2 as _fleet_pb2
from controlplane.api.certplane.v1 import replacement_pb2 as _replacement_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ListNodesRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListNodesResponse(_message.Message):
    __slots__ = ("nodes", "next_page_token")
    NODES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    nodes: _containers.RepeatedCompositeFieldContainer[_fleet_pb2.Node]
    next_page_token: str
    def __init__(self, nodes: _Optional[_Iterable[_Union[_fleet_pb2.Node, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetNodeRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ListNodeSecretsRequest(_message.Message):
    __slots__ = ("parent", "page_size", "page_token")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    parent: str
    page_size: int
    page_token: str
    def __init__(self, parent: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListNodeSecretsResponse(_message.Message):
    __slots__ = ("secrets", "next_page_token")
    SECRETS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    secrets: _containers.RepeatedCompositeFieldContainer[_fleet_pb2.NodeSecret]
    next_page_token: str
    def __init__(self, secrets: _Optional[_Iterable[_Union[_fleet_pb2.NodeSecret, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetFleetStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetFleetStatusResponse(_message.Message):
    __slots__ = ("replicas", "connected_nodes", "secrets_held", "refused_secrets", "lanes", "certificate_authorities")
    REPLICAS_FIELD_NUMBER: _ClassVar[int]
    CONNECTED_NODES_FIELD_NUMBER: _ClassVar[int]
    SECRETS_HELD_FIELD_NUMBER: _ClassVar[int]
    REFUSED_SECRETS_FIELD_NUMBER: _ClassVar[int]
    LANES_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_AUTHORITIES_FIELD_NUMBER: _ClassVar[int]
    replicas: _containers.RepeatedCompositeFieldContainer[_fleet_pb2.Replica]
    connected_nodes: int
    secrets_held: int
    refused_secrets: int
    lanes: _containers.RepeatedCompositeFieldContainer[_fleet_pb2.Lane]
    certificate_authorities: _containers.RepeatedCompositeFieldContainer[_fleet_pb2.CertificateAuthority]
    def __init__(self, replicas: _Optional[_Iterable[_Union[_fleet_pb2.Replica, _Mapping]]] = ..., connected_nodes: _Optional[int] = ..., secrets_held: _Optional[int] = ..., refused_secrets: _Optional[int] = ..., lanes: _Optional[_Iterable[_Union[_fleet_pb2.Lane, _Mapping]]] = ..., certificate_authorities: _Optional[_Iterable[_Union[_fleet_pb2.CertificateAuthority, _Mapping]]] = ...) -> None: ...

class ReplaceCertificatesRequest(_message.Message):
    __slots__ = ("filter", "dry_run", "over", "reason", "request_id")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    OVER_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    filter: str
    dry_run: bool
    over: _duration_pb2.Duration
    reason: str
    request_id: str
    def __init__(self, filter: _Optional[str] = ..., dry_run: _Optional[bool] = ..., over: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., reason: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class GetReplacementRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ListReplacementsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListReplacementsResponse(_message.Message):
    __slots__ = ("replacements", "next_page_token")
    REPLACEMENTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    replacements: _containers.RepeatedCompositeFieldContainer[_replacement_pb2.Replacement]
    next_page_token: str
    def __init__(self, replacements: _Optional[_Iterable[_Union[_replacement_pb2.Replacement, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class StopReplacementRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...
