"""Nodes as text for people."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from controlplane.api.certplane.v1 import fleet_pb2
from controlplane.cli.domain_text import printable

_HEADINGS: Final = ("NODE", "CONNECTED", "LAST SEEN", "CLUSTER", "SECRETS", "ACKS", "NACKS", "REFUSED")
_LEAST_WIDTHS: Final = (24, 9, 23, 10, 7, 7, 5, 0)


def describe(node: fleet_pb2.Node) -> str:
    """Returns the whole node, one aligned line a property; properties without a value are left out."""
    properties = [(label, value) for label, value in _properties(node) if value]
    width = max(len(label) for label, _ in properties)
    return "\n".join((printable(node.node_id), *(f"  {label:<{width}}  {printable(value)}" for label, value in properties)))


def table(pages: Iterable[Sequence[fleet_pb2.Node]]) -> Iterator[str]:
    """Returns the lines of a table, from pages of nodes. The first page sets the widths, so that pages are shown as they come."""
    widths: list[int] = []
    for page in pages:
        cells = [_cells(node) for node in page]
        if not widths:
            widths = [max(map(len, column)) for column in zip(_HEADINGS, *cells, strict=True)]
            widths = [max(pair) for pair in zip(widths, _LEAST_WIDTHS, strict=True)]
            yield _line(_HEADINGS, widths)
        yield from (_line(row, widths) for row in cells)


def _properties(node: fleet_pb2.Node) -> Iterator[tuple[str, str]]:
    yield "connected", f"yes, since {_time(node.connect_time)}" if node.connected else "no"
    yield "last seen", _time(node.last_seen_time)
    yield "cluster", node.cluster
    yield "identities", ", ".join(node.identities)
    yield "replicas", ", ".join(node.replicas)
    yield "variants", ", ".join(node.variants)
    yield "secrets held", str(node.secrets_held)
    yield "answers", f"{node.acks} accepted, {node.nacks} refused"
    yield "streams", str(node.streams) if node.streams > 1 else ""
    if node.streams > 1:
        for connection in node.connections:
            counts = f"{connection.secrets_held} secrets, {connection.acks} accepted, {connection.nacks} refused"
            yield "stream", f"{connection.variant} to {connection.replica} since {_time(connection.connect_time)}: {counts}"
    for refused in node.refused_secrets:
        yield "refused", f"{refused.secret} in version {refused.version}: {refused.error}"


def _cells(node: fleet_pb2.Node) -> tuple[str, ...]:
    return (
        printable(node.node_id),
        "yes" if node.connected else "no",
        _time(node.last_seen_time),
        printable(node.cluster),
        str(node.secrets_held),
        str(node.acks),
        str(node.nacks),
        str(len(node.refused_secrets)),
    )


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip()


def _time(moment: Timestamp) -> str:
    return f"{moment.ToDatetime(UTC):%Y-%m-%d %H:%M:%S} UTC"
