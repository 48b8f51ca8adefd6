"""Answers put together from bytes, read by Envoy's own messages."""

import pytest
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, secret_pb2
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse, DiscoveryResponse
from hypothesis import given
from hypothesis import strategies as st

from controlplane.core.redacted import SecretBytes
from controlplane.endpoints.wire_codec import (
    changed_tls_certificate,
    delta_field,
    encode_delta_response,
    encode_sotw_response,
    serialise_tls_certificate,
    sotw_field,
)
from controlplane.xds.messages import Response
from controlplane.xds.type_urls import SECRET

# Lengths around each length of a varint, and texts that are not ASCII.
CONTENTS = st.one_of(st.binary(max_size=40), st.sampled_from([b"k" * 127, b"k" * 128, b"k" * 16_383, b"k" * 16_384]))
TEXTS = st.one_of(st.text(min_size=1, max_size=20), st.sampled_from(["v" * 127, "v" * 128, "v" * 253]))
CERTIFICATES = st.builds(serialise_tls_certificate, CONTENTS, st.builds(SecretBytes, CONTENTS))


def resource(name: str, version: str, certificate: SecretBytes) -> DeltaDiscoveryResponse:
    """What Envoy's own messages make of a secret in an incremental answer."""
    secret = secret_pb2.Secret(name=name)
    secret.tls_certificate.ParseFromString(certificate.reveal())
    message = DeltaDiscoveryResponse()
    added = message.resources.add(name=name, version=version)
    added.resource.Pack(secret)
    return message


@given(chain=CONTENTS, key=CONTENTS)
def test_a_certificate_is_envoys_message(chain, key):
    """The serialised TlsCertificate is byte for byte what protobuf serialises."""
    expected = common_pb2.TlsCertificate()
    expected.certificate_chain.inline_bytes = chain
    expected.private_key.inline_bytes = key
    assert expected.SerializeToString() == serialise_tls_certificate(chain, SecretBytes(key)).reveal()


@given(chain=CONTENTS, key=CONTENTS, newlines=st.sampled_from([1, 2, 8, 127]))
def test_a_changed_certificate_has_newlines_after_its_chain(chain, key, newlines):
    """All else is as it was."""
    changed = changed_tls_certificate(serialise_tls_certificate(chain, SecretBytes(key)), newlines)
    assert serialise_tls_certificate(chain + b"\n" * newlines, SecretBytes(key)).reveal() == changed.reveal()


@given(name=TEXTS, version=TEXTS, certificate=CERTIFICATES)
def test_a_field_is_read_as_one_resource(name, version, certificate):
    """A field alone is an incremental answer with one named and versioned secret, or an answer of the other variant with the secret."""
    field = delta_field(name.encode(), version, certificate)
    assert resource(name, version, certificate) == DeltaDiscoveryResponse.FromString(field)
    (packed,) = DiscoveryResponse.FromString(sotw_field(name.encode(), version, certificate)).resources
    assert resource(name, version, certificate).resources[0].resource == packed


@given(st.lists(st.tuples(TEXTS, TEXTS, CERTIFICATES), max_size=4), st.lists(TEXTS, max_size=3), TEXTS, TEXTS)
def test_an_incremental_answer_is_envoys_message(resources, removed, nonce, version_info):
    """Joined fields, removed names, nonce and versions are read back, in order."""
    expected = DeltaDiscoveryResponse(system_version_info=version_info, type_url=SECRET, nonce=nonce, removed_resources=removed)
    for each in resources:
        expected.MergeFrom(resource(*each))
    fields = tuple(delta_field(name.encode(), version, certificate) for name, version, certificate in resources)
    response = Response(
        SECRET,
        nonce,
        version_info,
        tuple(name.encode() for name, _, _ in resources),
        tuple(version for _, version, _ in resources),
        fields,
        tuple(name.encode() for name in removed),
    )
    assert expected == DeltaDiscoveryResponse.FromString(encode_delta_response(response))


@given(st.lists(st.tuples(TEXTS, TEXTS, CERTIFICATES), max_size=4), TEXTS, TEXTS)
def test_an_answer_of_the_whole_state_is_envoys_message(resources, nonce, version_info):
    """Joined fields, nonce and version are read back, in order."""
    expected = DiscoveryResponse(version_info=version_info, type_url=SECRET, nonce=nonce)
    for each in resources:
        expected.resources.append(resource(*each).resources[0].resource)
    fields = tuple(sotw_field(name.encode(), version, certificate) for name, version, certificate in resources)
    response = Response(SECRET, nonce, version_info, (), (), fields)
    assert expected == DiscoveryResponse.FromString(encode_sotw_response(response))


@pytest.mark.parametrize("form", [delta_field, sotw_field])
def test_a_name_stands_as_it_was_spelled(form):
    """The name goes into the field byte for byte, upper case too."""
    assert b"\x0a\x09A.Example" in form(b"A.Example", "1", SecretBytes(b"\x0a\x02\x12\x00"))
