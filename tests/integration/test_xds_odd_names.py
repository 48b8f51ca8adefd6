"""Names and versions that clients make up, many of them, and certificates that have expired: real streams, over an in-memory store."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import grpc
import pytest
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest
from envoy.service.secret.v3 import sds_pb2_grpc

from controlplane.api.certplane.wire.v1 import discovery_pb2 as wire
from controlplane.core.access import parse_access_policy
from controlplane.xds.messages import MAX_RESPONSE_BYTES
from controlplane.xds.type_urls import SECRET
from tests.fakes.samples import now
from tests.fakes.secret_streams import Served, Stream, names_held, secrets_of, serving, versions_of

REFUSED = {"code": 3, "message": "no"}

HOSTILE = [
    b"",
    b"*",
    b"a" * 300,
    b".".join([b"a" * 63] * 4) + b".example",
    b"a.example.",
    b".a.example",
    b"a..example",
    b"a.example\0",
    b"\0",
    b"a.example\0.evil.example",
    "bücher.example".encode(),
    "BÜCHER.example".encode(),
    "\N{FULLWIDTH LATIN SMALL LETTER A}.example".encode(),
    b"a example",
    b"a.example/",
    b"a.example\r\n",
    b"a" * 64 + b".example",
]
"""Names that cannot exist and that an answer can repeat."""


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    """A running server over an empty store."""
    async with serving() as running:
        yield running


async def answers_until(stream: Stream, names: int) -> tuple[list[str], list[str]]:
    """The names that answers bring and remove, until there are so many; each answer is accepted."""
    brought: list[str] = []
    removed: list[str] = []
    while len(brought) + len(removed) < names:
        answer = await stream.read()
        brought += versions_of(answer)
        removed += answer.removed_resources
        await stream.delta(response_nonce=answer.nonce)
    return brought, removed


async def fetched(served: Served, *names: str) -> list[str]:
    """What FetchSecrets brings for names."""
    stub = sds_pb2_grpc.SecretDiscoveryServiceStub(served.channel)
    return sorted(secrets_of(await stub.FetchSecrets(DiscoveryRequest(resource_names=names), timeout=10)))


# ---- names ----


async def test_everything_and_then_something(served):
    """A client that asked for everything is told that there is no such thing, and is served by name, also once it gives that up."""
    await served.store.put("a.example", publish=False)
    stream = served.delta_ads()
    await stream.delta("*")
    assert (["*"], []) == ((answer := await stream.read()).removed_resources, list(answer.resources))
    await stream.delta("a.example", "*")
    answer = await stream.read()
    assert ({"a.example"}, ["*"]) == (set(secrets_of(answer)), answer.removed_resources)
    await stream.delta(unsubscribe=["*"])
    record = await served.store.put("a.example")
    assert {"a.example": record.version} == versions_of(await stream.read())
    await served.store.put("b.example")
    await stream.delta("c.example")
    assert (["c.example"], []) == ((answer := await stream.read()).removed_resources, list(answer.resources))


async def test_names_that_cannot_exist_are_answered_as_they_were_spelled(served):
    """Each once, byte for byte, beside a good one; those that no answer may repeat are passed over; nothing of them is held."""
    held = names_held()
    await served.store.put("a.example", publish=False)
    stream = served.raw_delta_ads()
    await stream.raw(*HOSTILE, b"\xff.example", b"\xed\xa0\x80", *HOSTILE, b"A.Example")
    brought: set[str] = set()
    removed: list[str] = []
    while len(brought) + len(removed) < len(HOSTILE) + 1:
        answer = await stream.read()
        brought |= set(versions_of(answer))
        removed += answer.removed_resources
    assert ({"A.Example"}, sorted(name.decode() for name in HOSTILE)) == (brought, sorted(removed))
    assert held + 1 == names_held()


async def test_names_that_cannot_exist_cost_the_other_variants_nothing(served):
    """The state of the world and the unary method bring the good one of the same names."""
    await served.store.put("a.example", publish=False)
    names = [name.decode() for name in HOSTILE]
    assert ["A.EXAMPLE", "a.example"] == await fetched(served, *names, "a.example", *names, "A.EXAMPLE", "a.example")
    stream = served.sotw_ads()
    await stream.sotw(*names, "a.example", "a.example")
    answer = await stream.read()
    assert (1, {"a.example"}) == (len(answer.resources), set(secrets_of(answer)))


async def test_an_a_label_is_a_name_like_any_other(served):
    """A U-label is not translated: who asks for it is told that there is none, and the A-label is served in any case."""
    await served.store.put("xn--bcher-kva.example", publish=False)
    stream = served.delta_ads()
    await stream.delta("bücher.example", "xn--bcher-kva.example", "XN--BCHER-KVA.example")
    answer = await stream.read()
    assert {"xn--bcher-kva.example", "XN--BCHER-KVA.example"} == set(versions_of(answer))
    assert ["bücher.example"] == answer.removed_resources


async def test_ten_thousand_names_in_one_request(served):
    """Each is answered once although it is named twice, in answers within the limit; a change of one of them reaches the client."""
    known = [f"n{number}.example" for number in range(200)]
    for name in known:
        await served.store.put(name, publish=False)
    unknown = [f"u{number}.example" for number in range(9_800)]
    stream = served.delta_ads()
    await stream.delta(*known, *unknown, *known, *unknown)
    brought, removed = await answers_until(stream, 10_000)
    assert (sorted(known), sorted(unknown)) == (sorted(brought), sorted(removed))
    record = await served.store.put(unknown[-1])
    answer = await stream.read()
    assert {unknown[-1]: record.version} == versions_of(answer)


async def test_ten_thousand_names_in_the_state_of_the_world(served):
    """Those that exist come, each once, whatever the others are; one that comes to exist is pushed alone."""
    known = [f"n{number}.example" for number in range(200)]
    for name in known:
        await served.store.put(name, publish=False)
    names = [*known, *(f"u{number}.example" for number in range(9_800))]
    stream = served.sotw_ads()
    await stream.sotw(*names, *names)
    brought: list[str] = []
    while len(brought) < len(known):
        answer = await stream.read()
        assert answer.ByteSize() <= MAX_RESPONSE_BYTES
        brought += secrets_of(answer)
        await stream.sotw(*names, response_nonce=answer.nonce)
    assert sorted(known) == sorted(brought)
    await served.store.put(names[-1])
    assert {names[-1]} == set(secrets_of(await stream.read()))


async def test_the_unary_method_has_one_answer(served):
    """What does not fit into it is refused, not cut: the client could not know that something is missing."""
    wanted = sorted(f"n{number}.example" for number in range(129))
    for name in wanted:
        await served.store.put(name, publish=False)
    assert wanted[:128] == await fetched(served, *wanted[:128])
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await fetched(served, *wanted)
    assert grpc.StatusCode.RESOURCE_EXHAUSTED == refused.value.code()


async def test_the_unary_method_says_nothing_of_what_does_not_exist(served):
    """Names that do not exist, or cannot, and no names at all have an answer without resources."""
    assert [[], [], []] == [await fetched(served, *names) for names in (["u.example"], ["..", "*"], [])]


# ---- what a client says it has ----


async def test_versions_of_what_it_does_not_ask_for_mean_nothing(served):
    """Only names that are subscribed to are compared; who asks for one later is answered with it in full."""
    record = await served.store.put("a.example", publish=False)
    other = await served.store.put("b.example", publish=False)
    stream = served.delta_ads()
    has = {"a.example": record.version, "b.example": other.version, "..": "1", "*": "1", "": "1"}
    await stream.delta("a.example", initial_resource_versions=has)
    await stream.delta("b.example")
    assert {"b.example": other.version} == versions_of(await stream.read())


@pytest.mark.parametrize("told", ["", "of somebody else", "\N{SNOWMAN}" * 1000])
async def test_any_version_but_the_newest_is_another(served, told):
    """An empty version is none; any other text differs, so the newest is sent."""
    record = await served.store.put("a.example", publish=False)
    stream = served.delta_ads()
    await stream.delta("a.example", initial_resource_versions={"a.example": told})
    assert {"a.example": record.version} == versions_of(await stream.read())


async def test_a_version_that_is_not_utf_8_is_another(served):
    """Any bytes as a version differ too, and end no stream."""
    record = await served.store.put("a.example", publish=False)
    stream = served.raw_delta_ads()
    has = wire.DeltaDiscoveryRequest(type_url=SECRET, resource_names_subscribe=[b"a.example"])
    has.initial_resource_versions.add(key=b"a.example", value=b"\xff\xfe")
    await stream.call.write(has.SerializeToString())
    assert {"a.example": record.version} == versions_of(await stream.read())


async def test_what_was_deleted_and_what_is_denied_is_removed_alike():
    """A client that comes back with both, and with what it may have, is told of both in one answer, and sent nothing."""
    policy = parse_access_policy('[[rule]]\nidentity = ""\ntenants = ["acme"]')
    async with serving(access=policy) as served:
        mine, deleted = [await served.store.put(name, publish=False) for name in ("mine.example", "deleted.example")]
        theirs = await served.store.put("theirs.example", tenant="globex", publish=False)
        await served.store.delete("deleted.example", publish=False)
        has = {record.fqdn: record.version for record in (mine, theirs, deleted)}
        stream: Stream = served.delta_ads()
        await stream.delta(*has, initial_resource_versions=has)
        answer = await stream.read()
        assert (["deleted.example", "theirs.example"], []) == (sorted(answer.removed_resources), list(answer.resources))


# ---- certificates ----


@pytest.mark.parametrize("moved", [timedelta(days=-1), timedelta(seconds=-1)])
async def test_an_expired_certificate_is_served_while_there_is_no_other(served, moved):
    """Whether to go on is for the visitor's client to say; a renewal that was late is pushed to who holds the expired one."""
    record = await served.store.put("a.example", publish=False)
    expired = await served.store.put_record(replace(record, not_after=now() + moved), publish=False)
    stream = served.delta_ads()
    await stream.delta("a.example")
    assert {"a.example": expired.version} == versions_of(await stream.read())
    newer = await served.store.put("a.example")
    assert {"a.example": newer.version} == versions_of(await stream.read())


async def test_an_expired_certificate_does_not_stand_in_for_a_refused_one(served):
    """The one before is given only while it is valid; else who waits is told that there is none."""
    record = await served.store.put("a.example", publish=False)
    await served.store.put_record(replace(record, not_after=now() - timedelta(seconds=1)), publish=False)
    await served.store.put("a.example", publish=False)
    stream = served.delta_ads()
    await stream.delta("a.example")
    await stream.delta(response_nonce=(await stream.read()).nonce, error_detail=REFUSED)
    assert (["a.example"], []) == ((answer := await stream.read()).removed_resources, list(answer.resources))
