"""Mass replacements as text for people."""

from collections.abc import Iterator, Sequence
from datetime import UTC, timedelta
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from controlplane.api.certplane.v1 import replacement_pb2
from controlplane.cli.domain_text import printable

_State: Final = replacement_pb2.Replacement.State
_STATES: Final = {
    _State.Value("STATE_COUNTING"): "counting domains",
    _State.Value("STATE_ASKING"): "asking domains to renew",
    _State.Value("STATE_REPLACING"): "all are asked; workers renew them as their time comes",
    _State.Value("STATE_DONE"): "done",
    _State.Value("STATE_STOPPED"): "stopped: what was not begun does not take place",
}
_HEADINGS: Final = ("REPLACEMENT", "STATE", "CREATED", "MATCHED", "ASKED", "LEFT", "FAILING", "FILTER")


def describe(replacement: replacement_pb2.Replacement) -> str:
    """Returns the whole replacement, one aligned line a property; properties without a value are left out."""
    properties = [(label, value) for label, value in _properties(replacement) if value]
    width = max(len(label) for label, _ in properties)
    title = replacement.name.removeprefix("replacements/") or "dry run"
    return "\n".join((title, *(f"  {label:<{width}}  {printable(value)}" for label, value in properties)))


def table(replacements: Sequence[replacement_pb2.Replacement]) -> Iterator[str]:
    """Returns the lines of a table."""
    rows = [_HEADINGS, *map(_cells, replacements)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()


def _properties(replacement: replacement_pb2.Replacement) -> Iterator[tuple[str, str]]:
    yield "state", "counted, nobody is asked" if _is_counted_only(replacement) else _STATES.get(replacement.state, "unknown")
    yield "domains", f"{replacement.matched_count} with a certificate meet the filter"
    if not replacement.dry_run:
        yield "asked", str(replacement.asked_count)
        yield "left alone", str(replacement.skipped_count) if replacement.skipped_count else ""
        yield "not yet replaced", f"{replacement.pending_count}, of which {replacement.failing_count} fail"
    yield (
        "in renewal window",
        f"{replacement.in_window_count}, exempt from limits where the CA says so" if replacement.in_window_count else "",
    )
    yield "filter", replacement.filter or "all domains"
    yield "reason", replacement.reason
    yield "spread over", _duration(replacement.over.ToTimedelta())
    if replacement.HasField("estimated_duration"):
        yield "the CA's limits take", _duration(replacement.estimated_duration.ToTimedelta()) or "no time"
    yield "created", _time(replacement, "create_time")
    if not replacement.HasField("complete_time"):
        yield "expected to end", _time(replacement, "estimated_complete_time")
    elif replacement.dry_run:
        yield "would end", _time(replacement, "estimated_complete_time")
    yield "stopped", _time(replacement, "stop_time")
    yield "over", "" if replacement.dry_run else _time(replacement, "complete_time")


def _is_counted_only(replacement: replacement_pb2.Replacement) -> bool:
    return replacement.dry_run and replacement.state == _State.Value("STATE_DONE")


def _cells(replacement: replacement_pb2.Replacement) -> tuple[str, ...]:
    return (
        replacement.name.removeprefix("replacements/"),
        _State.Name(replacement.state).removeprefix("STATE_").lower(),
        _time(replacement, "create_time"),
        str(replacement.matched_count),
        str(replacement.asked_count),
        str(replacement.pending_count),
        str(replacement.failing_count),
        printable(replacement.filter or "all domains"),
    )


def _duration(value: timedelta) -> str:
    return str(timedelta(seconds=round(value.total_seconds()))) if value else ""


def _time(replacement: replacement_pb2.Replacement, field: str) -> str:
    if not replacement.HasField(field):
        return ""
    moment: Timestamp = getattr(replacement, field)
    return f"{moment.ToDatetime(UTC):%Y-%m-%d %H:%M:%S} UTC"
