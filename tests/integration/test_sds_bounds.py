"""What strangers, and clients with many streams, can make the server and an Envoy hold."""

from collections.abc import AsyncIterator

import grpc
import pytest
import structlog

from controlplane.xds.subscription import Limits
from tests.fakes.eventually import eventually
from tests.fakes.secret_streams import ON_DEMAND, Served, connected, names_held, sample, secrets_of, serving, versions_of

LIMIT = 5


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    """A server whose clients are given five secrets at most, two of them in another spelling."""
    async with serving(limits=Limits(max_resources=LIMIT, max_spellings=2)) as running:
        yield running


@pytest.mark.parametrize("open_stream", [Served.delta_sds, Served.sotw_sds])
async def test_the_one_stream_too_many_of_a_connection_is_refused(served, open_stream):
    """With plain SDS it ends with RESOURCE_EXHAUSTED and says what to do; the others go on, and an ended one makes room."""
    await served.store.put("a.example", publish=False)
    streams = [open_stream(served) for _ in range(LIMIT)]

    async def ask(stream):
        await (stream.delta if open_stream is Served.delta_sds else stream.sotw)("a.example")
        return await stream.read()

    for stream in streams:
        assert {"a.example"} == set(secrets_of(await ask(stream)))
    refused = open_stream(served)
    assert grpc.StatusCode.RESOURCE_EXHAUSTED == await refused.read()
    assert "this connection has 5 streams of secrets, which is the most: use ADS, where one stream brings all secrets" == (
        await refused.call.details()
    )
    await served.store.put("a.example")
    for stream in streams:
        assert {"a.example"} == set(secrets_of(await stream.read()))
    await streams[0].call.done_writing()
    assert grpc.StatusCode.OK == await streams[0].read()
    assert {"a.example"} == set(secrets_of(await ask(open_stream(served))))


async def test_refused_streams_harm_nobody_else(served):
    """Another connection, and ADS on the same one, are served although the connection has its fill; refusals are logged with a count."""
    await served.store.put("a.example", publish=False)
    streams = [served.delta_sds() for _ in range(LIMIT)]
    for stream in streams:
        await stream.delta("a.example")
        await stream.read()
    with structlog.testing.capture_logs() as logs:
        assert {grpc.StatusCode.RESOURCE_EXHAUSTED} == {await served.delta_sds().read() for _ in range(20)}
        await eventually(lambda: [entry for entry in logs if "one too many" in entry["event"]])
    assert 20 == sum(entry["streams"] for entry in logs if "one too many" in entry["event"])
    ads = served.delta_ads()
    await ads.delta("a.example")
    assert {"a.example"} == set(secrets_of(await ads.read()))
    async with connected(served.address) as channel:
        other = Served(served.store, served.directory, served.sds, served.address, channel).delta_sds()
        await other.delta("a.example")
        assert {"a.example"} == set(secrets_of(await other.read()))


async def test_an_on_demand_client_is_given_so_many(served):
    """The name fetched longest ago is removed in the answer that brings one too many, and not pushed any more; it can be had again."""
    names = [f"n{number}.example" for number in range(LIMIT + 1)]
    for name in names:
        await served.store.put(name, publish=False)
    evicted, held = sample("certplane_xds_evictions_total", "delta_ads"), names_held()
    stream = served.delta_ads()
    for name in names[:-1]:
        await stream.delta(name, node=ON_DEMAND)
        assert ([name], []) == (list(versions_of(answer := await stream.read())), list(answer.removed_resources))
    await stream.delta(names[-1])
    assert ([names[-1]], [names[0]]) == (list(versions_of(answer := await stream.read())), list(answer.removed_resources))
    assert evicted + 1 == sample("certplane_xds_evictions_total", "delta_ads")
    await served.store.put(names[0])
    await stream.delta(names[0])
    assert ([names[0]], [names[1]]) == (list(versions_of(answer := await stream.read())), list(answer.removed_resources))
    await eventually(lambda: names_held() <= held + LIMIT + 1)


async def test_pinned_names_stay(served):
    """Names that the node states are never removed and do not count."""
    pinned = [f"p{number}.example" for number in range(3)]
    names = [f"n{number}.example" for number in range(LIMIT + 1)]
    for name in (*pinned, *names):
        await served.store.put(name, publish=False)
    node = {"id": "edge-1", "metadata": {"certplane.on_demand": True, "certplane.pinned": pinned}}
    stream = served.delta_ads()
    await stream.delta(*pinned, node=node)
    found: set[str] = set()
    while found != set(pinned):
        found |= set(secrets_of(await stream.read()))
    removed = []
    for name in names:
        await stream.delta(name)
        removed += (await stream.read()).removed_resources
    assert [names[0]] == removed


async def test_spellings_of_one_name_have_a_smaller_bound(served):
    """Of the spellings of a name two are held besides the canonical one."""
    await served.store.put("abc.example", publish=False)
    stream = served.delta_ads()
    spellings = ["abc.example", "Abc.example", "aBc.example", "abC.example"]
    removed = []
    for name in spellings:
        await stream.delta(name, node=ON_DEMAND)
        answer = await stream.read()
        assert [name] == list(versions_of(answer))
        removed += answer.removed_resources
    assert ["Abc.example"] == removed


async def test_a_sidecar_that_says_nothing_has_no_bound(served):
    """A client whose node metadata does not say that it asks on demand is given all that it asks for."""
    names = [f"n{number}.example" for number in range(3 * LIMIT)]
    for name in names:
        await served.store.put(name, publish=False)
    stream = served.delta_ads()
    await stream.delta(*names, node={"id": "sidecar-1"})
    answer = await stream.read()
    assert (set(names), []) == (set(secrets_of(answer)), list(answer.removed_resources))


@pytest.fixture
def refused_at_once(monkeypatch):
    """Refusals do not wait for each other: what waits beyond the few names that a client may hold here is dropped without a look-up."""
    monkeypatch.setattr("controlplane.endpoints.secret_stream._REFUSALS_APART_SECONDS", 0.0)


@pytest.mark.usefixtures("refused_at_once")
async def test_a_flood_of_unknown_names_is_a_line_a_second(served):
    """Every unknown name is answered and counted; the log has their number and none of them."""
    unknown = sample("certplane_xds_unknown_names_total", "delta_ads")
    stream = served.delta_ads()
    with structlog.testing.capture_logs() as logs:
        for number in range(300):
            await stream.delta(f"random-{number}.example", node=ON_DEMAND)
        removed: set[str] = set()
        while len(removed) < 300:
            removed |= set((await stream.read()).removed_resources)
        await eventually(lambda: [entry for entry in logs if entry["event"] == "unknown names asked for"])
    lines = [entry for entry in logs if entry["event"] == "unknown names asked for"]
    assert unknown + 300 == sample("certplane_xds_unknown_names_total", "delta_ads")
    assert ({"info"}, 300) == ({entry["log_level"] for entry in lines}, sum(entry["names"] for entry in lines))
    assert not [entry for entry in logs if "random-" in repr(entry)]


@pytest.mark.usefixtures("refused_at_once")
async def test_known_names_are_served_in_a_flood(served):
    """Between unknown names, a known one comes on the same stream, and unknown ones that were asked for before take no look-up."""
    await served.store.put("a.example", publish=False)
    stream = served.delta_ads()
    for number in range(200):
        await stream.delta(f"random-{number}.example", node=ON_DEMAND)
    await stream.delta("a.example")
    removed: set[str] = set()
    found: set[str] = set()
    while len(removed) + len(found) < 201:
        answer = await stream.read()
        removed |= set(answer.removed_resources)
        found |= set(secrets_of(answer))
    assert (200, {"a.example"}) == (len(removed), found)
    lookups = len(served.store.lookups)
    other = served.delta_ads()
    await other.delta(*removed)
    again: set[str] = set()
    while again != removed:
        again |= set((await other.read()).removed_resources)
    assert lookups == len(served.store.lookups)
