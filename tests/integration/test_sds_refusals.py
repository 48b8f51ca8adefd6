"""What a client refuses, over real streams: what it is sent instead, and who is told."""

from collections.abc import AsyncIterator

import pytest
import structlog

from controlplane.usecases.tls_material import certificate_chain_pem
from controlplane.xds.pages import LEAST_NAMES
from tests.fakes.eventually import eventually
from tests.fakes.secret_streams import RecordingNodes, Served, sample, secrets_of, serving, versions_of

NO = {"code": 3, "message": "Failed to load private key"}


@pytest.fixture
async def nodes() -> RecordingNodes:
    """A registry of nodes."""
    return RecordingNodes()


@pytest.fixture
async def served(nodes) -> AsyncIterator[Served]:
    """A running server over an empty store."""
    async with serving(nodes=nodes) as running:
        yield running


async def test_a_refused_answer_condemns_none_of_several(served):
    """After a NACK the secrets come again in halves, down to the one that is refused alone; all the others arrive."""
    names = [f"n{number}.example" for number in range(5)]
    for name in names:
        await served.store.put(name, publish=False)
    refused = sample("certplane_xds_refused_secrets_total", "delta_ads")
    stream = served.delta_ads()
    await stream.delta(*names)
    accepted: set[str] = set()
    answers = []
    while accepted != set(names) - {"n3.example"} or len(answers[-1].resources) != 1:
        answer = await stream.read()
        answers.append(answer)
        bad = "n3.example" in secrets_of(answer)
        if not bad:
            accepted |= set(secrets_of(answer))
        await stream.delta(response_nonce=answer.nonce, **({"error_detail": NO} if bad else {}))
    await eventually(lambda: refused + 1 == sample("certplane_xds_refused_secrets_total", "delta_ads"))
    assert 5 == len(answers[0].resources)


@pytest.mark.parametrize(("variant", "ask"), [("delta_ads", "delta"), ("sotw_ads", "sotw")])
async def test_what_goes_again_after_a_refusal_goes_in_other_bytes(served, variant, ask):
    """Envoy accepts what it refused in the same bytes: they differ at each halving and mean the same. Other clients get the usual ones."""
    names = [f"n{number}.example" for number in range(LEAST_NAMES)]
    records = {name: await served.store.put(name, publish=False) for name in names}

    async def asked():
        stream = getattr(served, variant)()
        await getattr(stream, ask)(*names)
        return stream

    async def usual() -> list[bytes]:
        return [secret.SerializeToString() for secret in secrets_of(await (await asked()).read()).values()]

    before, stream = await usual(), await asked()
    resent = []
    bad = names[0]
    secrets: dict = {}
    while list(secrets) != [bad]:
        secrets = secrets_of(answer := await stream.read())
        if variant == "delta_ads":
            assert {name: records[name].version for name in secrets} == versions_of(answer)
        chains = {name: secret.tls_certificate.certificate_chain.inline_bytes for name, secret in secrets.items()}
        assert {name: certificate_chain_pem(records[name]).rstrip() for name in secrets} == {name: chains[name].rstrip() for name in chains}
        refused = {}
        if bad in secrets:
            resent.append(chains[bad])
            refused = {"error_detail": NO}
        await getattr(stream, ask)(*(names if ask == "sotw" else ()), response_nonce=answer.nonce, **refused)
    assert [certificate_chain_pem(records[bad]) + b"\n" * attempt for attempt in range(5)] == resent
    assert [before] * 2 == [await usual() for _ in range(2)]


async def test_a_refused_secret_is_told_once(served, nodes):
    """It is logged as a warning with node, name, version and the client's words cut to 500 characters, and shown to the registry."""
    record = await served.store.put("a.example", publish=False)
    stream = served.delta_ads()
    with structlog.testing.capture_logs() as logs:
        await stream.delta("a.example", node={"id": "edge-1"})
        nonce = (await stream.read()).nonce
        await stream.delta(response_nonce=nonce, error_detail={"code": 3, "message": "x" * 2000})
        assert ["a.example"] == (await stream.read()).removed_resources
    (entry,) = [entry for entry in logs if entry["event"] == "secret refused"]
    expected = {"node": "edge-1", "nonce": nonce, "name": "a.example", "version_info": record.version, "error": "x" * 500}
    assert {**expected, "log_level": "warning"} == {field: entry[field] for field in [*expected, "log_level"]}
    (seen,) = nodes.streams
    assert ({"a.example": (record.version, "x" * 500)}, 1) == (seen.refused, seen.nacks)


async def test_a_client_that_waits_gets_the_previous_certificate(served):
    """A client that refused the newest version and asks again gets the one before; what comes after that is pushed and clears the mark."""
    first = await served.store.put("a.example", publish=False)
    second = await served.store.put("a.example", publish=False)
    stream = served.delta_ads()
    await stream.delta("a.example")
    answer = await stream.read()
    assert {"a.example": second.version} == versions_of(answer)
    await stream.delta(response_nonce=answer.nonce, error_detail=NO)
    answer = await stream.read()
    assert {"a.example": first.version} == versions_of(answer)
    await stream.delta(response_nonce=answer.nonce)
    third = await served.store.put("a.example")
    assert {"a.example": third.version} == versions_of(await stream.read())


async def test_a_client_keeps_what_it_had_before_a_refused_version(served):
    """A pushed version that is refused is not sent again and nothing is taken away; the next version is pushed."""
    await served.store.put("a.example", publish=False)
    stream = served.delta_ads()
    await stream.delta("a.example")
    await stream.delta(response_nonce=(await stream.read()).nonce)
    await served.store.put("a.example")
    await stream.delta(response_nonce=(await stream.read()).nonce, error_detail=NO)
    third = await served.store.put("a.example")
    assert {"a.example": third.version} == versions_of(await stream.read())


async def test_refused_secrets_that_are_shown_are_bounded(served, nodes):
    """Of many refused secrets the last 64 are shown; one that was accepted in a newer version is not among them."""
    names = [f"n{number}.example" for number in range(70)]
    for name in names:
        await served.store.put(name, publish=False)
    stream = served.delta_ads()
    for name in names:
        await stream.delta(name, node={"id": "edge-1"})
        await stream.delta(response_nonce=(await stream.read()).nonce, error_detail=NO)
        assert [name] == (await stream.read()).removed_resources
    (seen,) = nodes.streams
    assert set(names[-64:]) == set(seen.refused)
    await served.store.put(names[-1])
    answer = await stream.read()
    assert [names[-1]] == list(versions_of(answer))
    await stream.delta(response_nonce=answer.nonce)
    await eventually(lambda: set(names[-64:-1]) == set(seen.refused))


async def test_a_state_of_the_world_client_that_waits_gets_the_previous_certificate(served):
    """The other variant does the same: the version before the refused one, and a newer one when there is one."""
    records = [await served.store.put("a.example", publish=False) for _ in range(2)]
    stream = served.sotw_sds()
    await stream.sotw("a.example")
    chains = [chain_of(answer := await stream.read())]
    await stream.sotw("a.example", response_nonce=answer.nonce, error_detail=NO)
    chains.insert(0, chain_of(answer := await stream.read()))
    await stream.sotw("a.example", response_nonce=answer.nonce, version_info=answer.version_info)
    records.append(await served.store.put("a.example"))
    chains.append(chain_of(await stream.read()))
    assert [certificate_chain_pem(record) for record in records] == chains


def chain_of(answer) -> bytes:
    """The chain of a.example in an answer."""
    return secrets_of(answer)["a.example"].tls_certificate.certificate_chain.inline_bytes
