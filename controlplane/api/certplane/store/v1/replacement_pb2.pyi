import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ReplacementRecord(_message.Message):
    __slots__ = ("id", "filter", "reason", "dry_run", "over_seconds", "create_time", "state", "cursor", "matched", "urgencies", "asked", "skipped", "pending", "failing", "seen_pending", "seen_failing", "start_time", "spread_seconds", "estimate_seconds", "estimated_complete_time", "next_step_time", "complete_time", "in_window", "seen_in_window")
    ID_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    OVER_SECONDS_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    MATCHED_FIELD_NUMBER: _ClassVar[int]
    URGENCIES_FIELD_NUMBER: _ClassVar[int]
    ASKED_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_FIELD_NUMBER: _ClassVar[int]
    PENDING_FIELD_NUMBER: _ClassVar[int]
    FAILING_FIELD_NUMBER: _ClassVar[int]
    SEEN_PENDING_FIELD_NUMBER: _ClassVar[int]
    SEEN_FAILING_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    SPREAD_SECONDS_FIELD_NUMBER: _ClassVar[int]
    ESTIMATE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    ESTIMATED_COMPLETE_TIME_FIELD_NUMBER: _ClassVar[int]
    NEXT_STEP_TIME_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_TIME_FIELD_NUMBER: _ClassVar[int]
    IN_WINDOW_FIELD_NUMBER: _ClassVar[int]
    SEEN_IN_WINDOW_FIELD_NUMBER: _ClassVar[int]
    id: str
    filter: str
    reason: str
    dry_run: bool
    over_seconds: float
    create_time: _timestamp_pb2.Timestamp
    state: int
    cursor: str
    matched: int
    urgencies: _containers.RepeatedCompositeFieldContainer[UrgencyCount]
    asked: int
    skipped: int
    pending: int
    failing: int
    seen_pending: int
    seen_failing: int
    start_time: _timestamp_pb2.Timestamp
    spread_seconds: float
    estimate_seconds: float
    estimated_complete_time: _timestamp_pb2.Timestamp
    next_step_time: _timestamp_pb2.Timestamp
    complete_time: _timestamp_pb2.Timestamp
    in_window: int
    seen_in_window: int
    def __init__(self, id: _Optional[str] = ..., filter: _Optional[str] = ..., reason: _Optional[str] = ..., dry_run: _Optional[bool] = ..., over_seconds: _Optional[float] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., state: _Optional[int] = ..., cursor: _Optional[str] = ..., matched: _Optional[int] = ..., urgencies: _Optional[_Iterable[_Union[UrgencyCount, _Mapping]]] = ..., asked: _Optional[int] = ..., skipped: _Optional[int] = ..., pending: _Optional[int] = ..., failing: _Optional[int] = ..., seen_pending: _Optional[int] = ..., seen_failing: _Optional[int] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., spread_seconds: _Optional[float] = ..., estimate_seconds: _Optional[float] = ..., estimated_complete_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., next_step_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., complete_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., in_window: _Optional[int] = ..., seen_in_window: _Optional[int] = ...) -> None: ...

class UrgencyCount(_message.Message):
    __slots__ = ("hour", "count")
    HOUR_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    hour: int
    count: int
    def __init__(self, hour: _Optional[int] = ..., count: _Optional[int] = ...) -> None: ...
