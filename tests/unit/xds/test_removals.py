"""Names that wait to be answered as removed, whatever is known of them: how many are handed out, and when they are too many."""

import pytest

from controlplane.xds.removals import Removals
from tests.unit.xds.transcript import DeltaTranscript, SotwTranscript, told

MANY = [b"..%d" % number for number in range(50_000)]


def test_very_many_are_handed_out_piece_by_piece():
    """Each piece is a few thousand names, so that its answers cost little time; all names come, in order, and each once."""
    removals = Removals()
    removals.add(MANY)
    removals.add(MANY[:10])
    pieces = []
    while removals.names:
        pieces.append(removals.take())
    assert MANY == [name for piece in pieces for name in piece]
    assert max(map(len, pieces)) < 5_000


def test_very_many_names_in_a_request_are_all_answered():
    """Those that cannot exist are answered as removed, each once, whatever their number."""
    stream = DeltaTranscript()
    stream.world.versions["a.example"] = "1"
    assert ({b"a.example": "1"}, set(MANY)) == told(stream.request(*MANY, b"a.example"))
    assert not stream.subscription.is_behind


@pytest.mark.parametrize("names", [MANY, [b"." * 1_000_000 + b"%d" % number for number in range(2)]])
def test_a_subscription_is_behind_while_much_waits(names):
    """As long as many names wait, or a few that are very long; not when they were handed out."""
    stream = DeltaTranscript()
    assert not stream.subscription.is_behind
    stream.answers = list
    stream.request(*names)
    assert stream.subscription.is_behind
    while stream.subscription.is_behind:
        assert stream.subscription.take(1_000).removed
    del stream.answers
    stream.answers()
    stream.request(b"..")
    assert not stream.subscription.is_behind


def test_names_that_are_given_up_do_not_wait():
    """A client that gives up what it asked for is neither answered nor behind; nor is one that is gone."""
    for leave in (lambda stream: stream.request(unsubscribe=MANY), lambda stream: stream.subscription.end()):
        stream = DeltaTranscript()
        stream.answers = list
        stream.request(*MANY)
        leave(stream)
        assert (False, False) == (stream.subscription.is_behind, stream.subscription.has_work)


def test_names_that_are_asked_for_again_and_again_do_not_stay_behind():
    """What is repeated while it waits is measured too, until all of it was handed out."""
    removals = Removals()
    while not removals.are_many:
        removals.add(MANY[:100])
    assert 100 == len(removals.names)
    assert tuple(MANY[:100]) == removals.take()
    assert not removals.are_many


def test_state_of_the_world_is_never_behind():
    """Its answers say nothing of names that do not exist."""
    stream = SotwTranscript()
    stream.request(*MANY)
    assert not stream.subscription.is_behind
