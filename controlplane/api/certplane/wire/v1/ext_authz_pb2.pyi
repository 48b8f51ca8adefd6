from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CheckRequest(_message.Message):
    __slots__ = ("attributes",)
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    attributes: AttributeContext
    def __init__(self, attributes: _Optional[_Union[AttributeContext, _Mapping]] = ...) -> None: ...

class AttributeContext(_message.Message):
    __slots__ = ("request",)
    class Request(_message.Message):
        __slots__ = ("http",)
        HTTP_FIELD_NUMBER: _ClassVar[int]
        http: AttributeContext.HttpRequest
        def __init__(self, http: _Optional[_Union[AttributeContext.HttpRequest, _Mapping]] = ...) -> None: ...
    class HttpRequest(_message.Message):
        __slots__ = ("method", "path", "host")
        METHOD_FIELD_NUMBER: _ClassVar[int]
        PATH_FIELD_NUMBER: _ClassVar[int]
        HOST_FIELD_NUMBER: _ClassVar[int]
        method: bytes
        path: bytes
        host: bytes
        def __init__(self, method: _Optional[bytes] = ..., path: _Optional[bytes] = ..., host: _Optional[bytes] = ...) -> None: ...
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    request: AttributeContext.Request
    def __init__(self, request: _Optional[_Union[AttributeContext.Request, _Mapping]] = ...) -> None: ...

class CheckResponse(_message.Message):
    __slots__ = ("status", "denied_response", "ok_response")
    class RpcStatus(_message.Message):
        __slots__ = ("code",)
        CODE_FIELD_NUMBER: _ClassVar[int]
        code: int
        def __init__(self, code: _Optional[int] = ...) -> None: ...
    class OkHttpResponse(_message.Message):
        __slots__ = ()
        def __init__(self) -> None: ...
    class DeniedHttpResponse(_message.Message):
        __slots__ = ("status", "headers", "body")
        STATUS_FIELD_NUMBER: _ClassVar[int]
        HEADERS_FIELD_NUMBER: _ClassVar[int]
        BODY_FIELD_NUMBER: _ClassVar[int]
        status: CheckResponse.HttpStatus
        headers: _containers.RepeatedCompositeFieldContainer[CheckResponse.HeaderValueOption]
        body: bytes
        def __init__(self, status: _Optional[_Union[CheckResponse.HttpStatus, _Mapping]] = ..., headers: _Optional[_Iterable[_Union[CheckResponse.HeaderValueOption, _Mapping]]] = ..., body: _Optional[bytes] = ...) -> None: ...
    class HttpStatus(_message.Message):
        __slots__ = ("code",)
        CODE_FIELD_NUMBER: _ClassVar[int]
        code: int
        def __init__(self, code: _Optional[int] = ...) -> None: ...
    class HeaderValueOption(_message.Message):
        __slots__ = ("header", "append_action")
        HEADER_FIELD_NUMBER: _ClassVar[int]
        APPEND_ACTION_FIELD_NUMBER: _ClassVar[int]
        header: CheckResponse.HeaderValue
        append_action: int
        def __init__(self, header: _Optional[_Union[CheckResponse.HeaderValue, _Mapping]] = ..., append_action: _Optional[int] = ...) -> None: ...
    class HeaderValue(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    STATUS_FIELD_NUMBER: _ClassVar[int]
    DENIED_RESPONSE_FIELD_NUMBER: _ClassVar[int]
    OK_RESPONSE_FIELD_NUMBER: _ClassVar[int]
    status: CheckResponse.RpcStatus
    denied_response: CheckResponse.DeniedHttpResponse
    ok_response: CheckResponse.OkHttpResponse
    def __init__(self, status: _Optional[_Union[CheckResponse.RpcStatus, _Mapping]] = ..., denied_response: _Optional[_Union[CheckResponse.DeniedHttpResponse, _Mapping]] = ..., ok_response: _Optional[_Union[CheckResponse.OkHttpResponse, _Mapping]] = ...) -> None: ...
