"""Options of `certplane serve` that say what clients may have."""

import asyncio
from pathlib import Path

import pytest
from envoy.service.discovery.v3 import discovery_pb2
from envoy.service.secret.v3 import sds_pb2_grpc

from controlplane.app.serve_settings import read_access_policy
from controlplane.core.access import AccessPolicy
from controlplane.core.errors import ConfigurationError
from controlplane.xds.type_urls import SECRET
from tests.fakes.serving import DEADLINE, Site, connection, ready

NAME = "shop.example.com"
CONNECTIONS = 16
"""So many reach every process, if there are two."""
LOCAL = '[[rule]]\nidentity = ""\ntenants = ["acme"]\n'
REMOTE = '[[rule]]\nidentity = "spiffe://certplane/edge"\ntenants = ["acme"]\n'


async def fetch(address: str) -> int:
    """Fetches the secret on a new connection; returns how many resources came."""
    async with connection(address) as channel:
        request = discovery_pb2.DiscoveryRequest(type_url=SECRET, resource_names=[NAME])
        return len((await sds_pb2_grpc.SecretDiscoveryServiceStub(channel).FetchSecrets(request, timeout=DEADLINE)).resources)


@pytest.mark.parametrize(("tenant", "resources"), [("acme", 1), ("globex", 0), ("*", 1)])
@pytest.mark.parametrize("processes", [1, 2])
async def test_the_policy_decides(tmp_path: Path, valkey_url: str, tenant: str, resources: int, processes: int) -> None:
    """A client is given a certificate if the policy grants it the tenant, by each process; else it is as if there were none."""
    site = Site(tmp_path, valkey_url)
    await site.put(NAME)
    policy = tmp_path / "policy.toml"
    policy.write_text(f'[[rule]]\nidentity = ""\ntenants = ["{tenant}"]\n')
    async with await site.start(f"--access-policy={policy}", f"--processes={processes}") as command:
        addresses = await ready(command)
        assert [resources] * CONNECTIONS == await asyncio.gather(*(fetch(addresses["xds"]) for _ in range(CONNECTIONS)))
        assert 0 == await command.stop()


@pytest.mark.parametrize("processes", [1, 2])
async def test_a_policy_that_is_not_there(tmp_path: Path, valkey_url: str, processes: int) -> None:
    """Without the file that is stated nothing is served, and the message names it."""
    missing = tmp_path / "none.toml"
    async with await Site(tmp_path, valkey_url).start(f"--access-policy={missing}", f"--processes={processes}") as command:
        assert 1 == await command.finished()
    assert f"Error: cannot read the access policy {missing}: No such file or directory" in command.errors
    assert ("", False) == (command.output, "Traceback" in command.errors)


@pytest.mark.parametrize(
    ("content", "tls", "reason"),
    [
        (b"\xff\xfe", False, "is not UTF-8"),
        (b"[[rule", False, "the access policy is not TOML"),
        (b"", False, "no [[rule]]"),
        (REMOTE.encode(), False, "no rule is about clients without TLS"),
        (LOCAL.encode(), True, "no rule is about clients over TLS"),
    ],
)
def test_a_policy_of_no_use(tmp_path: Path, content: bytes, tls: bool, reason: str) -> None:
    """A file that is no policy, or none for the kind of listener, is a configuration error that names it."""
    path = tmp_path / "policy.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        read_access_policy(path, tls=tls)
    assert str(path) in str(caught.value)
    assert reason in str(caught.value)


def test_a_directory_is_no_policy(tmp_path: Path) -> None:
    """Something that cannot be read as a file is a configuration error."""
    with pytest.raises(ConfigurationError, match="cannot read the access policy"):
        read_access_policy(tmp_path, tls=True)


def test_no_policy() -> None:
    """Without the option there is no policy."""
    assert AccessPolicy() == read_access_policy(None, tls=True)
