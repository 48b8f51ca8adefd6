"""Who may have what, over real mutual TLS: a name outside of a client's grant is answered exactly as an unknown one."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import grpc
import pytest
import structlog
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest
from envoy.service.secret.v3 import sds_pb2_grpc

from controlplane.adapters.private_pki import PrivateCa, make_tls_identity
from controlplane.core.access import parse_access_policy
from controlplane.endpoints.tls_files import TlsFiles
from controlplane.xds.type_urls import SECRET
from tests.fakes.eventually import eventually
from tests.fakes.secret_streams import RecordingNodes, Served, sample, secrets_of, serving, versions_of

BERLIN = "spiffe://certplane/edge/berlin"
POLICY = """
[[rule]]
identity = "spiffe://certplane/edge/berlin"
tenants = ["acme"]

[[rule]]
identity = "spiffe://certplane/edge/berlin"
node_id = "edge-*"
node_cluster = "blue"
tenants = ["globex"]

[[rule]]
identity = "edge.internal"
tenants = ["*"]
"""

Server = Callable[..., AbstractAsyncContextManager[Served]]


@pytest.fixture
def serving_to(tmp_path: Path) -> Server:
    """Runs a server with mutual TLS and the policy above, and connects to it with a certificate for the given names."""
    ca, now = PrivateCa.create(datetime.now(UTC)), datetime.now(UTC)
    own = make_tls_identity(ca, "serve", now, hosts=("127.0.0.1",), server=True)
    files = TlsFiles(tmp_path / "ca.pem", tmp_path / "cert.pem", tmp_path / "key.pem")
    for path, content in (
        (files.ca, own.ca_certificate),
        (files.certificate, own.certificate),
        (files.private_key, own.private_key.reveal()),
    ):
        path.write_bytes(content)

    def serve(*, uris: tuple[str, ...] = (), hosts: tuple[str, ...] = (), **options) -> AbstractAsyncContextManager[Served]:
        client = make_tls_identity(ca, "edge", now, hosts=hosts, uris=uris, client=True)
        credentials = grpc.ssl_channel_credentials(own.ca_certificate, client.private_key.reveal(), client.certificate)
        return serving(tls=files, credentials=credentials, access=parse_access_policy(POLICY), **options)

    return serve


@pytest.fixture
def to_berlin(serving_to: Server) -> Server:
    """The same for the edge in Berlin."""
    return partial(serving_to, uris=(BERLIN,))


async def put(served: Served, fqdn: str, tenant: str, *, publish: bool = False):
    """Stores a certificate of a tenant's domain."""
    record = await served.store.put(fqdn, publish=False)
    return await served.store.put_record(replace(record, tenant=tenant), publish=publish)


async def test_a_client_has_the_secrets_of_its_tenants(to_berlin):
    """Names of other tenants, of no tenant, and unknown ones are answered by removal alike; those of its tenants are served."""
    async with to_berlin() as served:
        for name, tenant in (("a.example", "acme"), ("g.example", "globex"), ("n.example", "")):
            await put(served, name, tenant)
        stream = served.delta_ads()
        await stream.delta("a.example", "g.example", "n.example", "u.example", node={"id": "edge-1", "cluster": "green"})
        answer = await stream.read()
        assert ({"a.example"}, {"g.example", "n.example", "u.example"}) == (set(secrets_of(answer)), set(answer.removed_resources))


async def test_the_node_adds_to_what_the_certificate_grants(to_berlin):
    """A rule on node id and cluster counts for a client that shows the certificate and says both, also in a request of another type."""
    async with to_berlin() as served:
        await put(served, "g.example", "globex")
        stream = served.delta_ads()
        await stream.delta(type_url="type.googleapis.com/envoy.config.cluster.v3.Cluster", node={"id": "edge-1", "cluster": "blue"})
        await stream.delta("g.example")
        assert {"g.example"} == set(secrets_of(await stream.read()))


async def test_a_dns_name_is_an_identity_too(serving_to):
    """An edge that shows a DNS name which may have everything is served every tenant's names."""
    async with serving_to(hosts=("edge.internal",)) as served:
        for name, tenant in (("a.example", "acme"), ("n.example", "")):
            await put(served, name, tenant)
        stream = served.delta_ads()
        await stream.delta("a.example", "n.example")
        assert {"a.example", "n.example"} == set(secrets_of(await stream.read()))


async def test_a_stranger_with_a_certificate_has_nothing(serving_to):
    """A client that no rule is about is answered, by removal, and its stream goes on."""
    async with serving_to(hosts=("other.internal",)) as served:
        await put(served, "a.example", "acme")
        stream = served.delta_ads()
        for name in ("a.example", "u.example"):
            await stream.delta(name)
            assert ([name], []) == ((answer := await stream.read()).removed_resources, list(answer.resources))


async def test_denied_names_are_counted_and_logged_without_their_names(to_berlin):
    """Each is counted once, and a line says how many there were; neither has a name."""
    async with to_berlin() as served:
        names = [f"g{number}.example" for number in range(20)]
        for name in names:
            await put(served, name, "globex")
        before = sample("certplane_xds_denied_names_total", "delta_ads")
        stream = served.delta_ads()
        with structlog.testing.capture_logs() as logs:
            for name in names:
                await stream.delta(name)
                await stream.read()
            await eventually(lambda: [entry for entry in logs if "outside" in entry["event"]])
        assert before + 20 == sample("certplane_xds_denied_names_total", "delta_ads")
        assert 20 == sum(entry["names"] for entry in logs if "outside" in entry["event"])
        assert "g7.example" not in repr(logs)


async def test_a_domain_that_changes_hands_is_taken_away(to_berlin):
    """When a held name's domain goes to a tenant outside of the grant its secret is removed, and comes back with the tenant."""
    async with to_berlin() as served:
        await put(served, "a.example", "acme")
        stream = served.delta_ads()
        await stream.delta("a.example")
        assert {"a.example"} == set(secrets_of(await stream.read()))
        await put(served, "a.example", "globex", publish=True)
        assert ["a.example"] == (await stream.read()).removed_resources
        record = await put(served, "a.example", "acme", publish=True)
        assert {"a.example": record.version} == versions_of(await stream.read())


async def test_what_a_client_held_before_is_no_way_around(to_berlin):
    """A client that says it holds the version in force of a denied name is told that it is gone."""
    async with to_berlin() as served:
        record = await put(served, "g.example", "globex")
        stream = served.delta_ads()
        await stream.delta("g.example", initial_resource_versions={"g.example": record.version})
        assert ["g.example"] == (await stream.read()).removed_resources


async def test_a_refused_version_is_not_replaced_from_another_tenant(to_berlin):
    """The previous certificate is given to a client that waits only if its tenant is in the grant."""
    async with to_berlin() as served:
        await put(served, "a.example", "globex")
        await put(served, "a.example", "acme")
        stream = served.delta_ads()
        await stream.delta("a.example")
        await stream.delta(response_nonce=(await stream.read()).nonce, error_detail={"code": 3, "message": "no"})
        assert ["a.example"] == (await stream.read()).removed_resources


async def test_the_other_variant_and_the_unary_method_keep_to_it(to_berlin):
    """A state-of-the-world stream and FetchSecrets leave denied names out, as unknown ones."""
    async with to_berlin() as served:
        for name, tenant in (("a.example", "acme"), ("g.example", "globex")):
            await put(served, name, tenant)
        stream = served.sotw_sds()
        await stream.sotw("a.example", "g.example", "u.example")
        assert {"a.example"} == set(secrets_of(await stream.read()))
        request = DiscoveryRequest(type_url=SECRET, resource_names=["a.example", "g.example", "u.example"])
        answer = await sds_pb2_grpc.SecretDiscoveryServiceStub(served.channel).FetchSecrets(request, timeout=10)
        assert {"a.example"} == set(secrets_of(answer))


async def test_the_registry_is_told_who_a_client_is(to_berlin):
    """It sees the verified names beside what the node says of itself."""
    nodes = RecordingNodes()
    async with to_berlin(nodes=nodes) as served:
        stream = served.delta_ads()
        await stream.delta("u.example", node={"id": "edge-1", "cluster": "blue"})
        await stream.read()
        (seen,) = nodes.streams
        assert ((BERLIN,), "edge-1", "blue") == (seen.identities, seen.node.id, seen.node.cluster)


async def test_without_tls_everybody_is_local():
    """On a listener without TLS a rule for the empty identity counts, and a rule for some name does not."""
    policy = parse_access_policy('[[rule]]\nidentity = ""\ntenants = ["acme"]\n[[rule]]\nidentity = "spiffe://*"\ntenants = ["*"]')
    async with serving(access=policy) as served:
        for name, tenant in (("a.example", "acme"), ("g.example", "globex")):
            await put(served, name, tenant)
        stream = served.delta_ads()
        await stream.delta("a.example", "g.example")
        answer = await stream.read()
        assert ({"a.example"}, ["g.example"]) == (set(secrets_of(answer)), answer.removed_resources)
