from controlplane.api.certplane.v1 import domain_pb2 as _domain_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class NameVerdict(_message.Message):
    __slots__ = ("dns_name", "problem", "conclusive", "observations", "caa")
    DNS_NAME_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    CONCLUSIVE_FIELD_NUMBER: _ClassVar[int]
    OBSERVATIONS_FIELD_NUMBER: _ClassVar[int]
    CAA_FIELD_NUMBER: _ClassVar[int]
    dns_name: str
    problem: _domain_pb2.DomainError
    conclusive: bool
    observations: _containers.RepeatedCompositeFieldContainer[AddressObservation]
    caa: CaaObservation
    def __init__(self, dns_name: _Optional[str] = ..., problem: _Optional[_Union[_domain_pb2.DomainError, _Mapping]] = ..., conclusive: _Optional[bool] = ..., observations: _Optional[_Iterable[_Union[AddressObservation, _Mapping]]] = ..., caa: _Optional[_Union[CaaObservation, _Mapping]] = ...) -> None: ...

class AddressObservation(_message.Message):
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
    class Answer(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        ANSWER_UNSPECIFIED: _ClassVar[CaaObservation.Answer]
        ANSWER_ABSENT: _ClassVar[CaaObservation.Answer]
        ANSWER_ALLOWS: _ClassVar[CaaObservation.Answer]
        ANSWER_FORBIDS: _ClassVar[CaaObservation.Answer]
        ANSWER_UNKNOWN: _ClassVar[CaaObservation.Answer]
    ANSWER_UNSPECIFIED: CaaObservation.Answer
    ANSWER_ABSENT: CaaObservation.Answer
    ANSWER_ALLOWS: CaaObservation.Answer
    ANSWER_FORBIDS: CaaObservation.Answer
    ANSWER_UNKNOWN: CaaObservation.Answer
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    answer: CaaObservation.Answer
    owner: str
    records: _containers.RepeatedScalarFieldContainer[str]
    detail: str
    def __init__(self, answer: _Optional[_Union[CaaObservation.Answer, str]] = ..., owner: _Optional[str] = ..., records: _Optional[_Iterable[str]] = ..., detail: _Optional[str] = ...) -> None: ...
