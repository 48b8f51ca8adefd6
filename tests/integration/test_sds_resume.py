"""Clients that come back with what they hold."""

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest

from tests.fakes.eventually import eventually
from tests.fakes.secret_streams import ON_DEMAND, RecordingNodes, Served, names_held, serving, versions_of

DOMAINS, NAMES = 100, 100


@pytest.fixture
async def nodes() -> RecordingNodes:
    """A registry of nodes."""
    return RecordingNodes()


@pytest.fixture
async def served(nodes) -> AsyncIterator[Served]:
    """A running server over an empty store."""
    async with serving(nodes=nodes) as running:
        yield running


async def test_ten_thousand_current_secrets_cost_nothing(served, nodes):
    """A client that holds the newest of 10,000 secrets is sent none of them and none is opened; a change of one reaches it."""
    held: dict[str, str] = {}
    for domain in range(DOMAINS):
        names = [f"n{number}.d{domain}.example" for number in range(NAMES)]
        record = await served.store.put(*names, publish=False)
        held |= dict.fromkeys(names, record.version)
    before, opened = names_held(), len(served.store.sealing.opened)
    stream = served.delta_ads()
    await stream.delta(*held, initial_resource_versions=held, node=ON_DEMAND)
    await eventually(lambda: names_held() == before + len(held))
    await stream.delta("unknown.example")
    answer = await stream.read()
    assert (["unknown.example"], {}) == (list(answer.removed_resources), versions_of(answer))
    assert opened == len(served.store.sealing.opened)
    (seen,) = nodes.streams
    assert (True, len(held) + 1) == (seen.resumed, seen.secrets_held + 1)
    record = await served.store.put(*(f"n{number}.d7.example" for number in range(NAMES)))
    changed: dict[str, str] = {}
    while len(changed) < NAMES:
        changed |= versions_of(await stream.read())
    assert dict.fromkeys((f"n{number}.d7.example" for number in range(NAMES)), record.version) == changed


async def test_many_come_back_at_once(served):
    """Twenty clients that hold the same thousand names are all settled, and none is sent anything but what changed meanwhile."""
    held: dict[str, str] = {}
    for domain in range(10):
        names = [f"n{number}.d{domain}.example" for number in range(100)]
        held |= dict.fromkeys(names, (await served.store.put(*names, publish=False)).version)
    newer = await served.store.put("newer.example", publish=False)
    held["newer.example"] = "older"
    opened = len(served.store.sealing.opened)
    streams = [served.delta_ads() for _ in range(20)]
    for stream in streams:
        await stream.delta(*held, initial_resource_versions=held, node=ON_DEMAND)
    answers = await asyncio.gather(*(stream.read() for stream in streams))
    assert [{"newer.example": newer.version}] * 20 == [versions_of(answer) for answer in answers]
    assert opened + 1 == len(served.store.sealing.opened)


async def test_the_registry_sees_a_stream_from_its_first_request_to_its_end(served, nodes):
    """It is told the node once, sees names and ACKs as they come, and at the end what was held."""
    records = {name: await served.store.put(name, publish=False) for name in ("a.example", "b.example")}
    stream = served.delta_ads()
    for name in records:
        await stream.delta(name, node={"id": "edge-1", "cluster": "blue"})
        answer = await stream.read()
        await stream.delta(response_nonce=answer.nonce)
    await stream.delta("a.example")
    await stream.delta(response_nonce=(await stream.read()).nonce)
    (seen,) = nodes.streams
    await eventually(lambda: seen.acks == 3)
    assert ("edge-1", "blue", "delta_ads", (), False) == (seen.node.id, seen.node.cluster, seen.variant, seen.identities, seen.resumed)
    expected = [(b"b.example", records["b.example"].version), (b"a.example", records["a.example"].version)]
    assert (expected, 2, {b"a.example"}) == (list(seen.held()), seen.secrets_held, set(seen.refetched()))
    assert [] == nodes.gone
    await stream.call.done_writing()
    assert grpc.StatusCode.OK == await stream.read()
    assert ([seen], [expected]) == (nodes.gone, nodes.held_at_end)


async def test_a_stream_without_a_node_is_not_registered(served, nodes):
    """A client that says nothing of itself is served and not shown."""
    stream = served.delta_sds()
    await stream.delta("a.example")
    await stream.read()
    stream.call.cancel()
    await eventually(lambda: not served.sds._streams)
    assert ([], []) == (nodes.streams, nodes.gone)
