import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RevocationReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REVOCATION_REASON_UNSPECIFIED: _ClassVar[RevocationReason]
    REVOCATION_REASON_KEY_COMPROMISE: _ClassVar[RevocationReason]
    REVOCATION_REASON_SUPERSEDED: _ClassVar[RevocationReason]
    REVOCATION_REASON_CESSATION_OF_OPERATION: _ClassVar[RevocationReason]
REVOCATION_REASON_UNSPECIFIED: RevocationReason
REVOCATION_REASON_KEY_COMPROMISE: RevocationReason
REVOCATION_REASON_SUPERSEDED: RevocationReason
REVOCATION_REASON_CESSATION_OF_OPERATION: RevocationReason

class Certificate(_message.Message):
    __slots__ = ("name", "domain", "tenant", "dns_names", "state", "serial_number", "issuer", "sha256_fingerprint", "not_before_time", "expire_time", "issue_time", "certificate_authority", "directory_url", "account_url", "profile", "previous_certificate", "pem_chain", "revocation")
    class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATE_UNSPECIFIED: _ClassVar[Certificate.State]
        STATE_IN_FORCE: _ClassVar[Certificate.State]
        STATE_PREVIOUS: _ClassVar[Certificate.State]
    STATE_UNSPECIFIED: Certificate.State
    STATE_IN_FORCE: Certificate.State
    STATE_PREVIOUS: Certificate.State
    NAME_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    DNS_NAMES_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    SERIAL_NUMBER_FIELD_NUMBER: _ClassVar[int]
    ISSUER_FIELD_NUMBER: _ClassVar[int]
    SHA256_FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    NOT_BEFORE_TIME_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    ISSUE_TIME_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_AUTHORITY_FIELD_NUMBER: _ClassVar[int]
    DIRECTORY_URL_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_URL_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    PEM_CHAIN_FIELD_NUMBER: _ClassVar[int]
    REVOCATION_FIELD_NUMBER: _ClassVar[int]
    name: str
    domain: str
    tenant: str
    dns_names: _containers.RepeatedScalarFieldContainer[str]
    state: Certificate.State
    serial_number: str
    issuer: str
    sha256_fingerprint: str
    not_before_time: _timestamp_pb2.Timestamp
    expire_time: _timestamp_pb2.Timestamp
    issue_time: _timestamp_pb2.Timestamp
    certificate_authority: str
    directory_url: str
    account_url: str
    profile: str
    previous_certificate: str
    pem_chain: str
    revocation: CertificateRevocation
    def __init__(self, name: _Optional[str] = ..., domain: _Optional[str] = ..., tenant: _Optional[str] = ..., dns_names: _Optional[_Iterable[str]] = ..., state: _Optional[_Union[Certificate.State, str]] = ..., serial_number: _Optional[str] = ..., issuer: _Optional[str] = ..., sha256_fingerprint: _Optional[str] = ..., not_before_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., issue_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., certificate_authority: _Optional[str] = ..., directory_url: _Optional[str] = ..., account_url: _Optional[str] = ..., profile: _Optional[str] = ..., previous_certificate: _Optional[str] = ..., pem_chain: _Optional[str] = ..., revocation: _Optional[_Union[CertificateRevocation, _Mapping]] = ...) -> None: ...

class CertificateRevocation(_message.Message):
    __slots__ = ("reason", "request_time", "done")
    REASON_FIELD_NUMBER: _ClassVar[int]
    REQUEST_TIME_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    reason: RevocationReason
    request_time: _timestamp_pb2.Timestamp
    done: bool
    def __init__(self, reason: _Optional[_Union[RevocationReason, str]] = ..., request_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., done: _Optional[bool] = ...) -> None: ...
