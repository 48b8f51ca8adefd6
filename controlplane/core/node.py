"""Envoys as the fleet sees them: values, resource names, and which of the names that an Envoy held are the busiest.

**Busiest first.** Nobody counts handshakes here: Envoy asks for a name once and then serves it by itself. What is seen is the order in
which an Envoy asked. Clients come at random, a name that is asked for `r` times a second for the first time after 1/r seconds on average,
and of two names the one with the rates r and s comes first with the probability r / (r + s). So the order of the first fetches after
a start is a sample of what clients ask for most. Three things say more, or less, than that order:

- A name that was fetched, evicted and fetched again is in use for certain: these come first, by how often.
- A name that Envoy prefetched says nothing, since no client asked. Such names and those that clients asked for take turns: names that went
  out of use so sink at each start, and a name that is left out by mistake is among the first at the next.
- After a reconnect Envoy names everything at once, in no order. The order that was remembered before then stays.

Names held earlier and not now follow behind for a day after a start, so that a start which ends soon does not make an Envoy forget.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain, islice
from urllib.parse import quote, unquote

from controlplane.core.errors import FieldViolation, InvalidArgument

MAX_REMEMBERED_NAMES = 10_000
"""Names that are remembered of a node."""

MAX_REMEMBERED_NODES = 10_000

MAX_CONNECTIONS_SHOWN = 16
"""Streams of a node that are described one by one; the others are only counted."""

MAX_REFUSED_SHOWN = 64
MAX_IDENTITIES_SHOWN = 16

EARLIER_NAMES_LAST = timedelta(days=1)
"""How long after a start the names that were held before it are still remembered."""

_PREFIX = "nodes/"
_MAX_NODE_ID = 200


@dataclass(frozen=True, slots=True)
class NodeConnection:
    """One open stream of a node. The counts are of this stream."""

    variant: str
    identities: tuple[str, ...]
    connect_time: datetime
    secrets_held: int
    acks: int
    nacks: int


@dataclass(frozen=True, slots=True)
class RefusedSecret:
    """A single secret that a node refused: its name as the node spells it, the version, and the node's words."""

    name: str
    version: str
    error: str


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """What one replica sees, or last saw, of a node.

    `connections` are the newest of its `streams`; counts are over all of them. `connect_time` is that of the oldest.
    `connected` false: all of it is how it was when the last stream ended.
    """

    node_id: str
    cluster: str
    connected: bool
    connect_time: datetime
    streams: int
    connections: tuple[NodeConnection, ...]
    identities: tuple[str, ...]
    variants: tuple[str, ...]
    secrets_held: int
    acks: int
    nacks: int
    refused: tuple[RefusedSecret, ...] = ()


@dataclass(frozen=True, slots=True)
class ReplicaStatus:
    """A replica of `serve` and what is connected to it. `seen_time` is when it said so."""

    replica: str
    start_time: datetime
    seen_time: datetime
    nodes: int
    streams: int
    secrets_held: int
    refused: int


@dataclass(frozen=True, slots=True)
class Fetched:
    """The names that a node fetched and holds, canonical spellings only, the busiest first.

    `repeatedly` were fetched more than once. `once`: the others. `ordered` false: the order of `once` says nothing.
    """

    repeatedly: tuple[bytes, ...] = ()
    once: tuple[bytes, ...] = ()
    ordered: bool = True

    def __len__(self) -> int:
        return len(self.repeatedly) + len(self.once)


def fetched_names(held: Iterable[tuple[bytes, str]], refetched: Mapping[bytes, int], pinned: frozenset[bytes], *, resumed: bool) -> Fetched:
    """Returns what a stream fetched, `MAX_REMEMBERED_NAMES` of each kind at most. See `busiest first` above.

    Args:
        held: names with the version told, the one fetched longest ago first.
        refetched: how often names were fetched that were fetched more than once.
        pinned: names that the node prefetched.
        resumed: whether the node came with secrets from an earlier stream.
    """
    names = [name for name, version in held if version]
    # Spellings other than the canonical one are what strangers try; clients that are worth a prefetch write lower case.
    lowered = list(map(bytes.lower, names))
    if lowered != names:
        names = [name for name, canonical in zip(names, lowered, strict=True) if name == canonical]
    repeatedly: Sequence[bytes] = ()
    if refetched:
        repeatedly = sorted(filter(refetched.__contains__, names), key=refetched.__getitem__, reverse=True)
        names = [name for name in names if name not in refetched]
    if pinned:
        names = _taking_turns(list(filter(pinned.__contains__, names)), [name for name in names if name not in pinned])
    return Fetched(tuple(repeatedly[:MAX_REMEMBERED_NAMES]), tuple(names[:MAX_REMEMBERED_NAMES]), not resumed)


def _taking_turns(first: list[bytes], second: list[bytes]) -> list[bytes]:
    pairs = min(len(first), len(second))
    turns = [b""] * (2 * pairs)
    turns[0::2], turns[1::2] = first[:pairs], second[:pairs]
    return turns + first[pairs:] + second[pairs:]


def together(parts: Sequence[Fetched]) -> Fetched:
    """Returns what several streams of a node fetched, those of the first before those of the next."""
    if len(parts) == 1:
        return parts[0]
    repeatedly = dict.fromkeys(chain.from_iterable(part.repeatedly for part in parts))
    once = dict.fromkeys(chain.from_iterable(part.once for part in parts))
    return Fetched(tuple(repeatedly), tuple(name for name in once if name not in repeatedly), all(part.ordered for part in parts))


def remembered_names(fetched: Fetched, before: Sequence[bytes], *, keep_earlier: bool) -> tuple[bytes, ...]:
    """Returns the names to remember of a node, the busiest first, `MAX_REMEMBERED_NAMES` at most.

    Args:
        fetched: what it holds.
        before: what was remembered before.
        keep_earlier: whether names that it does not hold any more follow behind.
    """
    in_old_order = () if fetched.ordered else filter(frozenset(fetched.once).__contains__, before)
    names = dict.fromkeys(chain(fetched.repeatedly, in_old_order, fetched.once, before if keep_earlier else ()))
    return tuple(islice(names, MAX_REMEMBERED_NAMES))


def counts_earlier(connect_time: datetime, now: datetime) -> bool:
    """Returns whether a node connected so lately that the names which it held before still count."""
    return now - connect_time < EARLIER_NAMES_LAST


def node_resource_name(node_id: str) -> str:
    """Returns `nodes/{id}`. An id may hold any character, so all but unreserved ones are percent-encoded (RFC 3986 section 2.1)."""
    return _PREFIX + quote(node_id, safe="")


def parse_node_name(name: str, *, field: str) -> str:
    """Returns the node id of a resource name; `field` is the path of the field that it came in.

    Raises:
        InvalidArgument: it is not `nodes/{id}`.
    """
    encoded = name.removeprefix(_PREFIX)
    node_id = unquote(encoded, errors="replace")
    if encoded == name or not encoded or "/" in encoded or len(node_id) > _MAX_NODE_ID:
        description = "is not nodes/{id}; characters of the id other than letters, digits, `-`, `.`, `_` and `~` are percent-encoded"
        raise InvalidArgument(FieldViolation(field, description))
    return node_id
