import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AuthorityReport(_message.Message):
    __slots__ = ("name", "directory_url", "account_url", "preference", "for_all_tenants", "breaker", "breaker_until", "room", "seconds_per_order", "orders_per_second", "limits", "report_time", "exempts_renewals")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DIRECTORY_URL_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_URL_FIELD_NUMBER: _ClassVar[int]
    PREFERENCE_FIELD_NUMBER: _ClassVar[int]
    FOR_ALL_TENANTS_FIELD_NUMBER: _ClassVar[int]
    BREAKER_FIELD_NUMBER: _ClassVar[int]
    BREAKER_UNTIL_FIELD_NUMBER: _ClassVar[int]
    ROOM_FIELD_NUMBER: _ClassVar[int]
    SECONDS_PER_ORDER_FIELD_NUMBER: _ClassVar[int]
    ORDERS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    REPORT_TIME_FIELD_NUMBER: _ClassVar[int]
    EXEMPTS_RENEWALS_FIELD_NUMBER: _ClassVar[int]
    name: str
    directory_url: str
    account_url: str
    preference: int
    for_all_tenants: bool
    breaker: str
    breaker_until: _timestamp_pb2.Timestamp
    room: int
    seconds_per_order: float
    orders_per_second: float
    limits: _containers.RepeatedCompositeFieldContainer[ReportedLimit]
    report_time: _timestamp_pb2.Timestamp
    exempts_renewals: bool
    def __init__(self, name: _Optional[str] = ..., directory_url: _Optional[str] = ..., account_url: _Optional[str] = ..., preference: _Optional[int] = ..., for_all_tenants: _Optional[bool] = ..., breaker: _Optional[str] = ..., breaker_until: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., room: _Optional[int] = ..., seconds_per_order: _Optional[float] = ..., orders_per_second: _Optional[float] = ..., limits: _Optional[_Iterable[_Union[ReportedLimit, _Mapping]]] = ..., report_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., exempts_renewals: _Optional[bool] = ...) -> None: ...

class ReportedLimit(_message.Message):
    __slots__ = ("name", "scope", "capacity", "available", "full_time", "blocked_until")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    CAPACITY_FIELD_NUMBER: _ClassVar[int]
    AVAILABLE_FIELD_NUMBER: _ClassVar[int]
    FULL_TIME_FIELD_NUMBER: _ClassVar[int]
    BLOCKED_UNTIL_FIELD_NUMBER: _ClassVar[int]
    name: str
    scope: str
    capacity: int
    available: int
    full_time: _timestamp_pb2.Timestamp
    blocked_until: _timestamp_pb2.Timestamp
    def __init__(self, name: _Optional[str] = ..., scope: _Optional[str] = ..., capacity: _Optional[int] = ..., available: _Optional[int] = ..., full_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., blocked_until: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
