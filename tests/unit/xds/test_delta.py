"""Incremental xDS, by transcript."""

import pytest

from controlplane.xds.delta import DeltaSubscription
from controlplane.xds.messages import MAX_RESPONSE_BYTES, MAX_RESPONSE_RESOURCES, Acknowledgement, DeltaRequest
from tests.unit.xds.transcript import REFUSED, TYPE, DeltaTranscript, Thing, told


def test_a_first_request_is_answered_with_what_exists_and_what_does_not():
    """Known names come as resources with their versions, unknown names as removed, in one answer."""
    stream = DeltaTranscript(a_example="1")
    (answer,) = stream.request(b"a.example", b"b.example")
    assert ("1", "type.example/Thing") == (answer.nonce, answer.type_url)
    assert [(b"a.example", "1", b"body of 1")] == [(r.name, r.version, r.body) for r in answer.resources]
    assert (b"b.example",) == answer.removed
    assert {"a.example", "b.example"} == set(stream.outcome.held)


def test_an_ack_is_read_and_not_answered():
    """An ACK names the versions of the answer that it accepts, and leads to no answer."""
    stream = DeltaTranscript(a_example="1")
    stream.request(b"a.example")
    assert [] == stream.request(nonce="1")
    assert Acknowledgement("1", ("1",)) == stream.outcome.acknowledgement


def test_a_nack_is_read_and_nothing_is_sent_again():
    """A NACK carries the client's words; the same resource is not sent again until it changes."""
    stream = DeltaTranscript(a_example="1")
    stream.request(b"a.example")
    assert [] == stream.request(nonce="1", error=REFUSED)
    assert Acknowledgement("1", ("1",), REFUSED) == stream.outcome.acknowledgement
    assert ({b"a.example": "2"}, set()) == told(stream.change("a.example", "2"))


def test_a_request_without_nonce_is_no_ack():
    """Spontaneous requests acknowledge nothing."""
    stream = DeltaTranscript(a_example="1")
    stream.request(b"a.example")
    stream.request(b"b.example")
    assert stream.outcome.acknowledgement is None


@pytest.mark.parametrize("nonce", ["1", "17", "of another stream"])
def test_no_nonce_blocks_a_subscription(nonce):
    """A subscription counts whatever nonce comes with it."""
    stream = DeltaTranscript(a_example="1", b_example="1")
    stream.request(b"a.example")
    stream.change("a.example", "2")
    assert ({b"b.example": "1"}, set()) == told(stream.request(b"b.example", nonce=nonce))


def test_a_name_asked_for_again_is_answered_again():
    """A client may have forgotten: what it subscribes to again is sent again in the same version."""
    stream = DeltaTranscript(a_example="1")
    stream.request(b"a.example", b"gone.example")
    assert ({b"a.example": "1"}, {b"gone.example"}) == told(stream.request(b"a.example", b"gone.example"))


def test_an_unsubscription_is_not_answered_and_ends_pushes():
    """A name that was unsubscribed is released, changes of it are not pushed, and phantom unsubscriptions are ignored."""
    stream = DeltaTranscript(a_example="1")
    stream.request(b"a.example")
    assert [] == stream.request(unsubscribe=[b"a.example", b"never.example", b"*", b"\xff"])
    assert ("a.example",) == stream.outcome.released
    assert [] == stream.change("a.example", "2")


def test_a_name_in_both_lists_is_subscribed():
    """Subscription wins over unsubscription in one request, and the name stays held."""
    stream = DeltaTranscript(a_example="1")
    assert ({b"a.example": "1"}, set()) == told(stream.request(b"a.example", unsubscribe=[b"a.example"]))
    assert ({b"a.example": "1"}, set()) == told(stream.request(b"a.example", unsubscribe=[b"a.example"]))
    assert ((), ()) == (stream.outcome.held, stream.outcome.released)
    assert ({b"a.example": "2"}, set()) == told(stream.change("a.example", "2"))


def test_duplicates_are_answered_once():
    """A name that is twice in a request is once in the answer: a client must refuse an answer with a name twice."""
    stream = DeltaTranscript(a_example="1")
    (answer,) = stream.request(b"a.example", b"a.example", b"b.example", b"b.example", b"*", b"*")
    assert [b"a.example"] == [resource.name for resource in answer.resources]
    assert [b"*", b"b.example"] == sorted(answer.removed)


def test_each_spelling_is_answered_as_it_was_spelled():
    """Spellings of one name are resources of their own with the same version; the name is held until the last of them goes."""
    stream = DeltaTranscript(a_example="1")
    assert ({b"a.example": "1", b"A.example": "1"}, set()) == told(stream.request(b"a.example", b"A.example"))
    assert ("a.example",) == stream.outcome.held
    assert ({b"a.example": "2", b"A.example": "2"}, set()) == told(stream.change("a.example", "2"))
    stream.request(unsubscribe=[b"a.example"])
    assert () == stream.outcome.released
    assert ({b"A.example": "3"}, set()) == told(stream.change("a.example", "3"))
    stream.request(unsubscribe=[b"A.example"])
    assert ("a.example",) == stream.outcome.released


def test_the_wildcard_is_answered_as_removed():
    """`*` is neither an error nor a list of everything."""
    stream = DeltaTranscript(a_example="1")
    assert ({}, {b"*"}) == told(stream.request(b"*"))
    assert ((), 1) == (stream.outcome.held, stream.outcome.impossible_names)


def test_an_empty_first_subscription_holds_nothing_and_waits_for_nothing():
    """A first request without names is a wildcard: answered by removal, once, and nothing is pushed later."""
    stream = DeltaTranscript(a_example="1")
    assert ({}, {b"*"}) == told(stream.request())
    assert ((), 0) == (stream.outcome.held, stream.outcome.impossible_names)
    assert [] == stream.request(nonce="1")
    assert [] == stream.request(unsubscribe=[b"*"])
    assert [] == stream.change("a.example", "2")
    assert ({b"a.example": "2"}, set()) == told(stream.request(b"a.example"))


def test_a_later_request_without_names_is_no_wildcard():
    """Only the first request of a stream subscribes to everything by naming nothing."""
    stream = DeltaTranscript(a_example="1")
    stream.request(b"a.example")
    assert [] == stream.request()


def test_what_is_uncertain_takes_nothing_away():
    """A client that holds a version keeps it without a word, from this stream or an earlier one, until the resource is gone for certain."""
    for versions in ({}, {b"a.example": "1"}):
        stream = DeltaTranscript(a_example="1")
        stream.request(b"a.example", versions=versions)
        stream.world.uncertain = {"a.example"}
        assert [] == stream.change("a.example", "2")
        stream.world.uncertain.clear()
        assert ({b"a.example": "2"}, set()) == told(stream.change("a.example", "2"))
        stream.world.uncertain = {"a.example"}
        assert [] == stream.change("a.example")
        stream.world.uncertain.clear()
        assert ({}, {b"a.example"}) == told(stream.change("a.example"))


def test_a_reconnecting_client_keeps_what_is_uncertain():
    """What a client holds from an earlier stream is not removed because it cannot be read now."""
    stream = DeltaTranscript()
    stream.world.uncertain = {"a.example", "b.example"}
    assert ({}, {b"b.example"}) == told(stream.request(b"a.example", b"b.example", versions={b"a.example": "1"}))
    assert ("a.example",) == stream.outcome.resumed


def test_who_asks_for_what_is_uncertain_does_not_wait():
    """A name asked for anew is answered by removal, once, and is pushed when it can be sent."""
    stream = DeltaTranscript()
    stream.world.uncertain = {"a.example"}
    assert ({}, {b"a.example"}) == told(stream.request(b"a.example"))
    assert [] == stream.change("a.example", "1")
    stream.world.uncertain.clear()
    assert ({b"a.example": "1"}, set()) == told(stream.change("a.example", "1"))


@pytest.mark.parametrize("name", [b"", b"a\0b.example", b"x" * 10_000, b"a..b", b"a.example."])
def test_a_name_that_cannot_exist_is_removed_and_good_names_are_served(name):
    """Hostile names are answered at once, beside good names, and take no room afterwards."""
    stream = DeltaTranscript(a_example="1")
    assert ({b"a.example": "1"}, {name}) == told(stream.request(name, b"a.example"))
    assert ("a.example",) == stream.outcome.held
    assert ({}, {name}) == told(stream.request(name))


def test_a_name_that_is_not_utf_8_is_left_unanswered():
    """Such a name in an answer would make the client refuse all of it."""
    stream = DeltaTranscript(a_example="1")
    assert ({b"a.example": "1"}, set()) == told(stream.request(b"\xff.example", b"a.example"))
    assert 1 == stream.outcome.unanswerable_names
    assert [] == stream.request(b"\xff.example")


def test_a_change_is_pushed_once():
    """A new version is pushed; a notice that brings nothing new is not."""
    stream = DeltaTranscript(a_example="1")
    stream.request(b"a.example")
    assert ({b"a.example": "2"}, set()) == told(stream.change("a.example", "2"))
    assert [] == stream.change("a.example", "2")
    assert ["1", "2"] == stream.world.made


def test_a_removed_resource_is_told_once_and_comes_back():
    """A resource that is gone is removed, once; when it exists again it is pushed."""
    stream = DeltaTranscript(a_example="1")
    stream.request(b"a.example")
    assert ({}, {b"a.example"}) == told(stream.change("a.example"))
    assert [] == stream.change("a.example")
    assert ({b"a.example": "3"}, set()) == told(stream.change("a.example", "3"))


def test_a_name_that_springs_into_existence_is_pushed():
    """A client that holds an unknown name gets it as soon as it exists."""
    stream = DeltaTranscript()
    stream.request(b"a.example")
    assert ({b"a.example": "1"}, set()) == told(stream.change("a.example", "1"))


def test_a_reconnecting_client_is_told_only_what_differs():
    """Same version: nothing. Another: the resource. Gone: removed. Without a version: answered as any first subscription."""
    stream = DeltaTranscript(same_example="1", newer_example="2", waiting_example="1")
    answers = stream.request(
        b"same.example",
        b"newer.example",
        b"gone.example",
        b"waiting.example",
        versions={b"same.example": "1", b"newer.example": "1", b"gone.example": "1", b"not.subscribed.example": "1"},
    )
    assert ({b"newer.example": "2", b"waiting.example": "1"}, {b"gone.example"}) == told(answers)
    assert ({b"same.example": "2"}, set()) == told(stream.change("same.example", "2"))


def test_a_reconnecting_client_that_is_up_to_date_gets_no_answer():
    """Nothing is sent and nothing is opened for a client that has everything."""
    stream = DeltaTranscript(a_example="1", b_example="1")
    assert [] == stream.request(b"a.example", b"b.example", versions={b"a.example": "1", b"b.example": "1"})
    assert [] == stream.world.made


def test_versions_in_a_later_request_are_ignored():
    """Only the first request of a stream may speak of an earlier stream; a name asked for later is answered."""
    stream = DeltaTranscript(a_example="1")
    stream.request()
    assert ({b"a.example": "1"}, set()) == told(stream.request(b"a.example", versions={b"a.example": "1"}))
    assert () == stream.outcome.resumed


def test_a_name_of_which_nothing_is_known_waits():
    """While the store is away a name is not answered as removed; once it is back the name is answered."""
    stream = DeltaTranscript(a_example="1", b_example="1")
    stream.world.away = {"a.example"}
    assert ({b"b.example": "1"}, set()) == told(stream.request(b"a.example", b"b.example"))
    assert stream.subscription.has_work
    assert [] == stream.answers()
    stream.world.away = set()
    assert ({b"a.example": "1"}, set()) == told(stream.answers())
    assert not stream.subscription.has_work


def test_what_happens_during_a_look_up_is_not_lost():
    """An unsubscription takes effect at once; a change or a subscription during a look-up makes the name due again after it."""
    stream = DeltaTranscript(a_example="1", b_example="1", c_example="1")
    subscription, world = stream.subscription, stream.world
    subscription.receive(_request(b"a.example", b"b.example", b"c.example"))
    claims = subscription.take(10)
    known = world.known(claims)
    subscription.receive(_request(unsubscribe=(b"a.example",)))
    world.versions["b.example"] = "2"
    subscription.changed(["b.example"])
    subscription.receive(_request(b"c.example"))
    assert ({b"b.example": "1", b"c.example": "1"}, set()) == told(list(subscription.answers(claims, known, world.body)))
    assert ({b"b.example": "2", b"c.example": "1"}, set()) == told(stream.answers())
    assert not subscription.has_work


def test_a_resource_that_cannot_be_made_counts_as_unknown_for_who_asks():
    """A broken resource is removed for a client that asks for it, and other names of the same answer are unharmed."""
    stream = DeltaTranscript(a_example="bad", b_example="1")
    stream.world.broken = {"bad"}
    assert ({b"b.example": "1"}, {b"a.example"}) == told(stream.request(b"a.example", b"b.example"))
    assert ({b"a.example": "2"}, set()) == told(stream.change("a.example", "2"))


def test_a_resource_that_cannot_be_made_takes_nothing_away():
    """A client that holds an older version goes on with it, and gets the next version that can be made."""
    stream = DeltaTranscript(a_example="1")
    stream.world.broken = {"bad"}
    stream.request(b"a.example")
    assert [] == stream.change("a.example", "bad")
    assert ({b"a.example": "3"}, set()) == told(stream.change("a.example", "3"))


def test_who_waits_is_answered_before_who_is_compared():
    """A name that a client waits for overtakes the names that it holds from an earlier stream."""
    stream = DeltaTranscript()
    held = [f"h{number}.example".encode() for number in range(10)]
    stream.subscription.receive(_request(*held, b"new.example", versions=dict.fromkeys(held, "1")))
    assert [b"new.example", b"h0.example"] == [claim.name for claim in stream.subscription.take(2)]


def test_answers_are_cut_by_count():
    """No answer brings more resources than the limit, each has a nonce of its own, and nothing is lost or repeated."""
    stream = DeltaTranscript(**{f"n{number}_example": "1" for number in range(150)})
    answers = stream.request(*(key.encode() for key in stream.world.versions))
    assert [MAX_RESPONSE_RESOURCES, MAX_RESPONSE_RESOURCES, 22] == [len(answer.resources) for answer in answers]
    assert ["1", "2", "3"] == [answer.nonce for answer in answers]
    assert {key.encode(): "1" for key in stream.world.versions} == told(answers)[0]


def test_answers_are_cut_by_size():
    """Resources and removed names together stay within the limit of an answer; one that is larger alone goes alone."""
    stream = DeltaTranscript(**{f"n{number}_example": "1" for number in range(4)})
    names = [key.encode() for key in stream.world.versions]
    size = {"1": MAX_RESPONSE_BYTES // 2 - 1000}
    stream.subscription.receive(_request(*names, *(b"?" * 10_000 + str(number).encode() for number in range(200))))
    claims = stream.subscription.take(1000)
    answers = list(stream.subscription.answers(claims, stream.world.known(claims), lambda thing: bytes(size[thing.version])))
    for answer in answers:
        total = sum(resource.size for resource in answer.resources) + sum(map(len, answer.removed))
        assert total <= MAX_RESPONSE_BYTES
    assert (4, 200) == tuple(map(len, told(answers)))
    huge = DeltaTranscript(a_example="1", b_example="1")
    huge.subscription.receive(_request(b"a.example", b"b.example"))
    claims = huge.subscription.take(1000)
    answers = list(huge.subscription.answers(claims, huge.world.known(claims), lambda _: bytes(2 * MAX_RESPONSE_BYTES)))
    assert [1, 1] == [len(answer.resources) for answer in answers]


def _bounded(existing: int, limit: int) -> DeltaTranscript:
    stream = DeltaTranscript(**{f"n{number}_example": "1" for number in range(existing)})
    stream.subscription = DeltaSubscription(TYPE, limit)
    return stream


def test_what_was_fetched_longest_ago_makes_room():
    """Beyond the limit each new resource comes with the removal of the oldest, which is released and not pushed any more."""
    stream = _bounded(70, 64)
    names = [key.encode() for key in stream.world.versions]
    stream.request(*names[:64])
    stream.change("n0.example", "2")
    (answer,) = stream.request(names[64])
    assert ([names[64]], (names[1],)) == ([resource.name for resource in answer.resources], answer.removed)
    assert [] == stream.change("n1.example", "2")
    stream.request()
    assert ("n1.example",) == stream.outcome.released
    assert ({b"n0.example": "3"}, set()) == told(stream.change("n0.example", "3"))


def test_room_is_not_made_by_what_a_client_waits_for():
    """A name that was asked for again is answered, however long ago it was fetched."""
    stream = _bounded(66, 64)
    names = [key.encode() for key in stream.world.versions]
    stream.request(*names[:64])
    assert ({names[64]: "1", names[0]: "1"}, {names[1]}) == told(stream.request(names[64], names[0]))


def test_an_unbounded_request_ends_within_the_bound():
    """More names than the limit in one request: the client ends with the limit, and no answer holds a name twice."""
    stream = _bounded(300, 64)
    has: set[bytes] = set()
    for answer in stream.request(*(key.encode() for key in stream.world.versions)):
        versions, removed = told([answer])
        has = (has | set(versions)) - removed
    assert {key.encode() for key in list(stream.world.versions)} >= has
    assert 64 <= len(has) <= 300
    stream.world.versions["one.more"] = "1"
    versions, removed = told(stream.request(b"one.more"))
    assert 64 == len((has | set(versions)) - removed)


def test_names_from_an_earlier_stream_count():
    """What a reconnecting client holds counts towards its limit."""
    stream = _bounded(66, 64)
    names = [key.encode() for key in stream.world.versions]
    assert [] == stream.request(*names[:64], versions=dict.fromkeys(names[:64], "1"))
    assert ({names[64]: "1"}, {names[0]}) == told(stream.request(names[64]))


def test_a_bound_below_one_answer_is_refused():
    """A client must be able to hold what one answer brings."""
    with pytest.raises(ValueError, match="max_resources"):
        DeltaSubscription(TYPE, MAX_RESPONSE_RESOURCES - 1)


def test_bodies_do_not_show_themselves():
    """A resource's representation does not hold its content."""
    stream = DeltaTranscript(a_example="1")
    (answer,) = stream.request(b"a.example")
    assert "body" not in repr(answer)
    assert Thing("1").version == answer.resources[0].version


def _request(*subscribe, unsubscribe=(), versions=None):
    return DeltaRequest("type.example/Thing", "", tuple(subscribe), tuple(unsubscribe), versions or {})
