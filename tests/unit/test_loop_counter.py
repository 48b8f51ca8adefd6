"""Counters of the event loop, as a scrape shows them."""

import pytest
from prometheus_client import REGISTRY, generate_latest

from controlplane.usecases.loop_counter import LoopCounter


@pytest.fixture
def page():
    """Returns the lines of a scrape about a counter, and takes the counter out of the registry at the end."""
    made: list[LoopCounter] = []

    def lines(counter: LoopCounter, name: str) -> list[str]:
        made.append(counter)
        return [line for line in generate_latest(REGISTRY).decode().splitlines() if line.startswith(name)]

    yield lines
    for counter in set(made):
        REGISTRY.unregister(counter)


def test_a_counter_without_labels_is_shown_from_the_start(page) -> None:
    """At zero, as alert rules expect, and with what was counted later."""
    counter = LoopCounter("plain_things_total", "Things.")
    assert ["plain_things_total 0.0"] == page(counter, "plain_things_total")
    counter.inc()
    counter.inc(2)
    assert ["plain_things_total 3.0"] == page(counter, "plain_things_total")


def test_each_combination_of_labels_is_a_series(page) -> None:
    """The same one each time it is asked for."""
    counter = LoopCounter("labelled_things_total", "Things.", ["kind"])
    counter.labels("a").inc()
    counter.labels("b").inc(2)
    counter.labels("a").inc()
    assert ['labelled_things_total{kind="a"} 2.0', 'labelled_things_total{kind="b"} 2.0'] == page(counter, "labelled_things_total{")


def test_labels_are_counted(page) -> None:
    """A series with too few labels would be none."""
    counter = LoopCounter("counted_things_total", "Things.", ["kind"])
    page(counter, "counted_things_total")
    with pytest.raises(ValueError, match="kind"):
        counter.labels()


def test_a_name_is_taken_once(page) -> None:
    """Two counters under one name would be added up by nobody."""
    page(LoopCounter("taken_things_total", "Things."), "taken_things_total")
    with pytest.raises(ValueError, match="taken_things"):
        LoopCounter("taken_things_total", "Others.")
