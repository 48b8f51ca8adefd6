"""From errors to gRPC statuses: the one table, and the `google.rpc` details that go with each.

What is not in the table is INTERNAL and says nothing but an identifier, under which the log has the place in the code. The log
has no message of such an error either: it could hold what the caller sent, or a secret.
"""

import traceback
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

import grpc
import structlog
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from controlplane.core.errors import (
    AlreadyExists,
    Conflict,
    FailedPrecondition,
    FieldViolation,
    InvalidArgument,
    NotFound,
    NoWorker,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
)

ERROR_DOMAIN: Final = "certplane"
DOMAIN_RESOURCE_TYPE: Final = "certplane.v1.Domain"
NODE_RESOURCE_TYPE: Final = "certplane.v1.Node"
_RESOURCE_TYPES: Final = {
    "nodes": NODE_RESOURCE_TYPE,
    "certificates": "certplane.v1.Certificate",
    "replacements": "certplane.v1.Replacement",
}

# A status travels in trailers, which gRPC peers limit to 8 KiB in all; details are sent in base64, beside the message.
_MESSAGE_BYTES: Final = 1_000
_VIOLATIONS_BYTES: Final = 3_000
_VIOLATION_CHARACTERS: Final = 300

_UNAVAILABLE: Final = "not available now: the store does not answer, or this server is stopping; try again later"

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Row:
    """How one class of errors crosses the API. `message` None: the text of the error itself, which was written for callers."""

    error: type[Exception]
    code: grpc.StatusCode
    reason: str
    details: Callable[[Any], Iterable[Message]] = lambda _error: ()
    message: str | None = None


def _bad_request(error: InvalidArgument) -> Iterable[Message]:
    details = error_details_pb2.BadRequest()
    for violation in error.violations:
        shown = FieldViolation(_shortened(violation.field, _VIOLATION_CHARACTERS), _shortened(violation.description, _VIOLATION_CHARACTERS))
        details.field_violations.add(field=shown.field, description=shown.description)
        if details.ByteSize() > _VIOLATIONS_BYTES:
            del details.field_violations[-1]
            break
    yield details


def _resource(error: NotFound | AlreadyExists) -> Iterable[Message]:
    kind = _RESOURCE_TYPES.get(error.resource.partition("/")[0], DOMAIN_RESOURCE_TYPE)
    yield error_details_pb2.ResourceInfo(resource_type=kind, resource_name=_shortened(error.resource, 300))


def _retry(error: Unavailable | ResourceExhausted) -> Iterable[Message]:
    details = error_details_pb2.RetryInfo()
    details.retry_delay.FromMilliseconds(int(error.retry_after * 1000))
    yield details


_TABLE: Final = (
    _Row(InvalidArgument, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT", _bad_request),
    _Row(NotFound, grpc.StatusCode.NOT_FOUND, "NOT_FOUND", _resource),
    _Row(AlreadyExists, grpc.StatusCode.ALREADY_EXISTS, "ALREADY_EXISTS", _resource),
    _Row(PermissionDenied, grpc.StatusCode.PERMISSION_DENIED, "PEER_NOT_ADMITTED"),
    _Row(Conflict, grpc.StatusCode.ABORTED, "STALE_ETAG"),
    _Row(FailedPrecondition, grpc.StatusCode.FAILED_PRECONDITION, "FAILED_PRECONDITION"),
    _Row(ResourceExhausted, grpc.StatusCode.RESOURCE_EXHAUSTED, "RESOURCE_EXHAUSTED", _retry),
    _Row(NoWorker, grpc.StatusCode.UNAVAILABLE, "NO_WORKER", _retry),
    # The error's own text may name the store's address.
    _Row(Unavailable, grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE", _retry, _UNAVAILABLE),
    _Row(TimeoutError, grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", message="the deadline passed before there was an answer"),
)


def status_of(error: Exception, *, method: str) -> status_pb2.Status:
    """Returns the `google.rpc.Status` for an error; logs what the caller is not told. `method` is the full gRPC method, for the log."""
    row = next((row for row in _TABLE if isinstance(error, row.error)), None)
    if row is None:
        return _internal(error, method)
    if isinstance(error, Unavailable):
        _log.warning("call failed, try again later", method=method, reason=str(error))
    status = status_pb2.Status(code=row.code.value[0], message=_shortened_bytes(row.message or str(error), _MESSAGE_BYTES))
    for detail in (*row.details(error), error_details_pb2.ErrorInfo(reason=row.reason, domain=ERROR_DOMAIN)):
        status.details.add().Pack(detail)
    return status


def malformed_request_status() -> status_pb2.Status:
    """Returns the status for a request that is not a protobuf message of the method's type."""
    description = "the request is not a valid protobuf message of this method (are all strings UTF-8?)"
    status = status_pb2.Status(code=grpc.StatusCode.INVALID_ARGUMENT.value[0], message=description)
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason="MALFORMED_REQUEST", domain=ERROR_DOMAIN))
    return status


def to_grpc_status(status: status_pb2.Status) -> grpc.Status:
    """Returns what `abort_with_status` takes: code, message, and the details as trailing metadata."""
    grpc_status: grpc.Status = rpc_status.to_status(status)
    return grpc_status


def _internal(error: Exception, method: str) -> status_pb2.Status:
    error_id = uuid.uuid4().hex[:12]
    _log.error("call failed unexpectedly", method=method, error_id=error_id, error_type=type(error).__qualname__, where=_where(error))
    status = status_pb2.Status(code=grpc.StatusCode.INTERNAL.value[0], message=f"internal error {error_id}; the server's log has more")
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason="INTERNAL", domain=ERROR_DOMAIN))
    return status


def _where(error: BaseException) -> list[str]:
    """Returns the places that the error came through, innermost last, without any content of variables or messages."""
    frames = traceback.extract_tb(error.__traceback__)[-12:]
    places = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
    cause = error.__cause__
    return places if cause is None else [*_where(cause), f"then {type(cause).__qualname__} became {type(error).__qualname__}", *places]


def _shortened(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _shortened_bytes(text: str, limit: int) -> str:
    encoded = text.encode("utf-8", "replace")
    return encoded.decode() if len(encoded) <= limit else encoded[: limit - 3].decode("utf-8", "ignore") + "..."
