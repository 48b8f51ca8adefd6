"""Random interleavings of incremental xDS against a model client."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from controlplane.xds.delta import DeltaSubscription
from controlplane.xds.messages import DeltaRequest
from controlplane.xds.resource_names import canonical_name
from tests.unit.xds.transcript import REFUSED, TYPE, World, told

NAMES = st.sampled_from([b"a.example", b"A.example", b"b.example", b"c.example", b"*", b"\xff", b""])
KEYS = st.sampled_from(["a.example", "b.example", "c.example"])


class DeltaConvergence(RuleBasedStateMachine):
    """A client that subscribes, accepts, refuses and reconnects as it likes, while resources come, change and go."""

    def __init__(self):
        super().__init__()
        self.world = World()
        self.counter = 0
        self.subscription = DeltaSubscription(TYPE)
        self.wanted: set[bytes] = set()
        self.has: dict[bytes, str] = {}
        self.answered: set[bytes] = set()
        self.refused: set[bytes] = set()
        self.on_the_way = []
        self.looked_up = None

    # ---- what exists ----

    @rule(key=KEYS)
    def change(self, key):
        """A resource comes into existence or changes."""
        self.counter += 1
        self.world.versions[key] = str(self.counter)
        self.subscription.changed([key])

    @rule(key=KEYS)
    def remove(self, key):
        """A resource goes."""
        self.world.versions.pop(key, None)
        self.subscription.changed([key])

    @rule(key=KEYS)
    def notice_without_change(self, key):
        """A notice that brings nothing."""
        self.subscription.changed([key])

    @rule(key=KEYS)
    def store_goes_away(self, key):
        """Nothing is known of one name for a while."""
        self.world.away.add(key)

    @rule(key=KEYS)
    def lose(self, key):
        """A resource cannot be read any more."""
        self.world.uncertain.add(key)
        self.subscription.changed([key])

    @rule()
    def find(self):
        """What was lost is back."""
        lost, self.world.uncertain = self.world.uncertain, set()
        self.subscription.changed(sorted(lost))

    @rule()
    def store_comes_back(self):
        """Everything is known."""
        self.world.away.clear()

    # ---- what the client does ----

    @rule(subscribe=st.lists(NAMES, max_size=4), unsubscribe=st.lists(NAMES, max_size=3), nonce=st.sampled_from(["", "1", "x"]))
    def request(self, subscribe, unsubscribe, nonce):
        """Subscriptions and unsubscriptions, with any nonce."""
        for name in unsubscribe:
            self.wanted.discard(name)
            self.has.pop(name, None)
        self.wanted |= set(subscribe)
        self.answered -= set(subscribe)
        self.refused -= set(subscribe)
        self.subscription.receive(DeltaRequest(TYPE, "", tuple(subscribe), tuple(unsubscribe), {}, nonce))

    @precondition(lambda self: self.on_the_way)
    @rule()
    def accept(self):
        """The next answer arrives and is accepted; names that the client does not want are ignored."""
        response = self.on_the_way.pop(0)
        versions, removed = told([response])
        for name, version in versions.items():
            if name in self.wanted:
                self.has[name] = version
        for name in removed:
            self.has.pop(name, None)
        self.answered |= set(versions) | removed
        self.refused -= set(versions) | removed
        self.subscription.receive(DeltaRequest(TYPE, response_nonce=response.nonce))

    @precondition(lambda self: self.on_the_way)
    @rule()
    def refuse(self):
        """The next answer arrives and is refused: the client keeps what it has of all names in it."""
        response = self.on_the_way.pop(0)
        versions, removed = told([response])
        self.refused |= set(versions) | removed
        self.answered |= set(versions) | removed
        self.subscription.receive(DeltaRequest(TYPE, response_nonce=response.nonce, error_detail=REFUSED))

    @rule()
    def reconnect(self):
        """A new stream: what was on the way is lost, the client says what it wants and what it has."""
        self.on_the_way.clear()
        self.looked_up = None
        self.refused.clear()
        self.answered = {name for name in self.wanted if name in self.has}
        self.subscription = DeltaSubscription(TYPE)
        self.subscription.receive(DeltaRequest(TYPE, "", tuple(self.wanted), (), dict(self.has)))

    # ---- what the stream does ----

    @precondition(lambda self: self.looked_up is None)
    @rule(limit=st.integers(1, 3))
    def look_up(self, limit):
        """The stream takes some names and looks them up; whatever happens next happens before it answers."""
        claims = self.subscription.take(limit)
        self.looked_up = claims, self.world.known(claims)

    @precondition(lambda self: self.looked_up is not None)
    @rule()
    def answer(self):
        """The stream answers."""
        claims, known = self.looked_up
        self.looked_up = None
        self.on_the_way += self.subscription.answers(claims, known, self.world.body)

    # ---- what must hold ----

    @invariant()
    def nothing_unwanted_is_held(self):
        """The client has only what it wants."""
        assert set(self.has) <= self.wanted

    @rule()
    def settle(self):
        """Once everything has arrived, the client has the newest version of all that it wants and nothing that is gone."""
        self.world.away.clear()
        self.find()
        if self.looked_up is not None:
            self.answer()
        while self.subscription.has_work:
            self.look_up(2)
            self.answer()
        while self.on_the_way:
            self.accept()
        for name in self.wanted - self.refused:
            assert self.world.versions.get(canonical_name(name) or "") == self.has.get(name), name
            assert name in self.answered or name == b"\xff", name
        for name in self.refused & self.wanted:
            self.subscription.receive(DeltaRequest(TYPE, subscribe=(name,)))
            self.refused.discard(name)

    def teardown(self):
        """Every run ends settled."""
        self.settle()
        self.settle()


DeltaConvergence.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestDeltaConvergence = DeltaConvergence.TestCase
