"""How often a log line is written."""

from controlplane.core.line_limit import LineLimit


def test_the_first_line_and_then_one_in_a_while() -> None:
    """The first is written at once; of the rest one each time, which stands for those that were left out."""
    limit = LineLimit(60.0)
    assert [1, 0, 0, 0] == [limit.due(now) for now in (5.0, 5.0, 6.0, 64.9)]
    assert [4, 0, 0] == [limit.due(now) for now in (65.1, 65.2, 124.9)]
    assert [3, 1] == [limit.due(now) for now in (500.0, 600.0)]


def test_a_burst_comes_again_after_a_rest() -> None:
    """So many lines are written as they come, then one in a while; after a rest there is room for a burst again, and for no more."""
    limit = LineLimit(1.0, burst=3)
    assert [1, 1, 1, 0, 0, 3] == [limit.due(now) for now in (0.0, 0.0, 0.0, 0.0, 0.5, 1.25)]
    assert [1, 1, 1, 0] == [limit.due(1000.0) for _ in range(4)]


def test_a_clock_that_is_set_back() -> None:
    """The next line comes as late as from there on, and not later."""
    limit = LineLimit(60.0)
    assert [1, 0, 0, 3] == [limit.due(now) for now in (1000.0, 10.0, 60.0, 71.0)]
