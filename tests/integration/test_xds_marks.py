"""What an edge refuses stays refused although it unsubscribes, as Envoy does with every name that is answered by removal."""

from tests.fakes.secret_streams import ON_DEMAND, RecordingNodes, secrets_of, serving, versions_of


async def test_a_refused_secret_is_not_sent_again_at_each_handshake():
    """Refused, removed, unsubscribed and asked for again: it is removed at once, and shown; the next version is sent and ends that."""
    nodes = RecordingNodes()
    async with serving(nodes=nodes) as served:
        bad = await served.store.put("a.example", publish=False)
        stream = served.delta_ads()
        await stream.delta("a.example", node=ON_DEMAND)
        await stream.delta(response_nonce=(await stream.read()).nonce, error_detail={"code": 13, "message": "no"})
        for _ in range(3):
            answer = await stream.read()
            assert (["a.example"], []) == (list(answer.removed_resources), list(answer.resources))
            await stream.delta(unsubscribe=["a.example"], response_nonce=answer.nonce)
            await stream.delta("a.example")
        answer = await stream.read()
        assert {"a.example": (bad.version, "no")} == nodes.streams[0].refused
        await stream.delta(unsubscribe=["a.example"], response_nonce=answer.nonce)
        newer = await served.store.put("a.example")
        await stream.delta("a.example")
        answer = await stream.read()
        assert ({"a.example": newer.version}, {"a.example"}) == (versions_of(answer), set(secrets_of(answer)))
        await stream.delta("b.example", response_nonce=answer.nonce)
        await stream.read()
        assert {} == nodes.streams[0].refused
