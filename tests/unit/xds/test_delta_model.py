"""Random interleavings of incremental xDS against a model client."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from controlplane.xds.delta import DeltaSubscription
from controlplane.xds.messages import DeltaRequest, Node, NodeMetadata
from controlplane.xds.resource_names import canonical_name
from controlplane.xds.spellings import Spellings
from controlplane.xds.subscription import Limits
from tests.unit.xds.model import NAMES, SPELLED, Model
from tests.unit.xds.transcript import REFUSED, TYPE


class DeltaConvergence(Model):
    """A client that subscribes, accepts, refuses and reconnects as it likes, while resources come, change and go.

    `wanted` is what it subscribes to, `has` what it has, `waiting` what it has no answer for. A client that strangers decide for gives
    a name up when it is removed, as Envoy does.
    """

    def __init__(self):
        super().__init__()
        self.spellings = Spellings(3)
        self.limits = Limits()
        self.pinned: frozenset[bytes] = frozenset()
        self.wanted: set[bytes] = set()
        self.has: dict[bytes, str] = {}
        self.waiting: set[bytes] = set()
        self.subscription = DeltaSubscription(TYPE)

    @initialize(
        refuses_groups=st.booleans(),
        limits=st.sampled_from([None, Limits(2), Limits(3, 1), Limits(None, 1)]),
        pinned=st.sets(st.sampled_from(SPELLED), max_size=2),
        wanted=st.sets(NAMES, max_size=5),
    )
    def begin(self, refuses_groups, limits, pinned, wanted):
        """The kind of client, and its first request."""
        self.refuses_groups = refuses_groups
        self.limits, self.on_demand = limits or Limits(), limits is not None
        self.pinned = frozenset(pinned)
        self.wanted = wanted
        self.reconnect()

    @rule()
    def reconnect(self):
        """A new stream: what was on the way is lost, the client says what it wants and what it has."""
        self.check_end()
        self.to_client.clear()
        self.to_server.clear()
        self.looked_up = None
        self.answering = False
        self.waiting = {name for name in self.wanted if name not in self.has}
        self.subscription = DeltaSubscription(TYPE, self.limits, self.spellings)
        node = Node("edge", "edges", NodeMetadata(self.on_demand, self.pinned))
        self.receive(DeltaRequest(TYPE, node, tuple(self.wanted), (), dict(self.has)))

    def check_end(self):
        """At the end of a stream everything that was counted as held is released."""
        assert self.counted == set(self.subscription.end())
        self.counted.clear()

    @rule(subscribe=st.lists(NAMES, max_size=4), unsubscribe=st.lists(NAMES, max_size=3), nonce=st.sampled_from(["", "x"]))
    def request(self, subscribe, unsubscribe, nonce):
        """Subscriptions and unsubscriptions, with any nonce."""
        self.give_up(set(unsubscribe))
        self.wanted |= set(subscribe)
        self.waiting |= set(subscribe)
        self.to_server.append(DeltaRequest(TYPE, None, tuple(subscribe), tuple(unsubscribe), {}, nonce))

    def give_up(self, names):
        """The client does not want names any more."""
        for name in names:
            self.wanted.discard(name)
            self.waiting.discard(name)
            self.has.pop(name, None)

    @precondition(lambda self: self.to_client)
    @rule()
    def client_reads(self):
        """The next answer arrives: refused, it changes nothing; accepted, names that the client does not want are ignored."""
        response = self.to_client.pop(0)
        if self.refuses(response):
            self.to_server.append(DeltaRequest(TYPE, response_nonce=response.nonce, error_detail=REFUSED))
            return
        for name, version in zip(response.names, response.versions, strict=True):
            if name in self.wanted:
                self.has[name] = version
        for name in response.removed:
            self.has.pop(name, None)
        self.waiting -= {*response.names, *response.removed}
        self.to_server.append(DeltaRequest(TYPE, response_nonce=response.nonce))
        if self.on_demand:
            gone = self.wanted & set(response.removed)
            self.give_up(gone)
            if gone:
                self.to_server.append(DeltaRequest(TYPE, unsubscribe=tuple(sorted(gone))))

    @invariant()
    def nothing_bad_and_nothing_unwanted_is_held(self):
        """The client has only what it wants and accepts."""
        assert set(self.has) <= self.wanted
        assert not self.bad & set(self.has.values())

    @rule()
    def settle(self):
        """Once everything has arrived, the client has the newest good version of all that it wants and nothing that is gone."""
        self.come_to_rest()
        assert not self.waiting - {b"\xff"}
        assert dict(self.subscription.held()) == self.has
        assert self.subscription.held_count == len(self.has)
        for name in self.wanted:
            newest = self.newest(canonical_name(name))
            if newest in self.bad:
                assert self.good_previous(canonical_name(name)) in {None, self.has.get(name)}, name
            elif newest not in self.world.broken:
                assert newest == self.has.get(name), name
        assert {canonical_name(name) for name in self.wanted} - {None} <= self.counted
        self.check_bounds()

    def check_bounds(self):
        """A bounded client has no more than its bounds."""
        counted = self.has.keys() - self.pinned
        if self.limits.max_resources is not None:
            assert len(counted) <= self.limits.max_resources
        if self.limits.max_spellings is not None:
            assert sum(name != name.lower() for name in counted) <= self.limits.max_spellings

    @rule(name=st.sampled_from(SPELLED))
    def ask_for_what_was_refused(self, name):
        """A client that asks for a resource whose newest version is bad gets the previous one, if that is good, or a removal."""
        self.settle()
        key = canonical_name(name)
        if self.newest(key) not in self.bad or self.on_demand:
            return
        self.has.pop(name, None)
        self.request([name], [], "")
        self.settle()
        assert self.has.get(name) == self.good_previous(key)

    def teardown(self):
        """Every run ends settled."""
        self.settle()
        self.check_end()


DeltaConvergence.TestCase.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
TestDeltaConvergence = DeltaConvergence.TestCase
