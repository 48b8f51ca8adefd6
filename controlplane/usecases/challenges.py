"""Answers HTTP-01 challenges (RFC 8555 section 8.3), and leaves every other request alone.

Whoever asks is a stranger: a CA from an address that nobody knows, or anybody else. So the token is looked at before the store is, and an
answer goes only to a host that the token was planted for.

A CA asks for the same token from several places at once (Let's Encrypt: from five), so an answer is given again for a moment without
asking the store. That a token was not there is not remembered: it may be planted by then.
"""

import asyncio
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

import structlog

from controlplane.core.errors import Unavailable
from controlplane.core.line_limit import LineLimit
from controlplane.core.ports import Clock, TokenRecord, TokenStore
from controlplane.usecases.equal_deadlines import EqualDeadlines
from controlplane.usecases.loop_counter import LoopCounter
from controlplane.xds.resource_names import canonical_name

_log = structlog.get_logger(__name__)
_level = logging.getLogger(__name__)

_CHECKS = LoopCounter("certplane_challenge_checks_total", "HTTP requests that were checked.", ["outcome"])
# Made once: looking a label up costs as much as all the rest of the most frequent outcome.
_PASSED, _ANSWERED, _UNKNOWN, _UNAVAILABLE = map(_CHECKS.labels, ("passed", "answered", "unknown", "unavailable"))

CHALLENGE_PREFIX = b"/.well-known/acme-challenge/"

_BASE64URL = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
"""What a token is made of, without padding (RFC 8555 section 8.1)."""

_LONGEST_TOKEN = 128
"""Characters; longer than any CA's."""

_HOST = re.compile(rb"([^:\[\]]+?)\.?(?::[0-9]{1,5})?")
"""Host with a trailing dot and a port, both optional (RFC 9110 section 7.2); no IP literal."""

_STORE_SECONDS = 1.5
"""Less than Envoy waits for a check, so that Envoy gets our answer and not its own time-out."""

_METHODS = frozenset({b"GET", b"HEAD"})

_SECONDS_BETWEEN_COMPLAINTS = 60.0

ANSWERED_AGAIN = timedelta(seconds=1)
"""How long a token that was withdrawn may still be answered: the key authorization was given out before, and its challenge is over."""

_RECENT = 1_024
"""So many answers are remembered. Strangers add none without knowing a token."""

_LONGEST_REMEMBERED = 512
"""Bytes of host and path together; whoever knows a token could make them as long as Envoy allows, with a query."""


@dataclass(frozen=True, slots=True)
class ChallengeReply:
    """An HTTP response to send in place of the site's own. The body is a capability while its challenge lasts."""

    status: int
    body: bytes = field(repr=False)
    _encoded: list[bytes] = field(default_factory=list, init=False, repr=False, compare=False)

    def encoded(self, encode: Callable[["ChallengeReply"], bytes]) -> bytes:
        """Returns what `encode`, always the same, makes of it: an answer that is given again need not be encoded again."""
        if not self._encoded:
            self._encoded.append(encode(self))
        return self._encoded[0]


_NOT_FOUND = ChallengeReply(404, b"no such challenge\n")
_STORE_AWAY = ChallengeReply(503, b"try again\n")


class _Recent(NamedTuple):
    """An answer that was given, and until when it may be given again."""

    reply: ChallengeReply
    until: datetime


class Challenges:
    """Answers from planted tokens."""

    def __init__(self, tokens: TokenStore, clock: Clock) -> None:
        self._tokens = tokens
        self._clock = clock
        self._recent: dict[tuple[bytes, bytes], _Recent] = {}
        """By host and path as they were sent; the first is the oldest."""
        self._deadlines = EqualDeadlines(_STORE_SECONDS)
        self._complaints = LineLimit(_SECONDS_BETWEEN_COMPLAINTS)

    async def reply(self, method: bytes, host: bytes, path: bytes) -> ChallengeReply | None:
        """Returns what to answer an HTTP request with, or None when it is not for a challenge and goes its way.

        `path` may have a query, `host` a port; all three are as a stranger sent them. Never raises.
        """
        if not path.startswith(CHALLENGE_PREFIX):
            _PASSED.inc()
            return None
        if method not in _METHODS:
            _UNKNOWN.inc()
            return _NOT_FOUND
        recent = self._recent.get((host, path))
        if recent is not None and self._clock() < recent.until:
            _ANSWERED.inc()
            return recent.reply
        return await self._looked_up(host, path)

    async def _looked_up(self, host: bytes, path: bytes) -> ChallengeReply:
        token = path[len(CHALLENGE_PREFIX) :].partition(b"?")[0]
        name = _host_name(host)
        if name is None or not _is_token(token):
            _UNKNOWN.inc()
            return _NOT_FOUND
        try:
            record = await self._deadlines.keep(self._tokens.find(token.decode("ascii")))
        except Exception as error:
            self._complain(name, error)
            _UNAVAILABLE.inc()
            return _STORE_AWAY
        now = self._clock()
        if record is None or not _answers(record, name, now):
            # Not louder: any stranger can ask, as often as they like.
            if _level.isEnabledFor(logging.DEBUG):
                _log.debug("unknown challenge", domain=name)
            _UNKNOWN.inc()
            return _NOT_FOUND
        # A CA asks several times for each order; the count is in the metric, and the worker tells how the order went.
        if _level.isEnabledFor(logging.DEBUG):
            _log.debug("challenge answered", domain=name)
        _ANSWERED.inc()
        reply = ChallengeReply(200, record.key_authorization.reveal())
        self._remember((host, path), _Recent(reply, min(now + ANSWERED_AGAIN, record.expire_time)), now)
        return reply

    def _remember(self, asked: tuple[bytes, bytes], recent: _Recent, now: datetime) -> None:
        if sum(map(len, asked)) > _LONGEST_REMEMBERED:
            return
        remembered = self._recent
        remembered.pop(asked, None)
        while remembered and (len(remembered) >= _RECENT or next(iter(remembered.values())).until <= now):
            del remembered[next(iter(remembered))]
        remembered[asked] = recent

    def _complain(self, name: str, error: Exception) -> None:
        """Logs that the store gave no answer, at most once a minute: strangers decide how often it is asked."""
        failures = self._complaints.due(asyncio.get_running_loop().time())
        if not failures:
            return
        if isinstance(error, Unavailable | TimeoutError):
            reason = str(error) or type(error).__name__
            _log.warning("challenge cannot be looked up", domain=name, reason=reason, failures=failures)
        else:
            _log.error("look-up of a challenge failed", domain=name, exc_info=error, failures=failures)


def _answers(record: TokenRecord, name: str, now: datetime) -> bool:
    return name in record.names and now < record.expire_time and record.key_authorization.reveal().isascii()


def _is_token(token: bytes) -> bool:
    return 0 < len(token) <= _LONGEST_TOKEN and not token.translate(None, _BASE64URL)


def _host_name(host: bytes) -> str | None:
    name = canonical_name(host)
    if name is not None:
        return name
    match = _HOST.fullmatch(host)
    return canonical_name(match[1]) if match else None
