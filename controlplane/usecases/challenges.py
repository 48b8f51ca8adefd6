"""Answers HTTP-01 challenges (RFC 8555 section 8.3), and leaves every other request alone.

Whoever asks is a stranger: a CA from an address that nobody knows, or anybody else. So the token is looked at before the store is, and an
answer goes only to a host that the token was planted for.
"""

import asyncio
import logging
import re
from dataclasses import dataclass, field

import structlog

from controlplane.core.errors import Unavailable
from controlplane.core.ports import Clock, TokenRecord, TokenStore
from controlplane.usecases.loop_counter import LoopCounter
from controlplane.xds.resource_names import canonical_name

_log = structlog.get_logger(__name__)
_level = logging.getLogger(__name__)

_CHECKS = LoopCounter("certplane_challenge_checks_total", "HTTP requests that were checked.", ["outcome"])
# Made once: looking a label up costs as much as all the rest of the most frequent outcome.
_PASSED, _ANSWERED, _UNKNOWN, _UNAVAILABLE = map(_CHECKS.labels, ("passed", "answered", "unknown", "unavailable"))

CHALLENGE_PREFIX = b"/.well-known/acme-challenge/"

_TOKEN = re.compile(rb"[A-Za-z0-9_-]{1,128}")
"""base64url without padding (RFC 8555 section 8.1), of any length that a CA may choose."""

_HOST = re.compile(rb"([^:\[\]]+?)\.?(?::[0-9]{1,5})?")
"""Host with a trailing dot and a port, both optional (RFC 9110 section 7.2); no IP literal."""

_STORE_SECONDS = 1.5
"""Less than Envoy waits for a check, so that Envoy gets our answer and not its own time-out."""

_SECONDS_BETWEEN_COMPLAINTS = 60.0


@dataclass(frozen=True, slots=True)
class ChallengeReply:
    """An HTTP response to send in place of the site's own. The body is a capability while its challenge lasts."""

    status: int
    body: bytes = field(repr=False)


_NOT_FOUND = ChallengeReply(404, b"no such challenge\n")
_STORE_AWAY = ChallengeReply(503, b"try again\n")


class Challenges:
    """Answers from planted tokens."""

    def __init__(self, tokens: TokenStore, clock: Clock) -> None:
        self._tokens = tokens
        self._clock = clock
        self._next_complaint = float("-inf")

    async def reply(self, method: bytes, host: bytes, path: bytes) -> ChallengeReply | None:
        """Returns what to answer an HTTP request with, or None when it is not for a challenge and goes its way.

        `path` may have a query, `host` a port; all three are as a stranger sent them. Never raises.
        """
        if not path.startswith(CHALLENGE_PREFIX):
            _PASSED.inc()
            return None
        token = path[len(CHALLENGE_PREFIX) :].partition(b"?")[0]
        name = _host_name(host)
        if name is None or method not in (b"GET", b"HEAD") or not _TOKEN.fullmatch(token):
            _UNKNOWN.inc()
            return _NOT_FOUND
        try:
            async with asyncio.timeout(_STORE_SECONDS):
                record = await self._tokens.find(token.decode("ascii"))
        except Exception as error:
            self._complain(name, error)
            _UNAVAILABLE.inc()
            return _STORE_AWAY
        if record is None or not self._answers(record, name):
            # Not louder: any stranger can ask, as often as they like.
            if _level.isEnabledFor(logging.DEBUG):
                _log.debug("unknown challenge", domain=name)
            _UNKNOWN.inc()
            return _NOT_FOUND
        # A CA asks several times for each order; the count is in the metric, and the worker tells how the order went.
        if _level.isEnabledFor(logging.DEBUG):
            _log.debug("challenge answered", domain=name)
        _ANSWERED.inc()
        return ChallengeReply(200, record.key_authorization.reveal())

    def _complain(self, name: str, error: Exception) -> None:
        """Logs that the store gave no answer, at most once a minute: strangers decide how often it is asked."""
        now = asyncio.get_running_loop().time()
        if now < self._next_complaint:
            return
        self._next_complaint = now + _SECONDS_BETWEEN_COMPLAINTS
        if isinstance(error, Unavailable | TimeoutError):
            _log.warning("challenge cannot be looked up", domain=name, reason=str(error) or type(error).__name__)
        else:
            _log.error("look-up of a challenge failed", domain=name, exc_info=error)

    def _answers(self, record: TokenRecord, name: str) -> bool:
        return name in record.names and self._clock() < record.expire_time and record.key_authorization.reveal().isascii()


def _host_name(host: bytes) -> str | None:
    match = _HOST.fullmatch(host)
    return canonical_name(match[1]) if match else None
