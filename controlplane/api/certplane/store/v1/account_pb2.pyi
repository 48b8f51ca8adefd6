import datetime

from controlplane.api.certplane.store.v1 import envelope_pb2 as _envelope_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AccountRecord(_message.Message):
    __slots__ = ("directory_url", "account_url", "sealed_account_key", "spki_digest", "create_time", "sealed_successor_key", "successor_spki_digest", "key_change_time", "status", "contact", "terms_of_service_url", "external_account_key_id")
    class Status(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATUS_UNSPECIFIED: _ClassVar[AccountRecord.Status]
        STATUS_VALID: _ClassVar[AccountRecord.Status]
        STATUS_DEACTIVATING: _ClassVar[AccountRecord.Status]
        STATUS_DEACTIVATED: _ClassVar[AccountRecord.Status]
    STATUS_UNSPECIFIED: AccountRecord.Status
    STATUS_VALID: AccountRecord.Status
    STATUS_DEACTIVATING: AccountRecord.Status
    STATUS_DEACTIVATED: AccountRecord.Status
    DIRECTORY_URL_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_URL_FIELD_NUMBER: _ClassVar[int]
    SEALED_ACCOUNT_KEY_FIELD_NUMBER: _ClassVar[int]
    SPKI_DIGEST_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    SEALED_SUCCESSOR_KEY_FIELD_NUMBER: _ClassVar[int]
    SUCCESSOR_SPKI_DIGEST_FIELD_NUMBER: _ClassVar[int]
    KEY_CHANGE_TIME_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    CONTACT_FIELD_NUMBER: _ClassVar[int]
    TERMS_OF_SERVICE_URL_FIELD_NUMBER: _ClassVar[int]
    EXTERNAL_ACCOUNT_KEY_ID_FIELD_NUMBER: _ClassVar[int]
    directory_url: str
    account_url: str
    sealed_account_key: _envelope_pb2.Envelope
    spki_digest: bytes
    create_time: _timestamp_pb2.Timestamp
    sealed_successor_key: _envelope_pb2.Envelope
    successor_spki_digest: bytes
    key_change_time: _timestamp_pb2.Timestamp
    status: AccountRecord.Status
    contact: _containers.RepeatedScalarFieldContainer[str]
    terms_of_service_url: str
    external_account_key_id: str
    def __init__(self, directory_url: _Optional[str] = ..., account_url: _Optional[str] = ..., sealed_account_key: _Optional[_Union[_envelope_pb2.Envelope, _Mapping]] = ..., spki_digest: _Optional[bytes] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., sealed_successor_key: _Optional[_Union[_envelope_pb2.Envelope, _Mapping]] = ..., successor_spki_digest: _Optional[bytes] = ..., key_change_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., status: _Optional[_Union[AccountRecord.Status, str]] = ..., contact: _Optional[_Iterable[str]] = ..., terms_of_service_url: _Optional[str] = ..., external_account_key_id: _Optional[str] = ...) -> None: ...
