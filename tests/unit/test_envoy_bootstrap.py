"""The command `envoy-bootstrap`: options, environment and errors."""

import pytest
import yaml
from click.testing import CliRunner

from controlplane.cli.envoy_bootstrap import envoy_bootstrap


def run(*arguments: str, env: dict[str, str] | None = None) -> tuple[int, str, str]:
    result = CliRunner().invoke(envoy_bootstrap, arguments, env=env)
    return result.exit_code, result.stdout, result.stderr


def test_prints_an_edge_by_default() -> None:
    """Only the upstream must be stated; standard output is the configuration and nothing else."""
    status, stdout, stderr = run("--upstream", "127.0.0.1:9000")
    config = yaml.safe_load(stdout)

    assert (status, stderr) == (0, "")
    assert config["node"]["cluster"] == "edge"
    assert config["node"]["id"].startswith("edge-")
    assert [listener["address"]["socket_address"]["port_value"] for listener in config["static_resources"]["listeners"]] == [8080, 8443]


def test_every_option_is_an_environment_variable() -> None:
    """CERTPLANE_<OPTION> stands for the option; a repeated one takes words."""
    env = {
        "CERTPLANE_KIND": "sidecar",
        "CERTPLANE_UPSTREAM": "127.0.0.1:9000",
        "CERTPLANE_SECRET": "a.example b.example",
        "CERTPLANE_SDS_API": "delta",
        "CERTPLANE_HTTPS_PORT": "9443",
        "CERTPLANE_NODE_ID": "s1",
    }
    status, stdout, _ = run(env=env)
    config = yaml.safe_load(stdout)
    (https,) = config["static_resources"]["listeners"]

    assert status == 0
    assert config["node"]["id"] == "s1"
    assert https["address"]["socket_address"]["port_value"] == 9443
    assert [chain["name"] for chain in https["filter_chains"]] == ["a.example", "b.example"]


def test_server_name_follows_the_xds_address() -> None:
    """With TLS, the server must carry the host of --xds-address unless another name is stated."""
    common = ["--upstream", "u:1", "--xds-address", "serve.internal:18000", "--xds-ca", "ca.pem"]
    names = []
    for more in ([], ["--xds-server-name", "other"]):
        clusters = yaml.safe_load(run(*common, *more)[1])["static_resources"]["clusters"]
        names.append(clusters[1]["transport_socket"]["typed_config"]["sni"])

    assert names == ["serve.internal", "other"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "--upstream"),
        (["--upstream", "nowhere"], "not HOST:PORT"),
        (["--upstream", "a:99999"], "between 1 and 65535"),
        (["--upstream", "a:1", "--http-port", "0"], "--http-port"),
        (["--upstream", "a:1", "--http-port", "8443"], "must differ"),
        (["--upstream", "a:1", "--listen-address", "eth0"], "not an IP address"),
        (["--upstream", "a:1", "--secret", "a.example"], "--kind sidecar"),
        (["--upstream", "a:1", "--kind", "sidecar"], "at least one secret"),
        (["--upstream", "a:1", "--xds-cert", "c.pem", "--xds-key", "k.pem"], "need --xds-ca"),
        (["--upstream", "a:1", "--xds-ca", "ca.pem", "--xds-cert", "c.pem"], "key"),
        (["--upstream", "a:1", "--node-id", "a\nb"], "node id"),
        (["--upstream", "a:1", "--prefetch", "A.example"], "name to prefetch 'A.example'"),
        (["--upstream", "a:1", "--prefetch-count", "10001"], "--prefetch-count"),
        (["--upstream", "a:1", "--kind", "sidecar", "--secret", "a.example", "--prefetch", "a.example"], "--kind edge"),
        (["--upstream", "a:1", "--kind", "sidecar", "--secret", "a.example", "--prefetch-from", "edge-1"], "--kind edge"),
        (["--upstream", "a:1", "--prefetch-from", "edge-1", "--api-cert", __file__], "--api-key"),
    ],
)
def test_bad_input_is_an_error_that_says_what_to_change(arguments: list[str], says: str) -> None:
    """Bad input ends with status 2 and a message, and prints no configuration."""
    status, stdout, stderr = run(*arguments)

    assert (status, stdout) == (2, "")
    assert says in stderr
