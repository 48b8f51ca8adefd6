import datetime

from controlplane.api.certplane.store.v1 import envelope_pb2 as _envelope_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CertificateRecord(_message.Message):
    __slots__ = ("id", "fqdn", "generation", "names", "leaf", "intermediate_digests", "sealed_leaf_key", "not_before", "not_after", "issue_time", "spki_digest", "tenant", "directory_url", "account_url", "profile")
    ID_FIELD_NUMBER: _ClassVar[int]
    FQDN_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    LEAF_FIELD_NUMBER: _ClassVar[int]
    INTERMEDIATE_DIGESTS_FIELD_NUMBER: _ClassVar[int]
    SEALED_LEAF_KEY_FIELD_NUMBER: _ClassVar[int]
    NOT_BEFORE_FIELD_NUMBER: _ClassVar[int]
    NOT_AFTER_FIELD_NUMBER: _ClassVar[int]
    ISSUE_TIME_FIELD_NUMBER: _ClassVar[int]
    SPKI_DIGEST_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    DIRECTORY_URL_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_URL_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    id: str
    fqdn: str
    generation: int
    names: _containers.RepeatedScalarFieldContainer[str]
    leaf: bytes
    intermediate_digests: _containers.RepeatedScalarFieldContainer[bytes]
    sealed_leaf_key: _envelope_pb2.Envelope
    not_before: _timestamp_pb2.Timestamp
    not_after: _timestamp_pb2.Timestamp
    issue_time: _timestamp_pb2.Timestamp
    spki_digest: bytes
    tenant: str
    directory_url: str
    account_url: str
    profile: str
    def __init__(self, id: _Optional[str] = ..., fqdn: _Optional[str] = ..., generation: _Optional[int] = ..., names: _Optional[_Iterable[str]] = ..., leaf: _Optional[bytes] = ..., intermediate_digests: _Optional[_Iterable[bytes]] = ..., sealed_leaf_key: _Optional[_Union[_envelope_pb2.Envelope, _Mapping]] = ..., not_before: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., not_after: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., issue_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., spki_digest: _Optional[bytes] = ..., tenant: _Optional[str] = ..., directory_url: _Optional[str] = ..., account_url: _Optional[str] = ..., profile: _Optional[str] = ...) -> None: ...

class CertificateHead(_message.Message):
    __slots__ = ("id", "generation", "tenant")
    ID_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    id: str
    generation: int
    tenant: str
    def __init__(self, id: _Optional[str] = ..., generation: _Optional[int] = ..., tenant: _Optional[str] = ...) -> None: ...
