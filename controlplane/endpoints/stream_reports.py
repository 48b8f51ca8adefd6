"""What streams tell operators: metrics, logs, and the tally of each stream.

Strangers decide how many unknown names are asked for, and a client how many answers it refuses: nothing of either is logged by name above
`debug`, except a single secret that a client refused, once.
"""

import logging
from collections.abc import Mapping
from functools import cache

import structlog
from prometheus_client import Gauge

from controlplane.endpoints.counted_lines import CountedLine
from controlplane.usecases.loop_counter import LoopCounter
from controlplane.xds.messages import Acknowledgement, RequestOutcome, Response

_log = structlog.get_logger(__name__)
_level = logging.getLogger(__name__)

_STREAMS = Gauge("certplane_xds_streams", "Open streams.", ["variant"])
_SENT = LoopCounter("certplane_xds_secrets_sent_total", "Secrets sent.", ["variant"])
_REMOVALS = LoopCounter("certplane_xds_removals_sent_total", "Names answered as removed.", ["variant"])
_EVICTIONS = LoopCounter("certplane_xds_evictions_total", "Secrets taken away from a client to make room for others.", ["variant"])
_ACKS = LoopCounter("certplane_xds_acks_total", "Answers that clients accepted.", ["variant"])
_NACKS = LoopCounter("certplane_xds_nacks_total", "Answers that clients refused.", ["variant"])
_REFUSED = LoopCounter("certplane_xds_refused_secrets_total", "Single secrets that clients refused.", ["variant"])
_STALE = LoopCounter("certplane_xds_stale_requests_total", "State-of-the-world requests with an old nonce.", ["variant"])
_IMPOSSIBLE = LoopCounter("certplane_xds_impossible_names_total", "Names in requests that cannot be DNS names.", ["variant"])
_UNKNOWN = LoopCounter("certplane_xds_unknown_names_total", "Names asked for that there is no secret for.", ["variant"])
_DENIED = LoopCounter("certplane_xds_denied_names_total", "Names that their client may not have, answered as unknown ones.", ["variant"])
_MALFORMED = LoopCounter("certplane_xds_decode_failures_total", "Requests that could not be decoded.", ["variant"])
_HELD_UP = LoopCounter("certplane_xds_held_up_streams_total", "Streams that were ended since their client did not read.", ["variant"])
_EXCESS = LoopCounter("certplane_xds_excess_streams_total", "Streams that were refused, one too many of a connection.", ["variant"])

REFUSED_SHOWN = 64


class VariantMetrics:
    """The metrics of one variant. A label is looked up once: it costs as much as all the rest of what is done with it."""

    def __init__(self, label: str) -> None:
        self.streams = _STREAMS.labels(label)
        self.sent = _SENT.labels(label)
        self.removals = _REMOVALS.labels(label)
        self.evictions = _EVICTIONS.labels(label)
        self.acks = _ACKS.labels(label)
        self.nacks = _NACKS.labels(label)
        self.refused = _REFUSED.labels(label)
        self.stale = _STALE.labels(label)
        self.impossible = _IMPOSSIBLE.labels(label)
        self.unknown = _UNKNOWN.labels(label)
        self.denied = _DENIED.labels(label)
        self.malformed = _MALFORMED.labels(label)
        self.held_up = _HELD_UP.labels(label)
        self.excess = _EXCESS.labels(label)


@cache
def metrics_of(label: str) -> VariantMetrics:
    """Returns the metrics of a variant."""
    return VariantMetrics(label)


class ProcessReports:
    """The lines that all streams of a process share."""

    def __init__(self) -> None:
        self.unknown = CountedLine(lambda count: _log.info("unknown names asked for", names=count))
        self.denied = CountedLine(lambda count: _log.info("names outside of what their clients may have asked for", names=count))
        self.excess = CountedLine(lambda count: _log.warning("streams refused, one too many of a connection", streams=count))

    def flush(self) -> None:
        """Writes what was counted and not written yet."""
        for line in (self.unknown, self.denied, self.excess):
            line.flush()


class FetchReports:
    """What FetchSecrets reports, as a variant of its own."""

    def __init__(self, process: ProcessReports) -> None:
        self._process = process
        self._malformed, self._denied, self._sent = (metric.labels("fetch") for metric in (_MALFORMED, _DENIED, _SENT))

    def malformed(self, reason: str) -> None:
        """Notes a request that cannot be decoded."""
        self._malformed.inc()
        _log.warning("request cannot be decoded", variant="fetch", reason=reason)

    def denied(self, names: int) -> None:
        """Notes names asked for that the client may not have."""
        self._denied.inc(names)
        self._process.denied.add(names)

    def sent(self, secrets: int) -> None:
        """Notes an answer."""
        self._sent.inc(secrets)


class StreamReports:
    """What one stream reports. `acks` and `nacks` count the answers that its client accepted and refused."""

    def __init__(self, label: str, process: ProcessReports) -> None:
        self.metrics = metrics_of(label)
        self.acks = 0
        self.nacks = 0
        self._process = process
        self._refusals: dict[bytes, tuple[str, str]] = {}
        self._log = _log.bind(variant=label, node="")
        self._foreign_type_seen = False

    def opened(self) -> None:
        """Notes that the stream begins."""
        self.metrics.streams.inc()

    def introduced(self, node_id: str) -> None:
        """Notes who the client says it is."""
        self._log = self._log.bind(node=node_id)

    def closed(self) -> None:
        """Notes that the stream ends."""
        self.metrics.streams.dec()

    # ---- in ----

    def received(self, outcome: RequestOutcome) -> None:
        """Notes what a request said."""
        if outcome.acknowledgement is not None:
            self._acknowledged(outcome.acknowledgement)
        if outcome.stale:
            self.metrics.stale.inc()
        if outcome.impossible_names:
            self.metrics.impossible.inc(outcome.impossible_names)
            self._process.unknown.add(outcome.impossible_names)
        if outcome.unanswerable_names:
            self._log.debug("names that are not UTF-8 are left unanswered", names=outcome.unanswerable_names)

    def _acknowledged(self, acknowledgement: Acknowledgement) -> None:
        error = acknowledgement.error
        if error is None:
            if not acknowledgement.ours:
                return
            self.acks += 1
            self.metrics.acks.inc()
            if _level.isEnabledFor(logging.DEBUG):
                self._log.debug("answer accepted", nonce=acknowledgement.nonce[:64], version_info=",".join(acknowledgement.versions))
            return
        self.nacks += acknowledgement.ours
        self.metrics.nacks.inc()
        fields = {"nonce": acknowledgement.nonce[:64], "code": error.code, "error": error.message}
        for name, version in acknowledgement.refused:
            shown = name.decode("utf-8", "backslashreplace")
            self.metrics.refused.inc()
            self._refusals.pop(name, None)
            self._refusals[name] = version, error.message
            if len(self._refusals) > REFUSED_SHOWN:
                del self._refusals[next(iter(self._refusals))]
            self._log.warning("secret refused", name=shown, version_info=version, **fields)
        if not acknowledgement.refused:
            self._log.info("answer refused", version_info=",".join(acknowledgement.versions), **fields)

    def refused(self, now: Mapping[bytes, str]) -> dict[str, tuple[str, str]]:
        """Returns version and the client's words for each of the names in `now` that are known to be refused in that version."""
        return {
            name.decode("utf-8", "backslashreplace"): refusal for name, refusal in self._refusals.items() if now.get(name) == refusal[0]
        }

    def foreign_type(self, type_url: str) -> None:
        """Notes a request for a type that is not served: a line for the first one of the stream."""
        if not self._foreign_type_seen:
            self._foreign_type_seen = True
            self._log.warning("requests for a type that is not served are left alone", type_url=type_url[:200])

    def malformed(self, reason: str) -> None:
        """Notes a request that cannot be decoded."""
        self.metrics.malformed.inc()
        self._log.warning("request cannot be decoded", reason=reason)

    # ---- out ----

    def sent(self, response: Response) -> None:
        """Notes an answer."""
        if response.fields:
            self.metrics.sent.inc(len(response.fields))
        if response.removed:
            self.metrics.removals.inc(len(response.removed))
        if response.evicted:
            self.metrics.evictions.inc(response.evicted)
        if _level.isEnabledFor(logging.DEBUG):
            self._log.debug(
                "answer sent",
                nonce=response.nonce,
                version_info=response.version_info,
                resources=len(response.fields),
                removed=len(response.removed),
            )

    def unknown(self, names: int) -> None:
        """Notes names asked for that there is no secret for."""
        self.metrics.unknown.inc(names)
        self._process.unknown.add(names)

    def denied(self, names: int) -> None:
        """Notes names asked for that the client may not have."""
        self.metrics.denied.inc(names)
        self._process.denied.add(names)

    def held_up(self) -> None:
        """Notes that the client did not read an answer in time."""
        self.metrics.held_up.inc()
        self._log.warning("client does not read, its stream is ended")
