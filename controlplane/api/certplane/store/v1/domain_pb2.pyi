import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DomainSpec(_message.Message):
    __slots__ = ("fqdn", "uid", "tenant", "additional_names", "labels", "create_time", "create_request_id", "renewal_request_time", "renewal_not_before", "renewal_replacement", "revocation")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    FQDN_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    ADDITIONAL_NAMES_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    CREATE_REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    RENEWAL_REQUEST_TIME_FIELD_NUMBER: _ClassVar[int]
    RENEWAL_NOT_BEFORE_FIELD_NUMBER: _ClassVar[int]
    RENEWAL_REPLACEMENT_FIELD_NUMBER: _ClassVar[int]
    REVOCATION_FIELD_NUMBER: _ClassVar[int]
    fqdn: str
    uid: str
    tenant: str
    additional_names: _containers.RepeatedScalarFieldContainer[str]
    labels: _containers.ScalarMap[str, str]
    create_time: _timestamp_pb2.Timestamp
    create_request_id: str
    renewal_request_time: _timestamp_pb2.Timestamp
    renewal_not_before: _timestamp_pb2.Timestamp
    renewal_replacement: str
    revocation: Revocation
    def __init__(self, fqdn: _Optional[str] = ..., uid: _Optional[str] = ..., tenant: _Optional[str] = ..., additional_names: _Optional[_Iterable[str]] = ..., labels: _Optional[_Mapping[str, str]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., create_request_id: _Optional[str] = ..., renewal_request_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., renewal_not_before: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., renewal_replacement: _Optional[str] = ..., revocation: _Optional[_Union[Revocation, _Mapping]] = ...) -> None: ...

class Revocation(_message.Message):
    __slots__ = ("certificate_id", "reason", "request_time")
    CERTIFICATE_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REQUEST_TIME_FIELD_NUMBER: _ClassVar[int]
    certificate_id: str
    reason: int
    request_time: _timestamp_pb2.Timestamp
    def __init__(self, certificate_id: _Optional[str] = ..., reason: _Optional[int] = ..., request_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class DomainStatus(_message.Message):
    __slots__ = ("state", "reconciling", "current_step", "certificate_id", "serial_number", "issue_time", "expire_time", "renew_time", "next_attempt_time", "attempt_count", "last_error", "omitted_names", "renewal_done_time", "renewal_window", "certificate_authority", "refusing_authorities", "departed_time", "checked_time", "pause_reason", "revocation_done_time")
    STATE_FIELD_NUMBER: _ClassVar[int]
    RECONCILING_FIELD_NUMBER: _ClassVar[int]
    CURRENT_STEP_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_ID_FIELD_NUMBER: _ClassVar[int]
    SERIAL_NUMBER_FIELD_NUMBER: _ClassVar[int]
    ISSUE_TIME_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    RENEW_TIME_FIELD_NUMBER: _ClassVar[int]
    NEXT_ATTEMPT_TIME_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_COUNT_FIELD_NUMBER: _ClassVar[int]
    LAST_ERROR_FIELD_NUMBER: _ClassVar[int]
    OMITTED_NAMES_FIELD_NUMBER: _ClassVar[int]
    RENEWAL_DONE_TIME_FIELD_NUMBER: _ClassVar[int]
    RENEWAL_WINDOW_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_AUTHORITY_FIELD_NUMBER: _ClassVar[int]
    REFUSING_AUTHORITIES_FIELD_NUMBER: _ClassVar[int]
    DEPARTED_TIME_FIELD_NUMBER: _ClassVar[int]
    CHECKED_TIME_FIELD_NUMBER: _ClassVar[int]
    PAUSE_REASON_FIELD_NUMBER: _ClassVar[int]
    REVOCATION_DONE_TIME_FIELD_NUMBER: _ClassVar[int]
    state: int
    reconciling: bool
    current_step: str
    certificate_id: str
    serial_number: str
    issue_time: _timestamp_pb2.Timestamp
    expire_time: _timestamp_pb2.Timestamp
    renew_time: _timestamp_pb2.Timestamp
    next_attempt_time: _timestamp_pb2.Timestamp
    attempt_count: int
    last_error: Problem
    omitted_names: _containers.RepeatedScalarFieldContainer[str]
    renewal_done_time: _timestamp_pb2.Timestamp
    renewal_window: RenewalWindow
    certificate_authority: str
    refusing_authorities: _containers.RepeatedScalarFieldContainer[str]
    departed_time: _timestamp_pb2.Timestamp
    checked_time: _timestamp_pb2.Timestamp
    pause_reason: int
    revocation_done_time: _timestamp_pb2.Timestamp
    def __init__(self, state: _Optional[int] = ..., reconciling: _Optional[bool] = ..., current_step: _Optional[str] = ..., certificate_id: _Optional[str] = ..., serial_number: _Optional[str] = ..., issue_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., renew_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., next_attempt_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., attempt_count: _Optional[int] = ..., last_error: _Optional[_Union[Problem, _Mapping]] = ..., omitted_names: _Optional[_Iterable[str]] = ..., renewal_done_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., renewal_window: _Optional[_Union[RenewalWindow, _Mapping]] = ..., certificate_authority: _Optional[str] = ..., refusing_authorities: _Optional[_Iterable[str]] = ..., departed_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., checked_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., pause_reason: _Optional[int] = ..., revocation_done_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class RenewalWindow(_message.Message):
    __slots__ = ("certificate_id", "start", "end", "selected_time", "explanation_url", "poll_time")
    CERTIFICATE_ID_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    SELECTED_TIME_FIELD_NUMBER: _ClassVar[int]
    EXPLANATION_URL_FIELD_NUMBER: _ClassVar[int]
    POLL_TIME_FIELD_NUMBER: _ClassVar[int]
    certificate_id: str
    start: _timestamp_pb2.Timestamp
    end: _timestamp_pb2.Timestamp
    selected_time: _timestamp_pb2.Timestamp
    explanation_url: str
    poll_time: _timestamp_pb2.Timestamp
    def __init__(self, certificate_id: _Optional[str] = ..., start: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., selected_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., explanation_url: _Optional[str] = ..., poll_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Problem(_message.Message):
    __slots__ = ("type", "detail", "must_act", "time", "failed_name")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    MUST_ACT_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    FAILED_NAME_FIELD_NUMBER: _ClassVar[int]
    type: str
    detail: str
    must_act: int
    time: _timestamp_pb2.Timestamp
    failed_name: str
    def __init__(self, type: _Optional[str] = ..., detail: _Optional[str] = ..., must_act: _Optional[int] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., failed_name: _Optional[str] = ...) -> None: ...
