import datetime

from controlplane.api.certplane.store.v1 import envelope_pb2 as _envelope_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class OrderRecord(_message.Message):
    __slots__ = ("phase", "names", "csr", "sealed_leaf_key", "directory_url", "order_url", "finalize_url", "authorization_urls", "expire_time", "start_time", "tokens", "account_url", "replaces", "profile")
    PHASE_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    CSR_FIELD_NUMBER: _ClassVar[int]
    SEALED_LEAF_KEY_FIELD_NUMBER: _ClassVar[int]
    DIRECTORY_URL_FIELD_NUMBER: _ClassVar[int]
    ORDER_URL_FIELD_NUMBER: _ClassVar[int]
    FINALIZE_URL_FIELD_NUMBER: _ClassVar[int]
    AUTHORIZATION_URLS_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_URL_FIELD_NUMBER: _ClassVar[int]
    REPLACES_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    phase: int
    names: _containers.RepeatedScalarFieldContainer[str]
    csr: bytes
    sealed_leaf_key: _envelope_pb2.Envelope
    directory_url: str
    order_url: str
    finalize_url: str
    authorization_urls: _containers.RepeatedScalarFieldContainer[str]
    expire_time: _timestamp_pb2.Timestamp
    start_time: _timestamp_pb2.Timestamp
    tokens: _containers.RepeatedScalarFieldContainer[str]
    account_url: str
    replaces: str
    profile: str
    def __init__(self, phase: _Optional[int] = ..., names: _Optional[_Iterable[str]] = ..., csr: _Optional[bytes] = ..., sealed_leaf_key: _Optional[_Union[_envelope_pb2.Envelope, _Mapping]] = ..., directory_url: _Optional[str] = ..., order_url: _Optional[str] = ..., finalize_url: _Optional[str] = ..., authorization_urls: _Optional[_Iterable[str]] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., tokens: _Optional[_Iterable[str]] = ..., account_url: _Optional[str] = ..., replaces: _Optional[str] = ..., profile: _Optional[str] = ...) -> None: ...
