from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Scheme(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SCHEME_UNSPECIFIED: _ClassVar[Scheme]
    SCHEME_HPKE_X25519: _ClassVar[Scheme]
    SCHEME_HPKE_MLKEM768_X25519: _ClassVar[Scheme]
    SCHEME_HPKE_P256: _ClassVar[Scheme]
    SCHEME_RSA_OAEP_AES256GCM: _ClassVar[Scheme]
SCHEME_UNSPECIFIED: Scheme
SCHEME_HPKE_X25519: Scheme
SCHEME_HPKE_MLKEM768_X25519: Scheme
SCHEME_HPKE_P256: Scheme
SCHEME_RSA_OAEP_AES256GCM: Scheme

class Envelope(_message.Message):
    __slots__ = ("recipient_key_id", "scheme", "ciphertext")
    RECIPIENT_KEY_ID_FIELD_NUMBER: _ClassVar[int]
    SCHEME_FIELD_NUMBER: _ClassVar[int]
    CIPHERTEXT_FIELD_NUMBER: _ClassVar[int]
    recipient_key_id: str
    scheme: Scheme
    ciphertext: bytes
    def __init__(self, recipient_key_id: _Optional[str] = ..., scheme: _Optional[_Union[Scheme, str]] = ..., ciphertext: _Optional[bytes] = ...) -> None: ...

class AuthenticatedRecord(_message.Message):
    __slots__ = ("payload", "record_key_id", "mac")
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    RECORD_KEY_ID_FIELD_NUMBER: _ClassVar[int]
    MAC_FIELD_NUMBER: _ClassVar[int]
    payload: bytes
    record_key_id: str
    mac: bytes
    def __init__(self, payload: _Optional[bytes] = ..., record_key_id: _Optional[str] = ..., mac: _Optional[bytes] = ...) -> None: ...
