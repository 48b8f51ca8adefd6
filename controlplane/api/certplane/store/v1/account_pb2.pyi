import datetime

from controlplane.api.certplane.store.v1 import envelope_pb2 as _envelope_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AccountRecord(_message.Message):
    __slots__ = ("directory_url", "account_url", "sealed_account_key", "spki_digest", "create_time")
    DIRECTORY_URL_FIELD_NUMBER: _ClassVar[int]
    ACCOUNT_URL_FIELD_NUMBER: _ClassVar[int]
    SEALED_ACCOUNT_KEY_FIELD_NUMBER: _ClassVar[int]
    SPKI_DIGEST_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    directory_url: str
    account_url: str
    sealed_account_key: _envelope_pb2.Envelope
    spki_digest: bytes
    create_time: _timestamp_pb2.Timestamp
    def __init__(self, directory_url: _Optional[str] = ..., account_url: _Optional[str] = ..., sealed_account_key: _Optional[_Union[_envelope_pb2.Envelope, _Mapping]] = ..., spki_digest: _Optional[bytes] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
