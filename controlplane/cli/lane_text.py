"""The lanes of the schedule as text for people."""

from collections.abc import Iterator, Sequence
from typing import Final

from google.protobuf.duration_pb2 import Duration

from controlplane.api.certplane.v1 import fleet_pb2
from controlplane.cli.domain_text import printable

_HEADINGS: Final = ("LANE", "DUE", "OLDEST WAIT", "ESTIMATED WAIT", "DUE WITHIN AN HOUR")


def lane_table(lanes: Sequence[fleet_pb2.Lane]) -> Iterator[str]:
    """Returns the lines of a table, a lane each."""
    rows = [_HEADINGS, *(_cells(lane) for lane in lanes)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()


def _cells(lane: fleet_pb2.Lane) -> tuple[str, ...]:
    return (
        printable(lane.name),
        str(lane.due),
        _time(lane.oldest_wait),
        _time(lane.estimated_wait) if lane.HasField("estimated_wait") else "unknown",
        str(lane.due_within_hour),
    )


def _time(duration: Duration) -> str:
    seconds = round(duration.ToTimedelta().total_seconds())
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [f"{count}{unit}" for count, unit in ((days, "d"), (hours, "h"), (minutes, "m"), (seconds, "s")) if count]
    return " ".join(parts[:2]) or "0s"
