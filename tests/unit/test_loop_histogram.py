"""Histograms of the event loop, as a scrape shows them."""

from collections.abc import Iterator

import pytest
from prometheus_client import REGISTRY, CollectorRegistry, Histogram, generate_latest

from controlplane.usecases.loop_histogram import LoopHistogram

BUCKETS = (0.0005, 0.25, 1, 30)
VALUES = (0.0, 0.0005, 0.0006, 0.25, 2.0, 30.0, 31.0)


@pytest.fixture
def histogram() -> Iterator[LoopHistogram]:
    """One with a label, in the registry until the end."""
    made = LoopHistogram("loop_things_seconds", "Things.", ["kind"], BUCKETS)
    yield made
    REGISTRY.unregister(made)


def lines(page: bytes) -> list[str]:
    """What a scrape says of it, but for when it was made."""
    return [line for line in page.decode().splitlines() if "loop_things_seconds" in line and "_created" not in line]


def test_it_is_shown_as_prometheus_clients_own(histogram: LoopHistogram) -> None:
    """The same names, bounds and sums, with values on a bound in the bucket below it."""
    registry = CollectorRegistry()
    theirs = Histogram("loop_things_seconds", "Things.", ["kind"], buckets=BUCKETS, registry=registry)
    for kind, values in (("a", VALUES), ("b", ())):
        for each in (histogram.labels(kind), theirs.labels(kind)):
            for value in values:
                each.observe(value)
    assert lines(generate_latest(registry)) == lines(generate_latest(REGISTRY))


def test_a_series_is_the_same_each_time(histogram: LoopHistogram) -> None:
    """It can be kept, or asked for again."""
    assert histogram.labels("a") is histogram.labels("a")


def test_labels_are_counted(histogram: LoopHistogram) -> None:
    """A series with too few labels would be none."""
    with pytest.raises(ValueError, match="kind"):
        histogram.labels()
