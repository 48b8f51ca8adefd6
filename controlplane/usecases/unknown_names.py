"""Names of which the store has just said that there is nothing to serve: a flood of unknown names must not become a flood of look-ups."""

from collections.abc import Callable, Collection, Iterable

from controlplane.usecases.cache_metrics import CacheMetrics
from controlplane.xds.subscription import Absence

REMEMBERED_NAMES = 65_536
"""At about 110 bytes for a name of 30 characters: 7 MB; 22 MB if all had the 253 that a DNS name may have."""

REMEMBERED_SECONDS = 30.0
REJECTED_SECONDS = 1.0
"""For a record that cannot be believed: nothing says when it is repaired."""


class _Slices:
    """Absences by name, each forgotten after `seconds` at the latest.

    They lie in two slices. When the newer one is half the time old or holds half of the limit it becomes the older one, and what was older
    is dropped whole: so nothing is written down about when a single name is to be forgotten.
    """

    def __init__(self, limit: int, seconds: float) -> None:
        self._half_limit = max(limit // 2, 1)
        self._seconds = seconds
        self._newer: dict[str, Absence] = {}
        self._older: dict[str, Absence] = {}
        self._newer_since = self._older_since = 0.0

    def __len__(self) -> int:
        return len(self._newer) + len(self._older)

    def find(self, keys: Iterable[str], now: float) -> dict[str, Absence]:
        if not self._newer and not self._older:
            return {}
        self.age(now)
        newer, older = self._newer.get, self._older.get
        return {key: absence for key in keys if (absence := newer(key) or older(key))}

    def put(self, key: str, absence: Absence, now: float) -> None:
        if len(self._newer) >= self._half_limit:
            self._slice()
        if not self._newer:
            self._newer_since = now
        self._older.pop(key, None)
        self._newer[key] = absence

    def drop(self, keys: Iterable[str]) -> None:
        if self._newer or self._older:
            for key in keys:
                self._newer.pop(key, None)
                self._older.pop(key, None)

    def age(self, now: float) -> None:
        if self._newer and now >= self._newer_since + self._seconds / 2:
            self._slice()
        if self._older and now >= self._older_since + self._seconds:
            self._older = {}

    def _slice(self) -> None:
        self._older, self._older_since = self._newer, self._newer_since
        self._newer = {}

    def clear(self) -> None:
        self._newer, self._older = {}, {}


class UnknownNames:
    """A bounded, short-lived memory of names without a certificate.

    It is right only while somebody takes names out of it when they change: nothing is remembered until `open` and after `close`.
    """

    def __init__(
        self,
        monotonic: Callable[[], float],
        *,
        limit: int = REMEMBERED_NAMES,
        seconds: float = REMEMBERED_SECONDS,
        rejected_seconds: float = REJECTED_SECONDS,
    ) -> None:
        """Makes a closed memory of `limit` names at most; a sixteenth of them is for rejected ones."""
        self._monotonic = monotonic
        self._absent = _Slices(limit - limit // 16, seconds)
        self._rejected = _Slices(limit // 16, rejected_seconds)
        self._open = False
        self._metrics = CacheMetrics("unknown_names")

    def __len__(self) -> int:
        return len(self._absent) + len(self._rejected)

    def open(self) -> None:
        """From here on names are remembered, and changes come to `drop` and `clear`."""
        self._open = True

    def close(self) -> None:
        """Forgets all, and remembers nothing more."""
        self._open = False
        self.clear()

    def find(self, keys: Collection[str]) -> dict[str, Absence]:
        """Returns what is remembered of `keys`."""
        now = self._monotonic()
        found = self._rejected.find(keys, now) | self._absent.find(keys, now)
        self._metrics.asked(len(keys), len(found))
        return found

    def put(self, key: str, absence: Absence, *, rejected: bool) -> None:
        """Remembers that there is nothing to serve under a name."""
        if self._open:
            now = self._monotonic()
            slices = self._rejected if rejected else self._absent
            slices.age(now)
            slices.put(key, absence, now)

    def drop(self, keys: Collection[str]) -> None:
        """Forgets names: something about them changed."""
        self._absent.drop(keys)
        self._rejected.drop(keys)

    def clear(self) -> None:
        """Forgets all."""
        self._absent.clear()
        self._rejected.clear()

    def purge(self) -> None:
        """Forgets what is over."""
        now = self._monotonic()
        self._absent.age(now)
        self._rejected.age(now)
        self._metrics.size(len(self))
