import datetime

from controlplane.api.certplane.store.v1 import domain_pb2 as _domain_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CheckRequest(_message.Message):
    __slots__ = ("names", "tenant")
    NAMES_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    names: _containers.RepeatedScalarFieldContainer[str]
    tenant: str
    def __init__(self, names: _Optional[_Iterable[str]] = ..., tenant: _Optional[str] = ...) -> None: ...

class CheckResult(_message.Message):
    __slots__ = ("verdicts", "check_time")
    VERDICTS_FIELD_NUMBER: _ClassVar[int]
    CHECK_TIME_FIELD_NUMBER: _ClassVar[int]
    verdicts: _containers.RepeatedCompositeFieldContainer[NameVerdict]
    check_time: _timestamp_pb2.Timestamp
    def __init__(self, verdicts: _Optional[_Iterable[_Union[NameVerdict, _Mapping]]] = ..., check_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class NameVerdict(_message.Message):
    __slots__ = ("name", "problem", "conclusive", "observations", "caa")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    CONCLUSIVE_FIELD_NUMBER: _ClassVar[int]
    OBSERVATIONS_FIELD_NUMBER: _ClassVar[int]
    CAA_FIELD_NUMBER: _ClassVar[int]
    name: str
    problem: _domain_pb2.Problem
    conclusive: bool
    observations: _containers.RepeatedCompositeFieldContainer[Observation]
    caa: CaaObservation
    def __init__(self, name: _Optional[str] = ..., problem: _Optional[_Union[_domain_pb2.Problem, _Mapping]] = ..., conclusive: _Optional[bool] = ..., observations: _Optional[_Iterable[_Union[Observation, _Mapping]]] = ..., caa: _Optional[_Union[CaaObservation, _Mapping]] = ...) -> None: ...

class Observation(_message.Message):
    __slots__ = ("address", "kind", "seen", "expected")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SEEN_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_FIELD_NUMBER: _ClassVar[int]
    address: str
    kind: str
    seen: str
    expected: str
    def __init__(self, address: _Optional[str] = ..., kind: _Optional[str] = ..., seen: _Optional[str] = ..., expected: _Optional[str] = ...) -> None: ...

class CaaObservation(_message.Message):
    __slots__ = ("answer", "owner", "records", "detail")
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    answer: int
    owner: str
    records: _containers.RepeatedScalarFieldContainer[str]
    detail: str
    def __init__(self, answer: _Optional[int] = ..., owner: _Optional[str] = ..., records: _Optional[_Iterable[str]] = ..., detail: _Optional[str] = ...) -> None: ...
