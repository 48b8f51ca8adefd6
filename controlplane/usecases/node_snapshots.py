"""Writes down what is connected to this replica, so that every replica can answer for the fleet and a node's names outlive it.

Nothing here is part of a handshake. Every few seconds the replica says that it lives and writes down who came and who went; the counts
of the others follow in turns, a slice of them each time, and only if they changed. Names are written some minutes apart, and when a
node goes. What the store does not take is kept, within bounds, and tried again; serving never waits for it.
"""

import asyncio
import random
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import islice

import structlog
from prometheus_client import Counter, Histogram

from controlplane.core.errors import CertplaneError
from controlplane.core.node import NodeStatus, remembered_names
from controlplane.core.ports.clock import Clock
from controlplane.core.ports.nodes import NodeStore
from controlplane.usecases.nodes import Departure, NodeRegistry

_log = structlog.get_logger(__name__)
_FAILURES = Counter("certplane_node_snapshot_failures_total", "Times that what is known of nodes could not be written to the store")
_SECONDS = Histogram(
    "certplane_node_snapshot_seconds",
    "Duration of writing down what changed about nodes.",
    buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5),
)

_NODES_A_BEAT = 64
"""Nodes whose names are written in a beat; with 10,000 names each they take about a second of CPU, in small pieces."""

_STATUSES_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class SnapshotTimes:
    """How often is written. The counts of a node follow within `slices` beats, if they changed.

    `first_names`: how long after it connected the names of a node are written for the first time; `names`: how often then, if they
    changed; `pause`: between two nodes. `refresh`: how often even what did not change is written again, because what is remembered of
    a node expires.
    """

    beat: timedelta = timedelta(seconds=5)
    slices: int = 6
    first_names: timedelta = timedelta(seconds=60)
    names: timedelta = timedelta(minutes=10)
    pause: timedelta = timedelta(milliseconds=20)
    refresh: timedelta = timedelta(hours=1)
    failure_log: timedelta = timedelta(minutes=1)


@dataclass(slots=True)
class _Written:
    """What the store has of a node that is connected, as far as this replica knows."""

    status: NodeStatus
    time: datetime
    names_due: datetime
    names_fingerprint: int | None = None
    due: bool = False
    """Whether it is to be written whatever it is."""


class NodeSnapshots:
    """Run `run` for as long as the replica serves, then `close` once, while its streams are still open."""

    def __init__(self, registry: NodeRegistry, store: NodeStore, clock: Clock, times: SnapshotTimes = SnapshotTimes()) -> None:
        self._registry = registry
        self._store = store
        self._clock = clock
        self._times = times
        self._written: dict[str, _Written] = {}
        self._slice = 0
        self._writing = asyncio.Lock()
        self._closed = False
        self._failures = 0
        self._failure_logged: datetime | None = None

    async def run(self) -> None:
        """Writes for ever. A store that is away is logged once a minute."""
        # Replicas that were started together do not write together.
        await asyncio.sleep(random.uniform(0, self._times.beat.total_seconds()))  # noqa: S311 (spreads load, keeps no secret)
        while True:
            try:
                await self.beat()
            except CertplaneError as error:
                self._note_failure(str(error))
            except Exception as error:
                # Nothing about the fleet's view may end the process; the error's text could hold anything.
                self._note_failure(type(error).__name__)
            await asyncio.sleep(self._times.beat.total_seconds())

    async def beat(self) -> None:
        """Writes what is due now; nothing once it is closed.

        Raises:
            Unavailable: the store does not answer; all of it stays due.
        """
        async with self._writing:
            if self._closed:
                return
            with _SECONDS.time():
                departures = self._registry.departures()
                await self._write_statuses(departures)
                now = self._clock()
                due = (node_id for node_id, written in self._written.items() if written.names_due <= now)
                await self._write_names(islice(dict.fromkeys((*departures, *due)), _NODES_A_BEAT), departures)
        self._slice = (self._slice + 1) % self._times.slices

    async def close(self, seconds: float = 3.0) -> None:
        """Writes down everything of the nodes that are still connected, as they go with this replica; takes `seconds` at most."""
        self._closed = True
        try:
            async with asyncio.timeout(seconds), self._writing:
                departures, node_ids = self._registry.departures(), tuple(self._registry.node_ids())
                statuses = {node_id: departure.status for node_id, departure in departures.items()}
                statuses |= {node_id: status for node_id in node_ids if (status := self._registry.status(node_id))}
                await self._save((), [_gone(status) for status in statuses.values()])
                await self._write_names(statuses, departures)
                await self._store.leave(self._registry.replica)
        except (CertplaneError, TimeoutError) as error:
            _log.warning("nodes not written down at the end", reason=type(error).__name__)

    # ---- who is connected ----

    async def _write_statuses(self, departures: Mapping[str, Departure]) -> None:
        left = {node_id: written.status for node_id, written in self._written.items() if node_id not in self._registry}
        left |= {node_id: departure.status for node_id, departure in departures.items() if node_id not in self._registry}
        stored = await self._save(self._changed(), [_gone(status) for status in left.values()])
        if stored != len(self._written):
            # The store was emptied, failed over, or was away for so long that our entry expired.
            _log.info("the store lost what is connected here, all of it is written again", nodes=len(self._written), stored=stored)
            for written in self._written.values():
                written.due = True

    def _changed(self) -> Sequence[NodeStatus]:
        now, changed = self._clock(), []
        for node_id in tuple(self._registry.node_ids()):
            written = self._written.get(node_id)
            due = written is None or written.due or now - written.time >= self._times.refresh
            if due or zlib.crc32(node_id.encode()) % self._times.slices == self._slice:
                status = self._registry.status(node_id)
                if status is not None and (due or written is None or status != written.status):
                    changed.append(status)
        return changed

    async def _save(self, changed: Sequence[NodeStatus], gone: Sequence[NodeStatus]) -> int:
        """Writes statuses, and that this replica lives; returns how many nodes are connected to it by the store."""
        while True:
            now = self._clock()
            some_changed, some_gone = changed[:_STATUSES_AT_ONCE], gone[:_STATUSES_AT_ONCE]
            stored = await self._store.save(self._registry.replica_status(), some_changed, some_gone)
            for status in some_changed:
                written = self._written.get(status.node_id)
                if written is None:
                    self._written[status.node_id] = _Written(status, now, now + self._times.first_names)
                else:
                    written.status, written.time, written.due = status, now, False
            for status in some_gone:
                self._written.pop(status.node_id, None)
            changed, gone = changed[_STATUSES_AT_ONCE:], gone[_STATUSES_AT_ONCE:]
            if not changed and not gone:
                return stored

    # ---- what they hold ----

    async def _write_names(self, node_ids: Iterable[str], departures: Mapping[str, Departure]) -> None:
        for node_id in node_ids:
            await self._write_names_of(node_id)
            if node_id in departures:
                self._registry.written(departures[node_id])
            # A node with 10,000 names takes some milliseconds, in which handshakes wait.
            await asyncio.sleep(0 if self._closed else self._times.pause.total_seconds())

    async def _write_names_of(self, node_id: str) -> None:
        now, fetched, written = self._clock(), self._registry.fetched(node_id), self._written.get(node_id)
        fingerprint = hash(fetched)
        if fetched and (written is None or written.names_fingerprint != fingerprint):
            keep_earlier = self._registry.started_lately(node_id)
            names = await self._store.names(node_id)
            for part in fetched:
                names = await asyncio.to_thread(remembered_names, part, names, keep_earlier=keep_earlier)
            await self._store.save_names(node_id, names)
        if written is not None:
            written.names_due, written.names_fingerprint = now + self._times.names, fingerprint

    # ---- when the store is away ----

    def _note_failure(self, reason: str) -> None:
        _FAILURES.inc()
        self._failures += 1
        now = self._clock()
        if self._failure_logged is None or now - self._failure_logged >= self._times.failure_log:
            _log.warning("nodes not written down, trying again", reason=reason, failures=self._failures)
            self._failures, self._failure_logged = 0, now


def _gone(status: NodeStatus) -> NodeStatus:
    return replace(status, connected=False, connections=())
