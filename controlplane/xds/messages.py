"""Requests and answers of both variants of the protocol as values, free of protobuf.

Names are bytes, spelled as the client spelled them (see `resource_names`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

MAX_RESPONSE_BYTES = 1024 * 1024
"""No answer grows beyond this, in bytes, unless a single resource does."""

MAX_RESPONSE_RESOURCES = 64
"""Resources in one answer. A client that refuses one resource refuses the whole answer and does not say which it was."""

RESOURCE_OVERHEAD_BYTES = 256
"""More than all tags, lengths and type URLs around one resource take."""


class MalformedRequest(Exception):
    """The peer sent bytes that are no request. Its stream cannot go on: what the bytes meant is lost."""


@dataclass(frozen=True, slots=True)
class ErrorDetail:
    """Why a client refused an answer: a `google.rpc.Code` and the client's words."""

    code: int
    message: str


@dataclass(frozen=True, slots=True)
class DeltaRequest:
    """A DeltaDiscoveryRequest. `initial_resource_versions` maps names to versions that the client holds from an earlier stream."""

    type_url: str
    node_id: str = ""
    subscribe: tuple[bytes, ...] = ()
    unsubscribe: tuple[bytes, ...] = ()
    initial_resource_versions: Mapping[bytes, str] = field(default_factory=dict)
    response_nonce: str = ""
    error_detail: ErrorDetail | None = None


@dataclass(frozen=True, slots=True)
class SotwRequest:
    """A DiscoveryRequest. `resource_names` is everything that the client wants from now on."""

    type_url: str
    node_id: str = ""
    version_info: str = ""
    resource_names: tuple[bytes, ...] = ()
    response_nonce: str = ""
    error_detail: ErrorDetail | None = None


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource in an answer. `body` is what the resource's type says, serialised; it may hold a secret, so it is not shown."""

    name: bytes
    version: str
    body: bytes = field(repr=False)

    @property
    def size(self) -> int:
        """An upper bound of the bytes that it takes in an answer: the name stands twice in it."""
        return len(self.body) + 2 * len(self.name) + RESOURCE_OVERHEAD_BYTES


@dataclass(frozen=True, slots=True)
class Response:
    """An answer of either variant: a DeltaDiscoveryResponse, or a DiscoveryResponse, which has no `removed`."""

    type_url: str
    nonce: str
    version_info: str
    resources: tuple[Resource, ...] = ()
    removed: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """What a client says of an answer: an ACK when `error` is None, else a NACK.

    `versions` are versions of the resources that the answer brought, a few at most; empty when the nonce is not one of ours.
    """

    nonce: str
    versions: tuple[str, ...]
    error: ErrorDetail | None = None


@dataclass(frozen=True, slots=True)
class RequestOutcome:
    """What a request changed.

    `held` are canonical names that the client holds since this request, `released` those that it held before and does not any
    more. `resumed` are those among `held` of which the client says that it has a version from an earlier stream.
    `stale`: the request answered an earlier answer than the last one and its names were not taken (state of the world only).
    `impossible_names` counts names that cannot be DNS names, `unanswerable_names` those among them that no answer may repeat.
    """

    acknowledgement: Acknowledgement | None = None
    held: tuple[str, ...] = ()
    released: tuple[str, ...] = ()
    stale: bool = False
    impossible_names: int = 0
    unanswerable_names: int = 0
    resumed: tuple[str, ...] = ()
