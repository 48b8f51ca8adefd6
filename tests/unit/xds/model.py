"""What the models of both variants share: a world that changes, a stream that looks up and answers, and a client that refuses."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from controlplane.xds.messages import Response
from controlplane.xds.subscription import Subscription
from tests.unit.xds.transcript import World, told

SPELLED = [b"a.example", b"A.example", b"b.example", b"c.example", b"C.Example", b"d.example", b"e.example"]
NAMES = st.sampled_from([*SPELLED, b"*", b"\xff", b""])
KEYS = st.sampled_from(["a.example", "b.example", "c.example", "d.example", "e.example"])
MANY = 10_000
"""More messages than any run should need to come to rest."""


class Model(RuleBasedStateMachine):
    """A world, a stream and the messages on their way; subclasses add the client."""

    subscription: Subscription

    def __init__(self):
        super().__init__()
        self.world = World()
        self.counter = 0
        self.bad: set[str] = set()
        self.refuses_groups = False
        self.to_client: list[Response] = []
        self.to_server: list = []
        self.looked_up = None
        self.looked_up_keys: set[str] = set()
        self.answering = False
        self.counted: set[str] = set()
        self.marked: set[tuple[bytes, str]] = set()

    # ---- what exists ----

    @rule(key=KEYS, kind=st.sampled_from(["good", "good", "bad", "bad", "broken"]))
    def change(self, key, kind):
        """A resource comes into existence or changes; a bad version is refused by clients, a broken one cannot be made."""
        self.counter += 1
        if kind == "bad":
            self.bad.add(str(self.counter))
        elif kind == "broken":
            self.world.broken.add(str(self.counter))
        self.world.replace(key, str(self.counter))
        self.subscription.changed([key])

    @rule(key=KEYS)
    def remove(self, key):
        """A resource goes, and the one before it."""
        self.world.versions.pop(key, None)
        self.world.previous.pop(key, None)
        self.subscription.changed([key])

    @rule(keys=st.lists(KEYS, max_size=5))
    def notice_without_change(self, keys):
        """A notice that brings nothing."""
        self.subscription.changed(keys)

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

    # ---- what the stream does ----

    @precondition(lambda self: self.to_server)
    @rule()
    def server_reads(self):
        """The next request arrives."""
        self.receive(self.to_server.pop(0))

    def receive(self, request):
        """The server takes a request, and counts what is held as a directory does."""
        outcome = self.subscription.receive(request)
        assert not self.counted & set(outcome.held)
        assert len(set(outcome.held)) == len(outcome.held)
        assert set(outcome.resumed) <= set(outcome.held)
        self.counted |= set(outcome.held)
        assert self.counted >= set(outcome.released)
        self.counted -= set(outcome.released)
        if outcome.acknowledgement is not None:
            self.marked |= set(outcome.acknowledgement.refused)

    @precondition(lambda self: self.looked_up is None)
    @rule(limit=st.integers(1, 3))
    def look_up(self, limit):
        """The stream takes some names and looks them up; whatever happens next happens before it answers."""
        claims = self.subscription.take(limit)
        assert len(claims.names) == len(claims.keys)
        known = self.world.known(claims.keys)
        assert all(dict(self.subscription.held()).get(key.encode()) == version for key, version in claims.told.items())
        self.looked_up = iter(
            self.subscription.answers(claims, known, self.world.fields, self.world.known_before(claims.needs_previous(known)))
        )
        self.looked_up_keys = set(claims.keys)

    @precondition(lambda self: self.looked_up is not None and not self.answering)
    @rule(limit=st.integers(1, 3))
    def overtake(self, limit):
        """Before the stream answers what it looks up, it answers something else at once."""
        claims = self.subscription.take(limit)
        known = self.world.known(set(claims.keys) - self.looked_up_keys)
        self.to_client += self.subscription.answers(claims, known, self.world.fields, self.world.known_before(claims.needs_previous(known)))

    @precondition(lambda self: self.looked_up is not None)
    @rule()
    def answer(self):
        """The stream makes the next answer, if there is one."""
        response = next(self.looked_up, None)
        self.answering = response is not None
        if response is None:
            self.looked_up = None
        else:
            told([response])
            self.to_client.append(response)

    # ---- what the client does ----

    def refuses(self, response: Response) -> bool:
        """Whether the client refuses an answer."""
        return bool(self.bad & set(response.versions)) or (self.refuses_groups and len(response.names) > 1)

    def client_reads(self):
        """The client reads the next answer and acknowledges it."""
        raise NotImplementedError

    # ---- what must hold ----

    def come_to_rest(self):
        """Lets everything be known, looked up, answered, read and acknowledged."""
        self.world.away.clear()
        self.find()
        for _ in range(MANY):
            if self.to_server:
                self.server_reads()
            elif self.to_client:
                self.client_reads()
            elif self.looked_up is not None:
                self.answer()
            elif self.subscription.has_work:
                self.look_up(2)
            else:
                break
        else:
            raise AssertionError("it does not come to rest")
        assert {version for _, version in self.marked} <= self.bad
        assert set(self.subscription.refused().values()) <= self.bad

    def newest(self, key):
        """The version that exists, or None."""
        return self.world.versions.get(key)

    def good_previous(self, key):
        """The version before that, if it can be made and is not refused, or None."""
        previous = self.world.previous.get(key)
        return None if previous in self.bad | self.world.broken else previous
