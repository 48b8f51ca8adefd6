"""One stream of either variant: requests in, answers out.

Reading never waits for the store, nor for a client that does not read. So a task looks names up and writes answers; it is started when
something is due and ends when nothing is. Only a few names that are known already are answered by the reader itself, at once, and only if
the client has acknowledged all answers before and this one is short: it has read them then, and the write cannot be held up. Either answers
at a time, never both, so answers are in order. A subscription is not touched by two at a time, since each of its steps is taken without a
turn of the loop in between.

After an answer that only says of names that they do not exist, the next answer waits for a moment. Strangers can ask for such names at any
rate, and each costs a look-up, an answer and its acknowledgement: in a flood several names share them, which nearly halves what a name
costs here, and what it costs an Envoy by two fifths. Nobody waits while nobody floods.

What changes while an answer waits for its client to read is noted in the subscription only, so a slow client costs no queue, and one that
does not read at all is left after a while (`held_up`). Names that do not exist are all that can pile up, as a client may ask for more of
them at any time: beyond some it is not read from until it has read (`Subscription.is_behind`).
"""

import asyncio
import contextlib
from collections.abc import Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Generic, NamedTuple

import grpc.aio

from controlplane.core.access import EVERYTHING, Grant
from controlplane.endpoints.granted_secrets import granted
from controlplane.endpoints.resent_fields import resent
from controlplane.endpoints.stream_node import StreamNode
from controlplane.endpoints.stream_parts import Client, StreamServices
from controlplane.endpoints.stream_reports import StreamReports
from controlplane.endpoints.stream_variants import RequestT, Variant
from controlplane.usecases.known_secrets import Known
from controlplane.usecases.retry_delays import RetryDelays
from controlplane.xds.messages import MalformedRequest, Node
from controlplane.xds.subscription import Absence, Claims, Subscription
from controlplane.xds.type_urls import SECRET

NAMES_PER_STEP = 1024
_NAMES_AT_ONCE = 16
"""As many names as the reader answers itself."""

_BYTES_AT_ONCE = 32 * 1024
"""Of an answer that the reader writes itself: half of the window that a client has at first (RFC 9113 section 6.9.2). One that has read all
may leave the other half closed until it has read more."""

_REFUSALS_APART_SECONDS = 0.002
"""A name that is asked for the first time in a flood waits so long at most, as it may be one that does not exist."""

_FIRST_RETRY_SECONDS = 0.05
_LONGEST_RETRY_SECONDS = 5.0


class ClientHeldUp(Exception):
    """The client did not read an answer in time."""


class _Batch(NamedTuple):
    """Names that an answer is due for, what is known of them, and for which of them the store must be asked."""

    claims: Claims
    known: dict[str, Known]
    missing: Sequence[str]


class SecretStream(Generic[RequestT]):
    """A stream while it lasts: a `Holder` for the directory, a `Writer` for the deadline of writes. Call `serve` once."""

    def __init__(self, variant: Variant[RequestT], services: StreamServices, client: Client) -> None:
        self._variant: Variant[RequestT] = variant
        self._services = services
        self._directory = services.directory
        self._client = client
        self._subscription: Subscription[RequestT] = variant.subscribe(services.limits, services.answers.pages)
        self._reports = StreamReports(variant.label, services.reports)
        self._node: Node | None = None
        self._grant: Grant = EVERYTHING
        self._registered: StreamNode | None = None
        self._asked_for_secrets = False
        self._answering = False
        self._writes = 0
        self._write_under_way = 0
        self._slow = False
        self._scope = asyncio.timeout(None)
        self._tasks = asyncio.TaskGroup()
        self._new_work: asyncio.Event | None = None
        self._taken: asyncio.Event | None = None
        self._open = False
        self._held_up = False
        self._answers_again = 0.0
        self._malformed: MalformedRequest | None = None

    async def serve(self) -> None:
        """Serves until `end` is called, or until the client has ended its side and everything that it asked for is answered.

        Raises:
            MalformedRequest: the client sent bytes that are no request.
            ClientHeldUp: the client did not read.
        """
        self._reports.opened()
        self._directory.attach(self)
        try:
            async with self._scope, self._tasks:
                self._open = True
                await self._read()
        except TimeoutError:
            pass  # the scope was left: see `end`
        finally:
            self._close()
        if self._malformed is not None:
            raise self._malformed
        if self._held_up:
            self._reports.held_up()
            raise ClientHeldUp

    def end(self) -> None:
        """Ends the stream. An answer that is being written still reaches the client."""
        if self._open:
            self._open = False
            self._scope.reschedule(asyncio.get_running_loop().time())

    def _close(self) -> None:
        self._open = False
        if self._services.nodes is not None and self._registered is not None:
            self._services.nodes.disconnected(self._registered)
        self._directory.release(self._subscription.end())
        self._directory.detach(self)
        self._reports.closed()

    # ---- for the directory ----

    def holds(self, key: str) -> bool:
        """Returns whether the client holds a canonical name."""
        return self._subscription.holds(key)

    def changed(self, keys: Iterable[str]) -> None:
        """Notes that what is behind these canonical names changed."""
        self._subscription.changed(keys)
        if self._open and self._subscription.has_work:
            self._start_answering()

    # ---- for the deadline of writes ----

    @property
    def write_under_way(self) -> int:
        """The number of the write that is under way; 0 for none."""
        return self._write_under_way

    def held_up(self) -> None:
        """Ends the stream since its client does not read."""
        self._held_up = self._open
        self.end()

    # ---- in ----

    async def _read(self) -> None:
        read, decode = self._client.read, self._variant.decode
        try:
            while isinstance(data := await read(), bytes):
                self._receive(decode(data))
                if self._subscription.has_work:
                    if self._answering or self._reports.acks + self._reports.nacks < self._writes or self._refused_lately > 0.0:
                        self._start_answering()
                    else:
                        await self._answer_at_once()
                    if self._subscription.is_behind:
                        await self._catch_up()
        except MalformedRequest as error:
            self._reports.malformed(str(error))
            self._malformed = error
            self.end()

    async def _catch_up(self) -> None:
        """Waits until a request can be received without keeping ever more for a client that does not read; gRPC makes it wait too."""
        while self._subscription.is_behind:
            self._taken = asyncio.Event()
            await self._taken.wait()

    def _receive(self, request: RequestT) -> None:
        if self._node is None:
            self._node = self._introduce(request.node)
        if (request.type_url or self._variant.implied_type) != SECRET:
            self._reports.foreign_type(request.type_url)
            return
        if not self._asked_for_secrets:
            self._asked_for_secrets = True
            if request.node is None:
                # It may have come with a request for another type.
                request = replace(request, node=self._node)
        outcome = self._subscription.receive(request)
        # Holds first: a name that is in both stays held.
        if outcome.held:
            self._directory.hold(outcome.held, outcome.resumed)
            if outcome.resumed and self._registered is not None:
                self._registered.resumed = True
        if outcome.released:
            self._directory.release(outcome.released)
        self._reports.received(outcome)

    def _introduce(self, told: Node | None) -> Node:
        """Takes the node of a first request, and decides what the client may have."""
        node, client = told or Node(), self._client
        self._grant = self._services.access.grant(client.identities, node.id, node.cluster)
        self._reports.introduced(node.id)
        if told is not None and self._services.nodes is not None:
            self._registered = StreamNode(
                node, self._variant.label, client.identities, client.connect_time, self._subscription, self._reports
            )
            self._services.nodes.connected(self._registered)
        return node

    # ---- out ----

    async def _answer_at_once(self) -> None:
        """Answers what is due if it is little and known, and has the rest answered."""
        self._answering = True
        batch = self._take()
        if len(batch.claims) > _NAMES_AT_ONCE or batch.missing or batch.claims.needs_previous(batch.known):
            self._run(self._answer_all(batch))
            return
        answers = self._answers(batch.claims, batch.known)
        data = next(answers, None)
        if data is not None and len(data) <= _BYTES_AT_ONCE:
            await self._write(data)
            data = next(answers, None)
        if data is not None:
            self._run(self._answer_on(data, answers))
            return
        self._answering = False
        if self._open and self._subscription.has_work:
            self._start_answering()

    def _start_answering(self) -> None:
        """Has what is due answered; whoever is answering already does it."""
        if not self._answering:
            self._answering = True
            self._run(self._answer_all())
        elif self._new_work is not None:
            self._new_work.set()

    def _run(self, work: Coroutine[None, None, None]) -> None:
        try:
            self._tasks.create_task(work)
        except RuntimeError:
            work.close()  # the stream is ending

    async def _answer_all(self, batch: _Batch | None = None) -> None:
        """Answers until nothing is due; `batch` was taken already."""
        delays = RetryDelays(_FIRST_RETRY_SECONDS, _LONGEST_RETRY_SECONDS)
        while self._open and (batch is not None or self._subscription.has_work):
            if batch is None and (seconds := self._refused_lately) > 0.0:
                await asyncio.sleep(seconds)
                continue
            if await self._answer_batch(batch or self._take()):
                delays.reset()
            else:
                await self._pause(delays.next())
            batch = None
        self._answering = False

    @property
    def _refused_lately(self) -> float:
        """For how many seconds answers still wait since the last one only refused names; not more than 0 for none."""
        return self._answers_again - asyncio.get_running_loop().time()

    async def _answer_on(self, data: bytes, answers: Iterator[bytes]) -> None:
        """Writes an answer and those that come after it; then answers until nothing is due."""
        more = await self._write(data)
        del data
        while more:
            more = await self._write_next(answers)
        await self._answer_all()

    def _take(self) -> _Batch:
        claims = self._subscription.take(NAMES_PER_STEP)
        if self._taken is not None:
            self._taken.set()
            self._taken = None
        known, missing = self._directory.recall(claims.keys, claims.told)
        return _Batch(claims, known, missing)

    async def _answer_batch(self, batch: _Batch) -> bool:
        """Answers names, after the store was asked for those that are not known. Returns False when it did not answer for all of them."""
        claims, known, missing = batch
        if missing:
            known |= await self._directory.resolve(missing, claims.told)
        wanted = claims.needs_previous(known)
        previous = await self._directory.resolve_previous(wanted) if wanted else {}
        await self._answer(claims, known, previous)
        return not (missing or wanted) or (known.keys() >= set(missing) and previous.keys() >= set(wanted))

    async def _answer(self, claims: Claims, known: Mapping[str, Known], previous: Mapping[str, Known]) -> None:
        """Writes the answers for claims."""
        answers = self._answers(claims, known, previous)
        write = self._write_next if len(claims) <= _NAMES_AT_ONCE else self._write_next_in_turn
        while await write(answers):
            pass

    def _answers(self, claims: Claims, known: Mapping[str, Known], previous: Mapping[str, Known] | None = None) -> Iterator[bytes]:
        """Makes the answers for claims, each when it is asked for."""
        form = resent(self._variant.form, claims.attempt) if claims.attempt else self._variant.form
        fields = partial(self._directory.fields, form)
        missing = 0
        for response in self._subscription.answers(claims, self._granted(known), fields, self._granted(previous) if previous else {}):
            made = [self._services.answers.encode(self._variant.encode, response)]
            self._reports.sent(response)
            missing += len(response.removed) - response.evicted
            # Freed while it is in the processor's cache: a hundred streams take turns between two answers.
            del response
            yield made.pop()  # and keep nothing of it until the next is asked for
        if missing:
            self._refused(claims, known)

    def _refused(self, claims: Claims, known: Mapping[str, Known]) -> None:
        """Notes that the answers for claims said of names that they do not exist."""
        if all(isinstance(found, Absence) for found in known.values()):
            self._answers_again = asyncio.get_running_loop().time() + _REFUSALS_APART_SECONDS
        unknown = sum(isinstance(found, Absence) and key not in claims.told for key, found in known.items())
        if unknown:
            self._reports.unknown(unknown)

    async def _write_next_in_turn(self, answers: Iterator[bytes]) -> bool:
        """Makes and writes an answer that may be large. See `_write_next`."""
        slot = await self._services.turns.of(slow=self._slow).take()
        try:
            return await self._write_next(answers)
        finally:
            slot.give_back()
            self._slow = slot.lapsed

    async def _write_next(self, answers: Iterator[bytes]) -> bool:
        """Makes and writes the next answer; returns whether there may be more: there was one, and the client is there."""
        data = next(answers, None)
        return data is not None and await self._write(data)

    async def _write(self, data: bytes) -> bool:
        """Writes an answer; returns whether the client is there."""
        self._writes = self._write_under_way = self._writes + 1
        try:
            await self._client.write(data)
        except grpc.aio.InternalError:
            # gRPC cancels the call soon, or has done so.
            self.end()
            return False
        self._write_under_way = 0
        return True

    def _granted(self, known: Mapping[str, Known]) -> Mapping[str, Known]:
        allowed, denied = granted(known, self._grant)
        if denied:
            self._reports.denied(denied)
        return allowed

    async def _pause(self, seconds: float) -> None:
        """Waits before the store is asked again, or until something else is asked for."""
        self._new_work = asyncio.Event()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._new_work.wait()
        self._new_work = None
