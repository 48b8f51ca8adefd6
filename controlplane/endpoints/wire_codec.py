"""Answers on the wire: put together from bytes, without a protobuf object for any of them.

Protobuf allows it ("Last One Wins" and repeated fields in the encoding guide): a message is its fields one after the other, in any order.
So what is expensive, the `resources` field of a secret, is made once, kept, and shared by all answers that bring it; an answer is these
fields joined with the few bytes that are its own.

Fields are those of Envoy's API with the numbers of protos/certplane/wire/v1/discovery.proto.
"""

from functools import lru_cache
from typing import Final

from controlplane.core.redacted import SecretBytes
from controlplane.xds.messages import Response
from controlplane.xds.type_urls import SECRET


@lru_cache(maxsize=4096)
def _varint(number: int) -> bytes:
    """Returns a base 128 varint (encoding guide, "Base 128 Varints"): a secret takes eleven, which are lengths that many have."""
    if number < 0x80:
        return bytes((number,))
    septets = bytearray()
    while number >= 0x80:
        septets.append(number & 0x7F | 0x80)
        number >>= 7
    septets.append(number)
    return bytes(septets)


def _tag(field: int) -> bytes:
    """Returns the tag of a field of wire type 2: a length, and so many bytes."""
    return _varint(field << 3 | 2)


def _field(tag: bytes, content: bytes) -> bytes:
    return tag + _varint(len(content)) + content


# DeltaDiscoveryResponse and DiscoveryResponse have the same numbers for what both have.
_VERSION_INFO: Final = _tag(1)
_RESOURCES: Final = _tag(2)
_NONCE: Final = _tag(5)
_REMOVED_RESOURCES: Final = _tag(6)
_RESPONSE_TYPE: Final = _field(_tag(4), SECRET.encode())

_RESOURCE_VERSION: Final = _tag(1)
_RESOURCE_ANY: Final = _tag(2)
_RESOURCE_NAME: Final = _tag(3)

_ANY_TYPE: Final = _field(_tag(1), SECRET.encode())
_ANY_VALUE: Final = _tag(2)

_SECRET_NAME: Final = _tag(1)
_SECRET_TLS_CERTIFICATE: Final = _tag(2)

_CERTIFICATE_CHAIN: Final = _tag(1)
_PRIVATE_KEY: Final = _tag(2)
_INLINE_BYTES: Final = _tag(2)


def delta_field(name: bytes, version: str, content: SecretBytes) -> bytes:
    """Returns a secret as a complete `resources` field of a DeltaDiscoveryResponse.

    Args:
        name: as the client spelled it: Envoy refuses a secret whose name is another than it asked for.
        version: the xDS version of the resource.
        content: a serialised TlsCertificate.
    """
    certificate = content.reveal()
    any_head = _any_head(name, len(certificate))
    head = b"".join((_field(_RESOURCE_VERSION, version.encode()), _RESOURCE_ANY, _varint(len(any_head) + len(certificate)), any_head))
    tail = _field(_RESOURCE_NAME, name)
    return b"".join((_RESOURCES, _varint(len(head) + len(certificate) + len(tail)), head, certificate, tail))


def sotw_field(name: bytes, version: str, content: SecretBytes) -> bytes:
    """Returns a secret as a complete `resources` field of a DiscoveryResponse, which has no version of a single resource.

    Args: see `delta_field`.
    """
    del version
    certificate = content.reveal()
    head = _any_head(name, len(certificate))
    return b"".join((_RESOURCES, _varint(len(head) + len(certificate)), head, certificate))


def _any_head(name: bytes, length: int) -> bytes:
    """Returns what stands in an Any before the TlsCertificate of `length` bytes, which ends its Secret and the Any."""
    head = b"%b%b%b" % (_field(_SECRET_NAME, name), _SECRET_TLS_CERTIFICATE, _varint(length))
    return b"%b%b%b%b" % (_ANY_TYPE, _ANY_VALUE, _varint(len(head) + length), head)


def encode_delta_response(response: Response) -> bytes:
    """Serialises a DeltaDiscoveryResponse of secrets."""
    tail = _RESPONSE_TYPE + _field(_NONCE, response.nonce.encode())
    if response.version_info:
        tail += _field(_VERSION_INFO, response.version_info.encode())
    return b"".join((*response.fields, tail, *[_field(_REMOVED_RESOURCES, name) for name in response.removed]))


def encode_sotw_response(response: Response) -> bytes:
    """Serialises a DiscoveryResponse of secrets. What does not exist cannot be said in it."""
    tail = _RESPONSE_TYPE + _field(_NONCE, response.nonce.encode()) + _field(_VERSION_INFO, response.version_info.encode())
    return b"".join((*response.fields, tail))


def changed_tls_certificate(content: SecretBytes, newlines: int) -> SecretBytes:
    """Returns a TlsCertificate in other bytes that mean the same: with so many newlines after its chain (RFC 7468 section 2).

    Args:
        content: what `serialise_tls_certificate` made.
        newlines: how many.
    """
    certificate = content.reveal()
    _, start = _read_varint(certificate, len(_CERTIFICATE_CHAIN))
    length, start = _read_varint(certificate, start + len(_INLINE_BYTES))
    chain, key = certificate[start : start + length], certificate[start + length :]
    return SecretBytes(_field(_CERTIFICATE_CHAIN, _field(_INLINE_BYTES, chain + b"\n" * newlines)) + key)


def _read_varint(data: bytes, start: int) -> tuple[int, int]:
    """Returns the varint at `start`, and where it ends."""
    number = shift = 0
    while True:
        septet = data[start]
        number |= (septet & 0x7F) << shift
        start, shift = start + 1, shift + 7
        if septet < 0x80:
            return number, start


def serialise_tls_certificate(certificate_chain: bytes, private_key: SecretBytes) -> SecretBytes:
    """Serialises envoy.extensions.transport_sockets.tls.v3.TlsCertificate with both parts inline; both are PEM."""
    key = private_key.reveal()
    chain_head, key_head = _INLINE_BYTES + _varint(len(certificate_chain)), _INLINE_BYTES + _varint(len(key))
    chain_length, key_length = _varint(len(chain_head) + len(certificate_chain)), _varint(len(key_head) + len(key))
    return SecretBytes(b"".join((_CERTIFICATE_CHAIN, chain_length, chain_head, certificate_chain, _PRIVATE_KEY, key_length, key_head, key)))
