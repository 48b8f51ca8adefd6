"""Random interleavings of the state of the world against a model client."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from controlplane.xds.messages import SotwRequest
from controlplane.xds.resource_names import canonical_name
from controlplane.xds.sotw import SotwSubscription
from controlplane.xds.spellings import Spellings
from tests.unit.xds.model import NAMES, SPELLED, Model
from tests.unit.xds.transcript import REFUSED, TYPE

FILLERS = tuple(b"filler%d.example" % number for number in range(62))
"""With a few names more there are too many for a whole state, with a few less there are not."""


class SotwConvergence(Model):
    """A client that names what it wants, accepts, refuses and reconnects as it likes, while resources come, change and go.

    `wanted` is what it names, `has` what it has. A name that it dropped is not wanted again before everything is at rest: a server that
    never sees the request without the name cannot know that the client threw the resource away.
    """

    def __init__(self):
        super().__init__()
        self.spellings = Spellings(3)
        self.fillers: tuple[bytes, ...] = ()
        self.wanted: set[bytes] = set()
        self.dropped: set[bytes] = set()
        self.has: dict[bytes, str] = {}
        self.last_nonce = ""
        self.subscription = SotwSubscription(TYPE)

    @initialize(refuses_groups=st.booleans(), wanted=st.sets(NAMES, max_size=5), many=st.booleans())
    def begin(self, refuses_groups, wanted, many):
        """The kind of client, and its first request."""
        self.refuses_groups = refuses_groups
        self.wanted = wanted
        self.fillers = FILLERS if many else ()
        self.reconnect()

    @rule()
    def reconnect(self):
        """A new stream: what was on the way is lost, the client says what it wants."""
        self.check_end()
        self.to_client.clear()
        self.to_server.clear()
        self.looked_up = None
        self.answering = False
        self.last_nonce = ""
        self.dropped.clear()
        self.subscription = SotwSubscription(TYPE, self.spellings)
        self.receive(self.next_request())

    def check_end(self):
        """At the end of a stream everything that was counted as held is released."""
        assert self.counted == set(self.subscription.end())
        self.counted.clear()

    def next_request(self, error=None):
        """A request for everything that is wanted now."""
        return SotwRequest(TYPE, None, "", (*self.wanted, *self.fillers), self.last_nonce, error)

    @rule(add=st.sets(NAMES, max_size=3), drop=st.sets(NAMES, max_size=3))
    def request(self, add, drop):
        """Other names, with the nonce that was read last."""
        dropped = self.wanted & drop
        self.dropped |= dropped
        self.wanted = (self.wanted - dropped) | (add - self.dropped)
        for name in dropped:
            self.has.pop(name, None)
        self.to_server.append(self.next_request())

    @precondition(lambda self: self.to_client)
    @rule()
    def client_reads(self):
        """The next answer arrives: refused, it changes nothing; accepted, what it does not bring stays as it is."""
        response = self.to_client.pop(0)
        assert not response.removed
        self.last_nonce = response.nonce
        if self.refuses(response):
            self.to_server.append(self.next_request(REFUSED))
            return
        for name, version in zip(response.names, response.versions, strict=True):
            if name in self.wanted:
                self.has[name] = version
        self.to_server.append(self.next_request())

    @invariant()
    def nothing_bad_and_nothing_unwanted_is_held(self):
        """The client has only what it wants and accepts."""
        assert set(self.has) <= self.wanted
        assert not self.bad & set(self.has.values())

    @rule()
    def settle(self):
        """Once everything has arrived, the client has the newest good version of all that it wants and that exists."""
        self.come_to_rest()
        self.dropped.clear()
        told = dict(self.subscription.held())
        assert self.subscription.held_count == len(told)
        for name in self.wanted:
            key = canonical_name(name)
            newest = self.newest(key)
            if newest is None:
                assert name not in told
            elif newest in self.bad:
                assert self.good_previous(key) in {None, self.has.get(name)}, name
            elif newest not in self.world.broken:
                assert newest == self.has.get(name), name
            assert told.get(name) in {None, self.has.get(name)}
        assert {canonical_name(name) for name in (*self.wanted, *self.fillers)} - {None} == self.counted

    @rule(name=st.sampled_from(SPELLED))
    def ask_for_what_was_refused(self, name):
        """A client that asks anew for a resource whose newest version is bad gets the previous one, if that is good."""
        self.request(set(), {name})
        self.settle()
        self.request({name}, set())
        self.settle()
        key = canonical_name(name)
        if self.newest(key) in self.bad:
            assert self.has.get(name) == self.good_previous(key)

    def teardown(self):
        """Every run ends settled."""
        self.settle()
        self.check_end()


SotwConvergence.TestCase.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
TestSotwConvergence = SotwConvergence.TestCase
