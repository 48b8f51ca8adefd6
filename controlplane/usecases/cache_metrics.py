"""How full each cache of `serve` is and how often it had what was asked for."""

from prometheus_client import Gauge

from controlplane.usecases.loop_counter import LoopCounter

_ENTRIES = Gauge("certplane_cache_entries", "Entries of a cache, counted every few seconds.", ["cache"])
_HITS = LoopCounter("certplane_cache_hits_total", "Names that a cache answered for.", ["cache"])
_MISSES = LoopCounter("certplane_cache_misses_total", "Names that a cache was asked for and did not have.", ["cache"])


class CacheMetrics:
    """The metrics of one cache; `cache`, its name, is one of a handful that are written in the code."""

    def __init__(self, cache: str) -> None:
        self._entries = _ENTRIES.labels(cache)
        self._hits = _HITS.labels(cache)
        self._misses = _MISSES.labels(cache)

    def asked(self, names: int, found: int) -> None:
        """Counts a question for so many names, of which so many were found."""
        if found:
            self._hits.inc(found)
        if found < names:
            self._misses.inc(names - found)

    def size(self, entries: int) -> None:
        """Says how many entries there are."""
        self._entries.set(entries)
