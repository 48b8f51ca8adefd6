"""One stream of either variant: requests in, answers out.

Two tasks share a subscription, and need no lock since each of its steps is taken without a turn of the loop in between. One reads requests
and applies them at once. The other sleeps until there is work, looks names up and writes answers; gRPC holds it back while the client
does not read. What changes meanwhile is noted in the subscription only, so a slow client costs no queue.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

import structlog
from prometheus_client import Counter, Gauge

from controlplane.endpoints.wire_codec import decode_delta_request, decode_sotw_request, encode_delta_response, encode_sotw_response
from controlplane.usecases.retry_delays import RetryDelays
from controlplane.usecases.secrets import SecretDirectory
from controlplane.xds.delta import DeltaSubscription
from controlplane.xds.messages import Acknowledgement, DeltaRequest, MalformedRequest, RequestOutcome, Response, SotwRequest
from controlplane.xds.sotw import SotwSubscription
from controlplane.xds.subscription import Subscription
from controlplane.xds.type_urls import SECRET

_log = structlog.get_logger(__name__)

_STREAMS = Gauge("certplane_xds_streams", "Open streams.", ["variant"])
_SENT = Counter("certplane_xds_secrets_sent_total", "Secrets sent.", ["variant"])
_REMOVALS = Counter("certplane_xds_removals_sent_total", "Names answered as removed.", ["variant"])
_ACKS = Counter("certplane_xds_acks_total", "Answers that clients accepted.", ["variant"])
_NACKS = Counter("certplane_xds_nacks_total", "Answers that clients refused.", ["variant"])
_STALE = Counter("certplane_xds_stale_requests_total", "State-of-the-world requests with an old nonce.", ["variant"])
_IMPOSSIBLE = Counter("certplane_xds_impossible_names_total", "Names in requests that cannot be DNS names.", ["variant"])
_MALFORMED = Counter("certplane_xds_decode_failures_total", "Requests that could not be decoded.", ["variant"])

NAMES_PER_STEP = 256
_FIRST_RETRY_SECONDS = 0.05
_LONGEST_RETRY_SECONDS = 5.0

RequestT = TypeVar("RequestT", DeltaRequest, SotwRequest)


@dataclass(frozen=True, slots=True)
class Variant(Generic[RequestT]):
    """A variant of the protocol: how its messages are read and written, and its state machine.

    `label` is for metrics. `implied_type` is the type of a request that names none; empty where requests must name one. `subscribe`
    takes the type and how many resources a client is given at most.
    """

    label: str
    implied_type: str
    decode: Callable[[bytes], RequestT]
    encode: Callable[[Response], bytes]
    subscribe: Callable[[str, int], Subscription[RequestT]]


def _sotw(type_url: str, _max_resources: int) -> SotwSubscription:
    """Returns a subscription without a bound: a request names all that is wanted, and nothing can be taken away from its client."""
    return SotwSubscription(type_url)


DELTA_ADS = Variant("delta_ads", "", decode_delta_request, encode_delta_response, DeltaSubscription)
DELTA_SDS = Variant("delta_sds", SECRET, decode_delta_request, encode_delta_response, DeltaSubscription)
SOTW_ADS = Variant("sotw_ads", "", decode_sotw_request, encode_sotw_response, _sotw)
SOTW_SDS = Variant("sotw_sds", SECRET, decode_sotw_request, encode_sotw_response, _sotw)


class SecretStream(Generic[RequestT]):
    """A stream while it lasts. Call `serve` once."""

    def __init__(
        self, variant: Variant[RequestT], directory: SecretDirectory, write: Callable[[bytes], Awaitable[None]], max_secrets: int
    ) -> None:
        """Makes a stream whose answers go to `write`, which waits while the client does not read.

        The client is given `max_secrets` at most.
        """
        self._variant: Variant[RequestT] = variant
        self._directory = directory
        self._write = write
        self._subscription: Subscription[RequestT] = variant.subscribe(SECRET, max_secrets)
        self._held: set[str] = set()
        # Looked up once: it costs as much as all the rest of what is done with them.
        self._sent, self._removals, self._acks = (metric.labels(variant.label) for metric in (_SENT, _REMOVALS, _ACKS))
        self._work = asyncio.Event()
        self._ended = False
        self._half_closed = False
        self._malformed: MalformedRequest | None = None
        self._foreign_type_seen = False
        self._log = _log.bind(variant=variant.label, node="")

    async def serve(self, requests: AsyncIterable[bytes]) -> None:
        """Serves until `end` is called, or until the client has ended its side and everything that it asked for is answered.

        Raises:
            MalformedRequest: the client sent bytes that are no request.
        """
        _STREAMS.labels(self._variant.label).inc()
        try:
            async with asyncio.TaskGroup() as tasks:
                reader = tasks.create_task(self._read(requests))
                await self._write_answers()
                reader.cancel()
        finally:
            self._ended = True
            for key in self._held:
                self._directory.release(key, self)
            _STREAMS.labels(self._variant.label).dec()
        if self._malformed is not None:
            raise self._malformed

    def end(self) -> None:
        """Ends the stream after the answer that is being written."""
        self._ended = True
        self._work.set()

    def changed(self, keys: Iterable[str]) -> None:
        """Notes that what is behind these canonical names changed (`Holder`)."""
        self._subscription.changed(keys)
        self._work.set()

    # ---- in ----

    async def _read(self, requests: AsyncIterable[bytes]) -> None:
        try:
            async for data in requests:
                self._receive(self._variant.decode(data))
            self._half_closed = True
            self._work.set()
        except MalformedRequest as error:
            _MALFORMED.labels(self._variant.label).inc()
            self._log.warning("request cannot be decoded", reason=str(error))
            self._malformed = error
            self.end()

    def _receive(self, request: RequestT) -> None:
        if request.node_id:
            self._log = self._log.bind(node=request.node_id)
        if (request.type_url or self._variant.implied_type) != SECRET:
            if not self._foreign_type_seen:
                self._foreign_type_seen = True
                self._log.warning("requests for a type that is not served are left alone", type_url=request.type_url[:200])
            return
        outcome = self._subscription.receive(request)
        self._update_held(outcome)
        self._report(outcome)
        if self._subscription.has_work:
            self._work.set()

    def _update_held(self, outcome: RequestOutcome) -> None:
        resumed = frozenset(outcome.resumed)
        for key in outcome.held:
            self._held.add(key)
            self._directory.hold(key, self, has_version=key in resumed)
        for key in outcome.released:
            self._held.discard(key)
            self._directory.release(key, self)

    def _report(self, outcome: RequestOutcome) -> None:
        label = self._variant.label
        if outcome.stale:
            _STALE.labels(label).inc()
        if outcome.impossible_names:
            _IMPOSSIBLE.labels(label).inc(outcome.impossible_names)
        if outcome.unanswerable_names:
            self._log.debug("names that are not UTF-8 are left unanswered", names=outcome.unanswerable_names)
        if outcome.acknowledgement is not None:
            self._report_acknowledgement(outcome.acknowledgement)

    def _report_acknowledgement(self, acknowledgement: Acknowledgement) -> None:
        fields = {"nonce": acknowledgement.nonce[:64], "version_info": ",".join(acknowledgement.versions)}
        if acknowledgement.error is None:
            self._acks.inc()
            self._log.debug("answer accepted", **fields)
        else:
            _NACKS.labels(self._variant.label).inc()
            self._log.warning("answer refused", **fields, code=acknowledgement.error.code, error=acknowledgement.error.message)

    # ---- out ----

    async def _write_answers(self) -> None:
        delays = RetryDelays(_FIRST_RETRY_SECONDS, _LONGEST_RETRY_SECONDS)
        delay: float | None = None
        while True:
            await self._wait_for_work(delay)
            if self._ended:
                return
            claims = self._subscription.take(NAMES_PER_STEP)
            known = await self._directory.resolve(claim.key for claim in claims)
            for response in self._subscription.answers(claims, known, self._directory.content):
                await self._send(response)
                if self._ended:
                    return
            if any(claim.key not in known for claim in claims):
                delay = delays.next()
            else:
                delay = None
                delays.reset()
                if self._subscription.has_work:
                    self._work.set()
                elif self._half_closed:
                    return

    async def _wait_for_work(self, delay: float | None) -> None:
        """Waits until there is work, or until it is time to ask again for what the store did not answer (`delay`, in seconds)."""
        if delay is None:
            await self._work.wait()
        else:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._work.wait()
        self._work.clear()

    async def _send(self, response: Response) -> None:
        await self._write(self._variant.encode(response))
        self._sent.inc(len(response.resources))
        self._removals.inc(len(response.removed))
        self._log.debug(
            "answer sent",
            nonce=response.nonce,
            version_info=response.version_info,
            resources=len(response.resources),
            removed=len(response.removed),
        )
