"""Requests on the wire, to the protocol's values.

They are decoded with mirror messages that have `bytes` where a stranger chooses the content (protos/certplane/wire/v1), so that no
ClientHello can make a message undecodable.
"""

from typing import Final

from google.protobuf.message import DecodeError

from controlplane.api.certplane.wire.v1 import discovery_pb2 as wire
from controlplane.endpoints.node_metadata import decode_node_metadata
from controlplane.xds.messages import DeltaRequest, ErrorDetail, MalformedRequest, Node, SotwRequest
from controlplane.xds.type_urls import SECRET

_TYPE: Final = b"\x12" + bytes((len(SECRET),)) + SECRET.encode()
_ACK: Final = _TYPE + b"\x32"
_SUBSCRIBE: Final = _TYPE + b"\x1a"
"""How an Envoy's incremental requests begin that acknowledge an answer, and that ask for a name: the type, then the tag of the nonce or
the name. Nearly all requests are one of these two and nothing more, and are read without the parser, which costs more than all else that
is done with an ACK."""

_NODE_CHARACTERS = 200
_ERROR_CHARACTERS = 500


def decode_delta_request(data: bytes) -> DeltaRequest:
    """Decodes a DeltaDiscoveryRequest.

    Raises:
        MalformedRequest: the bytes are no such message.
    """
    if data.startswith(_ACK):
        nonce = _only_field(data, len(_ACK))
        if nonce is not None and nonce.isascii():
            return DeltaRequest(SECRET, None, (), (), {}, nonce.decode())
    elif data.startswith(_SUBSCRIBE):
        name = _only_field(data, len(_SUBSCRIBE))
        if name is not None:
            return DeltaRequest(SECRET, None, (name,))
    try:
        message = wire.DeltaDiscoveryRequest.FromString(data)
    except DecodeError as error:
        raise MalformedRequest("not a DeltaDiscoveryRequest") from error
    return DeltaRequest(
        message.type_url,
        _node(message),
        tuple(message.resource_names_subscribe[:]),
        tuple(message.resource_names_unsubscribe[:]),
        {entry.key: entry.value.decode("utf-8", "replace") for entry in message.initial_resource_versions},
        message.response_nonce,
        _error_detail(message),
    )


def decode_sotw_request(data: bytes) -> SotwRequest:
    """Decodes a DiscoveryRequest.

    Raises:
        MalformedRequest: the bytes are no such message.
    """
    try:
        message = wire.DiscoveryRequest.FromString(data)
    except DecodeError as error:
        raise MalformedRequest("not a DiscoveryRequest") from error
    return SotwRequest(
        message.type_url,
        _node(message),
        message.version_info,
        tuple(message.resource_names[:]),
        message.response_nonce,
        _error_detail(message),
    )


def _only_field(data: bytes, start: int) -> bytes | None:
    """Returns the content of a field whose length stands at `start`, if it is short and nothing comes after it."""
    if len(data) > start and data[start] < 0x80 and len(data) == start + 1 + data[start]:
        return data[start + 1 :]
    return None


def _node(message: wire.DeltaDiscoveryRequest | wire.DiscoveryRequest) -> Node | None:
    if not message.HasField("node"):
        return None
    node = message.node
    return Node(_shown(node.id, _NODE_CHARACTERS), _shown(node.cluster, _NODE_CHARACTERS), decode_node_metadata(node.metadata))


def _error_detail(message: wire.DeltaDiscoveryRequest | wire.DiscoveryRequest) -> ErrorDetail | None:
    if not message.HasField("error_detail"):
        return None
    return ErrorDetail(message.error_detail.code, _shown(message.error_detail.message, _ERROR_CHARACTERS))


def _shown(content: bytes, characters: int) -> str:
    """Returns a stranger's bytes as text fit for a log, cut to so many characters."""
    return content[: 4 * characters].decode("utf-8", "backslashreplace")[:characters]
