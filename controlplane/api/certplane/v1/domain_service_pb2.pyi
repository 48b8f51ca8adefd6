import datetime

from controlplane.api.certplane.v1 import check_pb2 as _check_pb2
from controlplane.api.certplane.v1 import domain_pb2 as _domain_pb2
from google.protobuf import empty_pb2 as _empty_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CreateDomainRequest(_message.Message):
    __slots__ = ("domain_id", "domain", "request_id")
    DOMAIN_ID_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    domain_id: str
    domain: _domain_pb2.Domain
    request_id: str
    def __init__(self, domain_id: _Optional[str] = ..., domain: _Optional[_Union[_domain_pb2.Domain, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class GetDomainRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ListDomainsRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "filter")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    filter: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., filter: _Optional[str] = ...) -> None: ...

class ListDomainsResponse(_message.Message):
    __slots__ = ("domains", "next_page_token")
    DOMAINS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    domains: _containers.RepeatedCompositeFieldContainer[_domain_pb2.Domain]
    next_page_token: str
    def __init__(self, domains: _Optional[_Iterable[_Union[_domain_pb2.Domain, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class DeleteDomainRequest(_message.Message):
    __slots__ = ("name", "etag")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    name: str
    etag: str
    def __init__(self, name: _Optional[str] = ..., etag: _Optional[str] = ...) -> None: ...

class RenewDomainRequest(_message.Message):
    __slots__ = ("name", "not_before")
    NAME_FIELD_NUMBER: _ClassVar[int]
    NOT_BEFORE_FIELD_NUMBER: _ClassVar[int]
    name: str
    not_before: _timestamp_pb2.Timestamp
    def __init__(self, name: _Optional[str] = ..., not_before: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class CheckDomainRequest(_message.Message):
    __slots__ = ("name", "domain_id", "domain")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_ID_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    name: str
    domain_id: str
    domain: _domain_pb2.Domain
    def __init__(self, name: _Optional[str] = ..., domain_id: _Optional[str] = ..., domain: _Optional[_Union[_domain_pb2.Domain, _Mapping]] = ...) -> None: ...

class CheckDomainResponse(_message.Message):
    __slots__ = ("verdicts", "check_time")
    VERDICTS_FIELD_NUMBER: _ClassVar[int]
    CHECK_TIME_FIELD_NUMBER: _ClassVar[int]
    verdicts: _containers.RepeatedCompositeFieldContainer[_check_pb2.NameVerdict]
    check_time: _timestamp_pb2.Timestamp
    def __init__(self, verdicts: _Optional[_Iterable[_Union[_check_pb2.NameVerdict, _Mapping]]] = ..., check_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class WatchDomainsRequest(_message.Message):
    __slots__ = ("names", "resume_token")
    NAMES_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    names: _containers.RepeatedScalarFieldContainer[str]
    resume_token: str
    def __init__(self, names: _Optional[_Iterable[str]] = ..., resume_token: _Optional[str] = ...) -> None: ...

class WatchDomainsResponse(_message.Message):
    __slots__ = ("domain", "deleted", "snapshot_complete", "snapshot", "resume_token")
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    DELETED_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_COMPLETE_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    domain: _domain_pb2.Domain
    deleted: str
    snapshot_complete: SnapshotComplete
    snapshot: bool
    resume_token: str
    def __init__(self, domain: _Optional[_Union[_domain_pb2.Domain, _Mapping]] = ..., deleted: _Optional[str] = ..., snapshot_complete: _Optional[_Union[SnapshotComplete, _Mapping]] = ..., snapshot: _Optional[bool] = ..., resume_token: _Optional[str] = ...) -> None: ...

class SnapshotComplete(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
