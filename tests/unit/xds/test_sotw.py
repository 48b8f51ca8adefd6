"""State of the world, by transcript."""

import pytest

from controlplane.xds.messages import MAX_RESPONSE_BYTES, MAX_RESPONSE_RESOURCES, Acknowledgement, SotwRequest
from controlplane.xds.sotw import WHOLE_STATE_NAMES
from tests.unit.xds.transcript import REFUSED, TYPE, SotwTranscript, told


def test_a_first_request_is_answered_with_what_exists():
    """Known names are in the answer, unknown ones are absent."""
    stream = SotwTranscript(a_example="1")
    (answer,) = stream.request(b"a.example", b"b.example")
    assert ("1", TYPE, ()) == (answer.nonce, answer.type_url, answer.removed)
    assert ({b"a.example": "1"}, set()) == told([answer])
    assert {"a.example", "b.example"} == set(stream.outcome.held)


def test_a_request_for_unknown_names_only_waits():
    """Nothing is said of unknown names; the answer comes when one springs into existence."""
    stream = SotwTranscript()
    assert [] == stream.request(b"a.example", b"b.example")
    assert ({b"a.example": "1"}, set()) == told(stream.change("a.example", "1"))


def test_an_ack_is_read_and_not_answered():
    """An ACK with the last nonce and the same names leads to no answer."""
    stream = SotwTranscript(a_example="1")
    (answer,) = stream.request(b"a.example")
    assert [] == stream.request(b"a.example", nonce=answer.nonce, version=answer.version_info)
    assert Acknowledgement("1", ("1",)) == stream.outcome.acknowledgement


def test_a_stale_nonce_is_ignored():
    """A request that answers an earlier answer changes no names, but its NACK is read."""
    stream = SotwTranscript(a_example="1", b_example="1")
    stream.request(b"a.example")
    stream.change("a.example", "2")
    assert [] == stream.request(b"a.example", b"b.example", nonce="1", error=REFUSED)
    assert stream.outcome.stale
    assert Acknowledgement("1", ("1",), REFUSED, ((b"a.example", "1"),)) == stream.outcome.acknowledgement
    assert [] == stream.request(b"a.example", b"b.example")
    assert stream.outcome.stale
    answers = stream.request(b"a.example", b"b.example", nonce="2")
    assert not stream.outcome.stale
    assert ({b"a.example": "2", b"b.example": "1"}, set()) == told(answers)


def test_a_nonce_of_an_earlier_stream_is_not_stale():
    """Before the first answer of a stream no nonce means anything."""
    stream = SotwTranscript(a_example="1")
    assert ({b"a.example": "1"}, set()) == told(stream.request(b"a.example", nonce="77", version="x"))


def test_a_new_name_is_answered_with_the_whole_state():
    """A name added in an ACK is answered, together with what the client has."""
    stream = SotwTranscript(a_example="1", b_example="1")
    stream.request(b"a.example")
    assert ({b"a.example": "1", b"b.example": "1"}, set()) == told(stream.request(b"a.example", b"b.example", nonce="1"))
    assert ("b.example",) == stream.outcome.held


def test_an_added_name_that_does_not_exist_repeats_nothing():
    """The state that the client has is not sent again because of a name that is unknown."""
    stream = SotwTranscript(a_example="1")
    stream.request(b"a.example")
    assert [] == stream.request(b"a.example", b"b.example", nonce="1")
    assert ({b"a.example": "1", b"b.example": "1"}, set()) == told(stream.change("b.example", "1"))


def test_a_name_that_is_not_repeated_is_unsubscribed():
    """A request names everything that is wanted: what it leaves out is released and not pushed; a name asked for again is sent again."""
    stream = SotwTranscript(a_example="1", b_example="1")
    stream.request(b"a.example", b"b.example")
    assert [] == stream.request(b"a.example", nonce="1")
    assert ("b.example",) == stream.outcome.released
    assert [] == stream.change("b.example", "2")
    assert b"b.example" in told(stream.request(b"a.example", b"b.example", nonce="1"))[0]


@pytest.mark.parametrize("names", [(), (b"*",), (b"*", b"\xff")])
def test_a_first_request_that_holds_nothing_is_answered_with_nothing(names):
    """Neither an empty request nor the wildcard waits: an answer without resources comes at once, and nothing is pushed later."""
    stream = SotwTranscript(a_example="1")
    (answer,) = stream.request(*names)
    assert ("1", (), ()) == (answer.nonce, answer.names, answer.removed)
    assert (len(names), ()) == (stream.outcome.impossible_names, stream.outcome.held)
    assert [] == stream.request(*names, nonce="1", version=answer.version_info)
    assert [] == stream.change("a.example", "2")
    assert ({b"a.example": "2"}, set()) == told(stream.request(b"a.example", nonce="1"))


def test_names_that_come_before_the_first_answer_take_its_place():
    """A client that asks for nothing and at once for something gets that."""
    stream = SotwTranscript(a_example="1")
    stream.subscription.receive(SotwRequest(TYPE))
    assert ({b"a.example": "1"}, set()) == told(stream.request(b"a.example"))


def test_what_is_uncertain_is_left_out_and_not_sent_again():
    """A client that has a version keeps it: other names are answered without it, and the same version is no news when it is back."""
    stream = SotwTranscript(a_example="1", b_example="1")
    stream.request(b"a.example", b"b.example")
    stream.world.uncertain = {"a.example"}
    assert [] == stream.change("a.example", "1")
    assert ({b"b.example": "2"}, set()) == told(stream.change("b.example", "2"))
    stream.world.uncertain.clear()
    assert [] == stream.change("a.example", "1")
    assert ({b"a.example": "2", b"b.example": "2"}, set()) == told(stream.change("a.example", "2"))


def test_hostile_names_are_ignored():
    """Names that cannot exist are absent; good names beside them are served."""
    stream = SotwTranscript(a_example="1")
    assert ({b"a.example": "1"}, set()) == told(stream.request(b"\xff", b"", b"\0", b"x" * 10_000, b"a.example", b"a.example"))
    assert (4, 1) == (stream.outcome.impossible_names, stream.outcome.unanswerable_names)


def test_a_removed_resource_is_not_answered_and_comes_back():
    """Nothing says that a resource is gone; when it exists again it is pushed, also in the same version."""
    stream = SotwTranscript(a_example="1", b_example="1")
    stream.request(b"a.example", b"b.example")
    assert [] == stream.change("a.example")
    assert ({b"a.example": "1", b"b.example": "1"}, set()) == told(stream.change("a.example", "1"))


def test_the_whole_state_waits_for_what_is_not_known():
    """While the store is away for one name, an answer without it would read as if it were gone: all wait."""
    stream = SotwTranscript(a_example="1", b_example="1")
    stream.world.away = {"b.example"}
    assert [] == stream.request(b"a.example", b"b.example")
    assert stream.subscription.has_work
    stream.world.away = set()
    assert ({b"a.example": "1", b"b.example": "1"}, set()) == told(stream.answers())
    assert not stream.subscription.has_work


def test_a_resource_that_cannot_be_made_harms_no_other():
    """A broken resource is absent, and alone is no reason for an answer."""
    stream = SotwTranscript(a_example="1", b_example="bad")
    stream.world.broken = {"bad"}
    assert ({b"a.example": "1"}, set()) == told(stream.request(b"a.example", b"b.example"))
    assert [] == stream.change("b.example", "bad")


def test_many_names_are_answered_by_what_changed():
    """Beyond the limit of a whole state an answer holds only what is due, and answers are cut."""
    count = MAX_RESPONSE_RESOURCES + WHOLE_STATE_NAMES
    stream = SotwTranscript(**{f"n{number}_example": "1" for number in range(count)})
    names = tuple(key.encode() for key in stream.world.versions)
    answers = stream.request(*names)
    assert [MAX_RESPONSE_RESOURCES, WHOLE_STATE_NAMES] == [len(answer.names) for answer in answers]
    assert ({b"n3.example": "2"}, set()) == told(stream.change("n3.example", "2"))
    assert [] == stream.change("n3.example", "2")
    assert [] == stream.accept(*answers)


def test_a_whole_state_is_cut_by_size():
    """A whole state that is larger than an answer comes in several."""
    stream = SotwTranscript(**{f"n{number}_example": "1" for number in range(3)})
    names = tuple(key.encode() for key in stream.world.versions)
    stream.subscription.receive(SotwRequest(TYPE, None, "", names))
    claims = stream.subscription.take(10)
    known = stream.world.known(claims.keys)
    answers = list(stream.subscription.answers(claims, known, lambda names, _: [bytes(MAX_RESPONSE_BYTES // 2 - 1000)] * len(names)))
    assert [names[:2], names[2:]] == [answer.names for answer in answers]


def test_a_name_that_comes_during_a_look_up_is_in_the_next_whole_state():
    """An answer never lacks a name that was asked for before it was made."""
    stream = SotwTranscript(a_example="1", b_example="1")
    subscription, world = stream.subscription, stream.world
    subscription.receive(SotwRequest(TYPE, resource_names=(b"a.example",)))
    claims = subscription.take(10)
    known = world.known(claims.keys)
    subscription.receive(SotwRequest(TYPE, resource_names=(b"a.example", b"b.example")))
    assert [] == list(subscription.answers(claims, known, world.fields))
    assert ({b"a.example": "1", b"b.example": "1"}, set()) == told(stream.answers())


def test_a_look_up_may_overtake_another():
    """What is put back by a later look-up is not left out of the whole state that an earlier one answers: that is made anew."""
    stream = SotwTranscript(a_example="1", b_example="1")
    stream.accept(*stream.request(b"a.example"))
    stream.world.replace("a.example", "2")
    stream.subscription.changed(["a.example"])
    stream.subscription.receive(SotwRequest(TYPE, None, "", (b"a.example", b"b.example"), "1"))
    first = stream.subscription.take(10)
    stream.subscription.changed(["a.example"])
    second = stream.subscription.take(10)
    assert [] == list(stream.subscription.answers(second, {}, stream.world.fields))
    assert [] == list(stream.subscription.answers(first, stream.world.known(first.keys), stream.world.fields))
    (whole,) = stream.answers()
    assert {b"a.example": "2", b"b.example": "1"} == told([whole])[0]


def test_an_emptied_list_unsubscribes():
    """A request without names after one with names is no wildcard: it gives all names up and is not answered."""
    stream = SotwTranscript(a_example="1")
    stream.request(b"a.example")
    assert [] == stream.request(nonce="1")
    assert ("a.example",) == stream.outcome.released
    assert [] == stream.change("a.example", "2")


def test_each_spelling_is_answered_as_it_was_spelled():
    """Spellings of one name are resources of their own; the name is held until the last of them goes."""
    stream = SotwTranscript(a_example="1")
    assert ({b"a.example": "1", b"A.example": "1"}, set()) == told(stream.request(b"a.example", b"A.example", b"a.example"))
    assert ("a.example",) == stream.outcome.held
    stream.request(b"A.example", nonce="1")
    assert () == stream.outcome.released
    assert ({b"A.example": "2"}, set()) == told(stream.change("a.example", "2"))
    assert [(b"A.example", "2")] == list(stream.subscription.held())
    assert ("a.example",) == stream.subscription.end()


def test_updates_coalesce_while_a_client_does_not_read():
    """However often a name changes before the client is written to, it is told the last version, once."""
    stream = SotwTranscript(a_example="1")
    stream.request(b"a.example")
    for version in range(2, 100):
        stream.world.replace("a.example", str(version))
        stream.subscription.changed(["a.example"])
    assert ["99"] == [version for answer in stream.answers() for version in answer.versions]


def test_the_version_of_an_answer_follows_from_the_state():
    """Two streams in the same state have the same version; any change gives another."""
    one, other = SotwTranscript(a_example="1"), SotwTranscript(a_example="1")
    (first,) = one.request(b"a.example")
    (second,) = other.request(b"a.example")
    (third,) = other.change("a.example", "2")
    assert first.version_info == second.version_info
    assert second.version_info != third.version_info
