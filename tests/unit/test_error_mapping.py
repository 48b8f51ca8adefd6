"""From errors to gRPC statuses with google.rpc details."""

from typing import Any

import grpc
import pytest
import structlog
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from controlplane.core.errors import (
    AlreadyExists,
    CertplaneError,
    ConfigurationError,
    Conflict,
    FailedPrecondition,
    FieldViolation,
    InvalidArgument,
    LeaseLost,
    NotFound,
    NoWorker,
    RecordRejected,
    ResourceExhausted,
    SealingError,
    Unavailable,
)
from controlplane.endpoints.error_mapping import status_of, to_grpc_status


def detail(status: status_pb2.Status, kind: type[Message]) -> Any:
    """Returns the detail of a type, or fails."""
    for packed in status.details:
        message = kind()
        if packed.Unpack(message):
            return message
    raise AssertionError(f"no {kind.__name__} in {status}")


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (InvalidArgument(FieldViolation("name", "is empty")), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT"),
        (NotFound("domains/a.example.com"), grpc.StatusCode.NOT_FOUND, "NOT_FOUND"),
        (AlreadyExists("domains/a.example.com", "taken"), grpc.StatusCode.ALREADY_EXISTS, "ALREADY_EXISTS"),
        (Conflict("changed"), grpc.StatusCode.ABORTED, "STALE_ETAG"),
        (FailedPrecondition("not now"), grpc.StatusCode.FAILED_PRECONDITION, "FAILED_PRECONDITION"),
        (ResourceExhausted("too many"), grpc.StatusCode.RESOURCE_EXHAUSTED, "RESOURCE_EXHAUSTED"),
        (NoWorker("none"), grpc.StatusCode.UNAVAILABLE, "NO_WORKER"),
        (Unavailable("away"), grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE"),
        (TimeoutError(), grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED"),
        (LeaseLost("x"), grpc.StatusCode.INTERNAL, "INTERNAL"),
        (SealingError("x"), grpc.StatusCode.INTERNAL, "INTERNAL"),
        (RecordRejected("x"), grpc.StatusCode.INTERNAL, "INTERNAL"),
        (ConfigurationError("x"), grpc.StatusCode.INTERNAL, "INTERNAL"),
        (CertplaneError("x"), grpc.StatusCode.INTERNAL, "INTERNAL"),
        (KeyError("x"), grpc.StatusCode.INTERNAL, "INTERNAL"),
    ],
)
def test_codes(error: Exception, code: grpc.StatusCode, reason: str) -> None:
    """Each error has its status code, and an ErrorInfo with a reason in the domain `certplane`."""
    status = status_of(error, method="/s/M")
    assert code.value[0] == status.code
    info = detail(status, error_details_pb2.ErrorInfo)
    assert (reason, "certplane") == (info.reason, info.domain)


def test_field_violations() -> None:
    """Every field violation of an invalid argument is in the BadRequest."""
    status = status_of(InvalidArgument(FieldViolation("a", "one"), FieldViolation("b[0]", "two")), method="/s/M")
    found = [(v.field, v.description) for v in detail(status, error_details_pb2.BadRequest).field_violations]
    expected = [("a", "one"), ("b[0]", "two")]
    assert expected == found


def test_resource() -> None:
    """NOT_FOUND and ALREADY_EXISTS name the resource and its type."""
    for error in (NotFound("domains/a.example.com"), AlreadyExists("domains/a.example.com", "x belongs to it")):
        info = detail(status_of(error, method="/s/M"), error_details_pb2.ResourceInfo)
        assert info.resource_type == "certplane.v1.Domain"
        assert info.resource_name == "domains/a.example.com"


def test_retry() -> None:
    """UNAVAILABLE says after which time to try again, and does not repeat where the store lives."""
    status = status_of(Unavailable("redis at 10.0.0.7:6379 refused", retry_after=2.5), method="/s/M")
    assert detail(status, error_details_pb2.RetryInfo).retry_delay.ToMilliseconds() == 2500
    assert "10.0.0.7" not in str(status)


def test_unknown_errors_say_nothing() -> None:
    """An unknown error gives an identifier only; the log has that identifier and the place, and not the error's text either."""
    with structlog.testing.capture_logs() as logs:
        try:
            raise RuntimeError("secret-xyz")
        except RuntimeError as error:
            status = status_of(error, method="/s/M")
    (entry,) = logs
    assert entry["log_level"] == "error"
    assert entry["error_id"] in status.message
    assert any("test_error_mapping" in place for place in entry["where"])
    assert "secret-xyz" not in str(status) + str(entry)


def test_fits_trailers() -> None:
    """However much is wrong, message and details together stay under the 8 KiB that gRPC allows in trailers."""
    many = InvalidArgument(*(FieldViolation(f"domain.additional_names[{i}]", "ü" * 5000) for i in range(100)))
    status = to_grpc_status(status_of(many, method="/s/M"))
    details_in_base64 = sum(len(value) * 4 // 3 for _, value in status.trailing_metadata)
    message_in_percent_encoding = 3 * len(status.details.encode())
    assert details_in_base64 + message_in_percent_encoding < 8192
