import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ReplicaKeys(_message.Message):
    __slots__ = ("replica", "role", "opens", "believes", "writes", "seen")
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    OPENS_FIELD_NUMBER: _ClassVar[int]
    BELIEVES_FIELD_NUMBER: _ClassVar[int]
    WRITES_FIELD_NUMBER: _ClassVar[int]
    SEEN_FIELD_NUMBER: _ClassVar[int]
    replica: str
    role: str
    opens: _containers.RepeatedScalarFieldContainer[str]
    believes: _containers.RepeatedScalarFieldContainer[str]
    writes: _containers.RepeatedScalarFieldContainer[str]
    seen: _timestamp_pb2.Timestamp
    def __init__(self, replica: _Optional[str] = ..., role: _Optional[str] = ..., opens: _Optional[_Iterable[str]] = ..., believes: _Optional[_Iterable[str]] = ..., writes: _Optional[_Iterable[str]] = ..., seen: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
