"""What a cheap client of delta ADS writes and reads: bytes, without a message object for what comes in.

A resource costs such a client a step through its tag and its length. So a client that receives hundreds of thousands of secrets a second
does not become what is measured. Reference: the protobuf encoding page ("Message structure") and envoy.service.discovery.v3.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf import any_pb2

DELTA_ADS = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"

_LENGTH_DELIMITED = 2
_TYPE_URL, _NONCE, _REMOVED, _RESOURCES = 4, 5, 6, 2
_RESOURCES_TAG, _NONCE_TAG, _REMOVED_TAG = (number << 3 | _LENGTH_DELIMITED for number in (_RESOURCES, _NONCE, _REMOVED))


@dataclass(frozen=True, slots=True)
class Answer:
    """What a delta answer holds, counted. `nonce` as the client must repeat it."""

    resources: int
    removed: int
    nonce: bytes


def first_request(
    node_id: str,
    subscribe: Sequence[str],
    versions: Mapping[str, str] | None = None,
    *,
    on_demand: bool = False,
) -> bytes:
    """Returns the first request of a stream, as an Envoy sends it. `versions`: what it holds from an earlier stream, by name."""
    node = base_pb2.Node(id=node_id, cluster="bench")
    if on_demand:
        node.metadata.update({"certplane.on_demand": True})
    request = discovery_pb2.DeltaDiscoveryRequest(
        node=node, type_url=SECRET, resource_names_subscribe=subscribe, initial_resource_versions=versions or {}
    )
    return bytes(request.SerializeToString())


def acknowledgement(nonce: bytes) -> bytes:
    """Returns the ACK of an answer."""
    return _ACK_HEAD + _field(6, nonce)


def answer(data: bytes) -> Answer:
    """Walks through an answer. Every secret that is measured passes here, hence the plain loop for lengths of up to two bytes."""
    resources = removed = position = 0
    nonce, size = b"", len(data)
    while position < size:
        tag, length, begin = data[position], data[position + 1], position + 2
        if length > 127:
            if data[begin] > 127:
                length, begin = _length(data, position + 1)
            else:
                length += (data[begin] << 7) - 128
                begin += 1
        position = begin + length
        if tag == _RESOURCES_TAG:
            resources += 1
        elif tag == _REMOVED_TAG:
            removed += 1
        elif tag == _NONCE_TAG:
            nonce = data[begin:position]
        elif tag & 7 != _LENGTH_DELIMITED:
            raise ValueError("not an answer")
    return Answer(resources, removed, nonce)


def resource_fields(data: bytes) -> list[bytes]:
    """Returns each `resources` field of an answer, complete with tag and length: ready to be sent again."""
    fields, position = [], 0
    while position < len(data):
        length, begin = _length(data, position + 1)
        if data[position] == _RESOURCES_TAG:
            fields.append(data[position : begin + length])
        position = begin + length
    return fields


def ready_answers(names: Sequence[str], secret_bytes: int, resources_per_answer: int) -> list[bytes]:
    """Returns answers with a resource of random content for each name: as large as Certplane's, and holding nothing."""
    fields = [
        discovery_pb2.DeltaDiscoveryResponse(
            resources=[
                discovery_pb2.Resource(
                    name=name, version=os.urandom(16).hex(), resource=any_pb2.Any(type_url=SECRET, value=os.urandom(secret_bytes))
                )
            ]
        ).SerializeToString()
        for name in names
    ]
    starts = range(0, len(fields), resources_per_answer)
    return [b"".join((*fields[start : start + resources_per_answer], answer_tail(b"0"))) for start in starts]


def recording(answers: Iterable[bytes]) -> bytes:
    """Returns answers as one piece: each with its length in four bytes before it."""
    return b"".join(len(data).to_bytes(4, "big") + data for data in answers)


def recorded_fields(recorded: bytes) -> list[list[bytes]]:
    """Returns the `resources` fields of each answer of a recording."""
    answers, position = [], 0
    while position < len(recorded):
        begin = position + 4
        position = begin + int.from_bytes(recorded[position:begin], "big")
        answers.append(resource_fields(recorded[begin:position]))
    return answers


def names_and_versions(fields: Iterable[bytes]) -> dict[str, str]:
    """Returns name and version of each serialised `resources` field."""
    message = discovery_pb2.DeltaDiscoveryResponse.FromString(b"".join(fields))
    return {resource.name: resource.version for resource in message.resources}


def answer_tail(nonce: bytes) -> bytes:
    """Returns what stands in an answer beside its resources."""
    return _field(_TYPE_URL, SECRET.encode()) + _field(_NONCE, nonce)


def _length(data: bytes, position: int) -> tuple[int, int]:
    """Returns the length that is told at `position`, and where the content begins."""
    length = shift = 0
    while True:
        byte = data[position]
        position += 1
        length |= (byte & 127) << shift
        if byte < 128:
            return length, position
        shift += 7


def _field(number: int, content: bytes) -> bytes:
    length, size = bytearray(), len(content)
    while size > 127:
        length.append(size & 127 | 128)
        size >>= 7
    length.append(size)
    return bytes([number << 3 | _LENGTH_DELIMITED]) + bytes(length) + content


_ACK_HEAD = _field(2, SECRET.encode())
