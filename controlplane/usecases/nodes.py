"""Which Envoys are connected to this replica, what they hold, and what they refused: in memory only, and read when somebody asks.

A handshake touches nothing of this: the registry keeps the streams, and a stream keeps what it needs for the protocol anyway.
"""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from typing import Protocol

from prometheus_client import Gauge

from controlplane.core.node import (
    MAX_CONNECTIONS_SHOWN,
    MAX_IDENTITIES_SHOWN,
    MAX_REFUSED_SHOWN,
    Fetched,
    NodeConnection,
    NodeStatus,
    RefusedSecret,
    ReplicaStatus,
    counts_earlier,
    fetched_names,
    together,
)
from controlplane.core.ports.clock import Clock
from controlplane.xds.messages import Node

_CONNECTED = Gauge("certplane_nodes_connected", "Nodes with an open stream, by their ids; clients that tell no id are not among them.")

MAX_DEPARTED_NAMES = 500_000
"""Names of nodes that left and were not written down yet, at about 60 bytes each; beyond that those that left first are forgotten."""

MAX_DEPARTURES = 10_000
_ERROR_CHARACTERS = 300


class NodeStream(Protocol):
    """An open stream of an Envoy, as the registry sees it. All is read on the event loop, and nothing of it may wait or raise.

    The properties `acks`, `nacks` and `refused` and both methods are read anew at every look: they tell what is so then.
    """

    @property
    def node(self) -> Node:
        """Who the Envoy says it is, from its first request. It stays the same while the stream lasts."""
        ...

    @property
    def variant(self) -> str:
        """The variant of the protocol, as in metrics: `delta_ads`, `delta_sds`, `sotw_ads` or `sotw_sds`."""
        ...

    @property
    def identities(self) -> tuple[str, ...]:
        """The subject alternative names that mutual TLS verified; none on a listener without TLS."""
        ...

    @property
    def connect_time(self) -> datetime:
        """When the stream was opened, aware, in UTC."""
        ...

    @property
    def resumed(self) -> bool:
        """Whether the Envoy came with secrets from an earlier stream (`initial_resource_versions` of the first request is not empty).

        What it held then came in no order that means anything.
        """
        ...

    @property
    def secrets_held(self) -> int:
        """How many names `held` returns, without walking through them."""
        ...

    @property
    def acks(self) -> int:
        """Answers that the Envoy accepted on this stream."""
        ...

    @property
    def nacks(self) -> int:
        """Answers that it refused."""
        ...

    @property
    def refused(self) -> Mapping[str, tuple[str, str]]:
        """Single secrets that it refused and that are not pushed again: name to version and the Envoy's words. 64 at most."""
        ...

    def held(self) -> Iterable[tuple[bytes, str]]:
        """Returns the names that the Envoy holds with the version that it was told, the one fetched longest ago first."""
        ...

    def refetched(self) -> Mapping[bytes, int]:
        """Returns how often a name was fetched, for those that were fetched more than once on this stream. Bounded."""
        ...


class NodeObserver(Protocol):
    """Somebody who is told which Envoys are connected. Both methods are called on the event loop, return at once and do not raise."""

    def connected(self, stream: NodeStream) -> None:
        """Called once for each stream, when its first request has told the node."""
        ...

    def disconnected(self, stream: NodeStream) -> None:
        """Called once at the end of a stream that was `connected`, while what it held can still be read from it."""
        ...


@dataclass(frozen=True, slots=True)
class Departure:
    """A node of which streams ended: how it stood before, when that was, and what was fetched on each of them."""

    status: NodeStatus
    time: datetime
    parts: tuple[Fetched, ...]


class NodeRegistry:
    """A `NodeObserver` that answers for the nodes of this replica. Several streams may be of one node, and several Envoys share an id.

    A client that tells no id is no node: nobody could ask for it.
    """

    def __init__(self, replica: str, clock: Clock) -> None:
        """Makes it empty. `replica` identifies this process among all that use the store, and is new with each start."""
        self.replica = replica
        self._clock = clock
        self._start_time = clock()
        self._streams: dict[str, dict[NodeStream, None]] = {}
        self._departures: dict[str, Departure] = {}
        self._departed_names = 0

    def connected(self, stream: NodeStream) -> None:
        """See `NodeObserver.connected`."""
        if stream.node.id:
            self._streams.setdefault(stream.node.id, {})[stream] = None
            _CONNECTED.set(len(self._streams))

    def disconnected(self, stream: NodeStream) -> None:
        """See `NodeObserver.disconnected`. What the stream held is kept until somebody says that it is `written`."""
        node_id = stream.node.id
        streams = self._streams.get(node_id, {})
        if stream not in streams:
            return
        self._note_departure(stream, tuple(streams))
        del streams[stream]
        if not streams:
            del self._streams[node_id]
            _CONNECTED.set(len(self._streams))

    def __contains__(self, node_id: object) -> bool:
        return node_id in self._streams

    def node_ids(self) -> AbstractSet[str]:
        """Returns the ids of the nodes that are connected."""
        return self._streams.keys()

    def status(self, node_id: str) -> NodeStatus | None:
        """Returns how a node stands; None when it is not connected."""
        streams = self._streams.get(node_id)
        return None if streams is None else _status(tuple(streams))

    def fetched(self, node_id: str) -> Sequence[Fetched]:
        """Returns what a node fetched and held on streams that ended, as far as it is not written, and then what it holds now."""
        departure = self._departures.get(node_id)
        ended = together(departure.parts) if departure else Fetched()
        return tuple(filter(len, (ended, together([_fetched(stream) for stream in self._streams.get(node_id, ())]))))

    def started_lately(self, node_id: str) -> bool:
        """Returns whether what a node held before it connected still counts."""
        departure = self._departures.get(node_id)
        status = self.status(node_id) or (departure.status if departure else None)
        return status is None or counts_earlier(status.connect_time, self._clock())

    def replica_status(self) -> ReplicaStatus:
        """Returns this replica as it stands now."""
        streams = [stream for streams in self._streams.values() for stream in streams]
        return ReplicaStatus(
            replica=self.replica,
            start_time=self._start_time,
            seen_time=self._clock(),
            nodes=len(self._streams),
            streams=len(streams),
            secrets_held=sum(stream.secrets_held for stream in streams),
            refused=sum(len(stream.refused) for stream in streams),
        )

    def departure(self, node_id: str) -> Departure | None:
        """Returns what is not written yet of a node of which streams ended."""
        return self._departures.get(node_id)

    def departures(self) -> Mapping[str, Departure]:
        """Returns the same of all nodes."""
        return dict(self._departures)

    def written(self, departure: Departure) -> None:
        """Notes that a departure is written; one that has grown since is written again."""
        node_id = departure.status.node_id
        if self._departures.get(node_id) is departure:
            self._forget(node_id)

    def _note_departure(self, stream: NodeStream, streams: Sequence[NodeStream]) -> None:
        """Notes that `stream` ends, one of the `streams` of its node."""
        node_id = stream.node.id
        before = self._departures.pop(node_id, None)
        if before is not None and before.status.streams >= len(streams):
            # Streams of a node that goes end one after the other: it is looked at once, while all are there.
            status = before.status
        else:
            status = replace(_status(streams), connected=False, connections=())
        fetched = _fetched(stream)
        parts = (*(before.parts if before else ()), *filter(len, (fetched,)))
        self._departures[node_id] = Departure(status, self._clock(), parts)
        self._departed_names += len(fetched)
        while self._departed_names > MAX_DEPARTED_NAMES or len(self._departures) > MAX_DEPARTURES:
            self._forget(next(iter(self._departures)))

    def _forget(self, node_id: str) -> None:
        self._departed_names -= sum(map(len, self._departures.pop(node_id).parts))


def _fetched(stream: NodeStream) -> Fetched:
    return fetched_names(stream.held(), stream.refetched(), stream.node.metadata.pinned, resumed=stream.resumed)


def _status(streams: Sequence[NodeStream]) -> NodeStatus:
    """Returns the status of a node from its streams, in the order in which they came; there is at least one."""
    newest = streams[-1]
    refused = (
        RefusedSecret(name, version, error[:_ERROR_CHARACTERS]) for stream in streams for name, (version, error) in stream.refused.items()
    )
    return NodeStatus(
        node_id=newest.node.id,
        cluster=newest.node.cluster,
        connected=True,
        connect_time=min(stream.connect_time for stream in streams),
        streams=len(streams),
        connections=tuple(map(_connection, streams[-MAX_CONNECTIONS_SHOWN:])),
        identities=tuple(islice(dict.fromkeys(name for stream in streams for name in stream.identities), MAX_IDENTITIES_SHOWN)),
        variants=tuple(sorted({stream.variant for stream in streams})),
        secrets_held=sum(stream.secrets_held for stream in streams),
        acks=sum(stream.acks for stream in streams),
        nacks=sum(stream.nacks for stream in streams),
        refused=tuple(islice(refused, MAX_REFUSED_SHOWN)),
    )


def _connection(stream: NodeStream) -> NodeConnection:
    identities = stream.identities[:MAX_IDENTITIES_SHOWN]
    return NodeConnection(stream.variant, identities, stream.connect_time, stream.secrets_held, stream.acks, stream.nacks)
