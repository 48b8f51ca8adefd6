import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Replacement(_message.Message):
    __slots__ = ("name", "filter", "reason", "dry_run", "over", "create_time", "state", "matched_count", "asked_count", "skipped_count", "pending_count", "failing_count", "estimated_duration", "estimated_complete_time", "stop_time", "complete_time", "in_window_count")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[Replacement.State]
        STATE_COUNTING: _ClassVar[Replacement.State]
        STATE_ASKING: _ClassVar[Replacement.State]
        STATE_REPLACING: _ClassVar[Replacement.State]
        STATE_DONE: _ClassVar[Replacement.State]
        STATE_STOPPED: _ClassVar[Replacement.State]
    STATE_UNSPECIFIED: Replacement.State
    STATE_COUNTING: Replacement.State
    STATE_ASKING: Replacement.State
    STATE_REPLACING: Replacement.State
    STATE_DONE: Replacement.State
    STATE_STOPPED: Replacement.State
    NAME_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    OVER_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    MATCHED_COUNT_FIELD_NUMBER: _ClassVar[int]
    ASKED_COUNT_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_COUNT_FIELD_NUMBER: _ClassVar[int]
    PENDING_COUNT_FIELD_NUMBER: _ClassVar[int]
    FAILING_COUNT_FIELD_NUMBER: _ClassVar[int]
    ESTIMATED_DURATION_FIELD_NUMBER: _ClassVar[int]
    ESTIMATED_COMPLETE_TIME_FIELD_NUMBER: _ClassVar[int]
    STOP_TIME_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_TIME_FIELD_NUMBER: _ClassVar[int]
    IN_WINDOW_COUNT_FIELD_NUMBER: _ClassVar[int]
    name: str
    filter: str
    reason: str
    dry_run: bool
    over: _duration_pb2.Duration
    create_time: _timestamp_pb2.Timestamp
    state: Replacement.State
    matched_count: int
    asked_count: int
    skipped_count: int
    pending_count: int
    failing_count: int
    estimated_duration: _duration_pb2.Duration
    estimated_complete_time: _timestamp_pb2.Timestamp
    stop_time: _timestamp_pb2.Timestamp
    complete_time: _timestamp_pb2.Timestamp
    in_window_count: int
    def __init__(self, name: _Optional[str] = ..., filter: _Optional[str] = ..., reason: _Optional[str] = ..., dry_run: _Optional[bool] = ..., over: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., state: _Optional[_Union[Replacement.State, str]] = ..., matched_count: _Optional[int] = ..., asked_count: _Optional[int] = ..., skipped_count: _Optional[int] = ..., pending_count: _Optional[int] = ..., failing_count: _Optional[int] = ..., estimated_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., estimated_complete_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., stop_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., complete_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., in_window_count: _Optional[int] = ...) -> None: ...
