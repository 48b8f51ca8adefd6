"""Replacements to and from certplane.store.v1."""

from datetime import UTC, datetime, timedelta

from google.protobuf.message import DecodeError

from controlplane.adapters.stored_times import get_time, optional_time, put_time
from controlplane.api.certplane.store.v1.replacement_pb2 import ReplacementRecord, UrgencyCount
from controlplane.core.errors import RecordRejected
from controlplane.core.replacement import Replacement, ReplacementState

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def encode_replacement(replacement: Replacement) -> bytes:
    """Serialises a replacement, all but when it was stopped."""
    message = ReplacementRecord(
        id=replacement.id,
        filter=replacement.filter_text,
        reason=replacement.reason,
        dry_run=replacement.dry_run,
        over_seconds=replacement.over.total_seconds(),
        state=replacement.state,
        cursor=replacement.cursor,
        matched=replacement.matched,
        in_window=replacement.in_window,
        urgencies=[UrgencyCount(hour=hour, count=count) for hour, count in sorted(replacement.urgencies.items())],
        asked=replacement.asked,
        skipped=replacement.skipped,
        pending=replacement.pending,
        failing=replacement.failing,
        seen_pending=replacement.seen_pending,
        seen_failing=replacement.seen_failing,
        seen_in_window=replacement.seen_in_window,
        spread_seconds=replacement.spread.total_seconds(),
        # -1: there is no estimate yet; 0 is one.
        estimate_seconds=-1 if replacement.estimate is None else replacement.estimate.total_seconds(),
    )
    put_time(message.create_time, replacement.create_time)
    put_time(message.start_time, replacement.start_time)
    put_time(message.estimated_complete_time, replacement.estimated_complete_time)
    put_time(message.next_step_time, replacement.next_step_time)
    put_time(message.complete_time, replacement.complete_time)
    return message.SerializeToString()


def decode_replacement(data: bytes, stop_time: datetime | None) -> Replacement:
    """Reads a replacement.

    Raises:
        RecordRejected: it cannot be read.
    """
    try:
        message = ReplacementRecord.FromString(data)
        return Replacement(
            id=message.id,
            filter_text=message.filter,
            create_time=get_time(message.create_time),
            reason=message.reason,
            dry_run=message.dry_run,
            over=timedelta(seconds=message.over_seconds),
            state=ReplacementState(message.state),
            cursor=message.cursor,
            matched=message.matched,
            in_window=message.in_window,
            urgencies={each.hour: each.count for each in message.urgencies},
            asked=message.asked,
            skipped=message.skipped,
            pending=message.pending,
            failing=message.failing,
            seen_pending=message.seen_pending,
            seen_failing=message.seen_failing,
            seen_in_window=message.seen_in_window,
            start_time=optional_time(message, "start_time"),
            spread=timedelta(seconds=message.spread_seconds),
            estimate=None if message.estimate_seconds < 0 else timedelta(seconds=message.estimate_seconds),
            estimated_complete_time=optional_time(message, "estimated_complete_time"),
            next_step_time=optional_time(message, "next_step_time"),
            complete_time=optional_time(message, "complete_time"),
            stop_time=stop_time,
        )
    except (DecodeError, ValueError, OverflowError) as error:
        raise RecordRejected("a stored replacement cannot be read") from error
