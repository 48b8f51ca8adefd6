"""CAs as text for people."""

from collections.abc import Iterator, Sequence
from datetime import UTC
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from controlplane.api.certplane.v1 import fleet_pb2
from controlplane.cli.domain_text import printable

_BREAKERS: Final = {
    fleet_pb2.CertificateAuthority.BREAKER_STATE_CLOSED: "closed",
    fleet_pb2.CertificateAuthority.BREAKER_STATE_HALF_OPEN: "half-open",
    fleet_pb2.CertificateAuthority.BREAKER_STATE_OPEN: "open",
}


def authority_lines(authorities: Sequence[fleet_pb2.CertificateAuthority]) -> Iterator[str]:
    """Returns the lines of a table, a CA each, and after an empty line those of a table of their limits, if there are any."""
    if not authorities:
        yield "certificate authorities  not known: no worker has reported them within the last minute"
        return
    yield from _table(("CERTIFICATE AUTHORITY", "BREAKER", "NEW ORDERS LEFT", "THEN ONE IN"), map(_authority_cells, authorities))
    limits = [_limit_cells(authority, limit) for authority in authorities for limit in authority.limits]
    if limits:
        yield ""
        yield from _table(("CERTIFICATE AUTHORITY", "LIMIT", "AVAILABLE", "ALL AVAILABLE"), limits)


def _authority_cells(authority: fleet_pb2.CertificateAuthority) -> tuple[str, ...]:
    breaker = _BREAKERS.get(authority.breaker_state, "unknown")
    if authority.HasField("breaker_until_time"):
        breaker += f" until {_time(authority.breaker_until_time)}"
    return (
        printable(authority.name),
        breaker,
        f"{authority.new_orders_allowed:,}" if authority.HasField("new_orders_allowed") else "any number",
        f"{authority.order_interval.ToTimedelta().total_seconds():g}s" if authority.HasField("order_interval") else "",
    )


def _limit_cells(authority: fleet_pb2.CertificateAuthority, limit: fleet_pb2.CertificateAuthorityLimit) -> tuple[str, ...]:
    if limit.HasField("blocked_until_time"):
        when = f"blocked until {_time(limit.blocked_until_time)}"
    else:
        when = "now" if limit.available >= limit.capacity else _time(limit.full_time)
    return printable(authority.name), printable(limit.name), f"{limit.available:,} of {limit.capacity:,}", when


def _table(headings: tuple[str, ...], cells: Iterator[tuple[str, ...]] | Sequence[tuple[str, ...]]) -> Iterator[str]:
    rows = [headings, *cells]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()


def _time(moment: Timestamp) -> str:
    return f"{moment.ToDatetime(UTC):%Y-%m-%d %H:%M:%S} UTC"
