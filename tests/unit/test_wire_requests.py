"""Requests as Envoy's own messages write them, and as nobody should."""

import pytest
from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DiscoveryRequest
from google.protobuf import json_format, struct_pb2
from google.protobuf.message import DecodeError
from google.rpc import status_pb2
from hypothesis import given
from hypothesis import strategies as st

from controlplane.endpoints.node_metadata import MAX_PINNED, decode_node_metadata
from controlplane.endpoints.wire_requests import decode_delta_request, decode_sotw_request
from controlplane.xds.messages import DeltaRequest, ErrorDetail, MalformedRequest, Node, NodeMetadata, SotwRequest
from controlplane.xds.type_urls import SECRET

JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=8,
)


def metadata(content: dict) -> bytes:
    """A serialised Struct."""
    return json_format.ParseDict(content, struct_pb2.Struct()).SerializeToString()


def test_an_incremental_request_is_read_whole():
    """All parts of a DeltaDiscoveryRequest arrive, with the node's metadata."""
    node = base_pb2.Node(id="edge-1", cluster="berlin")
    node.metadata.update({"certplane.on_demand": True, "certplane.pinned": ["a.example", "B.example"]})
    message = DeltaDiscoveryRequest(
        node=node,
        type_url=SECRET,
        resource_names_subscribe=["c.example"],
        resource_names_unsubscribe=["d.example"],
        initial_resource_versions={"e.example": "1"},
        response_nonce="7",
        error_detail=status_pb2.Status(code=3, message="no"),
    )
    expected = DeltaRequest(
        SECRET,
        Node("edge-1", "berlin", NodeMetadata(on_demand=True, pinned=frozenset({b"a.example", b"B.example"}))),
        (b"c.example",),
        (b"d.example",),
        {b"e.example": "1"},
        "7",
        ErrorDetail(3, "no"),
    )
    assert expected == decode_delta_request(message.SerializeToString())


NAMES = st.one_of(st.text(max_size=20), st.sampled_from(["n" * 127, "n" * 128, "n" * 253]))


@given(st.lists(NAMES, max_size=2), st.lists(NAMES, max_size=1), NAMES, st.binary(max_size=3))
def test_short_requests_are_read_as_the_parser_reads_them(subscribe, unsubscribe, nonce, rest):
    """ACKs and requests for a name, with or without something after them, mean what protobuf's own parser says."""
    message = DeltaDiscoveryRequest(
        type_url=SECRET, resource_names_subscribe=subscribe, resource_names_unsubscribe=unsubscribe, response_nonce=nonce
    )
    for data in (message.SerializeToString(), message.SerializeToString() + rest):
        try:
            parsed = DeltaDiscoveryRequest.FromString(data)
        except DecodeError:
            continue
        expected = DeltaRequest(
            parsed.type_url,
            Node(parsed.node.id, parsed.node.cluster) if parsed.HasField("node") else None,
            tuple(name.encode() for name in parsed.resource_names_subscribe),
            tuple(name.encode() for name in parsed.resource_names_unsubscribe),
            dict.fromkeys(map(str.encode, parsed.initial_resource_versions), ""),
            parsed.response_nonce,
            ErrorDetail(parsed.error_detail.code, parsed.error_detail.message) if parsed.HasField("error_detail") else None,
        )
        assert expected == decode_delta_request(data)


def test_a_request_of_the_whole_state_is_read_whole():
    """All parts of a DiscoveryRequest arrive; a node that is left out is None."""
    message = DiscoveryRequest(type_url=SECRET, version_info="5", resource_names=["c.example"], response_nonce="7")
    assert SotwRequest(SECRET, None, "5", (b"c.example",), "7", None) == decode_sotw_request(message.SerializeToString())


@pytest.mark.parametrize("decode", [decode_delta_request, decode_sotw_request])
@pytest.mark.parametrize("data", [b"\xff\xff\xff\xff", b"\x0a\x05ab", b"\x0a\x02\x12\xff"])
def test_bytes_that_are_no_request_are_refused(decode, data):
    """Broken framing raises MalformedRequest."""
    with pytest.raises(MalformedRequest):
        decode(data)


def test_a_strangers_words_are_cut():
    """Node identifier, cluster and the text of a NACK are shown up to a bound, whatever their bytes are."""
    message = DeltaDiscoveryRequest(node=base_pb2.Node(id="n" * 5000, cluster="c" * 5000))
    message.error_detail.message = "e" * 5000
    request = decode_delta_request(message.SerializeToString().replace(b"nnn", b"\xffnn", 1))
    assert (200, 200, 500) == (len(request.node.id), len(request.node.cluster), len(request.error_detail.message))
    assert request.node.id.startswith("\\xffnn")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({}, NodeMetadata()),
        ({"certplane.on_demand": False}, NodeMetadata()),
        ({"certplane.on_demand": "true"}, NodeMetadata()),
        ({"certplane.on_demand": True, "other": {"certplane.on_demand": False}}, NodeMetadata(on_demand=True)),
        ({"certplane.pinned": "a.example"}, NodeMetadata()),
        ({"certplane.pinned": ["a.example", 7, None, ["b.example"], "", "c" * 254]}, NodeMetadata(pinned=frozenset({b"a.example"}))),
        ({"certplane": {"on_demand": True}}, NodeMetadata()),
    ],
)
def test_metadata_of_any_shape_is_read_as_far_as_it_is_understood(content, expected):
    """Keys of another type, and other keys, count as not said."""
    assert expected == decode_node_metadata(metadata(content))


@given(st.one_of(st.binary(max_size=60), st.dictionaries(st.sampled_from(["certplane.on_demand", "certplane.pinned"]), JSON).map(metadata)))
def test_no_metadata_makes_a_request_undecodable(data):
    """Any bytes, and any structure under the two keys, are read without an exception."""
    assert isinstance(decode_node_metadata(data), NodeMetadata)


def test_pinned_names_are_bounded():
    """Of too many pinned names the first are taken, and metadata that is too large is not read."""
    names = [f"n{number}.example" for number in range(MAX_PINNED + 10)]
    expected = frozenset(name.encode() for name in names[:MAX_PINNED])
    assert expected == decode_node_metadata(metadata({"certplane.pinned": names})).pinned
    assert NodeMetadata() == decode_node_metadata(metadata({"certplane.on_demand": True, "x": "x" * 3_000_000}))
