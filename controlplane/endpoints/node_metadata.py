"""What a client says of itself in `node.metadata`: two keys of a google.protobuf.Struct, read tolerantly.

Metadata is written by hand as often as by a program, and a stream must not end over it: what cannot be read counts as not said.

    certplane.on_demand   true: strangers decide what the client asks for, so it is given a bounded number of secrets
    certplane.pinned      a list of names that its configuration states, or that it fetches beforehand: never taken away
"""

from itertools import islice

import structlog
from google.protobuf.message import DecodeError

from controlplane.api.certplane.wire.v1 import discovery_pb2 as wire
from controlplane.xds.messages import NodeMetadata

_log = structlog.get_logger(__name__)

ON_DEMAND = b"certplane.on_demand"
PINNED = b"certplane.pinned"

MAX_PINNED = 20_000
"""Names; a client that states more is not one that asks on demand."""

_MAX_BYTES = 2 * 1024 * 1024
_MAX_NAME_BYTES = 253
"""Longer ones are no DNS names (RFC 1035 section 2.3.4), so nothing is ever held under them."""


def decode_node_metadata(data: bytes) -> NodeMetadata:
    """Decodes a serialised google.protobuf.Struct; never raises.

    Of a key that comes twice the last counts, as in a map. Names beyond `MAX_PINNED` are left out.
    """
    if not data:
        return NodeMetadata()
    if len(data) > _MAX_BYTES:
        _log.warning("node metadata is too large and is not read", bytes=len(data))
        return NodeMetadata()
    on_demand = False
    pinned: frozenset[bytes] = frozenset()
    try:
        for entry in wire.Struct.FromString(data).fields:
            if entry.key == ON_DEMAND:
                on_demand = entry.value.bool_value
            elif entry.key == PINNED:
                pinned = _names(entry.value.list_value)
    except DecodeError:
        _log.warning("node metadata cannot be read")
        return NodeMetadata()
    return NodeMetadata(on_demand, pinned)


def _names(data: bytes) -> frozenset[bytes]:
    values = wire.ListValue.FromString(data).values
    if len(values) > MAX_PINNED:
        _log.warning("node metadata pins too many names, the first are taken", names=len(values), taken=MAX_PINNED)
    names = (value.string_value for value in islice(values, MAX_PINNED))
    return frozenset(name for name in names if 0 < len(name) <= _MAX_NAME_BYTES)
