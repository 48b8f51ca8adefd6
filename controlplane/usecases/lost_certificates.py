"""Tells operators of certificates that were served and cannot be read any more, without filling their disk."""

from collections import Counter as Tally
from collections.abc import Callable
from enum import StrEnum

import structlog
from prometheus_client import Counter

from controlplane.core.line_limit import LineLimit

_log = structlog.get_logger(__name__)

_LOST = Counter(
    "certplane_secret_lost_lookups_total",
    "Look-ups that found nothing to serve for a name that was served before and is not deleted; clients keep what they hold.",
    ["reason"],
)

SECONDS_BETWEEN_LINES = 60.0


class Loss(StrEnum):
    """Why a certificate that was served before cannot be served now."""

    MISSING = "missing"
    """The store has no certificate for the name, and none was deleted: it was emptied, restored or failed over."""
    REJECTED = "rejected"
    """What is stored cannot be read or is not authentic."""
    OLDER = "older"
    """What is stored is of an older generation than was seen: a replay, or a store that was set back."""


class LostCertificates:
    """Counts losses, and logs them with one line a minute at most."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._tally: Tally[str] = Tally()
        self._example = ""
        self._lines = LineLimit(SECONDS_BETWEEN_LINES)
        self._metrics = {loss: _LOST.labels(loss.value) for loss in Loss}

    def note(self, loss: Loss, key: str) -> None:
        """Counts a look-up of a canonical name; `tell` says so."""
        self._metrics[loss].inc()
        self._tally[loss.value] += 1
        self._example = key

    def tell(self) -> None:
        """Logs what was counted since the last line, unless that was less than a minute ago."""
        if not self._tally or not self._lines.due(self._monotonic()):
            return
        _log.error("certificates that were served before cannot be read, clients keep what they hold", domain=self._example, **self._tally)
        self._tally.clear()
