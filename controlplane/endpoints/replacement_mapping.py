"""Between the messages of certplane.v1 and mass replacements."""

from datetime import timedelta
from typing import Final, cast

from google.protobuf.duration_pb2 import Duration

from controlplane.api.certplane.v1 import fleet_service_pb2, replacement_pb2
from controlplane.core.errors import FieldViolation, InvalidArgument
from controlplane.core.replacement import Replacement, ReplacementState, replacement_resource_name
from controlplane.endpoints.timestamps import timestamp
from controlplane.usecases.replacements import NewReplacement

_STATES: Final = {
    state: cast("replacement_pb2.Replacement.State", replacement_pb2.Replacement.State.Value(f"STATE_{state.name}"))
    for state in ReplacementState
}


def new_replacement(request: fleet_service_pb2.ReplaceCertificatesRequest) -> NewReplacement:
    """Returns what the request asks for.

    Raises:
        InvalidArgument: `over` is no duration.
    """
    try:
        over = request.over.ToTimedelta()
    except (ValueError, OverflowError) as error:
        raise InvalidArgument(FieldViolation("over", "is not a duration")) from error
    return NewReplacement(request.filter, request.dry_run, over, request.reason, request.request_id)


def replacement_message(replacement: Replacement, *, kept: bool = True) -> replacement_pb2.Replacement:
    """Returns a replacement as clients see it; without a name when it is not kept."""
    return replacement_pb2.Replacement(
        name=replacement_resource_name(replacement.id) if kept else "",
        filter=replacement.filter_text,
        reason=replacement.reason,
        dry_run=replacement.dry_run,
        over=_duration(replacement.over),
        create_time=timestamp(replacement.create_time),
        state=_STATES[replacement.shown_state],
        matched_count=replacement.matched,
        asked_count=replacement.asked,
        skipped_count=replacement.skipped,
        pending_count=replacement.pending,
        failing_count=replacement.failing,
        in_window_count=replacement.in_window,
        estimated_duration=None if replacement.estimate is None else _duration(replacement.estimate),
        estimated_complete_time=timestamp(replacement.estimated_complete_time),
        stop_time=timestamp(replacement.stop_time),
        complete_time=timestamp(replacement.complete_time),
    )


def _duration(value: timedelta) -> Duration:
    message = Duration()
    message.FromTimedelta(value)
    return message
