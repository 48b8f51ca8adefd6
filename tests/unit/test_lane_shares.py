"""How the lanes share places."""

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.core.lane import Lane
from controlplane.core.lane_shares import SHARES, LaneShares

LANES = st.sampled_from(list(Lane))
STEPS = st.lists(st.tuples(st.sampled_from(["take", "take_next", "give_back"]), LANES, st.sets(LANES)), max_size=200)


def filled(shares: LaneShares, *waiting: Lane) -> Counter[Lane]:
    """Takes places for lanes that have work without end, until none is to be had; returns what each got."""
    got: Counter[Lane] = Counter()
    while (lane := shares.take_next(waiting)) is not None:
        got[lane] += 1
    return got


@pytest.mark.parametrize(
    ("waiting", "expected"),
    [
        ([Lane.URGENT], {Lane.URGENT: 56}),
        ([Lane.RENEWAL], {Lane.RENEWAL: 60}),
        ([Lane.NEW], {Lane.NEW: 52}),
        ([Lane.SICK], {Lane.SICK: 16}),
        ([Lane.NEW, Lane.SICK], {Lane.NEW: 39, Lane.SICK: 13}),
        (list(Lane), {Lane.URGENT: 32, Lane.RENEWAL: 16, Lane.NEW: 12, Lane.SICK: 4}),
    ],
)
def test_sixty_four_places(waiting: list[Lane], expected: dict[Lane, int]) -> None:
    """By weight among those that have work, but for the places that are kept for renewals, and a quarter at most for the sick."""
    assert expected == filled(LaneShares(64), *waiting)


def test_place_kept_for_the_urgent_is_free_in_any_burst() -> None:
    """With new and sick ones without end, an urgent one and a renewal find places at once."""
    shares = LaneShares(16)
    filled(shares, Lane.NEW, Lane.SICK)
    assert [Lane.URGENT, Lane.RENEWAL, Lane.RENEWAL, None] == [shares.take_next([*Lane][:2]) for _ in range(4)]


@pytest.mark.parametrize("places", [1, 2, 3, 16, 64])
def test_there_is_a_place_for_every_lane_alone(places: int) -> None:
    """No lane is shut out, however few places there are."""
    for lane in Lane:
        assert filled(LaneShares(places), lane)[lane] >= 1


def test_no_place_at_all_is_refused() -> None:
    """There must be a place."""
    with pytest.raises(ValueError, match="place"):
        LaneShares(0)


def test_place_that_was_not_taken_cannot_be_given_back() -> None:
    """What would make more places than there are is refused."""
    with pytest.raises(ValueError, match="sick"):
        LaneShares(4).give_back(Lane.SICK)


@given(st.integers(1, 100), STEPS)
def test_no_more_is_taken_than_there_is(places: int, steps: list[tuple[str, Lane, set[Lane]]]) -> None:
    """Whatever happens, the sick have a quarter at most, all together no more than there are, and what is reserved stays to be had."""
    shares = LaneShares(places)
    for action, lane, waiting in steps:
        if action == "take":
            shares.take(lane)
        elif action == "take_next":
            taken = shares.take_next(waiting)
            assert taken is None or taken in waiting
        elif shares.taken(lane):
            shares.give_back(lane)
        assert places == shares.free + sum(shares.taken(each) for each in Lane)
        assert shares.free >= 0
        assert shares.taken(Lane.SICK) <= max(1, places // 4)
        unused = {each: max(0, int(places * share.reserved) - shares.taken(each)) for each, share in SHARES.items()}
        for each in Lane:
            may = shares.taken(each) < shares.most(each) and shares.free > sum(unused.values()) - unused[each]
            assert may is shares.admits(each)
        assert shares.taken(Lane.URGENT) > 0 or places < 16 or shares.admits(Lane.URGENT)
        assert shares.taken(Lane.RENEWAL) > 0 or places < 8 or shares.admits(Lane.RENEWAL)


@given(st.integers(1, 100), LANES, st.sets(LANES), st.lists(LANES, max_size=100), st.randoms(use_true_random=True))
def test_lane_with_work_gets_what_is_guaranteed(places: int, lane: Lane, others: set[Lane], before: list[Lane], choice: Random) -> None:
    """Once every place that others took before the lane had work has been given back, in whatever order, it has its guaranteed part."""
    shares = LaneShares(places)
    old = [each for each in before if each is not lane and shares.take(each)]
    new: list[Lane] = []
    while True:
        while (got := shares.take_next({lane, *others})) is not None:
            new.append(got)
        if not old:
            break
        ended = choice.choice([old, new] if new else [old])
        shares.give_back(ended.pop(choice.randrange(len(ended))))
    assert shares.taken(lane) >= shares.guaranteed(lane)


@given(st.integers(1, 20), LANES, st.randoms(use_true_random=True))
def test_lane_with_work_never_waits_for_ever(places: int, lane: Lane, choice: Random) -> None:
    """However few places there are and however busy the others, a lane that may take one gets it after a bounded number for others."""
    shares = LaneShares(places)
    running: list[Lane] = []
    in_a_row = 0
    for _ in range(3 * shares.longest_wait(lane)):
        while True:
            may = shares.admits(lane)
            got = shares.take_next(Lane)
            if got is None:
                break
            running.append(got)
            in_a_row = 0 if got is lane else in_a_row + may
            assert in_a_row <= shares.longest_wait(lane)
        shares.give_back(running.pop(choice.randrange(len(running))))


def test_few_places_are_not_all_for_the_weightiest() -> None:
    """One place that urgent ones without end could have for ever is given to each lane in its turn."""
    shares = LaneShares(1)
    turns: Counter[Lane] = Counter()
    for _ in range(640):
        lane = shares.take_next(Lane)
        assert lane is not None
        turns[lane] += 1
        shares.give_back(lane)
    assert all(turns[lane] >= 640 // shares.longest_wait(lane) for lane in Lane)
    assert Lane.URGENT is max(turns, key=turns.__getitem__)
