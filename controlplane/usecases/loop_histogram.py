"""A histogram for what happens thousands of times a second: observed on the event loop only, at a fifth of the usual cost.

See `loop_counter`, which says why.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate

from prometheus_client import REGISTRY
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector


class LoopBuckets:
    """One time series. Only the thread of the event loop may observe; reading it from another is safe."""

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        """Makes an empty one; `bounds` are ascending, each the largest value of a bucket."""
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Counts a value."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.total += value


class LoopHistogram(Collector):
    """A histogram with labels, in the registry of the process. A series is shown from its first `labels` on."""

    def __init__(self, name: str, documentation: str, labelnames: Sequence[str], buckets: Sequence[float]) -> None:
        """Registers a histogram; `buckets` are ascending upper bounds, without the infinite one."""
        self._name = name
        self._documentation = documentation
        self._labelnames = tuple(labelnames)
        self._bounds = tuple(map(float, buckets))
        self._shown = [*map(str, self._bounds), "+Inf"]
        self._series: dict[tuple[str, ...], LoopBuckets] = {}
        REGISTRY.register(self)

    def labels(self, *values: str) -> LoopBuckets:
        """Returns the series with these values of the labels, the same one each time; keep it."""
        if len(values) != len(self._labelnames):
            raise ValueError(f"{self._name} has the labels {self._labelnames}")
        return self._series.setdefault(values, LoopBuckets(self._bounds))

    def describe(self) -> Iterator[HistogramMetricFamily]:
        """Says its name, so that no other can take it."""
        yield HistogramMetricFamily(self._name, self._documentation, labels=self._labelnames)

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Gives all series; a bucket counts what the smaller ones do, too (Prometheus, "Histogram")."""
        family = HistogramMetricFamily(self._name, self._documentation, labels=self._labelnames)
        for values, series in tuple(self._series.items()):
            family.add_metric(values, list(zip(self._shown, map(float, accumulate(series.counts)), strict=True)), series.total)
        yield family
