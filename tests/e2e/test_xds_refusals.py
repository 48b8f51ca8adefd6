"""A certificate that Envoy refuses: real Envoys."""

from pathlib import Path

import pytest

from controlplane.api.certplane.v1 import fleet_service_pb2
from tests.e2e.test_prefetch import edge, fleet, until
from tests.fakes.serving import Site, ready

GOOD = [f"shop{number}.example.com" for number in range(3)]
BAD = "bad.example.com"
NO_CERTIFICATE = b"\x30\x03\x02\x01\x01"
"""DER, but no certificate: no TLS library loads a chain with it."""


async def refused_secrets(api: str) -> list[str]:
    """The secrets that the node is told to refuse, with Envoy's words for each."""
    async with fleet(api) as stub:
        node = await stub.GetNode(fleet_service_pb2.GetNodeRequest(name="nodes/edge-1"))
    assert all(refused.error and refused.version for refused in node.refused_secrets)
    return [refused.secret for refused in node.refused_secrets]


@pytest.fixture
async def site(tmp_path: Path, valkey_url: str) -> Site:
    """Good certificates."""
    made = Site(tmp_path, valkey_url)
    for name in GOOD:
        await made.put(name)
    return made


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
