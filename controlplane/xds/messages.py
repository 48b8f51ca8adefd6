"""Requests and answers of both variants of the protocol as values, free of protobuf.

Names are bytes, spelled as the client spelled them (see `resource_names`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

MAX_RESPONSE_BYTES = 512 * 1024
"""No answer grows beyond this, in bytes, unless a single resource does.

Well under the 4 MiB that gRPC lets a client read, and what a client that does not read makes the server keep.
"""

MAX_RESPONSE_RESOURCES = 128
"""Resources in one answer.

A message costs about 80 microseconds whatever is in it: with 128 resources that is less than 1 for each. More gain little, and a client
that refuses one resource refuses the whole answer, which is then halved until that one is found.
"""


class MalformedRequest(Exception):
    """The peer sent bytes that are no request. Its stream cannot go on: what the bytes meant is lost."""


@dataclass(frozen=True, slots=True)
class ErrorDetail:
    """Why a client refused an answer: a `google.rpc.Code` and the client's words."""

    code: int
    message: str


@dataclass(frozen=True, slots=True)
class NodeMetadata:
    """What a client says of itself in `node.metadata`, below `certplane`.

    `on_demand`: strangers decide what it asks for, so it is given a bounded number of resources. `pinned`: names that it was configured
    with, as spelled; they are never taken away to make room and do not count.
    """

    on_demand: bool = False
    pinned: frozenset[bytes] = frozenset()


@dataclass(frozen=True, slots=True)
class Node:
    """Who the client says it is. Nothing vouches for it."""

    id: str = ""
    cluster: str = ""
    metadata: NodeMetadata = NodeMetadata()


@dataclass(frozen=True, slots=True)
class DeltaRequest:
    """A DeltaDiscoveryRequest. `initial_resource_versions` maps names to versions that the client holds from an earlier stream.

    `node` may be in the first request of a stream only; None where it is left out.
    """

    type_url: str
    node: Node | None = None
    subscribe: tuple[bytes, ...] = ()
    unsubscribe: tuple[bytes, ...] = ()
    initial_resource_versions: Mapping[bytes, str] = field(default_factory=dict)
    response_nonce: str = ""
    error_detail: ErrorDetail | None = None


@dataclass(frozen=True, slots=True)
class SotwRequest:
    """A DiscoveryRequest. `resource_names` is everything that the client wants from now on; `node` as in `DeltaRequest`."""

    type_url: str
    node: Node | None = None
    version_info: str = ""
    resource_names: tuple[bytes, ...] = ()
    response_nonce: str = ""
    error_detail: ErrorDetail | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """An answer of either variant: a DeltaDiscoveryResponse, or a DiscoveryResponse, which has no `removed`.

    `names`, `versions` and `fields` are parallel, an entry for each resource. An entry of `fields` is a complete `resources` field of the
    message (tag, length and content), ready to be concatenated; it may hold a secret, so it is not shown. `evicted` counts those among
    `removed` that exist, but were taken away to make room.
    """

    type_url: str
    nonce: str
    version_info: str
    names: tuple[bytes, ...] = ()
    versions: tuple[str, ...] = ()
    fields: tuple[bytes, ...] = field(default=(), repr=False)
    removed: tuple[bytes, ...] = ()
    evicted: int = 0


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """What a client says of an answer: an ACK when `error` is None, else a NACK.

    `versions` are versions of the resources that the answer brought, a few at most; empty when the nonce is not one of ours.
    `refused` are names and versions that are marked bad since this NACK: one when the answer brought a single resource, else none.
    `ours`: there is such an answer on this stream, and it was neither acknowledged before nor is it forgotten.
    """

    nonce: str
    versions: tuple[str, ...]
    error: ErrorDetail | None = None
    refused: tuple[tuple[bytes, str], ...] = ()
    ours: bool = True


@dataclass(frozen=True, slots=True)
class RequestOutcome:
    """What a request changed.

    `held` are canonical names that the client holds since this request, `released` those that it held before and does not any
    more: unsubscribed in this request, or taken away since the last one. `resumed` are those among `held` of which the client says that
    it has a version from an earlier stream.
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
