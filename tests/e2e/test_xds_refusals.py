"""A certificate that Envoy refuses: real Envoys, which refuse whole answers and do not say because of which secret."""

import asyncio
import contextlib
from pathlib import Path

import grpc.aio
import pytest

from controlplane.api.certplane.v1 import fleet_service_pb2
from controlplane.embedded.free_ports import free_ports
from tests.e2e.test_prefetch import Edge, edge, fleet, until
from tests.fakes.serving import DEADLINE, Site, metrics, ready

GOOD = [f"shop{number}.example.com" for number in range(20)]
BAD = "bad.example.com"
NO_CERTIFICATE = b"\x30\x03\x02\x01\x01"
"""DER, but no certificate: no TLS library loads a chain with it."""
NACKS = 'certplane_xds_nacks_total{variant="delta_ads"}'
MOST_NACKS = 7
"""Of an answer with as many secrets, which is halved until one is left; and one for the removals beside it."""


async def refused_secrets(api: str) -> list[str]:
    """The secrets that the node is told to refuse, with Envoy's words for each."""
    async with fleet(api) as stub:
        node = await stub.GetNode(fleet_service_pb2.GetNodeRequest(name="nodes/edge-1"))
    assert all(refused.error and refused.version for refused in node.refused_secrets)
    return [refused.secret for refused in node.refused_secrets]


async def fails(envoy: Edge, name: str) -> bool:
    """Whether a handshake fails, before its client gives up."""
    try:
        async with asyncio.timeout(DEADLINE / 2):
            await envoy.served(name)
    except (OSError, TimeoutError) as error:
        return not isinstance(error, TimeoutError)
    return False


@pytest.fixture
async def site(tmp_path: Path, valkey_url: str) -> Site:
    """Good certificates."""
    made = Site(tmp_path, valkey_url)
    for name in GOOD:
        await made.put(name)
    return made


async def test_a_refused_certificate_harms_no_other_in_its_answer(tmp_path: Path, site: Site) -> None:
    """Of many secrets in one answer Envoy refuses one: all others are served, and only that one is shown as refused."""
    await site.put(BAD, intermediates=(NO_CERTIFICATE,))
    xds = f"127.0.0.1:{free_ports(1)[0]}"
    prefetched = [f"--prefetch={name}" for name in [*GOOD[:10], BAD, *GOOD[10:]]]
    # Envoy is there first, so that it asks for all names at once.
    async with edge(tmp_path / "edge", xds, *prefetched) as envoy, await site.start(xds=xds) as serve:
        addresses = await ready(serve)

        async def shown() -> list[str] | None:
            with contextlib.suppress(grpc.aio.AioRpcError):
                return await refused_secrets(addresses["api"])
            return None

        await until(shown, expected=[BAD])
        assert 1 < (await metrics(addresses["metrics"]))[NACKS] <= MOST_NACKS
        assert [[name] for name in GOOD] == [await envoy.served(name) for name in GOOD]
        assert await fails(envoy, BAD)
        await site.put(BAD)
        assert [BAD] == await envoy.served(BAD)
        await until(shown, expected=[])


async def test_a_refused_renewal_leaves_the_certificate_before(tmp_path: Path, site: Site) -> None:
    """Envoy refuses a renewal: it keeps what it has, another Envoy that asks is given the same, and the next renewal reaches both."""
    await site.put(BAD)
    async with await site.start() as serve:
        addresses = await ready(serve)
        async with edge(tmp_path / "one", addresses["xds"]) as one:
            assert [BAD] == await one.served(BAD)
            await site.put(BAD, intermediates=(NO_CERTIFICATE,))

            async def shown() -> list[str]:
                return await refused_secrets(addresses["api"])

            await until(shown, expected=[BAD])
            assert [BAD] == await one.served(BAD)
            async with edge(tmp_path / "other", addresses["xds"]) as other:
                assert [BAD] == await other.served(BAD)
                assert GOOD[:1] == await other.served(GOOD[0])
                await until(shown, expected=[BAD, BAD])
                await site.put(BAD)
                await until(shown, expected=[])
                assert [[BAD], [BAD]] == [await one.served(BAD), await other.served(BAD)]
