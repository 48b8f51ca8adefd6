"""Bytes on the wire to and from the protocol's values.

Requests are decoded with mirror messages that have `bytes` where a stranger chooses the content (protos/certplane/wire/v1), so that no
ClientHello and no HTTP request can make a message undecodable. Answers are put together from bytes: what is expensive (the serialised
TlsCertificate) is made once and shared; only the few bytes around it differ between spellings of a name, and between streams.
"""

from envoy.extensions.transport_sockets.tls.v3 import common_pb2
from google.protobuf.message import DecodeError

from controlplane.api.certplane.wire.v1 import discovery_pb2 as wire
from controlplane.core.redacted import SecretBytes
from controlplane.xds.messages import DeltaRequest, ErrorDetail, MalformedRequest, Resource, Response, SotwRequest

_NODE_ID_CHARACTERS = 200
_ERROR_CHARACTERS = 500


def decode_delta_request(data: bytes) -> DeltaRequest:
    """Decodes a DeltaDiscoveryRequest.

    Raises:
        MalformedRequest: the bytes are no such message.
    """
    try:
        message = wire.DeltaDiscoveryRequest.FromString(data)
    except DecodeError as error:
        raise MalformedRequest("not a DeltaDiscoveryRequest") from error
    return DeltaRequest(
        type_url=message.type_url,
        node_id=_shown(message.node.id, _NODE_ID_CHARACTERS),
        subscribe=tuple(message.resource_names_subscribe),
        unsubscribe=tuple(message.resource_names_unsubscribe),
        initial_resource_versions={entry.key: entry.value.decode("utf-8", "replace") for entry in message.initial_resource_versions},
        response_nonce=message.response_nonce,
        error_detail=_error_detail(message),
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
        type_url=message.type_url,
        node_id=_shown(message.node.id, _NODE_ID_CHARACTERS),
        version_info=message.version_info,
        resource_names=tuple(message.resource_names),
        response_nonce=message.response_nonce,
        error_detail=_error_detail(message),
    )


def _error_detail(message: wire.DeltaDiscoveryRequest | wire.DiscoveryRequest) -> ErrorDetail | None:
    if not message.HasField("error_detail"):
        return None
    return ErrorDetail(message.error_detail.code, _shown(message.error_detail.message, _ERROR_CHARACTERS))


def _shown(content: bytes, characters: int) -> str:
    """Returns a stranger's bytes as text fit for a log, cut to so many characters."""
    return content[: 4 * characters].decode("utf-8", "backslashreplace")[:characters]


def encode_delta_response(response: Response) -> bytes:
    """Serialises a DeltaDiscoveryResponse of secrets."""
    return wire.DeltaDiscoveryResponse(
        system_version_info=response.version_info,
        resources=[_delta_resource(resource, response.type_url) for resource in response.resources],
        type_url=response.type_url,
        removed_resources=response.removed,
        nonce=response.nonce,
    ).SerializeToString()


def encode_sotw_response(response: Response) -> bytes:
    """Serialises a DiscoveryResponse of secrets. What does not exist cannot be said in it."""
    return wire.DiscoveryResponse(
        version_info=response.version_info,
        resources=[_secret(resource, response.type_url) for resource in response.resources],
        type_url=response.type_url,
        nonce=response.nonce,
    ).SerializeToString()


def _delta_resource(resource: Resource, type_url: str) -> bytes:
    return wire.Resource(name=resource.name, version=resource.version, resource=_secret(resource, type_url)).SerializeToString()


def _secret(resource: Resource, type_url: str) -> bytes:
    """Returns the Secret inside its Any. Envoy refuses a secret whose name is not spelled as it asked for it."""
    secret = wire.Secret(name=resource.name, tls_certificate=resource.body)
    return wire.Any(type_url=type_url, value=secret.SerializeToString()).SerializeToString()


def serialise_tls_certificate(certificate_chain: bytes, private_key: SecretBytes) -> SecretBytes:
    """Serialises envoy.extensions.transport_sockets.tls.v3.TlsCertificate with both parts inline; both are PEM."""
    certificate = common_pb2.TlsCertificate()
    certificate.certificate_chain.inline_bytes = certificate_chain
    certificate.private_key.inline_bytes = private_key.reveal()
    return SecretBytes(certificate.SerializeToString())
