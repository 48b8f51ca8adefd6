"""Secrets over gRPC: real streams on loopback, driven with Envoy's own messages, over an in-memory store with real certificates."""

from collections.abc import AsyncIterator
from dataclasses import replace

import grpc
import pytest
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest
from envoy.service.secret.v3 import sds_pb2_grpc

from controlplane.core.ports import ChangeKind
from controlplane.core.sealing import Envelope, Scheme
from controlplane.xds.messages import MAX_RESPONSE_BYTES
from controlplane.xds.type_urls import SECRET
from tests.fakes.eventually import eventually
from tests.fakes.secret_streams import Served, names_held, sample, secrets_of, serving, versions_of

CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    """A running server over an empty store."""
    async with serving() as running:
        yield running


async def test_a_secret_is_what_a_tls_server_loads(served):
    """The answer's secret bears the asked name, the whole chain in PEM and the leaf's own key."""
    record = await served.store.put("a.example", publish=False)
    stream = served.delta_ads()
    await stream.delta("a.example", node={"id": "edge-1"})
    answer = await stream.read()
    assert (SECRET, {"a.example": record.version}) == (answer.type_url, versions_of(answer))
    certificate = secrets_of(answer)["a.example"].tls_certificate
    chain = x509.load_pem_x509_certificates(certificate.certificate_chain.inline_bytes)
    assert [record.leaf, *record.intermediates] == [each.public_bytes(serialization.Encoding.DER) for each in chain]
    key = serialization.load_pem_private_key(certificate.private_key.inline_bytes, None)
    assert chain[0].public_key() == key.public_key()


@pytest.mark.parametrize("open_stream", [Served.delta_ads, Served.delta_sds])
async def test_unknown_names_are_removed_at_once(served, open_stream):
    """An unknown name is in removed_resources, on both services, and is pushed when it comes into existence."""
    stream = open_stream(served)
    await stream.delta("a.example")
    assert ["a.example"] == list((await stream.read()).removed_resources)
    record = await served.store.put("a.example")
    assert {"a.example": record.version} == versions_of(await stream.read())


async def test_each_spelling_bears_its_own_name_and_shares_the_content(served):
    """Spellings of one name get the same certificate under the name as spelled, from one opened key."""
    await served.store.put("a.example", publish=False)
    stream, other = served.delta_ads(), served.delta_ads()
    await stream.delta("a.example", "A.Example")
    await other.delta("A.EXAMPLE")
    found = secrets_of(await stream.read()) | secrets_of(await other.read())
    assert {"a.example", "A.Example", "A.EXAMPLE"} == set(found)
    assert 1 == len({secret.tls_certificate.SerializeToString() for secret in found.values()})
    assert 1 == len(served.store.sealing.opened)


@pytest.mark.parametrize("name", [b"\xff\xfe.example", b"x" * 10_000, b"a\0b.example", b"*", b""])
async def test_a_hostile_name_does_not_end_a_stream(served, name):
    """After any bytes as a name, alone and beside a good one, good names are served on the same stream."""
    for domain in ("a.example", "b.example"):
        await served.store.put(domain, publish=False)
    stream = served.raw_delta_ads()
    await stream.raw(name, b"a.example")
    await stream.raw(name)
    await stream.raw(b"b.example")
    found = {}
    while len(found) < 2:
        found |= secrets_of(await stream.read())
    assert {"a.example", "b.example"} == set(found)


async def test_changes_are_pushed_to_all_who_hold_the_name(served):
    """A renewed certificate reaches each stream that holds one of its names, opened once, and no other."""
    await served.store.put("a.example", "www.a.example", publish=False)
    await served.store.put("b.example", publish=False)
    streams = [served.delta_ads(), served.delta_sds(), served.delta_ads()]
    bystander = served.delta_ads()
    for stream in streams:
        await stream.delta("a.example")
        await stream.read()
    await bystander.delta("b.example")
    await bystander.read()
    opened = len(served.store.sealing.opened)
    record = await served.store.put("a.example", "www.a.example")
    for stream in streams:
        assert {"a.example": record.version} == versions_of(await stream.read())
    assert opened + 1 == len(served.store.sealing.opened)
    await bystander.delta("c.example")
    assert ["c.example"] == list((await bystander.read()).removed_resources)


async def test_a_deleted_domain_is_removed_from_who_holds_it(served):
    """Deletion pushes removed_resources."""
    await served.store.put("a.example", publish=False)
    stream = served.delta_ads()
    await stream.delta("a.example")
    await stream.read()
    await served.store.delete("a.example")
    answer = await stream.read()
    assert (["a.example"], []) == (list(answer.removed_resources), list(answer.resources))


async def test_acks_and_nacks_are_counted(served):
    """Answers that a client accepted and refused are counted; the stream goes on."""
    await served.store.put("a.example", publish=False)
    acks, nacks = sample("certplane_xds_acks_total", "delta_ads"), sample("certplane_xds_nacks_total", "delta_ads")
    stream = served.delta_ads()
    await stream.delta("a.example", node={"id": "edge-1"})
    await stream.delta(response_nonce=(await stream.read()).nonce, error_detail={"code": 3, "message": "no"})
    await stream.delta("b.example")
    answer = await stream.read()
    await stream.delta(response_nonce=answer.nonce)
    await eventually(lambda: acks + 1 == sample("certplane_xds_acks_total", "delta_ads"))
    assert nacks + 1 == sample("certplane_xds_nacks_total", "delta_ads")


async def test_a_reconnecting_client_is_told_only_what_differs(served):
    """What a client says it holds is compared, nothing is opened for what is the same, and only what was deleted is removed."""
    same = await served.store.put("same.example", publish=False)
    newer = await served.store.put("newer.example", publish=False)
    stream = served.delta_ads()
    await served.store.put("gone.example", publish=False)
    await served.store.delete("gone.example", publish=False)
    held = {"same.example": same.version, "newer.example": "older", "gone.example": "older", "missing.example": "older"}
    await stream.delta(*held, initial_resource_versions=held)
    answer = await stream.read()
    assert ({"newer.example": newer.version}, ["gone.example"]) == (versions_of(answer), list(answer.removed_resources))
    await stream.delta("same.example")
    assert {"same.example": same.version} == versions_of(await stream.read())
    assert 2 == len(served.store.sealing.opened)


async def test_other_types_on_ads_are_left_alone(served):
    """Requests for a type that is not served get no answer and are logged once; secrets are served on the same stream."""
    await served.store.put("a.example", publish=False)
    stream = served.delta_ads()
    with structlog.testing.capture_logs() as logs:
        await stream.delta("*", type_url=CLUSTER)
        await stream.delta(type_url=CLUSTER)
        await stream.delta("x", type_url="")
        await stream.delta("a.example")
        assert {"a.example"} == set(secrets_of(await stream.read()))
    assert 1 == len([entry for entry in logs if "left alone" in entry["event"]])


async def test_secret_discovery_implies_the_type(served):
    """On the service for secrets a request need not name the type."""
    await served.store.put("a.example", publish=False)
    stream = served.delta_sds()
    await stream.delta("a.example", type_url="")
    assert {"a.example"} == set(secrets_of(await stream.read()))


async def test_bytes_that_are_no_request_end_that_stream_only(served):
    """Undecodable bytes are answered with INVALID_ARGUMENT and a reason; another stream of the same connection goes on."""
    await served.store.put("a.example", publish=False)
    good, bad = served.raw_delta_ads(), served.raw_delta_ads()
    await good.raw(b"b.example")
    await good.read()
    await bad.call.write(b"\xff\xff\xff\xff")
    assert grpc.StatusCode.INVALID_ARGUMENT == await bad.read()
    assert "not a DeltaDiscoveryRequest" == await bad.call.details()
    await good.raw(b"a.example")
    assert {"a.example"} == set(secrets_of(await good.read()))


async def test_while_the_store_is_away_nothing_is_removed(served):
    """Names asked for while the store is away are answered once it is back, and impossible names at once."""
    record = await served.store.put("a.example", publish=False)
    served.store.away = True
    stream = served.delta_ads()
    await stream.delta("a.example", "b.example")
    await eventually(lambda: len(served.store.lookups) >= 2)
    await stream.delta("*")
    assert ["*"] == list((await stream.read()).removed_resources)
    served.store.away = False
    answer = await stream.read()
    assert ({"a.example": record.version}, ["b.example"]) == (versions_of(answer), list(answer.removed_resources))


async def test_a_key_that_does_not_open_harms_no_other_name(served):
    """Such a name is answered as removed, beside good ones in the same answer."""
    record = await served.store.put("a.example", publish=False)
    await served.store.put_record(replace(record, sealed_leaf_key=Envelope("x", Scheme.HPKE_X25519, b"?")), publish=False)
    await served.store.put("b.example", publish=False)
    stream = served.delta_ads()
    await stream.delta("a.example", "b.example")
    answer = await stream.read()
    assert (["a.example"], {"b.example"}) == (list(answer.removed_resources), set(secrets_of(answer)))


async def test_a_store_that_lost_its_data_takes_nothing_away(served):
    """Streams keep what they hold when the store is suddenly empty or cannot be read; new asks are answered by removal."""
    record = await served.store.put("a.example", publish=False)
    stream, other = served.delta_ads(), served.delta_ads()
    await stream.delta("a.example")
    await stream.read()
    served.store.empty()
    await served.store.lose_changes()
    await other.delta("a.example", "b.example")
    assert {"a.example", "b.example"} == set((await other.read()).removed_resources)
    await served.store.put_record(record)
    assert {"a.example": record.version} == versions_of(await other.read())
    served.store.rejected = {"a.example"}
    await served.store.publish("a.example", ("a.example",), ChangeKind.CERTIFICATE)
    await stream.delta("c.example")
    assert (["c.example"], {}) == ((answer := await stream.read()).removed_resources, versions_of(answer))
    served.store.rejected = set()
    await served.store.delete("a.example")
    assert [["a.example"]] * 2 == [(await each.read()).removed_resources for each in (stream, other)]


@pytest.mark.parametrize("names", [(), ("*",)])
async def test_who_asks_for_nothing_or_everything_waits_for_nothing(served, names):
    """An empty first subscription and the wildcard are answered at once: by removal of `*`, or by an answer without resources."""
    await served.store.put("a.example", publish=False)
    for stream in (served.delta_ads(), served.delta_sds()):
        await stream.delta(*names)
        answer = await stream.read()
        assert (["*"], []) == (answer.removed_resources, list(answer.resources))
    for stream in (served.sotw_ads(), served.sotw_sds()):
        await stream.sotw(*names)
        first = await stream.read()
        assert (SECRET, []) == (first.type_url, list(first.resources))
        await stream.sotw("a.example", response_nonce=first.nonce, version_info=first.version_info)
        assert {"a.example"} == set(secrets_of(await stream.read()))


async def test_large_answers_are_cut(served):
    """Many secrets come in several answers, each under the limit, with nonces of their own and no secret twice."""
    record = await served.store.put("a.example", *(f"n{number}.example" for number in range(150)), publish=False)
    await served.store.put_record(replace(record, intermediates=(record.leaf,) * 12), publish=False)
    stream = served.delta_ads()
    await stream.delta(*record.names)
    found, nonces = {}, set()
    while len(found) < len(record.names):
        answer = await stream.read()
        assert answer.ByteSize() <= MAX_RESPONSE_BYTES
        assert not set(found) & set(secrets_of(answer))
        found |= secrets_of(answer)
        nonces.add(answer.nonce)
    assert set(record.names) == set(found)
    assert len(nonces) > 1


async def test_a_gone_client_holds_nothing(served):
    """When a stream ends its names are released, however it ends."""
    before = names_held()
    cancelled, closed = served.delta_ads(), served.delta_ads()
    await cancelled.delta("a.example")
    await cancelled.read()
    await closed.delta("b.example")
    await closed.read()
    assert before + 2 == names_held()
    cancelled.call.cancel()
    await closed.call.done_writing()
    assert grpc.StatusCode.OK == await closed.read()
    await eventually(lambda: before == names_held())


async def test_a_client_that_ends_its_side_is_answered_first(served):
    """Whoever sends a request and closes gets the answer, then the end."""
    await served.store.put("a.example", publish=False)
    stream = served.delta_ads()
    await stream.delta("a.example")
    await stream.call.done_writing()
    assert {"a.example"} == set(secrets_of(await stream.read()))
    assert grpc.StatusCode.OK == await stream.read()


async def test_draining_ends_streams_politely(served):
    """Open streams end with OK, and new ones are refused with UNAVAILABLE so that clients go elsewhere."""
    streams = [served.delta_ads(), served.sotw_ads()]
    await streams[0].delta("a.example")
    await streams[0].read()
    await streams[1].sotw("b.example")
    await eventually(lambda: len(served.store.lookups) == 2)
    await served.sds.close(5)
    assert [grpc.StatusCode.OK] * 2 == [await stream.read() for stream in streams]
    assert grpc.StatusCode.UNAVAILABLE == await served.delta_ads().read()


@pytest.mark.parametrize("open_stream", [Served.sotw_ads, Served.sotw_sds])
async def test_state_of_the_world_is_answered_when_names_exist(served, open_stream):
    """Known names are in the first answer; an unknown one is absent and comes, with the others, when it exists."""
    await served.store.put("a.example", publish=False)
    stream = open_stream(served)
    await stream.sotw("a.example", "b.example")
    first = await stream.read()
    assert {"a.example"} == set(secrets_of(first))
    await stream.sotw("a.example", "b.example", response_nonce=first.nonce, version_info=first.version_info)
    await served.store.put("b.example")
    second = await stream.read()
    assert {"a.example", "b.example"} == set(secrets_of(second))
    assert first.version_info != second.version_info


async def test_a_stale_state_of_the_world_request_is_ignored(served):
    """A request that answers an earlier answer changes nothing; the one with the last nonce does."""
    await served.store.put("a.example", publish=False)
    await served.store.put("b.example", publish=False)
    stream = served.sotw_sds()
    await stream.sotw("a.example")
    first = await stream.read()
    await served.store.put("a.example")
    second = await stream.read()
    await stream.sotw("b.example", response_nonce=first.nonce)
    await stream.sotw("a.example", "b.example", response_nonce=second.nonce)
    assert {"a.example", "b.example"} == set(secrets_of(await stream.read()))


async def test_fetch_secrets_gives_those_that_exist(served):
    """The unary method answers with the known ones of the names, spelled as asked."""
    await served.store.put("a.example", publish=False)
    stub = sds_pb2_grpc.SecretDiscoveryServiceStub(served.channel)
    answer = await stub.FetchSecrets(DiscoveryRequest(type_url=SECRET, resource_names=["A.example", "b.example", "*"]), timeout=10)
    assert {"A.example"} == set(secrets_of(answer))
    assert [] == list((await stub.FetchSecrets(DiscoveryRequest(), timeout=10)).resources)


async def test_fetch_secrets_says_when_the_store_is_away(served):
    """The unary method fails with UNAVAILABLE: it cannot wait, and an answer without the name would be wrong."""
    served.store.away = True
    stub = sds_pb2_grpc.SecretDiscoveryServiceStub(served.channel)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.FetchSecrets(DiscoveryRequest(resource_names=["a.example"]), timeout=10)
    assert grpc.StatusCode.UNAVAILABLE == refused.value.code()


async def test_fetch_secrets_refuses_bytes_that_are_no_request(served):
    """Undecodable bytes are answered with INVALID_ARGUMENT."""
    fetch = served.channel.unary_unary("/envoy.service.secret.v3.SecretDiscoveryService/FetchSecrets")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await fetch(b"\xff\xff", timeout=10)
    assert grpc.StatusCode.INVALID_ARGUMENT == refused.value.code()


async def test_no_log_line_holds_a_leaf_key(served):
    """Serving, refusing and removing a secret logs nothing of its content."""
    record = await served.store.put("a.example", publish=False)
    stream = served.delta_ads()
    with structlog.testing.capture_logs() as logs:
        await stream.delta("a.example")
        answer = await stream.read()
        await stream.delta(response_nonce=answer.nonce, error_detail={"code": 3, "message": "no"})
        await served.store.delete("a.example")
        await stream.read()
    key = secrets_of(answer)["a.example"].tls_certificate.private_key.inline_bytes.splitlines()[1].decode()
    assert logs
    assert key not in repr(logs)
    assert record.version in repr(logs)


async def test_streams_that_ask_for_the_same_are_told_the_same_and_each_for_itself(served):
    """Several clients ask for the same names, one of them in another order: all have the same secrets, and what one does is its own."""
    names = [f"n{number}.example" for number in range(30)]
    records = {name: await served.store.put(name, publish=False) for name in names}
    versions = {name: record.version for name, record in records.items()}
    streams = [served.delta_ads() for _ in range(4)]
    for stream in streams:
        await stream.delta(*(names if stream is not streams[3] else reversed(names)))
    first, second, third, other = [await stream.read() for stream in streams]
    assert first == second == third
    assert [versions] * 2 == [versions_of(first), versions_of(other)]
    assert secrets_of(first) == secrets_of(other)
    await streams[0].delta(unsubscribe=names[:2], response_nonce=first.nonce)
    await streams[1].delta(response_nonce=second.nonce, error_detail={"code": 3, "message": "no"})
    halves = [await streams[1].read() for _ in range(2)]
    assert [set(names[:15]), set(names[15:])] == [set(versions_of(half)) for half in halves]
    for half in halves:
        await streams[1].delta(response_nonce=half.nonce)
    for name in names[1:3]:
        renewed = await served.store.put(name)
        for stream in streams if name == names[2] else streams[1:]:
            assert {name: renewed.version} == versions_of(await stream.read())
