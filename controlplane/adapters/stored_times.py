"""Times in stored messages: microseconds, in UTC, exactly as they were written."""

from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def put_time(field: Timestamp, value: datetime | None) -> None:
    """Fills in a field; None leaves it unset."""
    if value is not None:
        microseconds = (value - _EPOCH) // timedelta(microseconds=1)
        field.seconds, field.nanos = microseconds // 1_000_000, (microseconds % 1_000_000) * 1000


def stored_time(value: datetime | None) -> Timestamp | None:
    """Returns the message for a time, None for none."""
    if value is None:
        return None
    message = Timestamp()
    put_time(message, value)
    return message


def get_time(field: Timestamp) -> datetime:
    """Returns the time of a field that is set.

    Raises:
        OverflowError: no clock shows it.
    """
    return _EPOCH + timedelta(seconds=field.seconds, microseconds=field.nanos // 1000)


def optional_time(message: Any, field: str) -> datetime | None:
    """Returns the time of a field, None when it is not set.

    Raises:
        OverflowError: no clock shows it.
    """
    return get_time(getattr(message, field)) if message.HasField(field) else None
