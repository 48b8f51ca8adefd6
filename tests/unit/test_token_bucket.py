"""Token buckets: what is there, what a take leaves, and how long one waits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.core.token_bucket import (
    FULL,
    Bucket,
    BucketState,
    Draw,
    Refusal,
    Taken,
    block_until,
    learn_empty_until,
    level,
    take,
    take_all,
    wait,
)

NOW = 1_800_000_000_000_000
FIVE = Bucket("five", capacity=5, interval=100)


def used(tokens: int) -> BucketState:
    """A bucket of five from which so many were taken just now."""
    return BucketState(full_at=NOW + tokens * 100)


@pytest.mark.parametrize(
    ("state", "later", "expected"),
    [
        (FULL, 0, 5),
        (used(1), 0, 4),
        (used(5), 0, 0),
        (used(5), 99, 0),
        (used(5), 100, 1),
        (used(5), 499, 4),
        (used(5), 500, 5),
        (used(5), 10_000, 5),
        # Emptier than empty: learned from a refusal.
        (used(8), 0, 0),
        (used(8), 400, 1),
    ],
)
def test_level(state: BucketState, later: int, expected: int) -> None:
    """A token comes back every interval, up to the capacity, and never a part of one."""
    assert expected == level(FIVE, state, NOW + later)


@pytest.mark.parametrize(
    ("state", "later", "tokens", "expected"),
    [
        (FULL, 0, 5, 0),
        (used(5), 0, 1, 100),
        (used(5), 60, 1, 40),
        (used(5), 100, 1, 0),
        (used(5), 0, 3, 300),
        (used(8), 0, 1, 400),
        # More than the capacity: one after the other.
        (FULL, 0, 7, 200),
        (used(5), 50, 12, 1150),
        # A block counts where it is longer.
        (BucketState(0, NOW + 70), 0, 1, 70),
        (BucketState(NOW + 500, NOW + 70), 0, 1, 100),
        (BucketState(NOW + 500, NOW + 170), 0, 1, 170),
        (BucketState(0, NOW + 70), 70, 1, 0),
    ],
)
def test_wait(state: BucketState, later: int, tokens: int, expected: int) -> None:
    """One waits until so many tokens have come and no block is left."""
    assert expected == wait(FIVE, state, NOW + later, tokens)


@pytest.mark.parametrize(
    ("state", "later", "tokens", "expected"),
    [
        (FULL, 0, 1, used(1)),
        (used(1), 0, 2, used(3)),
        (used(1), 30, 1, used(2)),
        (used(1), 150, 1, BucketState(NOW + 250)),
        # Never below empty, and never above full.
        (used(5), 0, 1, used(5)),
        (used(4), 50, 3, BucketState(NOW + 550)),
        (used(8), 0, 1, used(8)),
        (used(2), 0, -1, used(1)),
        (used(2), 0, -9, BucketState(NOW)),
        (BucketState(NOW + 100, NOW + 900), 0, 1, BucketState(NOW + 200, NOW + 900)),
    ],
)
def test_take(state: BucketState, later: int, tokens: int, expected: BucketState) -> None:
    """What is used moves the time at which the bucket is full, within what a bucket can be."""
    assert expected == take(FIVE, state, NOW + later, tokens)


@pytest.mark.parametrize(
    ("before", "until", "expected"),
    [
        (FULL, 50, BucketState(0, NOW + 50)),
        (BucketState(7, NOW + 80), 50, BucketState(7, NOW + 80)),
        (BucketState(7, NOW + 20), 50, BucketState(7, NOW + 50)),
    ],
)
def test_block(before: BucketState, until: int, expected: BucketState) -> None:
    """A block lasts until the later of two times and keeps the tokens."""
    assert expected == block_until(before, NOW + until)


@pytest.mark.parametrize("before", [FULL, used(3), used(5)])
def test_learned_empty(before: BucketState) -> None:
    """A bucket that was learned to be empty has its first token at the time that was told, and the others in their time after that."""
    learned = learn_empty_until(FIVE, before, NOW + 730)
    assert [(0, 730), (0, 1), (1, 0), (2, 0)] == [
        (level(FIVE, learned, NOW + later), wait(FIVE, learned, NOW + later)) for later in (0, 729, 730, 830)
    ]


def test_what_is_known_to_be_emptier_stays() -> None:
    """A lesson never fills a bucket."""
    assert used(5) == learn_empty_until(FIVE, used(5), NOW + 50)


SMALL = Bucket("small", capacity=1, interval=1000)


@pytest.mark.parametrize(
    ("draws", "states", "expected"),
    [
        ([], [], Taken((), ())),
        ([Draw(FIVE), Draw(SMALL)], [FULL, FULL], Taken((used(1), BucketState(NOW + 1000)), (1, 1))),
        # One that refuses keeps all others untouched; the one that waits longest is told.
        ([Draw(FIVE), Draw(SMALL)], [FULL, BucketState(NOW + 900)], Refusal(1, 900)),
        ([Draw(FIVE), Draw(SMALL)], [used(5), BucketState(NOW + 900)], Refusal(1, 900)),
        ([Draw(FIVE), Draw(SMALL)], [used(15), BucketState(NOW + 900)], Refusal(0, 1100)),
        # A token has to be there, and stays.
        ([Draw(FIVE, need=1, most=0)], [used(4)], Taken((used(4),), (0,))),
        ([Draw(FIVE, need=1, most=0)], [used(5)], Refusal(0, 100)),
        # Only a block refuses whoever needs nothing.
        ([Draw(FIVE, need=0, most=0)], [used(8)], Taken((used(8),), (0,))),
        ([Draw(FIVE, need=0, most=0)], [BucketState(NOW, NOW + 5)], Refusal(0, 5)),
        # As many as are there.
        ([Draw(FIVE, need=1, most=4)], [used(3)], Taken((used(5),), (2,))),
        ([Draw(FIVE, need=1, most=4)], [FULL], Taken((used(4),), (4,))),
        ([Draw(FIVE, need=3, most=3)], [used(3)], Refusal(0, 100)),
    ],
)
def test_all_or_nothing(draws: list[Draw], states: list[BucketState], expected: Taken | Refusal) -> None:
    """Either every bucket gives what is needed, or none changes and the answer says which waits longest and how long."""
    assert expected == take_all(draws, states, NOW)


@pytest.mark.parametrize(("need", "most"), [(6, 1), (-1, 1), (1, -1)])
def test_impossible_draws(need: int, most: int) -> None:
    """A draw that no level could ever satisfy is a mistake of the caller."""
    with pytest.raises(ValueError, match="no bucket of 5"):
        Draw(FIVE, need=need, most=most)


@pytest.mark.parametrize(("capacity", "interval"), [(0, 1), (1, 0)])
def test_impossible_buckets(capacity: int, interval: int) -> None:
    """A bucket without room or time is a mistake of the caller."""
    with pytest.raises(ValueError, match="at least one token"):
        Bucket("none", capacity, interval)


@given(
    capacity=st.integers(1, 50),
    interval=st.integers(1, 10_000),
    steps=st.lists(st.tuples(st.integers(0, 20_000), st.integers(1, 5)), max_size=60),
)
def test_never_more_than_burst_and_rate(capacity: int, interval: int, steps: list[tuple[int, int]]) -> None:
    """Over any stretch of time no more is taken than the capacity and what has come in that time; a wait that is kept is enough."""
    bucket, state, now = Bucket("any", capacity, interval), FULL, NOW
    takes: list[tuple[int, int]] = []
    for gap, wanted in steps:
        now += gap
        taken = take_all([Draw(bucket, need=min(wanted, capacity), most=min(wanted, capacity))], [state], now)
        if isinstance(taken, Refusal):
            now += taken.wait
            assert isinstance(take_all([Draw(bucket, need=min(wanted, capacity))], [state], now - 1), Refusal)
            taken = take_all([Draw(bucket, need=min(wanted, capacity), most=min(wanted, capacity))], [state], now)
        assert isinstance(taken, Taken)
        (state,), (tokens,) = taken.states, taken.tokens
        takes.append((now, tokens))
    for first in range(len(takes)):
        total = 0
        for time, tokens in takes[first:]:
            total += tokens
            assert total <= capacity + (time - takes[first][0]) // interval
