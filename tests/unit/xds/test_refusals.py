"""What follows from an ACK or a NACK, by transcript, in both variants."""

import pytest

from controlplane.xds.messages import Acknowledgement, DeltaRequest, Response
from controlplane.xds.subscription import Claims
from tests.unit.xds.transcript import REFUSED, TYPE, DeltaTranscript, SotwTranscript, Thing, told

both = pytest.mark.parametrize("transcript", [DeltaTranscript, SotwTranscript])


def read(stream: DeltaTranscript, answers: list[Response], bad: set[tuple[bytes, str]], *, alone=False) -> tuple[int, set]:
    """Has a client read answers that refuses those with bad resources, until nothing is sent any more.

    With `alone` it refuses answers with several resources too. Returns the number of refusals, and what was marked bad.
    """
    refusals, marked = 0, set()
    while answers:
        answer = answers.pop(0)
        if bad & set(zip(answer.names, answer.versions, strict=True)) or (alone and len(answer.names) > 1):
            refusals += 1
            answers += stream.refuse(answer)
            marked |= set(stream.outcome.acknowledgement.refused)
        else:
            answers += stream.accept(answer)
    return refusals, marked


@both
def test_a_refused_answer_with_several_resources_condemns_none(transcript):
    """All go again, in two halves, and nothing is marked bad."""
    names = [b"n%d.example" % number for number in range(5)]
    stream = transcript(**{f"n{number}_example": "1" for number in range(5)})
    first, second = stream.refuse(*stream.request(*names))
    assert [tuple(names[:3]), tuple(names[3:])] == [first.names, second.names]
    assert Acknowledgement("1", ("1",) * 5, REFUSED) == stream.outcome.acknowledgement
    assert {} == stream.subscription.refused()


@both
@pytest.mark.parametrize("bad", [0, 3, 7, 63])
def test_halves_lead_to_the_one_that_is_bad(transcript, bad):
    """Of 64 resources the bad one is found in a few answers, the others reach the client, and only that one is marked."""
    names = [b"n%d.example" % number for number in range(64)]
    stream = transcript(**{f"n{number}_example": "1" for number in range(64)})
    refusals, marked = read(stream, stream.request(*names), {(names[bad], "1")})
    assert 7 == refusals
    assert {(names[bad], "1")} == marked
    assert {names[bad]: "1"} == stream.subscription.refused()
    assert dict.fromkeys((name for name in names if name != names[bad]), "1") == dict(stream.subscription.held())


@both
@pytest.mark.parametrize("bad", [0, 2, 4])
def test_what_goes_again_goes_in_another_attempt_each_time(transcript, bad):
    """A client that takes the bytes that it refused for nothing new sees others at each halving, also when all is asked for again later."""
    names = [b"n%d.example" % number for number in range(5)]
    stream = transcript(**{f"n{number}_example": "1" for number in range(5)})
    read(stream, stream.request(*names), {(names[bad], "1")})
    first = {name: attempts.copy() for name, attempts in stream.attempts.items()}
    assert all(attempts == list(range(len(attempts))) for attempts in first.values())
    assert len(first[names[bad], "1"]) == 3 + (bad < 2)
    read(
        stream,
        stream.change("n1.example", "2") if transcript is SotwTranscript else stream.request(*names),
        {(b"n1.example", "2"), (names[3], "1")},
    )
    again = [attempts[len(first.get(resource, ())) :] for resource, attempts in stream.attempts.items()]
    assert any(again)
    assert all(attempts == list(range(len(attempts))) for attempts in again)


def test_what_waits_for_the_store_goes_again_in_the_same_attempt():
    """Only a refused answer counts as an attempt."""
    stream = DeltaTranscript(a_example="1", b_example="1")
    (answer,) = stream.request(b"a.example", b"b.example")
    stream.world.away = {"a.example"}
    stream.refuse(answer)
    stream.answers()
    stream.world.away = set()
    stream.answers()
    assert {(b"a.example", "1"): [0, 1], (b"b.example", "1"): [0, 1]} == stream.attempts


@both
def test_several_bad_resources_are_all_found(transcript):
    """Each of the bad ones is marked, none of the others."""
    names = [b"n%d.example" % number for number in range(20)]
    stream = transcript(**{f"n{number}_example": "1" for number in range(20)})
    bad = {(names[number], "1") for number in (1, 2, 11, 19)}
    assert bad == read(stream, stream.request(*names), bad)[1]
    assert {name for name, _ in bad} == set(names) - {name for name, _ in stream.subscription.held()}


@both
def test_a_client_that_refuses_only_groups_gets_everything(transcript):
    """Resources that are refused together and accepted alone are not marked."""
    names = [b"n%d.example" % number for number in range(9)]
    stream = transcript(**{f"n{number}_example": "1" for number in range(9)})
    assert set() == read(stream, stream.request(*names), set(), alone=True)[1]
    assert dict.fromkeys(names, "1") == dict(stream.subscription.held())


@both
def test_a_refused_resource_is_marked_bad(transcript):
    """A NACK of a single resource carries the client's words, says what is marked, and shows it."""
    stream = transcript(a_example="1")
    stream.refuse(*stream.request(b"A.example"))
    assert Acknowledgement("1", ("1",), REFUSED, ((b"A.example", "1"),)) == stream.outcome.acknowledgement
    assert {b"A.example": "1"} == stream.subscription.refused()


@both
def test_a_client_that_has_an_earlier_version_keeps_it(transcript):
    """The refused version is not pushed again, whatever is noticed; a newer one is, and takes the mark away when it is accepted."""
    stream = transcript(a_example="1")
    stream.accept(*stream.request(b"a.example"))
    assert [] == stream.refuse(*stream.change("a.example", "2"))
    assert [(b"a.example", "1")] == list(stream.subscription.held())
    assert [] == stream.change("a.example", "2")
    answers = stream.change("a.example", "3")
    assert ({b"a.example": "3"}, set()) == told(answers)
    stream.accept(*answers)
    assert {} == stream.subscription.refused()


@both
def test_a_client_that_missed_the_previous_resource_gets_it(transcript):
    """A client that refuses the newest version and has one that is older than the previous one gets that."""
    stream = transcript(a_example="1")
    stream.accept(*stream.request(b"a.example"))
    stream.world.replace("a.example", "2")
    assert ({b"a.example": "2"}, set()) == told(stream.refuse(*stream.change("a.example", "3")))
    assert {b"a.example": "3"} == stream.subscription.refused()


@both
def test_a_client_without_a_previous_resource_keeps_what_it_has(transcript):
    """A version that is older than all there is stays with a client that refuses the newest."""
    stream = transcript(a_example="1")
    stream.accept(*stream.request(b"a.example"))
    answers = stream.change("a.example", "2")
    stream.world.previous.clear()
    assert [] == stream.refuse(*answers)
    assert [(b"a.example", "1")] == list(stream.subscription.held())


@both
def test_a_client_that_waits_gets_the_previous_resource(transcript):
    """Who has nothing is answered with the resource before the refused one; accepting that does not take the mark away."""
    stream = transcript(a_example="1")
    stream.world.replace("a.example", "2")
    answers = stream.refuse(*stream.request(b"a.example"))
    assert ({b"a.example": "1"}, set()) == told(answers)
    stream.accept(*answers)
    assert {b"a.example": "2"} == stream.subscription.refused()
    assert [] == stream.change("a.example", "2")
    assert ({b"a.example": "3"}, set()) == told(stream.change("a.example", "3"))


@both
def test_a_client_that_was_told_of_nothing_gets_the_previous_resource(transcript):
    """Who holds a name that came into existence with a version that is refused gets the one before, if there is one."""
    stream = transcript()
    stream.request(b"a.example")
    stream.world.replace("a.example", "1")
    answers = stream.change("a.example", "2")
    assert ({b"a.example": "1"}, set()) == told(stream.refuse(*answers))


def test_a_subscription_to_a_refused_resource_gets_the_previous_one():
    """A client that asks again for what it refused is answered with the previous resource, each time."""
    stream = DeltaTranscript(a_example="1")
    stream.accept(*stream.request(b"a.example"))
    stream.refuse(*stream.change("a.example", "2"))
    for _ in range(2):
        assert ({b"a.example": "1"}, set()) == told(stream.request(b"a.example"))
        assert [] == stream.change("a.example", "2")


def test_without_a_previous_resource_a_removal_is_the_answer():
    """A client that waits, and refused all there is, does not wait any longer; both versions are remembered as bad."""
    stream = DeltaTranscript(a_example="1")
    assert ({}, {b"a.example"}) == told(stream.refuse(*stream.request(b"a.example")))
    stream.world.replace("a.example", "2")
    assert ({b"a.example": "2"}, set()) == told(answers := stream.request(b"a.example"))
    assert ({}, {b"a.example"}) == told(stream.refuse(*answers))
    assert ({}, {b"a.example"}) == told(stream.request(b"a.example"))


def test_a_refused_previous_resource_is_not_sent_again():
    """Two versions may be bad at once: the client that refused both is answered by removal."""
    stream = DeltaTranscript(a_example="1")
    stream.world.replace("a.example", "2")
    answers = stream.refuse(*stream.request(b"a.example"))
    assert ({}, {b"a.example"}) == told(stream.refuse(*answers))
    assert ({}, {b"a.example"}) == told(stream.request(b"a.example"))


def test_state_of_the_world_is_silent_about_what_was_refused():
    """There is no way to remove: who refused all there is gets no answer until there is something else."""
    stream = SotwTranscript(a_example="1")
    assert [] == stream.refuse(*stream.request(b"a.example"))
    assert [] == stream.change("a.example", "1")
    assert ({b"a.example": "2"}, set()) == told(stream.change("a.example", "2"))


@both
def test_the_previous_resource_is_waited_for(transcript):
    """While the store says nothing of the previous resource, the client is not told that there is none."""
    stream = transcript(a_example="1")
    stream.world.replace("a.example", "2")
    answers = stream.request(b"a.example")
    stream.world.known_before = lambda _: {}
    stream.reply(answers[0].nonce, REFUSED)
    claims = stream.subscription.take(10)
    known = stream.world.known(claims.keys)
    assert ["a.example"] == list(claims.needs_previous(known))
    assert [] == list(stream.subscription.answers(claims, known, stream.world.fields, {}))
    assert stream.subscription.has_work
    del stream.world.known_before
    assert ({b"a.example": "1"}, set()) == told(stream.answers())


def test_a_name_that_was_given_up_is_not_marked():
    """The NACK of a resource that the client does not want any more marks nothing."""
    stream = DeltaTranscript(a_example="1")
    (answer,) = stream.request(b"a.example")
    stream.request(unsubscribe=[b"a.example"])
    assert [] == stream.refuse(answer)
    assert Acknowledgement("1", ("1",), REFUSED) == stream.outcome.acknowledgement
    assert {} == stream.subscription.refused()


def test_a_mark_stays_with_a_name_in_both_lists():
    """Who unsubscribes and subscribes in one request is answered as one who asks again: not with what it refused."""
    stream = DeltaTranscript(a_example="1")
    stream.refuse(*stream.request(b"a.example"))
    assert ({}, {b"a.example"}) == told(stream.request(b"a.example", unsubscribe=[b"a.example"]))


def give_up(stream: DeltaTranscript, name: bytes, nonce: str) -> None:
    """Has a client that holds one name hold none."""
    if isinstance(stream, SotwTranscript):
        stream.request(nonce=nonce)
    else:
        stream.request(unsubscribe=[name])


@both
def test_a_mark_outlives_its_name(transcript):
    """A client that gives up what it refused and asks for it again is not sent it again; a newer version is, and ends that."""
    stream = transcript(a_example="1")
    stream.refuse(*stream.request(b"a.example"))
    for _ in range(2):
        give_up(stream, b"a.example", "1")
        assert {b"a.example": "1"} == stream.subscription.refused()
        assert {} == told(stream.request(b"a.example", nonce="1"))[0]
    give_up(stream, b"a.example", "1")
    stream.world.replace("a.example", "2")
    answers = stream.request(b"a.example", nonce="1")
    assert {b"a.example": "2"} == told(answers)[0]
    stream.accept(*answers)
    assert {} == stream.subscription.refused()


def test_marks_of_names_that_were_given_up_are_bounded():
    """The names that were given up longest ago are forgotten; those that are held are not."""
    names = [b"n%d.example" % number for number in range(70)]
    stream = DeltaTranscript(**{f"n{number}_example": "1" for number in range(70)})
    for name in names:
        stream.refuse(*stream.request(name))
    assert 70 == len(stream.subscription.refused())
    for name in names:
        stream.request(unsubscribe=[name])
    assert set(names[6:]) == set(stream.subscription.refused())
    assert ({names[0]: "1"}, {names[6]}) == told(stream.request(names[0], names[6]))


def test_removals_in_a_refused_answer_go_again_by_themselves():
    """A NACK of an answer that removes too says nothing of the removals: they come in an answer of their own, once."""
    stream = DeltaTranscript(a_example="1", b_example="1")
    stream.accept(*stream.request(b"a.example", b"b.example"))
    stream.world.versions = {"a.example": "2"}
    stream.subscription.changed(["a.example", "b.example"])
    (answer,) = stream.answers()
    assert ((b"a.example",), (b"b.example",)) == (answer.names, answer.removed)
    again, removal = stream.refuse(answer)
    assert ((b"a.example",), ()) == (again.names, again.removed)
    assert ((), (b"b.example",)) == (removal.names, removal.removed)
    assert {} == stream.subscription.refused()
    assert [] == stream.refuse(removal)
    assert [] == stream.change("b.example")


def test_who_waits_for_a_removal_gets_it_after_a_nack():
    """Names that do not exist, or cannot, are answered as removed again when the answer that said so was refused."""
    stream = DeltaTranscript(a_example="1", b_example="1")
    answers = stream.request(b"a.example", b"b.example", b"gone.example", b"..", b"*")
    *halves, removal = stream.refuse(*answers)
    assert [(b"a.example",), (b"b.example",)] == [answer.names for answer in halves]
    assert {b"gone.example", b"..", b"*"} == set(removal.removed)


def test_a_removal_that_is_refused_counts_as_told():
    """Some clients refuse every answer that only removes: they are not told again."""
    stream = DeltaTranscript(a_example="1")
    stream.accept(*stream.request(b"a.example"))
    assert [] == stream.refuse(*stream.change("a.example"))
    assert [] == stream.change("a.example")
    assert ({b"a.example": "2"}, set()) == told(stream.change("a.example", "2"))


@both
def test_what_changed_since_is_not_sent_as_it_was(transcript):
    """What goes again after a NACK is the newest; what is gone meanwhile is not sent at all."""
    stream = transcript(a_example="1", b_example="1", c_example="1")
    answers = stream.request(b"a.example", b"b.example", b"c.example")
    stream.world.replace("a.example", "2")
    del stream.world.versions["b.example"]
    versions, removed = told(stream.refuse(*answers))
    assert {b"a.example": "2", b"c.example": "1"} == versions
    assert removed == ({b"b.example"} if transcript is DeltaTranscript else set())


@both
def test_a_name_that_was_sent_again_is_left_to_the_later_answer(transcript):
    """Two versions are on their way. The NACK of the first leads to nothing but the mark; after both, the client has what it had."""
    stream = transcript(a_example="1")
    stream.accept(*stream.request(b"a.example"))
    second, third = stream.change("a.example", "2") + stream.change("a.example", "3")
    assert [] == stream.refuse(second)
    assert [(b"a.example", "3")] == list(stream.subscription.held())
    assert [] == stream.refuse(third)
    assert [(b"a.example", "1")] == list(stream.subscription.held())


@both
def test_a_later_answer_makes_up_for_a_refused_one(transcript):
    """Two versions are on their way. The first is refused and the second accepted: nothing is marked any more."""
    stream = transcript(a_example="1")
    second, third = stream.request(b"a.example") + stream.change("a.example", "2")
    assert [] == stream.refuse(second)
    assert [] == stream.accept(third)
    assert {} == stream.subscription.refused()
    assert [(b"a.example", "2")] == list(stream.subscription.held())


def test_a_name_that_was_answered_again_is_not_sent_a_third_time():
    """A client asked again before it refused the first answer: the second answer, in the same version, is what counts."""
    stream = DeltaTranscript(a_example="1", b_example="1")
    (first,) = stream.request(b"a.example", b"b.example")
    (second,) = stream.request(b"a.example")
    assert ({b"b.example": "1"}, set()) == told(stream.refuse(first))
    stream.refuse(second)
    assert {b"a.example": "1"} == stream.subscription.refused()


def test_a_name_that_was_given_up_is_not_sent_again():
    """A NACK of an answer with names that the client does not want any more brings back the others only."""
    stream = DeltaTranscript(a_example="1", b_example="1", c_example="1")
    (answer,) = stream.request(b"a.example", b"b.example", b"c.example")
    stream.request(unsubscribe=[b"a.example"])
    assert ({b"b.example": "1", b"c.example": "1"}, set()) == told(stream.refuse(answer))


def test_a_name_that_is_given_up_while_it_waits_to_go_alone_does_not_go():
    """Between a NACK and the answers to it names may be unsubscribed, asked for again, or both."""
    stream = DeltaTranscript(**{f"n{number}_example": "1" for number in range(4)})
    names = [b"n%d.example" % number for number in range(4)]
    (answer,) = stream.request(*names)
    stream.reply(answer.nonce, REFUSED)
    stream.subscription.receive(DeltaRequest(TYPE, unsubscribe=tuple(names[:2])))
    answers = stream.request(names[1], names[2])
    assert ({names[1]: "1", names[2]: "1", names[3]: "1"}, set()) == told(answers)


def test_a_name_that_is_given_up_while_it_waits_to_go_alone_is_not_looked_up():
    """What goes alone after a NACK is handed out without the names that were unsubscribed since."""
    stream = DeltaTranscript(**{f"n{number}_example": "1" for number in range(4)})
    names = [b"n%d.example" % number for number in range(4)]
    (answer,) = stream.request(*names)
    stream.reply(answer.nonce, REFUSED)
    stream.subscription.receive(DeltaRequest(TYPE, unsubscribe=(names[0], *names[2:])))
    assert [names[1]] == list(stream.subscription.take(10).names)
    assert [] == list(stream.subscription.take(10).names)


def test_what_waits_to_go_alone_is_in_no_other_answer():
    """Changes and subscriptions that come meanwhile leave it alone."""
    stream = DeltaTranscript(a_example="1", b_example="1", c_example="1")
    (answer,) = stream.request(b"a.example", b"b.example")
    stream.reply(answer.nonce, REFUSED)
    stream.world.replace("a.example", "2")
    stream.subscription.changed(["a.example", "b.example"])
    answers = stream.request(b"a.example", b"c.example")
    told_alone = [((b"a.example",), ("2",)), ((b"b.example",), ("1",)), ((b"c.example",), ("1",))]
    assert told_alone == sorted((answer.names, answer.versions) for answer in answers)


def test_what_is_looked_up_while_it_must_go_alone_is_left_out():
    """A name that was handed out when the NACK came is not answered with the others that were handed out."""
    stream = DeltaTranscript(a_example="1", b_example="1", c_example="1")
    (answer,) = stream.request(b"a.example", b"b.example")
    stream.subscription.changed(["a.example"])
    stream.subscription.receive(DeltaRequest(TYPE, None, (b"c.example",)))
    claims = stream.subscription.take(10)
    assert [b"c.example", b"a.example"] == list(claims.names)
    stream.reply(answer.nonce, REFUSED)
    (other,) = stream.subscription.answers(claims, stream.world.known(claims.keys), stream.world.fields)
    assert (b"c.example",) == other.names
    assert [(b"a.example",), (b"b.example",)] == [answer.names for answer in stream.answers()]


def test_what_is_not_known_goes_alone_later():
    """A name that is to go alone and of which the store says nothing is asked for again, and still goes alone."""
    stream = DeltaTranscript(a_example="1", b_example="1", c_example="1")
    (answer,) = stream.request(b"a.example", b"b.example")
    stream.world.away = {"a.example", "b.example"}
    assert [] == stream.refuse(answer)
    stream.world.away = set()
    assert [(b"a.example",), (b"b.example",), (b"c.example",)] == sorted(answer.names for answer in stream.request(b"c.example"))


@both
def test_what_goes_alone_does_not_hold_others_up(transcript):
    """While the store says nothing of a name that is to go alone, other names are answered."""
    stream = transcript(a_example="1", b_example="1", c_example="1")
    answers = stream.request(b"a.example", b"b.example")
    stream.world.away = {"a.example"}
    for answer in answers:
        stream.reply(answer.nonce, REFUSED)
    (first,) = stream.answers() or stream.answers()
    assert (b"b.example",) == first.names
    names = (b"c.example",) if transcript is DeltaTranscript else (b"a.example", b"b.example", b"c.example")
    answers = stream.request(*names, nonce=first.nonce) or stream.answers()
    assert {b"c.example"} == {name for answer in answers for name in answer.names} - {b"b.example"}
    stream.world.away = set()
    assert [(b"a.example",)] == [answer.names for answer in stream.answers()]


def test_only_the_news_of_a_whole_state_are_suspects():
    """A whole state repeats what the client has: its refusal is about what is new in it, which goes again alone."""
    stream = SotwTranscript(a_example="1", b_example="1", c_example="1")
    stream.accept(*stream.request(b"a.example", b"b.example", b"c.example"))
    (whole,) = stream.change("b.example", "2")
    assert {b"a.example", b"b.example", b"c.example"} == set(whole.names)
    (alone,) = stream.refuse(whole)
    assert ((b"b.example",), ("2",)) == (alone.names, alone.versions)


def test_a_whole_state_has_what_the_client_has_instead_of_what_it_refused():
    """The next whole state repeats the previous resource in place of the refused one, and leaves out what the client has not."""
    stream = SotwTranscript(a_example="1", b_example="1", c_example="1")
    read(stream, stream.request(b"a.example", b"b.example", b"c.example"), {(b"c.example", "1")})
    read(stream, stream.change("a.example", "2"), {(b"a.example", "2")})
    answers = stream.change("b.example", "2")
    assert ({b"a.example": "1", b"b.example": "2"}, set()) == told(answers)
    stream.accept(*answers)
    assert {b"a.example": "2", b"c.example": "1"} == stream.subscription.refused()


def test_a_whole_state_waits_for_the_previous_resource():
    """While the store says nothing of the resource that stands in for a refused one, nothing is sent that lacks it."""
    stream = SotwTranscript(a_example="1", b_example="1")
    stream.accept(*stream.request(b"a.example", b"b.example"))
    read(stream, stream.change("a.example", "2"), {(b"a.example", "2")})
    stream.world.replace("b.example", "2")
    stream.subscription.changed(["b.example"])
    claims = stream.subscription.take(10)
    assert [] == list(stream.subscription.answers(claims, stream.world.known(claims.keys), stream.world.fields, {}))
    assert ({b"a.example": "1", b"b.example": "2"}, set()) == told(stream.answers())


def test_what_must_go_alone_does_so_though_a_whole_state_waits():
    """A whole state that waits for the store when its predecessor is refused puts nothing together that is to go alone."""
    stream = SotwTranscript(a_example="1", b_example="1", c_example="1")
    (first,) = stream.request(b"a.example", b"b.example")
    stream.world.away = {"c.example"}
    assert [] == stream.request(b"a.example", b"b.example", b"c.example", nonce=first.nonce)
    stream.world.replace("a.example", "2")
    stream.world.replace("b.example", "2")
    stream.world.away = set()
    (whole,) = stream.answers()
    stream.world.away = {"c.example"}
    stream.subscription.changed(["c.example"])
    claims = stream.subscription.take(10)
    stream.reply(whole.nonce, REFUSED)
    assert [] == list(stream.subscription.answers(claims, stream.world.known(claims.keys), stream.world.fields))
    stream.world.away = set()
    assert [(b"a.example", b"b.example"), (b"c.example",)] == [answer.names for answer in stream.answers()]


@both
def test_an_unknown_nonce_means_nothing(transcript):
    """An ACK or NACK of an answer that was never sent, or is forgotten, is reported and has no effect."""
    stream = transcript(a_example="1")
    stream.request(b"a.example")
    stream.reply("77", REFUSED)
    assert [(b"a.example", "1")] == list(stream.subscription.held())
    assert not stream.subscription.has_work


def test_a_client_that_acknowledges_nothing_costs_a_bounded_memory():
    """The oldest of very many unacknowledged answers are forgotten; a NACK of such an answer condemns nothing."""
    stream = DeltaTranscript(a_example="0")
    (first,) = stream.request(b"a.example")
    for version in range(1, 1100):
        stream.change("a.example", str(version))
    stream.refuse(first)
    assert Acknowledgement("1", (), REFUSED, ours=False) == stream.outcome.acknowledgement
    assert {} == stream.subscription.refused()


def test_nothing_was_refused_where_nothing_is_marked():
    """Claims ask for previous resources only where the newest one is marked bad."""
    known = {"a.example": Thing("2")}
    assert [] == list(Claims((b"a.example",), ("a.example",)).needs_previous(known))
    assert [] == list(Claims((b"a.example",), ("a.example",), refused={"a.example": ("1",)}).needs_previous(known))
    assert ["a.example"] == list(Claims((b"a.example",), ("a.example",), refused={"a.example": ("1", "2")}).needs_previous(known))


def test_a_name_that_is_to_go_alone_is_not_told_among_others():
    """Not even when it changes meanwhile, and nothing else is due: it waits for the answer of its own."""
    stream = DeltaTranscript(a_example="1", b_example="1", c_example="1")
    (answer,) = stream.request(b"a.example", b"b.example", b"c.example")
    stream.reply(answer.nonce, REFUSED)
    stream.world.replace("c.example", "2")
    stream.subscription.changed(["c.example"])

    def answered():
        claims = stream.subscription.take(10)
        made = stream.subscription.answers(claims, stream.world.known(claims.keys), stream.world.fields)
        return claims.alone, [answer.names for answer in made]

    both, one = (b"a.example", b"b.example"), (b"c.example",)
    assert [(True, [both]), (False, []), (True, [one])] == [answered() for _ in range(3)]
