"""What an Envoy may have goes by the certificate that it shows: real Envoys, mutual TLS, a policy file."""

import contextlib
import ssl
import time
from pathlib import Path

import pytest

from controlplane.adapters.pki_files import init_pki
from controlplane.embedded.free_ports import free_ports
from tests.e2e.test_prefetch import Edge, edge
from tests.fakes import samples
from tests.fakes.serving import Site, metrics, ready

SHOP, OTHER = "shop.example.com", "other.example.com"
POLICY = """
[[rule]]
identity = "spiffe://certplane/envoy"
node_cluster = "berlin"
tenants = ["acme"]

[[rule]]
identity = "spiffe://certplane/*"
node_cluster = "oslo"
tenants = ["globex"]
"""
DENIED = 'certplane_xds_denied_names_total{variant="delta_ads"}'
NACKS = 'certplane_xds_nacks_total{variant="delta_ads"}'
REFUSED_WITHIN = 1.0
"""Seconds; a handshake that nobody answers would wait until its client gives up."""


async def refused(envoy: Edge, name: str) -> bool:
    """Whether a handshake is refused, and at once."""
    start = time.monotonic()
    with contextlib.suppress(ssl.SSLError, ConnectionError):
        await envoy.served(name)
        return False
    return time.monotonic() - start < REFUSED_WITHIN


async def test_an_envoy_has_the_tenants_of_its_certificate(tmp_path: Path, valkey_url: str) -> None:
    """One Envoy is served what another one, with the same certificate in another cluster, is refused as if it did not exist."""
    site = Site(tmp_path, valkey_url)
    await site.put(SHOP)
    pki, policy = tmp_path / "pki", tmp_path / "policy.toml"
    init_pki(pki, samples.now())
    policy.write_text(POLICY)
    tls = [f"--tls-cert={pki}/serve.pem", f"--tls-key={pki}/serve-key.pem", f"--tls-client-ca={pki}/ca.pem"]
    own = [f"--xds-ca={pki}/ca.pem", f"--xds-cert={pki}/envoy.pem", f"--xds-key={pki}/envoy-key.pem"]
    xds = f"127.0.0.1:{free_ports(1)[0]}"
    async with await site.start(f"--access-policy={policy}", *tls, xds=xds) as serve:
        addresses = await ready(serve)
        async with (
            edge(tmp_path / "berlin", xds, *own, "--node-cluster=berlin") as berlin,
            edge(tmp_path / "oslo", xds, *own, "--node-cluster=oslo") as oslo,
        ):
            assert [SHOP] == await berlin.served(SHOP)
            assert (True, True) == (await refused(oslo, SHOP), await refused(oslo, "nothing.example.com"))
            # A stream that was told of a name it may not have goes on, and so does the other.
            await site.put(OTHER)
            assert ([OTHER], True) == (await berlin.served(OTHER), await refused(oslo, OTHER))
            counted = await metrics(addresses["metrics"])
            assert (2, 0) == (counted[DENIED], counted.get(NACKS, 0))
        assert SHOP not in serve.errors


@pytest.mark.parametrize("policy", ["", '[[rule]]\nidentity = ""\ntenants = ["*"]\n'])
async def test_over_a_unix_socket_everybody_has_all(tmp_path: Path, valkey_url: str, policy: str) -> None:
    """An Envoy on a listener without TLS, which is a socket of this machine, is served all without a policy, and by one that says so."""
    site = Site(tmp_path, valkey_url)
    await site.put(SHOP)
    options = []
    if policy:
        (tmp_path / "policy.toml").write_text(policy)
        options = [f"--access-policy={tmp_path}/policy.toml"]
    xds = f"unix:{tmp_path}/xds"
    async with await site.start(*options, xds=xds) as serve:
        await ready(serve)
        async with edge(tmp_path / "edge", xds) as envoy:
            assert [SHOP] == await envoy.served(SHOP)
