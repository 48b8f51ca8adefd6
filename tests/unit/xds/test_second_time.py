"""What comes for the second time is noticed, and what is noted for that is bounded."""

from controlplane.xds.second_time import SecondTime


def test_the_second_time_and_all_after_it_are_noticed() -> None:
    """Until all is forgotten."""
    times = SecondTime()
    assert [False, False, True, True] == [times.is_it(digest) for digest in (1, 2, 1, 1)]
    times.clear()
    assert not times.is_it(1)


def test_what_is_noted_is_bounded() -> None:
    """However much comes once."""
    times = SecondTime()
    for digest in range(5_000):
        assert not times.is_it(digest)
        assert 1_024 >= len(times._seen)
