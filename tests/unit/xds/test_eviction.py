"""What a client that strangers decide for is given at most, by transcript."""

import pytest

from controlplane.xds.delta import DeltaSubscription
from controlplane.xds.eviction import MAX_EVICTED
from controlplane.xds.messages import MAX_RESPONSE_RESOURCES, DeltaRequest, Node
from controlplane.xds.subscription import Limits
from tests.unit.xds.transcript import REFUSED, TYPE, DeltaTranscript, told


def bounded(existing, max_resources=None, **limits) -> tuple[DeltaTranscript, list[bytes]]:
    """A stream of a bounded client, and the names that exist."""
    stream = DeltaTranscript(**{f"n{number}_example": "1" for number in range(existing)})
    stream.bound(max_resources, **limits)
    return stream, [key.encode() for key in stream.world.versions]


def fetch(stream: DeltaTranscript, *names: bytes) -> None:
    """Asks for names one after the other, as handshakes do."""
    for name in names:
        stream.accept(*stream.request(name))


def has(stream: DeltaTranscript) -> list[bytes]:
    """The names that the client has a resource of."""
    return [name for name, _ in stream.subscription.held()]


def test_what_was_fetched_longest_ago_makes_room():
    """Beyond the limit a new resource comes with the removal of the oldest, which is released and not pushed any more."""
    stream, names = bounded(5, 3)
    fetch(stream, *names[:3])
    (answer,) = stream.request(names[3])
    assert ((names[3],), (names[0],), 1) == (answer.names, answer.removed, answer.evicted)
    assert not stream.subscription.holds("n0.example")
    assert [] == stream.change("n0.example", "2")
    stream.accept(answer)
    assert ("n0.example",) == stream.outcome.released


def test_what_is_fetched_again_goes_last():
    """A name that a client asks for again is as new as any; a push does not make a name newer."""
    stream, names = bounded(5, 3)
    fetch(stream, *names[:3], names[0])
    stream.accept(*stream.change("n1.example", "2"))
    assert ({names[3]: "1"}, {names[1]}) == told(stream.request(names[3]))


def test_an_evicted_name_that_is_asked_for_again_is_answered():
    """Eviction forgets; the count of what was fetched again remembers it."""
    stream, names = bounded(5, 2)
    fetch(stream, *names[:3])
    assert ({names[0]: "1"}, {names[1]}) == told(stream.request(names[0]))
    assert ("n0.example",) == stream.outcome.held
    assert {names[0]: 1} == stream.subscription.refetched()


def test_who_evicts_and_fetches_in_one_turn_releases_nothing():
    """A name that was evicted and is held again before that was reported is in neither list."""
    stream, names = bounded(3, 2)
    stream.request(*names[:2])
    stream.request(names[2])
    stream.request(names[0])
    assert ((), ()) == (stream.outcome.held, stream.outcome.released)


def test_room_is_not_made_by_what_a_client_waits_for():
    """A name that was asked for again is answered, however long ago it was fetched."""
    stream, names = bounded(5, 3)
    fetch(stream, *names[:3])
    assert ({names[3]: "1", names[0]: "1"}, {names[1]}) == told(stream.request(names[3], names[0]))


def test_a_large_request_ends_within_the_bound():
    """More names than the limit in one request: the client ends with the limit, those asked for last, and no answer names one twice."""
    stream, names = bounded(300, 64)
    for answer in stream.request(*names):
        told([answer])
        stream.accept(answer)
    assert names[-64:] == has(stream)


def test_a_small_bound_is_kept_all_the_time():
    """With a limit below what an answer may bring, answers are smaller: the client never has more than the limit."""
    stream, names = bounded(20, 3)
    client: set[bytes] = set()
    for answer in stream.request(*names):
        client = (client | set(answer.names)) - set(answer.removed)
        assert 3 >= len(client)


def test_names_from_an_earlier_stream_count():
    """What a reconnecting client holds counts towards its limit, and goes in the order of its request."""
    stream, names = bounded(4, 3)
    assert [] == stream.request(*names[:3], versions=dict.fromkeys(names[:3], "1"))
    assert ({names[3]: "1"}, {names[0]}) == told(stream.request(names[3]))


def test_a_client_that_comes_with_far_too_much_is_cut_down():
    """What an earlier stream left beyond the limit goes with the next answers, a bounded number with each."""
    count = MAX_EVICTED + 50
    stream, names = bounded(count + 12, 10)
    stream.request(*names[: count + 10], versions=dict.fromkeys(names, "1"))
    assert [MAX_EVICTED, 52] == [answer.evicted for name in names[-2:] for answer in stream.request(name)]
    assert 10 == len(has(stream))


def test_pinned_names_neither_count_nor_go():
    """Names that the client was configured with stay, however old, and the limit is for the others."""
    stream, names = bounded(10, 3, pinned=[b"n0.example", b"n1.example", b"other.example"])
    fetch(stream, *names)
    assert {*names[:2], *names[-3:]} == set(has(stream))


def test_a_pinned_name_that_goes_gives_no_room():
    """Whether a pinned name is unsubscribed or its resource is deleted: the limit for the others stays."""
    stream, names = bounded(10, 3, pinned=[b"n0.example", b"n1.example"])
    fetch(stream, *names[:5])
    stream.request(unsubscribe=[names[0]])
    stream.accept(*stream.change("n1.example"))
    assert ({names[5]: "1"}, {names[2]}) == told(stream.request(names[5]))


def test_a_pinned_name_that_waits_gives_no_room():
    """A pinned name that is asked for again, or goes again after a NACK, leaves the limit for the others as it is."""
    for refuse in (False, True):
        stream, names = bounded(5, 2, pinned=[b"n0.example"])
        (answer,) = stream.request(*names[:2])
        stream.world.away = {"n0.example"}
        if refuse:
            stream.accept(*stream.refuse(answer))
        else:
            stream.request(names[0])
        fetch(stream, *names[2:4])
        assert names[2:4] == has(stream)


def test_pinned_names_from_an_earlier_stream_do_not_count():
    """A client that reconnects with pinned names has all its room for others."""
    stream, names = bounded(6, 3, pinned=[b"n0.example", b"n1.example"])
    assert [] == stream.request(*names[:4], versions=dict.fromkeys(names, "1"))
    assert ({names[4]: "1"}, set()) == told(stream.request(names[4]))
    assert ({names[5]: "1"}, {names[2]}) == told(stream.request(names[5]))


def test_a_pinned_name_that_comes_and_goes_does_not_upset_the_count():
    """Unsubscribing a pinned name gives no room and takes none."""
    stream, names = bounded(10, 3, pinned=[b"n0.example"])
    fetch(stream, *names[:4])
    stream.request(unsubscribe=[names[0]])
    fetch(stream, names[0])
    assert {names[0], *names[1:4]} == set(has(stream))
    assert ({names[4]: "1"}, {names[1]}) == told(stream.request(names[4]))


def test_spellings_have_a_bound_of_their_own():
    """Other spellings than the canonical one are bounded, the oldest of them goes, and no canonical spelling."""
    stream, names = bounded(3, 100, max_spellings=2)
    spelled = [b"N0.example", b"n0.EXAMPLE", b"N0.EXAMPLE"]
    fetch(stream, *names, *spelled[:2])
    assert ({spelled[2]: "1"}, {spelled[0]}) == told(stream.request(spelled[2]))
    assert stream.subscription.holds("n0.example")
    assert [*names, *spelled[1:]] == has(stream)


def test_pinned_spellings_do_not_count():
    """A client that was configured with a name in capitals keeps it."""
    stream, _ = bounded(1, max_spellings=1, pinned=[b"N0.EXAMPLE"])
    fetch(stream, b"N0.EXAMPLE", b"N0.example", b"n0.exAMPLE")
    assert [b"N0.EXAMPLE", b"n0.exAMPLE"] == has(stream)


def test_spellings_of_names_that_do_not_exist_take_no_room():
    """What is answered as removed is no resource, in whatever spelling."""
    stream, _ = bounded(1, 2, max_spellings=1)
    fetch(stream, b"N0.example", b"Gone1.example", b"Gone2.example", b"n0.example")
    assert [b"N0.example", b"n0.example"] == has(stream)


def test_only_resources_count_as_spellings():
    """A spelling that does not exist is neither counted nor removed in place of one that does."""
    stream, _ = bounded(3, max_spellings=1)
    fetch(stream, b"N0.example", b"Gone.example")
    assert ({b"N1.example": "1"}, {b"N0.example"}) == told(stream.request(b"N1.example"))
    assert stream.subscription.holds("gone.example")


def test_a_spelling_does_not_go_in_the_answer_that_brings_it():
    """One that comes into existence long after it was asked for stays, and another one makes room for it."""
    stream, _ = bounded(1, max_spellings=1)
    fetch(stream, b"Later.example", b"N0.example")
    assert ({b"Later.example": "1"}, {b"N0.example"}) == told(stream.change("later.example", "1"))


def test_a_spelling_that_goes_makes_room_for_another():
    """Where both limits are reached, one removal is enough for one new resource."""
    stream, names = bounded(3, 3, max_spellings=1)
    fetch(stream, *names[1:], b"N0.example")
    assert ({b"N1.example": "1"}, {b"N0.example"}) == told(stream.request(b"N1.example"))


def test_both_limits_together_remove_no_more_than_they_must():
    """A client that comes with too much of both is left with what the limits allow."""
    stream, names = bounded(3, 2, max_spellings=1)
    earlier = [*names, b"N0.example"]
    assert [] == stream.request(*earlier, versions=dict.fromkeys(earlier, "1"))
    assert ({b"N1.example": "1"}, {b"N0.example", *names[:2]}) == told(stream.request(b"N1.example"))


def test_what_comes_into_existence_does_not_make_room_for_itself():
    """A resource whose name was asked for longest ago stays when it is pushed; the oldest of the others goes."""
    stream, names = bounded(2, 2)
    fetch(stream, b"later.example", *names)
    assert ({b"later.example": "1"}, {names[0]}) == told(stream.change("later.example", "1"))


def test_unknown_names_evict_nothing():
    """A flood of names that do not exist leaves what the client has alone, even in one request with what is new."""
    stream, names = bounded(5, 3)
    fetch(stream, *names[:3])
    flood = [b"x%d.example" % number for number in range(500)]
    answers = stream.request(*flood[:200])
    assert ({}, set(flood[:200])) == told(answers)
    assert names[:3] == has(stream)
    versions, removed = told(stream.request(*flood[200:], names[3]))
    assert ({names[3]: "1"}, {*flood[200:], names[0]}) == (versions, removed)


def test_unknown_names_that_stay_are_forgotten():
    """A client that does not unsubscribe what does not exist: the oldest of these are forgotten without a word."""
    stream, _ = bounded(0, 3)
    fetch(stream, b"a.example", b"b.example", b"c.example", b"d.example")
    assert [False, True, True, True] == [stream.subscription.holds(f"{label}.example") for label in "abcd"]
    assert ({b"b.example": "1"}, set()) == told(stream.change("b.example", "1"))
    fetch(stream, b"e.example")
    assert [True, True, True, True] == [stream.subscription.holds(f"{label}.example") for label in "bcde"]
    assert [] == stream.change("a.example", "1")


def test_names_that_were_given_up_do_not_count_as_unknown():
    """A client that unsubscribes what does not exist, as edges do, loses none of the unknown names that it keeps."""
    stream, _ = bounded(0, 3)
    fetch(stream, b"kept.example")
    for number in range(10):
        name = b"x%d.example" % number
        fetch(stream, name)
        stream.request(unsubscribe=[name])
    assert ({b"kept.example": "1"}, set()) == told(stream.change("kept.example", "1"))


def test_an_unknown_name_that_is_asked_for_again_is_not_forgotten_while_it_waits():
    """What the client was told of before does not matter for a name that it waits for now."""
    stream, _ = bounded(0, 2)
    fetch(stream, b"a.example", b"b.example")
    stream.world.away = {"a.example"}
    assert [] == stream.request(b"a.example")
    assert ({}, {b"c.example"}) == told(stream.request(b"c.example"))
    stream.world.away = set()
    assert ({}, {b"a.example"}) == told(stream.answers())


def test_a_refusal_does_not_make_unknown_names_unbounded():
    """After a NACK the unknown names are counted as before."""
    stream, names = bounded(1, 2)
    fetch(stream, b"a.example", b"b.example")
    stream.refuse(*stream.request(names[0]))
    stream.request(unsubscribe=[names[0]])
    fetch(stream, b"c.example")
    assert [False, True, True] == [stream.subscription.holds(f"{label}.example") for label in "abc"]


def test_an_unknown_name_makes_no_room():
    """A name that does not exist is not removed in place of a resource, however old it is."""
    stream, names = bounded(4, 3)
    fetch(stream, b"gone.example", *names[:3])
    assert ({names[3]: "1"}, {names[0]}) == told(stream.request(names[3]))
    assert stream.subscription.holds("gone.example")


def test_pinned_names_that_do_not_exist_are_not_forgotten():
    """A certificate that a listener names is pushed as soon as it exists, however many unknown names came since."""
    stream, _ = bounded(0, 2, pinned=[b"pinned.example"])
    fetch(stream, b"pinned.example", b"a.example", b"b.example", b"c.example")
    assert ({b"pinned.example": "1"}, set()) == told(stream.change("pinned.example", "1"))


def test_a_name_that_went_and_came_back_counts_once():
    """A resource that is removed and exists again takes the room of one."""
    stream, names = bounded(4, 3)
    fetch(stream, *names[:3])
    stream.accept(*stream.change("n1.example"))
    stream.accept(*stream.request(names[3]))
    assert [names[0], names[2], names[3]] == has(stream)
    stream.accept(*stream.change("n1.example", "2"))
    assert 3 == len(has(stream))


def test_names_that_wait_are_bounded():
    """While the store is away the names that wait longest are answered as removed beyond the limit, pinned ones never."""
    stream, names = bounded(6, 3, pinned=[b"n0.example"])
    stream.world.away = {key.decode() for key in names}
    assert ({}, {names[1]}) == told(stream.request(*names[:5]))
    assert ({}, {names[2]}) == told(stream.request(names[5]))
    stream.world.away = set()
    assert (dict.fromkeys([names[0], *names[3:]], "1"), set()) == told(stream.answers())


def test_a_refused_answer_with_an_eviction_condemns_nothing():
    """The eviction and the resource go again by themselves; only then a NACK is about the resource."""
    stream, names = bounded(3, 2)
    fetch(stream, *names[:2])
    (answer,) = stream.request(names[2])
    again, removal = stream.refuse(answer)
    assert ((names[2],), ()) == (again.names, again.removed)
    assert ((), (names[0],)) == (removal.names, removal.removed)
    assert {} == stream.subscription.refused()
    stream.accept(removal)
    assert ({}, {names[2]}) == told(stream.refuse(again))
    assert {names[2]: "1"} == stream.subscription.refused()


def test_an_answer_that_goes_alone_evicts_in_another_one():
    """What is sent again after a NACK is beside nothing; what must make room for it goes next."""
    stream, names = bounded(4, 2)
    fetch(stream, *names[:2])
    (answer,) = stream.request(names[2])
    stream.subscription.receive(DeltaRequest(TYPE, None, (names[3],)))
    claims = stream.subscription.take(10)
    stream.reply(answer.nonce, REFUSED)
    (other,) = stream.subscription.answers(claims, stream.world.known(claims.keys), stream.world.fields)
    assert ((names[3],), ()) == (other.names, other.removed)
    alone, eviction, again = stream.answers()
    assert ((names[2],), ()) == (alone.names, alone.removed)
    assert ((), (names[1],), 1) == (eviction.names, eviction.removed, eviction.evicted)
    assert ((), (names[0],)) == (again.names, again.removed)


@pytest.mark.parametrize("node", [None, Node("sidecar")])
def test_a_client_that_names_its_secrets_itself_is_not_bounded(node):
    """The limits are for clients whose node says that strangers decide."""
    stream, names = bounded(10, 3)
    stream.node = node
    fetch(stream, *names)
    assert names == has(stream)


def test_without_limits_nothing_is_evicted():
    """A bound that is not set does not bind."""
    stream, names = bounded(3 * MAX_RESPONSE_RESOURCES)
    fetch(stream, *names)
    assert names == has(stream)


@pytest.mark.parametrize("limits", [(0, None), (None, 0), (-1, 5)])
def test_a_bound_below_one_is_refused(limits):
    """A client must be able to hold something."""
    with pytest.raises(ValueError, match="limit"):
        DeltaSubscription(TYPE, Limits(*limits))


def test_the_count_of_what_was_fetched_again_is_bounded():
    """Of very many names that were asked for twice those to which it happened last are remembered."""
    stream, names = bounded(2000)
    for _ in range(2):
        stream.accept(*stream.request(*names))
    assert names[-1024:] == list(stream.subscription.refetched())
