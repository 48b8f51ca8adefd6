"""The walk through answers that the load benchmarks count with, against protobuf's own parser."""

import pytest
from envoy.service.discovery.v3 import discovery_pb2
from hypothesis import given
from hypothesis import strategies as st

from bench.load.wire import acknowledgement, answer, ready_answers, recorded_fields, recording, resource_fields

CONTENTS = st.binary(max_size=20_000)
NAMES = st.text(min_size=1, max_size=40)


def serialised(bodies: list[bytes], removed: list[str], nonce: str) -> bytes:
    """A delta answer as protobuf writes it."""
    message = discovery_pb2.DeltaDiscoveryResponse(type_url="t", nonce=nonce, removed_resources=removed, system_version_info="v")
    for body in bodies:
        message.resources.add(name="n").resource.value = body
    return message.SerializeToString()


@given(st.lists(CONTENTS, max_size=5), st.lists(NAMES, max_size=5), st.text(max_size=30))
def test_answer_is_counted_as_protobuf_does(bodies: list[bytes], removed: list[str], nonce: str) -> None:
    """Resources, removed names and the nonce of any answer are found."""
    found = answer(serialised(bodies, removed, nonce))

    assert (len(bodies), len(removed), nonce.encode()) == (found.resources, found.removed, found.nonce)


@given(st.lists(st.lists(CONTENTS, max_size=3), max_size=3))
def test_recorded_fields_are_those_that_were_received(answers: list[list[bytes]]) -> None:
    """The `resources` fields of recorded answers, put together again, are the resources of these answers in their order."""
    fields = recorded_fields(recording(serialised(bodies, ["gone"], "1") for bodies in answers))

    joined = [discovery_pb2.DeltaDiscoveryResponse.FromString(b"".join(each)) for each in fields]
    assert answers == [[resource.resource.value for resource in message.resources] for message in joined]


def test_ready_answers_have_a_resource_for_each_name() -> None:
    """Made answers are cut as asked for, and bring every name once."""
    answers = ready_answers(["a", "b", "c"], 300, 2)

    assert [2, 1] == [answer(data).resources for data in answers]
    messages = [discovery_pb2.DeltaDiscoveryResponse.FromString(b"".join(resource_fields(data))) for data in answers]
    assert ["a", "b", "c"] == [resource.name for message in messages for resource in message.resources]


@pytest.mark.parametrize("nonce", [b"", b"7", b"x" * 200])
def test_acknowledgement_repeats_the_nonce(nonce: bytes) -> None:
    """An ACK names the type and repeats the nonce, whatever its length."""
    request = discovery_pb2.DeltaDiscoveryRequest.FromString(acknowledgement(nonce))

    assert (nonce.decode(), "") == (request.response_nonce, request.error_detail.message)
