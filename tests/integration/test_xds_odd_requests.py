"""Requests that keep to the letter of the protocol, to less, or to nothing: real streams, over an in-memory store."""

from collections.abc import AsyncIterator

import grpc
import pytest

from controlplane.api.certplane.wire.v1 import discovery_pb2 as wire
from controlplane.core.access import parse_access_policy
from controlplane.xds.subscription import Limits
from controlplane.xds.type_urls import SECRET
from tests.fakes.eventually import eventually
from tests.fakes.secret_streams import DELTA_ADS, ON_DEMAND, Served, Stream, names_held, sample, secrets_of, serving, versions_of

CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
REFUSED = {"code": 3, "message": "no"}
BERLIN = {"id": "edge-1", "cluster": "berlin"}
BERLIN_ONLY = '[[rule]]\nidentity = ""\nnode_cluster = "berlin"\ntenants = ["acme"]'
SDS = "/envoy.service.secret.v3.SecretDiscoveryService"
DELTA_REQUEST = wire.DeltaDiscoveryRequest(type_url=SECRET, resource_names_subscribe=[b"a.example"])
SOTW_REQUEST = wire.DiscoveryRequest(type_url=SECRET, resource_names=[b"a.example"])


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    """A running server over an empty store."""
    async with serving() as running:
        yield running


# ---- lists, nonces, errors ----


@pytest.mark.parametrize("nonce", ["1", "17", "nobody's"])
async def test_an_unsubscription_counts_whatever_its_nonce(served, nonce):
    """It takes effect with an old nonce, with one that was never given, and with any text."""
    held = names_held()
    await served.store.put("a.example", publish=False)
    stream = served.delta_ads()
    await stream.delta("a.example", "b.example")
    await stream.read()
    await stream.delta(unsubscribe=["a.example"], response_nonce=nonce)
    await eventually(lambda: names_held() == held + 1)
    await served.store.put("a.example")
    record = await served.store.put("b.example")
    assert {"b.example": record.version} == versions_of(await stream.read())


@pytest.mark.parametrize("node", [{"id": "sidecar-1"}, ON_DEMAND])
@pytest.mark.parametrize("open_stream", [Served.delta_ads, Served.delta_sds])
async def test_a_name_in_both_lists_is_subscribed(served, open_stream, node):
    """At the first request and at a later one; it is answered each time and pushed once."""
    await served.store.put("a.example", publish=False)
    stream = open_stream(served)
    for fields in ({"node": node}, {}):
        await stream.delta("a.example", unsubscribe=["a.example"], **fields)
        assert {"a.example"} == set(secrets_of(await stream.read()))
    record = await served.store.put("a.example")
    assert {"a.example": record.version} == versions_of(await stream.read())
    await stream.delta("b.example")
    assert (["b.example"], []) == ((answer := await stream.read()).removed_resources, list(answer.resources))


async def test_an_error_without_a_nonce_condemns_nothing(served):
    """It refuses no answer that there was: the version is not marked, and is sent to who asks again."""
    record = await served.store.put("a.example", publish=False)
    nacks, refused = sample("certplane_xds_nacks_total", "delta_ads"), sample("certplane_xds_refused_secrets_total", "delta_ads")
    stream = served.delta_ads()
    await stream.delta("a.example", error_detail=REFUSED)
    await stream.read()
    await stream.delta(error_detail=REFUSED)
    await stream.delta("a.example")
    assert {"a.example": record.version} == versions_of(await stream.read())
    assert (nacks + 2, refused) == tuple(sample(f"certplane_xds_{name}_total", "delta_ads") for name in ("nacks", "refused_secrets"))


async def test_an_error_without_a_nonce_in_the_state_of_the_world(served):
    """A later request without the last nonce is stale, with an error or not: its names are not taken, and nothing is marked."""
    held, stale = names_held(), sample("certplane_xds_stale_requests_total", "sotw_sds")
    await served.store.put("a.example", publish=False)
    stream = served.sotw_sds()
    await stream.sotw("a.example")
    first = await stream.read()
    await stream.sotw("a.example", "b.example", error_detail=REFUSED)
    await eventually(lambda: stale + 1 == sample("certplane_xds_stale_requests_total", "sotw_sds"))
    assert held + 1 == names_held()
    await served.store.put("b.example", publish=False)
    await stream.sotw("a.example", "b.example", response_nonce=first.nonce)
    assert {"a.example", "b.example"} == set(secrets_of(await stream.read()))


async def test_a_refusal_of_another_type_is_not_about_secrets(served):
    """A NACK under another type's name that bears the nonce of an answer with a secret refuses nothing; the ACK that follows counts."""
    record = await served.store.put("a.example", publish=False)
    acks, nacks = sample("certplane_xds_acks_total", "delta_ads"), sample("certplane_xds_nacks_total", "delta_ads")
    stream = served.delta_ads()
    await stream.delta("a.example", node=BERLIN)
    answer = await stream.read()
    await stream.delta(type_url=CLUSTER, response_nonce=answer.nonce, error_detail=REFUSED)
    await stream.delta(type_url=CLUSTER, unsubscribe=["a.example"])
    await stream.delta(response_nonce=answer.nonce)
    await eventually(lambda: acks + 1 == sample("certplane_xds_acks_total", "delta_ads"))
    assert nacks == sample("certplane_xds_nacks_total", "delta_ads")
    newer = await served.store.put("a.example")
    assert {"a.example": newer.version} == versions_of(await stream.read())
    assert record.version != newer.version


async def test_another_type_has_no_part_in_the_state_of_the_world(served):
    """Neither a request for another type nor a refusal of it makes the nonce of an answer with secrets old, or changes its names."""
    nacks = sample("certplane_xds_nacks_total", "sotw_ads")
    await served.store.put("a.example", publish=False)
    stream = served.sotw_ads()
    await stream.sotw(type_url=CLUSTER, node=BERLIN)
    await stream.sotw("a.example")
    answer = await stream.read()
    await stream.sotw(type_url=CLUSTER, response_nonce=answer.nonce, error_detail=REFUSED)
    await stream.sotw("x", type_url=CLUSTER)
    await served.store.put("b.example", publish=False)
    await stream.sotw("a.example", "b.example", response_nonce=answer.nonce)
    assert {"a.example", "b.example"} == set(secrets_of(await stream.read()))
    assert nacks == sample("certplane_xds_nacks_total", "sotw_ads")


async def test_a_refusal_while_a_newer_answer_is_on_its_way(served):
    """Two versions are on their way: the first is refused and the second accepted; the next is pushed, and nothing is sent twice."""
    await served.store.put("a.example", publish=False)
    stream = served.delta_ads()
    await stream.delta("a.example")
    first = await stream.read()
    second = await served.store.put("a.example")
    newer = await stream.read()
    await stream.delta(response_nonce=first.nonce, error_detail=REFUSED)
    await stream.delta(response_nonce=newer.nonce)
    third = await served.store.put("a.example")
    assert [{"a.example": second.version}, {"a.example": third.version}] == [versions_of(newer), versions_of(await stream.read())]


async def test_a_refused_removal_is_not_repeated(served):
    """An Envoy that refuses an answer without resources is not told again; what comes to exist reaches it."""
    stream = served.delta_ads()
    await stream.delta("a.example")
    answer = await stream.read()
    assert ["a.example"] == answer.removed_resources
    await stream.delta(response_nonce=answer.nonce, error_detail=REFUSED)
    await stream.delta("b.example")
    assert ["b.example"] == (await stream.read()).removed_resources
    record = await served.store.put("a.example")
    assert {"a.example": record.version} == versions_of(await stream.read())


async def test_who_asks_again_for_what_it_refused_waits_for_nothing(served):
    """Refused, with nothing before it: each further subscription is answered by removal at once, and the next version is pushed."""
    await served.store.put("a.example", publish=False)
    stream = served.delta_ads()
    await stream.delta("a.example")
    await stream.delta(response_nonce=(await stream.read()).nonce, error_detail=REFUSED)
    assert ["a.example"] == (await stream.read()).removed_resources
    for fields in ({}, {"unsubscribe": ["a.example"]}):
        await stream.delta("a.example", **fields)
        assert (["a.example"], []) == ((answer := await stream.read()).removed_resources, list(answer.resources))
    record = await served.store.put("a.example")
    assert {"a.example": record.version} == versions_of(await stream.read())


# ---- node ----


@pytest.mark.parametrize("open_stream", [Served.delta_ads, Served.delta_sds, Served.sotw_ads, Served.sotw_sds])
@pytest.mark.parametrize(("first", "later", "brought"), [(BERLIN, {}, 1), (BERLIN, {"id": "x", "cluster": "oslo"}, 1), ({}, BERLIN, 0)])
async def test_the_node_of_the_first_request_decides(open_stream, first, later, brought):
    """What a client may have is decided by its first request: another node later takes nothing away, and gives nothing."""
    async with serving(access=parse_access_policy(BERLIN_ONLY)) as served:
        for name in ("a.example", "b.example"):
            await served.store.put(name, publish=False)
        stream = open_stream(served)
        delta = open_stream in {Served.delta_ads, Served.delta_sds}
        if delta:
            await stream.delta("a.example", node=first)
            await stream.read()
            await stream.delta("b.example", node=later)
            answer = await stream.read()
            assert (brought, 1 - brought) == (len(answer.resources), len(answer.removed_resources))
            return
        await stream.sotw("a.example", "*", node=first)
        nonce = (await stream.read()).nonce if brought else ""
        await stream.sotw("a.example", "b.example", node=later, response_nonce=nonce)
        if brought:
            assert {"a.example", "b.example"} == set(secrets_of(await stream.read()))
        else:
            await stream.call.done_writing()
            assert grpc.StatusCode.OK == await stream.read()


async def test_a_node_told_with_another_type_binds():
    """An edge that asks for another type first says only there that it asks on demand, and what it holds comes with its first names."""
    async with serving(limits=Limits(2)) as served:
        records = [await served.store.put(f"n{number}.example", publish=False) for number in range(3)]
        stream = served.delta_ads()
        await stream.delta(type_url=CLUSTER, node=ON_DEMAND)
        held = {record.fqdn: record.version for record in records[:2]}
        await stream.delta(*held, initial_resource_versions=held)
        await stream.delta("n2.example")
        answer = await stream.read()
        assert (["n2.example"], ["n0.example"]) == (list(versions_of(answer)), list(answer.removed_resources))


# ---- how a stream ends ----


@pytest.mark.parametrize(
    ("method", "request_of"),
    [
        (DELTA_ADS, DELTA_REQUEST),
        (f"{SDS}/DeltaSecrets", DELTA_REQUEST),
        (DELTA_ADS.replace("Delta", "Stream"), SOTW_REQUEST),
        (f"{SDS}/StreamSecrets", SOTW_REQUEST),
    ],
)
async def test_what_was_held_before_a_broken_request_is_released(served, method, request_of):
    """Bytes that are no request end the stream with INVALID_ARGUMENT in every variant, and nothing of it is left."""
    held = names_held()
    await served.store.put("a.example", publish=False)
    stream = Stream(served.channel.stream_stream(method)())
    await stream.call.write(request_of.SerializeToString())
    assert isinstance(await stream.read(), bytes)
    assert held + 1 == names_held()
    await stream.call.write(b"\x0a\xff")
    assert grpc.StatusCode.INVALID_ARGUMENT == await stream.read()
    assert (await stream.call.details()).startswith("not a D")
    await eventually(lambda: names_held() == held)
