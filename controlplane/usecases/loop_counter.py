"""Counters for what happens thousands of times a second: counted on the event loop only, at a tenth of the usual cost.

prometheus_client's counters take a lock and four calls for each increment, which is right for threads. A handshake moves ten counters.
"""

from collections.abc import Iterator, Sequence

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector


class LoopTally:
    """One time series. Only the thread of the event loop may count; reading it from another is safe."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0

    def inc(self, amount: int = 1) -> None:
        """Counts so many more."""
        self.value += amount


class LoopCounter(Collector):
    """A counter with labels, in the registry of the process. With labels a series is shown from its first `labels` on."""

    def __init__(self, name: str, documentation: str, labelnames: Sequence[str] = ()) -> None:
        """Registers a counter; `name` ends with `_total`."""
        self._name = name
        self._documentation = documentation
        self._labelnames = tuple(labelnames)
        self._tallies: dict[tuple[str, ...], LoopTally] = {} if labelnames else {(): LoopTally()}
        REGISTRY.register(self)

    def labels(self, *values: str) -> LoopTally:
        """Returns the series with these values of the labels, the same one each time; keep it."""
        if len(values) != len(self._labelnames):
            raise ValueError(f"{self._name} has the labels {self._labelnames}")
        return self._tallies.setdefault(values, LoopTally())

    def inc(self, amount: int = 1) -> None:
        """Counts so many more; for a counter without labels."""
        self._tallies[()].value += amount

    def describe(self) -> Iterator[CounterMetricFamily]:
        """Says its name, so that no other can take it."""
        yield CounterMetricFamily(self._name, self._documentation, labels=self._labelnames)

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Gives all series."""
        family = CounterMetricFamily(self._name, self._documentation, labels=self._labelnames)
        for values, tally in tuple(self._tallies.items()):
            family.add_metric(values, tally.value)
        yield family
