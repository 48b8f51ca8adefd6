"""What a subscription costs at rest."""

import gc
import tracemalloc

import pytest

from controlplane.xds.delta import DeltaSubscription
from controlplane.xds.messages import DeltaRequest, Node, NodeMetadata, SotwRequest
from controlplane.xds.sotw import SotwSubscription
from controlplane.xds.subscription import Limits
from tests.unit.xds.transcript import TYPE, Thing

NAMES = 3_000
STREAMS = 5
BYTES = 80


def settle(subscription, known, reply):
    """Answers everything that is due and acknowledges it."""
    while subscription.has_work:
        claims = subscription.take(1024)
        for response in subscription.answers(claims, known, lambda names, _: [b"field"] * len(names)):
            subscription.receive(reply(response.nonce))


def cost(make, first, reply, known) -> float:
    """Bytes for each stream and name, once all is acknowledged, beyond what streams share."""
    shared = make()
    shared.receive(first())
    settle(shared, known, reply)
    gc.collect()
    tracemalloc.start()
    try:
        subscriptions = [make() for _ in range(STREAMS)]
        before = tracemalloc.get_traced_memory()[0]
        for subscription in subscriptions:
            subscription.receive(first())
            settle(subscription, known, reply)
        gc.collect()
        return (tracemalloc.get_traced_memory()[0] - before) / (STREAMS * NAMES)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("on_demand", [False, True])
@pytest.mark.parametrize("resumed", [False, True])
def test_a_name_costs_an_entry(on_demand, resumed):
    """A client that has everything, fetched or from an earlier stream, costs 80 bytes a name at most; all strings are shared."""
    names = [b"shop%d.example.com" % number for number in range(NAMES)]
    known = {name.decode(): Thing(f"{number:032x}") for number, name in enumerate(names)}
    node = Node("edge", "edges", NodeMetadata(on_demand=on_demand))

    def first():
        copies = tuple(bytes(bytearray(name)) for name in names)
        versions = {name: f"{number:032x}" for number, name in enumerate(copies)} if resumed else {}
        return DeltaRequest(TYPE, node, copies, (), versions)

    spent = cost(
        lambda: DeltaSubscription(TYPE, Limits(10_000, 1_000)), first, lambda nonce: DeltaRequest(TYPE, response_nonce=nonce), known
    )
    assert spent <= BYTES


def test_a_name_costs_an_entry_in_the_state_of_the_world():
    """The same for a client whose requests repeat all names."""
    names = [b"shop%d.example.com" % number for number in range(NAMES)]
    known = {name.decode(): Thing(f"{number:032x}") for number, name in enumerate(names)}

    def request(nonce=""):
        return SotwRequest(TYPE, None, "", tuple(bytes(bytearray(name)) for name in names), nonce)

    assert cost(lambda: SotwSubscription(TYPE), request, request, known) <= BYTES
