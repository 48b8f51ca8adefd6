import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Domain(_message.Message):
    __slots__ = ("name", "tenant", "additional_names", "labels", "state", "reconciling", "certificate", "serial_number", "issue_time", "expire_time", "renew_time", "next_attempt_time", "attempt_count", "last_error", "omitted_names", "current_step", "create_time", "etag", "sealing_scheme", "requested_renewal_time", "serving_error", "certificate_authority", "renewal_window", "pause_reason", "departed_time")
    class PauseReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        PAUSE_REASON_UNSPECIFIED: _ClassVar[Domain.PauseReason]
        PAUSE_REASON_DEPARTED: _ClassVar[Domain.PauseReason]
        PAUSE_REASON_REQUESTED: _ClassVar[Domain.PauseReason]
    PAUSE_REASON_UNSPECIFIED: Domain.PauseReason
    PAUSE_REASON_DEPARTED: Domain.PauseReason
    PAUSE_REASON_REQUESTED: Domain.PauseReason
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[Domain.State]
        STATE_PENDING: _ClassVar[Domain.State]
        STATE_ACTIVE: _ClassVar[Domain.State]
        STATE_DEGRADED: _ClassVar[Domain.State]
        STATE_FAILED: _ClassVar[Domain.State]
        STATE_PAUSED: _ClassVar[Domain.State]
    STATE_UNSPECIFIED: Domain.State
    STATE_PENDING: Domain.State
    STATE_ACTIVE: Domain.State
    STATE_DEGRADED: Domain.State
    STATE_FAILED: Domain.State
    STATE_PAUSED: Domain.State
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    ADDITIONAL_NAMES_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    RECONCILING_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    SERIAL_NUMBER_FIELD_NUMBER: _ClassVar[int]
    ISSUE_TIME_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    RENEW_TIME_FIELD_NUMBER: _ClassVar[int]
    NEXT_ATTEMPT_TIME_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_COUNT_FIELD_NUMBER: _ClassVar[int]
    LAST_ERROR_FIELD_NUMBER: _ClassVar[int]
    OMITTED_NAMES_FIELD_NUMBER: _ClassVar[int]
    CURRENT_STEP_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    SEALING_SCHEME_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_RENEWAL_TIME_FIELD_NUMBER: _ClassVar[int]
    SERVING_ERROR_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_AUTHORITY_FIELD_NUMBER: _ClassVar[int]
    RENEWAL_WINDOW_FIELD_NUMBER: _ClassVar[int]
    PAUSE_REASON_FIELD_NUMBER: _ClassVar[int]
    DEPARTED_TIME_FIELD_NUMBER: _ClassVar[int]
    name: str
    tenant: str
    additional_names: _containers.RepeatedScalarFieldContainer[str]
    labels: _containers.ScalarMap[str, str]
    state: Domain.State
    reconciling: bool
    certificate: str
    serial_number: str
    issue_time: _timestamp_pb2.Timestamp
    expire_time: _timestamp_pb2.Timestamp
    renew_time: _timestamp_pb2.Timestamp
    next_attempt_time: _timestamp_pb2.Timestamp
    attempt_count: int
    last_error: DomainError
    omitted_names: _containers.RepeatedScalarFieldContainer[str]
    current_step: str
    create_time: _timestamp_pb2.Timestamp
    etag: str
    sealing_scheme: str
    requested_renewal_time: _timestamp_pb2.Timestamp
    serving_error: DomainError
    certificate_authority: str
    renewal_window: RenewalWindow
    pause_reason: Domain.PauseReason
    departed_time: _timestamp_pb2.Timestamp
    def __init__(self, name: _Optional[str] = ..., tenant: _Optional[str] = ..., additional_names: _Optional[_Iterable[str]] = ..., labels: _Optional[_Mapping[str, str]] = ..., state: _Optional[_Union[Domain.State, str]] = ..., reconciling: _Optional[bool] = ..., certificate: _Optional[str] = ..., serial_number: _Optional[str] = ..., issue_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., renew_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., next_attempt_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., attempt_count: _Optional[int] = ..., last_error: _Optional[_Union[DomainError, _Mapping]] = ..., omitted_names: _Optional[_Iterable[str]] = ..., current_step: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., etag: _Optional[str] = ..., sealing_scheme: _Optional[str] = ..., requested_renewal_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., serving_error: _Optional[_Union[DomainError, _Mapping]] = ..., certificate_authority: _Optional[str] = ..., renewal_window: _Optional[_Union[RenewalWindow, _Mapping]] = ..., pause_reason: _Optional[_Union[Domain.PauseReason, str]] = ..., departed_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class RenewalWindow(_message.Message):
    __slots__ = ("start", "end", "selected_time", "explanation_url")
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    SELECTED_TIME_FIELD_NUMBER: _ClassVar[int]
    EXPLANATION_URL_FIELD_NUMBER: _ClassVar[int]
    start: _timestamp_pb2.Timestamp
    end: _timestamp_pb2.Timestamp
    selected_time: _timestamp_pb2.Timestamp
    explanation_url: str
    def __init__(self, start: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., selected_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., explanation_url: _Optional[str] = ...) -> None: ...

class DomainError(_message.Message):
    __slots__ = ("type", "detail", "must_act", "time", "failed_name")
    class Actor(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        ACTOR_UNSPECIFIED: _ClassVar[DomainError.Actor]
        ACTOR_CUSTOMER: _ClassVar[DomainError.Actor]
        ACTOR_OPERATOR: _ClassVar[DomainError.Actor]
        ACTOR_CA: _ClassVar[DomainError.Actor]
        ACTOR_NOBODY: _ClassVar[DomainError.Actor]
    ACTOR_UNSPECIFIED: DomainError.Actor
    ACTOR_CUSTOMER: DomainError.Actor
    ACTOR_OPERATOR: DomainError.Actor
    ACTOR_CA: DomainError.Actor
    ACTOR_NOBODY: DomainError.Actor
    TYPE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    MUST_ACT_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    FAILED_NAME_FIELD_NUMBER: _ClassVar[int]
    type: str
    detail: str
    must_act: DomainError.Actor
    time: _timestamp_pb2.Timestamp
    failed_name: str
    def __init__(self, type: _Optional[str] = ..., detail: _Optional[str] = ..., must_act: _Optional[_Union[DomainError.Actor, str]] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., failed_name: _Optional[str] = ...) -> None: ...
