"""Incremental xDS, by transcript."""

import pytest

from controlplane.xds.delta import DeltaSubscription
from controlplane.xds.messages import MAX_RESPONSE_BYTES, MAX_RESPONSE_RESOURCES, Acknowledgement, DeltaRequest, Node
from controlplane.xds.subscription import Absence
from tests.unit.xds.transcript import TYPE, DeltaTranscript, World, content, told


def test_a_first_request_is_answered_with_what_exists_and_what_does_not():
    """Known names come as resources with their versions, unknown names as removed, in one answer."""
    stream = DeltaTranscript(a_example="1")
    (answer,) = stream.request(b"a.example", b"b.example")
    assert ("1", "type.example/Thing") == (answer.nonce, answer.type_url)
    assert ((b"a.example",), ("1",), (content(b"a.example", "1"),)) == (answer.names, answer.versions, answer.fields)
    assert (b"b.example",) == answer.removed
    assert {"a.example", "b.example"} == set(stream.outcome.held)


def test_an_ack_is_read_and_not_answered():
    """An ACK names the versions of the answer that it accepts, and leads to no answer."""
    stream = DeltaTranscript(a_example="1")
    stream.request(b"a.example")
    assert [] == stream.request(nonce="1")
    assert Acknowledgement("1", ("1",)) == stream.outcome.acknowledgement


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


def test_the_node_is_told_once():
    """Requests without a node are as good as the first one."""
    stream = DeltaTranscript(a_example="1", b_example="1")
    stream.node = Node("edge")
    stream.request(b"a.example")
    assert ({b"b.example": "1"}, set()) == told(stream.request(b"b.example"))


def test_who_unsubscribes_before_the_answer_gets_none():
    """A name that was taken back before it was answered is neither resource nor removal."""
    stream = DeltaTranscript(a_example="1")
    stream.subscription.receive(DeltaRequest(TYPE, None, (b"a.example", b"..")))
    assert [] == stream.request(unsubscribe=[b"a.example", b".."])
    assert ("a.example",) == stream.outcome.released


def test_who_asks_again_for_what_is_about_to_be_removed_is_not_told_both():
    """A removal that waits to be sent gives way to a subscription to the same name."""
    stream = DeltaTranscript(a_example="1")
    stream.request(b"*", b"a.example")
    stream.subscription.receive(DeltaRequest(TYPE, None, (), (b"a.example",)))
    claims = stream.subscription.take(10)
    stream.subscription.receive(DeltaRequest(TYPE, None, (b"a.example",)))
    assert [] == list(stream.subscription.answers(claims, {}, stream.world.fields))
    assert ({b"a.example": "1"}, set()) == told(stream.answers())


def test_an_unsubscription_is_not_answered_and_ends_pushes():
    """A name that was unsubscribed is released, changes of it are not pushed, and phantom unsubscriptions are ignored."""
    stream = DeltaTranscript(a_example="1")
    stream.request(b"a.example")
    assert [] == stream.request(unsubscribe=[b"a.example", b"never.example", b"*", b"\xff", b"a.example"])
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
    assert (b"a.example",) == answer.names
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


def test_another_spelling_of_a_held_name_is_not_held_anew():
    """What is reported as held and released are canonical names, each once."""
    stream = DeltaTranscript(a_example="1")
    stream.request(b"a.example")
    stream.request(b"A.example", b"A.EXAMPLE")
    assert () == stream.outcome.held
    stream.request(unsubscribe=[b"a.example", b"A.example"])
    assert () == stream.outcome.released
    stream.request(b"a.example", unsubscribe=[b"A.EXAMPLE"])
    assert ((), ()) == (stream.outcome.held, stream.outcome.released)


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


def test_a_first_request_that_only_unsubscribes_is_no_wildcard():
    """The page's historical rule asks for both lists to be empty."""
    stream = DeltaTranscript()
    assert [] == stream.request(unsubscribe=[b"a.example"])


@pytest.mark.parametrize("first", [(), (b"*",)])
def test_who_unsubscribes_beside_the_wildcard_is_told(first):
    """A client with a wildcard cannot know whether it goes on to get a name, so it is told that it does not; not so without one."""
    stream = DeltaTranscript(a_example="1", b_example="1")
    stream.request(*first)
    stream.request(b"a.example", b"b.example")
    assert ({}, {b"a.example"}) == told(stream.request(unsubscribe=[b"a.example", b"phantom.example"]))
    assert [] == stream.request(unsubscribe=[b"b.example", b"*"])


def test_what_came_by_a_wildcard_is_removed():
    """A reconnecting client with a wildcard has resources that it did not ask for by name: none of them is served so."""
    stream = DeltaTranscript(a_example="1", b_example="1")
    answers = stream.request(b"*", b"a.example", versions={b"a.example": "1", b"b.example": "1", b"\xff": "1"})
    assert ({}, {b"*", b"b.example"}) == told(answers)
    assert ("a.example",) == stream.outcome.held


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
    """An unsubscription takes effect at once; what changes or is asked for again during a look-up is looked up again."""
    stream = DeltaTranscript(a_example="1", b_example="1", c_example="1")
    subscription, world = stream.subscription, stream.world
    subscription.receive(_request(b"a.example", b"b.example", b"c.example"))
    claims = subscription.take(10)
    known = world.known(claims.keys)
    subscription.receive(_request(unsubscribe=(b"a.example",)))
    world.versions["b.example"] = "2"
    subscription.changed(["b.example"])
    subscription.receive(_request(b"c.example"))
    assert ({b"b.example": "1"}, set()) == told(list(subscription.answers(claims, known, world.fields)))
    assert ({b"b.example": "2", b"c.example": "1"}, set()) == told(stream.answers())
    assert not subscription.has_work


def test_who_asks_again_during_a_look_up_is_answered_once():
    """The answer is what is looked up after the second subscription."""
    stream = DeltaTranscript(a_example="1")
    subscription, world = stream.subscription, stream.world
    subscription.receive(_request(b"a.example"))
    claims = subscription.take(10)
    known = world.known(claims.keys)
    subscription.receive(_request(b"a.example"))
    world.replace("a.example", "2")
    assert [] == list(subscription.answers(claims, known, world.fields))
    assert ({b"a.example": "2"}, set()) == told(stream.answers())


def test_what_a_later_look_up_puts_back_is_left_to_the_next_one():
    """A name that changes while it is looked up and is put back meanwhile is answered once."""
    stream = DeltaTranscript(a_example="1")
    subscription, world = stream.subscription, stream.world
    subscription.receive(_request(b"a.example"))
    first = subscription.take(10)
    known = world.known(first.keys)
    world.replace("a.example", "2")
    subscription.changed(["a.example"])
    assert [] == list(subscription.answers(subscription.take(10), {}, world.fields))
    assert [] == list(subscription.answers(first, known, world.fields))
    assert ({b"a.example": "2"}, set()) == told(stream.answers())


def test_a_look_up_may_overtake_another():
    """What was handed out first may be answered last: names in both are answered once, with what was looked up last."""
    stream = DeltaTranscript(a_example="1", b_example="1", c_example="1")
    subscription, world = stream.subscription, stream.world
    subscription.receive(_request(b"a.example", b"b.example"))
    first = subscription.take(10)
    known = world.known(first.keys)
    world.replace("a.example", "2")
    subscription.changed(["b.example"])
    subscription.receive(_request(b"a.example", b"c.example"))
    second = subscription.take(10)
    assert {b"a.example", b"b.example", b"c.example"} == set(second.names)
    apart = world.known(set(second.keys) - set(first.keys))
    assert ({b"c.example": "1"}, set()) == told(list(subscription.answers(second, apart, world.fields)))
    assert [] == list(subscription.answers(first, known, world.fields))
    assert ({b"a.example": "2", b"b.example": "1"}, set()) == told(stream.answers())


def test_names_that_are_only_compared_come_with_what_was_told():
    """For a name that does not wait it is enough to know whether the version that the client has is the newest one."""
    stream = DeltaTranscript(a_example="1", b_example="1", c_example="1")
    stream.request(b"a.example", b"b.example", b"B.example", b"gone.example")
    stream.subscription.changed(["a.example", "b.example", "gone.example"])
    stream.subscription.receive(_request(b"c.example"))
    claims = stream.subscription.take(10)
    assert [b"c.example", b"a.example", b"b.example", b"B.example", b"gone.example"] == list(claims.names)
    assert {"a.example": "1"} == claims.told


def test_state_may_change_between_two_answers():
    """What was unsubscribed after the first answer of a look-up is not in the second."""
    stream = DeltaTranscript(**{f"n{number}_example": "1" for number in range(MAX_RESPONSE_RESOURCES + 3)})
    names = [key.encode() for key in stream.world.versions]
    stream.subscription.receive(_request(*names))
    claims = stream.subscription.take(1000)
    answers = stream.subscription.answers(claims, stream.world.known(claims.keys), stream.world.fields)
    assert tuple(names[:MAX_RESPONSE_RESOURCES]) == next(answers).names
    stream.subscription.receive(_request(unsubscribe=names[-2:]))
    assert (names[-3],) == next(answers).names
    assert [] == list(answers)


def test_a_name_is_handed_out_once():
    """A name that changed and is then asked for again, or put back while it changed, is due once."""
    stream = DeltaTranscript(a_example="1")
    stream.request(b"a.example")
    stream.subscription.changed(["a.example"])
    stream.subscription.receive(_request(b"a.example"))
    claims = stream.subscription.take(10)
    assert [b"a.example"] == list(claims.names)
    stream.subscription.changed(["a.example"])
    assert [] == list(stream.subscription.answers(claims, {}, stream.world.fields))
    assert [b"a.example"] == list(stream.subscription.take(10).names)


def test_updates_coalesce_while_a_client_does_not_read():
    """However often a name changes before the client is written to, it is told the last version, once."""
    stream = DeltaTranscript(a_example="1", b_example="1")
    stream.accept(*stream.request(b"a.example", b"b.example"))
    for version in range(2, 100):
        stream.world.replace("a.example", str(version))
        stream.subscription.changed(["a.example"])
    assert 1 == len(stream.subscription.take(1000))
    stream.subscription.changed(["a.example"])
    assert ({b"a.example": "99"}, set()) == told(stream.answers())


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
    assert [b"new.example", b"h0.example"] == list(stream.subscription.take(2).names)
    assert [b"h1.example", b"h2.example"] == list(stream.subscription.take(2).names)


def test_a_claim_has_the_canonical_name_beside_the_spelled_one():
    """Names are handed out as they were spelled, with what is to be looked up."""
    stream = DeltaTranscript()
    stream.subscription.receive(_request(b"a.example", b"A.Example"))
    claims = stream.subscription.take(10)
    assert [(b"a.example", "a.example"), (b"A.Example", "a.example")] == list(zip(claims.names, claims.keys, strict=True))


def test_answers_are_cut_by_count():
    """No answer brings more resources than the limit, each has a nonce of its own, and nothing is lost or repeated."""
    count = 2 * MAX_RESPONSE_RESOURCES + 22
    stream = DeltaTranscript(**{f"n{number}_example": "1" for number in range(count)})
    answers = stream.request(*(key.encode() for key in stream.world.versions))
    assert [MAX_RESPONSE_RESOURCES, MAX_RESPONSE_RESOURCES, 22] == [len(answer.names) for answer in answers]
    assert ["1", "2", "3"] == [answer.nonce for answer in answers]
    assert {key.encode(): "1" for key in stream.world.versions} == told(answers)[0]


def test_what_is_no_news_does_not_thin_out_answers():
    """A few resources among many that the client has are in one answer."""
    stream = DeltaTranscript(**{f"n{number}_example": "1" for number in range(1000)})
    names = [key.encode() for key in stream.world.versions]
    versions = {name: "1" if number % 100 else "0" for number, name in enumerate(names)}
    (answer,) = stream.request(*names, versions=versions)
    assert tuple(names[::100]) == answer.names


def test_answers_are_cut_by_size():
    """Resources and removed names together stay within the limit of an answer, and nothing is lost."""
    stream = DeltaTranscript(**{f"n{number}_example": "1" for number in range(5)})
    names = [key.encode() for key in stream.world.versions]
    stream.subscription.receive(_request(*names, *(b"?" * 10_000 + str(number).encode() for number in range(200))))
    claims = stream.subscription.take(1000)
    size = MAX_RESPONSE_BYTES * 7 // 10
    answers = list(stream.subscription.answers(claims, stream.world.known(claims.keys), lambda names, _: [bytes(size)] * len(names)))
    for answer in answers:
        assert sum(map(len, answer.fields)) + sum(map(len, answer.removed)) <= MAX_RESPONSE_BYTES
    brought = [name for answer in answers for name in answer.names]
    assert names == brought
    assert 200 == len({name for answer in answers for name in answer.removed})


def test_what_is_larger_than_an_answer_goes_alone():
    """A resource beyond the limit of an answer is sent all the same, beside no other."""
    stream = DeltaTranscript(a_example="1", b_example="1")
    stream.subscription.receive(_request(b"a.example", b"b.example", b"?" * 2 * MAX_RESPONSE_BYTES, b"?"))
    claims = stream.subscription.take(1000)
    known = stream.world.known(claims.keys)
    answers = list(stream.subscription.answers(claims, known, lambda names, _: [bytes(2 * MAX_RESPONSE_BYTES)] * len(names)))
    assert [b"a.example", b"b.example"] == [name for answer in answers for name in answer.names]
    assert all(1 >= len(answer.names) for answer in answers)
    assert {b"?" * 2 * MAX_RESPONSE_BYTES, b"?"} == {name for answer in answers for name in answer.removed}


def test_a_name_that_a_client_has_is_shown_with_its_version():
    """What is shown of a stream are names as spelled with the version told, those first that were asked for longest ago."""
    stream = DeltaTranscript(a_example="1", b_example="2")
    stream.request(b"A.example", b"b.example", b"gone.example")
    stream.request(b"A.example")
    assert [(b"b.example", "2"), (b"A.example", "1")] == list(stream.subscription.held())
    assert 2 == stream.subscription.held_count
    assert {b"A.example": 1} == stream.subscription.refetched()


def test_a_canonical_name_is_held_in_any_spelling():
    """Whether a client holds a name is asked by the canonical one."""
    stream = DeltaTranscript()
    stream.request(b"A.example", b"b.example")
    assert [True, True, False] == [stream.subscription.holds(key) for key in ("a.example", "b.example", "c.example")]
    stream.request(unsubscribe=[b"A.example"])
    assert not stream.subscription.holds("a.example")


def test_the_end_of_a_stream_tells_what_it_held():
    """At its end a stream tells each canonical name once that was reported as held and not as released."""
    stream = DeltaTranscript()
    stream.request(b"a.example", b"A.example", b"b.example", b"c.example")
    stream.request(unsubscribe=[b"b.example"])
    assert ["a.example", "c.example"] == sorted(stream.subscription.end())
    assert not stream.subscription.has_work
    assert not stream.subscription.holds("a.example")


def test_contents_do_not_show_themselves():
    """An answer's representation does not hold the resources."""
    stream = DeltaTranscript(a_example="1")
    (answer,) = stream.request(b"a.example")
    assert "<" not in repr(answer)


def test_absences_are_no_versions():
    """What is missing for whatever reason has nothing that could be taken for a version."""
    assert not any(hasattr(absence, "version") for absence in Absence)


def _request(*subscribe, unsubscribe=(), versions=None):
    return DeltaRequest(TYPE, Node("edge"), tuple(subscribe), tuple(unsubscribe), versions or {})


@pytest.mark.parametrize("between", ["changed", "more", "fewer", "nothing"])
def test_what_is_left_of_a_first_request_stays_due(between):
    """Names of it are handed out in steps; whatever comes in between, the others are handed out afterwards, each once and in order."""
    stream = DeltaTranscript(**{f"n{number}_example": "1" for number in range(6)})
    names = [b"n%d.example" % number for number in range(6)]
    stream.subscription.receive(DeltaRequest(TYPE, None, tuple(names[:5])))
    assert names[:2] == list(stream.subscription.take(2).names)
    if between == "changed":
        stream.subscription.changed(["n3.example", "n5.example"])
    elif between == "more":
        stream.subscription.receive(DeltaRequest(TYPE, None, (names[5],)))
    elif between == "fewer":
        stream.subscription.receive(DeltaRequest(TYPE, None, (), (names[3],)))
    left = {"changed": names[2:5], "more": names[2:], "fewer": [names[2], names[4]], "nothing": names[2:5]}[between]
    assert left == list(stream.subscription.take(10).names)
    assert not stream.subscription.has_work


def test_streams_that_ask_for_the_same_do_not_see_each_other():
    """What one of them gives up, asks for again or is told makes no difference to another with an equal first request."""
    world = World({f"n{number}.example": "1" for number in range(20)})
    names = tuple(key.encode() for key in world.versions)
    zeroth, first, second = (DeltaSubscription(TYPE) for _ in range(3))
    for subscription in (zeroth, first, second):
        subscription.receive(DeltaRequest(TYPE, None, names))
    first.receive(DeltaRequest(TYPE, None, (), names[:19]))
    assert {names[19]: "1"} == told(list(first.answers(first.take(100), world.known(world.versions), world.fields)))[0]
    first.receive(DeltaRequest(TYPE, None, names[:2]))
    assert names == second.take(100).names
    assert [True, False] == [subscription.holds("n5.example") for subscription in (second, first)]
    third = DeltaSubscription(TYPE)
    third.receive(DeltaRequest(TYPE, None, names))
    assert names == third.take(100).names
