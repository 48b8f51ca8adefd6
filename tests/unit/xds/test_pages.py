"""Pages: what several streams are told, made once. And that no client can see whether it was."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from controlplane.xds.delta import DeltaSubscription
from controlplane.xds.messages import DeltaRequest, Node, NodeMetadata
from controlplane.xds.pages import LEAST_NAMES, Page, Pages
from controlplane.xds.spellings import Spellings
from controlplane.xds.subscription import Limits
from tests.unit.xds.transcript import REFUSED, TYPE, DeltaTranscript, Thing, World, content, told

NAMES = tuple(b"n%02d.example" % number for number in range(40))
KEYS = [name.decode() for name in NAMES]


def page(names: tuple[bytes, ...], version: str = "1", size: int | None = None) -> Page[Thing]:
    """A page that brings these names in one version."""
    fields = tuple(content(name, version) for name in names)
    values = [Thing(version) for _ in names]
    return Page(names, values, (version,) * len(names), fields, sum(map(len, fields)) if size is None else size)


def test_a_page_is_found_by_exactly_what_it_brings():
    """Other names, another order, another version, or a name less: there is no page of that."""
    pages = Pages[Thing]()
    names = NAMES[:LEAST_NAMES]
    pages.add(made := page(names))
    ones = [Thing("1") for _ in names]
    assert made is pages.find(names, ones)
    assert dict.fromkeys(names, "1") == made.told
    assert pages.find(names[::-1], ones) is None
    assert pages.find(names[1:], ones[1:]) is None
    assert pages.find(names, [*ones[1:], Thing("2")]) is None
    pages.add(newer := page(names, "2"))
    assert (1, newer) == (len(pages), pages.find(names, [Thing("2") for _ in names]))
    pages.clear()
    assert pages.find(names, ones) is None


def test_short_pages_are_not_kept():
    """They are made faster than found."""
    pages = Pages[Thing]()
    pages.add(page(NAMES[: LEAST_NAMES - 1]))
    assert 0 == len(pages)


def test_pages_are_bounded_by_their_bytes():
    """The oldest go; one that is too large for all there is is not kept, and one in place of another counts once."""
    pages = Pages[Thing](100)
    first, second, third = (NAMES[start : start + LEAST_NAMES] for start in (0, 1, 2))
    pages.add(page(first, size=50))
    pages.add(page(second, size=50))
    pages.add(page(second, "2", size=40))
    assert 2 == len(pages)
    pages.add(page(third, size=20))
    assert pages.find(first, [Thing("1")] * LEAST_NAMES) is None
    pages.add(page(first, size=101))
    assert 2 == len(pages)


def test_what_is_told_twice_is_not_made_again_for_the_next():
    """Until the pages are forgotten, or something in them changes."""
    pages = Pages[Thing]()
    world = World(dict.fromkeys(KEYS, "1"))

    def ask():
        stream = DeltaTranscript()
        stream.world, stream.subscription = world, DeltaSubscription(TYPE, pages=pages)
        world.made.clear()
        known = {key: things.setdefault((key, world.versions[key]), Thing(world.versions[key])) for key in KEYS}
        stream.subscription.receive(DeltaRequest(TYPE, None, NAMES))
        return told(list(stream.subscription.answers(stream.subscription.take(100), known, world.fields)))[0], len(world.made)

    things: dict[tuple[str, str], Thing] = {}
    everything = dict.fromkeys(NAMES, "1")
    assert [(everything, 40), (everything, 40), (everything, 0), (everything, 0)] == [ask() for _ in range(4)]
    world.replace(KEYS[3], "2")
    everything[NAMES[3]] = "2"
    assert [(everything, 40), (everything, 0)] == [ask() for _ in range(2)]
    pages.clear()
    assert (everything, 40) == ask()


def test_a_page_leaves_room_for_what_a_bounded_client_loses():
    """A page that fills an answer is sent to a client without bounds; a bounded one, from which names may be taken away, gets less."""
    pages = Pages[Thing]()
    known = {key: Thing("1") for key in KEYS}

    def large(names, _things):
        return [b"f" * 12_500 for _ in names]

    def sizes(subscription, node=None):
        subscription.receive(DeltaRequest(TYPE, node, NAMES))
        return [len(answer.names) for answer in subscription.answers(subscription.take(100), known, large)]

    edge = Node("edge", "edges", NodeMetadata(on_demand=True))
    assert [[40]] * 2 == [sizes(DeltaSubscription(TYPE, pages=pages)) for _ in range(2)]
    assert 1 == len(pages)
    assert sizes(DeltaSubscription(TYPE, Limits(100)), edge) == sizes(DeltaSubscription(TYPE, Limits(100), pages=pages), edge)
    assert [37, 3] == sizes(DeltaSubscription(TYPE, Limits(100), pages=pages), edge)


@pytest.mark.parametrize(("unsubscribe", "subscribe"), [(NAMES[:1], ()), ((), NAMES[:1]), (NAMES[:20], NAMES[:20])])
def test_a_page_is_not_told_when_something_came_between(unsubscribe, subscribe):
    """Names that were given up, or asked for again, since they were handed out, are left out of what is told for the others."""
    pages = Pages[Thing]()
    world = World(dict.fromkeys(KEYS, "1"))
    known = {key: Thing("1") for key in KEYS}
    brought = []
    for _ in range(3):
        subscription = DeltaSubscription(TYPE, pages=pages)
        subscription.receive(DeltaRequest(TYPE, None, NAMES[:20]))
        claims = subscription.take(100)
        if len(pages):
            subscription.receive(DeltaRequest(TYPE, None, subscribe, unsubscribe))
        brought.append([answer.names for answer in subscription.answers(claims, known, world.fields)])
    assert [[NAMES[:20]]] * 2 == brought[:2]
    changed = {*unsubscribe, *subscribe}
    assert [name for name in NAMES[:20] if name not in changed] == [name for names in brought[2] for name in names]
    assert {*NAMES[:20]} - ({*unsubscribe} - {*subscribe}) == {name for name in NAMES if subscription.holds(name.decode())}


class Plain(DeltaSubscription):
    """A subscription without any short cut."""

    def _answer_one(self, *_):
        return None


LISTS = st.sampled_from([NAMES[:20], NAMES[20:], NAMES, NAMES[:5], NAMES[7:8], (b"N03.example", *NAMES[4:30]), (b"*", *NAMES[:20])])
STREAMS = st.integers(0, 3)


class ShortCuts(RuleBasedStateMachine):
    """Four streams that share their pages, and four that do the same without any short cut: they say the same, byte for byte."""

    def __init__(self):
        super().__init__()
        self.pages = Pages[Thing](2_000)
        self.world = World(dict.fromkeys(KEYS, "1"))
        self.counter = 1
        self.spellings = Spellings(60)
        self.limits = [Limits(), Limits(), Limits(25, 1), Limits(17, 2)]
        self.pairs, self.fresh, self.looked_up, self.sent = ([None] * len(self.limits) for _ in range(4))
        for index in range(len(self.limits)):
            self.begin(index)

    def begin(self, index):
        """A pair of streams begins."""
        limits = self.limits[index]
        self.pairs[index] = DeltaSubscription(TYPE, limits, self.spellings, self.pages), Plain(TYPE, limits, Spellings(1))
        self.fresh[index], self.looked_up[index], self.sent[index] = True, None, []

    def receive(self, index, **request):
        """Both streams of a pair take a request, and make the same of it."""
        node = Node("edge", "edges", NodeMetadata(on_demand=True, pinned=frozenset(NAMES[:3]))) if self.fresh[index] else None
        self.fresh[index] = False
        outcomes = [subscription.receive(DeltaRequest(TYPE, node, **request)) for subscription in self.pairs[index]]
        assert outcomes[0] == outcomes[1]

    @rule(index=STREAMS, subscribe=LISTS, unsubscribe=st.one_of(st.just(()), LISTS), resumed=st.booleans())
    def request(self, index, subscribe, unsubscribe, resumed):
        """Names are asked for and given up; a first request may say what the client has."""
        versions = dict.fromkeys(subscribe[::3], "1") if resumed else {}
        self.receive(index, subscribe=subscribe, unsubscribe=unsubscribe, initial_resource_versions=versions)

    @rule(key=st.sampled_from(KEYS), kind=st.sampled_from(["good", "good", "broken", "gone"]))
    def change(self, key, kind):
        """A resource changes, in a way that it can be made or not, or goes."""
        self.counter += 1
        if kind == "gone":
            self.world.versions.pop(key, None)
        else:
            self.world.replace(key, str(self.counter))
        if kind == "broken":
            self.world.broken.add(str(self.counter))
        for pair in self.pairs:
            for subscription in pair:
                subscription.changed([key])

    @rule(index=STREAMS)
    def end(self, index):
        """A stream ends, and one with the same bounds begins."""
        first, second = (set(subscription.end()) for subscription in self.pairs[index])
        assert first == second
        self.begin(index)

    @rule(subscribe=LISTS, limit=st.sampled_from([7, 20, 100, 100, 100]), answers=st.integers(0, 3))
    def begin_together(self, subscribe, limit, answers):
        """All streams end and begin anew, ask for the same, and get some answers."""
        self.find()
        for index in range(len(self.pairs)):
            self.end(index)
            self.receive(index, subscribe=subscribe)
            self.look_up(index, limit, ())
            for _ in range(answers):
                self.answer(index)
        self.compare()

    def find(self):
        """What is gone is back."""
        gone = [key for key in KEYS if key not in self.world.versions]
        self.world.versions |= dict.fromkeys(gone, "1")
        for pair in self.pairs:
            for subscription in pair:
                subscription.changed(gone)

    @rule(index=STREAMS, limit=st.sampled_from([1, 1, 7, 20, 100]), away=st.sampled_from([(), (), (), KEYS[5:6]]))
    def look_up(self, index, limit, away):
        """The streams of a pair are handed out the same; whatever happens next happens before they answer."""
        if self.looked_up[index] is not None:
            return
        claims = [subscription.take(limit) for subscription in self.pairs[index]]
        assert claims[0].names == claims[1].names
        assert claims[0].keys == claims[1].keys
        assert (claims[0].told, claims[0].removed, claims[0].alone) == (claims[1].told, claims[1].removed, claims[1].alone)
        known = {key: self.world._known(key) for key in claims[0].keys if key not in away}
        previous = self.world.known_before(claims[0].needs_previous(known))
        self.looked_up[index] = [
            subscription.answers(each, known, self.world.fields, previous)
            for subscription, each in zip(self.pairs[index], claims, strict=True)
        ]

    @rule(index=STREAMS)
    def answer(self, index):
        """They make the same answer."""
        if self.looked_up[index] is None:
            return
        answers = [next(each, None) for each in self.looked_up[index]]
        assert answers[0] == answers[1]
        if answers[0] is None:
            self.looked_up[index] = None
        else:
            told([answers[0]])
            self.sent[index].append(answers[0].nonce)

    @precondition(lambda self: any(self.sent))
    @rule(index=STREAMS, refused=st.booleans())
    def acknowledge(self, index, refused):
        """The client accepts an answer, or refuses it."""
        if self.sent[index]:
            self.receive(index, response_nonce=self.sent[index].pop(0), error_detail=REFUSED if refused else None)

    @rule()
    def forget_pages(self):
        """The burst is over."""
        self.pages.clear()

    @rule()
    def compare(self):
        """They say the same of what their clients have."""
        for first, second in self.pairs:
            assert list(first.held()) == list(second.held())
            assert (first.held_count, first.has_work, first.refused()) == (second.held_count, second.has_work, second.refused())
            assert first.refetched() == second.refetched()
            assert [first.holds(key) for key in KEYS] == [second.holds(key) for key in KEYS]


TestShortCuts = ShortCuts.TestCase
TestShortCuts.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)


@pytest.mark.parametrize("before", [None, "1"])
def test_a_single_name_is_answered_with_nothing_beside(before):
    """A renewal, or a first touch: name, version and field, and the ACK or NACK of it means what it always does."""
    stream = DeltaTranscript(a_example="1")
    if before is not None:
        stream.accept(*stream.request(b"a.example"))
    (answer,) = stream.request(b"a.example") if before is None else stream.change("a.example", "2")
    version = "1" if before is None else "2"
    assert ((b"a.example",), (version,), (content(b"a.example", version),), ()) == (
        answer.names,
        answer.versions,
        answer.fields,
        answer.removed,
    )
    stream.refuse(answer)
    assert {b"a.example": version} == stream.subscription.refused()
    assert [] == stream.change("a.example", version)
