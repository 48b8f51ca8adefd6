"""The rendered Envoy configurations: what they say, and that nothing typed by an operator can change their structure."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from controlplane.adapters.envoy_templates import (
    MAX_PREFETCH,
    MAX_SECRETS,
    EdgeParameters,
    Endpoint,
    SidecarParameters,
    XdsTls,
    parse_endpoint,
    render_edge,
    render_sidecar,
    template_directory,
)
from controlplane.core.errors import ConfigurationError

EXT_AUTHZ = "envoy.filters.http.ext_authz"


def edge(**changes: Any) -> EdgeParameters:
    given: dict[str, Any] = {
        "xds_address": "127.0.0.1:18000",
        "upstream": "site.internal:9000",
        "http_port": 8080,
        "https_port": 8443,
        "admin_port": 19000,
        "node_id": "edge-1",
    }
    return EdgeParameters(**{**given, **changes})


def sidecar(**changes: Any) -> SidecarParameters:
    given: dict[str, Any] = {
        "xds_address": "serve:18000",
        "upstream": "127.0.0.1:9000",
        "https_port": 8443,
        "admin_port": 19000,
        "node_id": "sidecar-1",
        "secrets": ("shop.example.com", "www.shop.example.com"),
    }
    return SidecarParameters(**{**given, **changes})


def walk(node: Any) -> Iterator[Any]:
    yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from walk(child)


def connection_managers(config: Any) -> list[Any]:
    return [n for n in walk(config) if isinstance(n, dict) and str(n.get("@type", "")).endswith(".HttpConnectionManager")]


def clusters(config: Any) -> dict[str, Any]:
    return {cluster["name"]: cluster for cluster in config["static_resources"]["clusters"]}


@pytest.mark.parametrize("config", [render_edge(edge()), render_sidecar(sidecar(http_port=8080))], ids=["edge", "sidecar"])
def test_challenge_path_is_asked_of_certplane_and_never_reaches_the_upstream(config: str) -> None:
    """On every listener the challenge path goes through ext_authz and ends in a 404; every other path goes around it."""
    managers = connection_managers(yaml.safe_load(config))

    assert len(managers) >= 2
    for manager in managers:
        challenge, site = manager["route_config"]["virtual_hosts"][0]["routes"]
        assert challenge["match"] == {"prefix": "/.well-known/acme-challenge/"}
        assert challenge["direct_response"] == {"status": 404}
        assert "route" not in challenge
        assert "typed_per_filter_config" not in challenge
        assert site["route"]["cluster"] == "upstream"
        assert site["typed_per_filter_config"][EXT_AUTHZ]["disabled"] is True
        ext_authz = manager["http_filters"][0]
        assert ext_authz["name"] == EXT_AUTHZ
        assert ext_authz["typed_config"]["failure_mode_allow"] is False
        assert ext_authz["typed_config"]["status_on_error"] == {"code": "ServiceUnavailable"}


def test_edge_gets_certificates_over_one_delta_ads_stream() -> None:
    """The selector takes its secrets from ADS, which is delta; sessions are never resumed around it."""
    config = yaml.safe_load(render_edge(edge()))
    ads = config["dynamic_resources"]["ads_config"]
    tls = next(n for n in walk(config) if isinstance(n, dict) and str(n.get("@type", "")).endswith(".DownstreamTlsContext"))
    selector = tls["common_tls_context"]["custom_tls_certificate_selector"]["typed_config"]

    assert ads["api_type"] == "DELTA_GRPC"
    assert selector["config_source"] == {"ads": {}, "resource_api_version": "V3"}
    assert tls["disable_stateless_session_resumption"] is True
    assert tls["disable_stateful_session_resumption"] is True


def test_envoy_comes_back_to_certplane_within_seconds() -> None:
    """However long Certplane was away, no Envoy waits for half a minute, which is its own default, before it asks again."""
    for config in map(yaml.safe_load, (render_edge(edge()), render_sidecar(sidecar()))):
        sources = [n for n in walk(config) if isinstance(n, dict) and n.get("api_type") in {"GRPC", "DELTA_GRPC"}]
        assert sources
        for source in sources:
            (service,) = source["grpc_services"]
            assert "certplane_xds" == service["envoy_grpc"]["cluster_name"]
            assert "2s" == service["envoy_grpc"]["retry_policy"]["retry_back_off"]["max_interval"]


def test_edge_lets_only_possible_dns_names_become_subscriptions() -> None:
    """The TLS listener has one matcher, on the SNI, and no chain for what it does not match; no SNI maps to a reserved name."""
    config = yaml.safe_load(render_edge(edge()))
    https = next(listener for listener in config["static_resources"]["listeners"] if listener["name"] == "https")
    (matcher,) = https["filter_chain_matcher"]["matcher_list"]["matchers"]
    default_names = [n["default_value"] for n in walk(config) if isinstance(n, dict) and "default_value" in n]

    assert matcher["predicate"]["single_predicate"]["value_match"]["safe_regex"]["regex"] == "[A-Za-z0-9.-]{1,253}"
    assert "on_no_match" not in https["filter_chain_matcher"]
    assert [matcher["on_match"]["action"]["typed_config"]["value"]] == [chain["name"] for chain in https["filter_chains"]]
    assert default_names == ["no-sni.invalid"]


def test_alpha_extension_is_used_in_one_place() -> None:
    """The on-demand selector stands once in all templates."""
    templates = sorted(template_directory().glob("*.j2"))
    used = [path.name for path in templates for _ in range(path.read_text(encoding="utf-8").count("on_demand_secret.v3"))]

    assert used == ["edge.yaml.j2"]


def test_template_folder_holds_no_python() -> None:
    """A Python file in `envoy/` would shadow the package of the same name that has Envoy's API."""
    folder = Path(__file__).resolve().parents[2] / "envoy"

    assert sorted(folder.rglob("*.py")) == []


def test_node_says_what_it_is() -> None:
    """The node has the id and cluster given, and its metadata tell an edge from a sidecar."""
    expected = {"id": "e7", "cluster": "west", "metadata": {"certplane.on_demand": True}}

    assert expected == yaml.safe_load(render_edge(edge(node_id="e7", node_cluster="west")))["node"]
    stated = ["shop.example.com", "www.shop.example.com"]
    assert yaml.safe_load(render_sidecar(sidecar()))["node"]["metadata"] == {"certplane.on_demand": False, "certplane.pinned": stated}


def test_prefetched_names_are_pinned() -> None:
    """An edge fetches the names at its start, in their order, and says in its metadata that they are not to be taken away."""
    names = ("b.example", "a.example")
    config = yaml.safe_load(render_edge(edge(prefetch=names)))
    (found,) = [n["prefetch_secret_names"] for n in walk(config) if isinstance(n, dict) and "prefetch_secret_names" in n]

    assert list(names) == found
    assert config["node"]["metadata"] == {"certplane.on_demand": True, "certplane.pinned": list(names)}


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (("a.example", "a.example"), "twice"),
        (("*",), "not a DNS name"),
        (("A.example",), "lower case"),
        (('x", y: "',), "not a DNS name"),
        (tuple(f"d{i}.example" for i in range(MAX_PREFETCH + 1)), "10,000"),
    ],
    ids=["twice", "wildcard", "upper case", "hostile", "too many"],
)
def test_edge_refuses_impossible_names_to_prefetch(names: tuple[str, ...], says: str) -> None:
    """An edge prefetches names in canonical form, each once, and a bounded number of them."""
    with pytest.raises(ConfigurationError, match=says):
        edge(prefetch=names)


@pytest.mark.parametrize("hostile", ['x", admin: {}, y: "', "{{ p.upstream }}", "a: b # c", "'", "<&>", "%START_TIME%", "\\u0041"])
def test_hostile_values_stay_values(hostile: str) -> None:
    """YAML, Jinja or escapes inside a value come out as that very value."""
    tls = XdsTls(ca_file=hostile, server_name=hostile, cert_file=hostile, key_file=hostile)
    config = yaml.safe_load(render_edge(edge(node_id=hostile, node_cluster=hostile, xds_tls=tls)))
    context = clusters(config)["certplane_xds"]["transport_socket"]["typed_config"]

    assert hostile == config["node"]["id"]
    assert hostile == config["node"]["cluster"]
    assert hostile == context["sni"]
    assert hostile == context["common_tls_context"]["validation_context"]["trusted_ca"]["filename"]
    assert hostile == context["common_tls_context"]["tls_certificates"][0]["private_key"]["filename"]
    assert set(yaml.safe_load(render_edge(edge()))) == set(config)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"node_id": ""}, "node id"),
        ({"node_id": "a\nb"}, "node id"),
        ({"node_cluster": "café"}, "node cluster"),
        ({"listen_address": "localhost"}, "listen address"),
        ({"http_port": 0}, "HTTP port"),
        ({"https_port": 65536}, "HTTPS port"),
        ({"admin_port": 8443}, "must differ"),
        ({"max_connections": 0}, "connections"),
    ],
)
def test_bad_parameters_are_refused_by_name(changes: dict[str, Any], says: str) -> None:
    """A value that Envoy could not use is refused when the parameters are made, with its name."""
    with pytest.raises(ConfigurationError, match=says):
        edge(**changes)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:1", Endpoint("127.0.0.1", 1)),
        ("[::1]:18000", Endpoint("::1", 18000)),
        ("serve:65535", Endpoint("serve", 65535)),
        ("unix:/run/a b.sock", Endpoint("", 0, "/run/a b.sock")),
        ("my_host.internal.:80", Endpoint("my_host.internal.", 80)),
    ],
)
def test_endpoints_are_parsed(text: str, expected: Endpoint) -> None:
    """HOST:PORT with an IPv4 address, an IPv6 address in brackets, or a name; or the path of a Unix socket."""
    assert expected == parse_endpoint(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "host",
        ":1",
        "host:",
        "host:0",
        "host:65536",
        "host:-1",
        "host:١",
        "::1:80",
        "[host]:1",
        "[::1%eth0]:1",
        "a b:1",
        "a\n:1",
        "-a:1",
        "h/x:1",
    ],
)
def test_other_endpoints_are_refused(text: str) -> None:
    """Whatever is not an address and a port is refused."""
    with pytest.raises(ConfigurationError):
        parse_endpoint(text)


@pytest.mark.parametrize(
    ("address", "expected"),
    [("10.0.0.7:1", "STATIC"), ("[::1]:1", "STATIC"), ("unix:/run/certplane/xds", "STATIC"), ("serve:1", "STRICT_DNS")],
)
def test_names_are_resolved_and_addresses_are_not(address: str, expected: str) -> None:
    """A cluster is STATIC for an address and STRICT_DNS for a name."""
    config = yaml.safe_load(render_edge(edge(xds_address=address)))

    assert expected == clusters(config)["certplane_xds"]["type"]
    assert expected == clusters(config)["certplane_authz"]["type"]


@pytest.mark.parametrize(("name", "san_type"), [("serve.internal", "DNS"), ("10.0.0.7", "IP_ADDRESS")])
def test_certplane_is_recognised_by_its_name(name: str, san_type: str) -> None:
    """Both clusters of Certplane demand the server's name in its certificate, under the given CA."""
    config = yaml.safe_load(render_edge(edge(xds_tls=XdsTls("/ca.pem", name, "/c.pem", "/k.pem"))))
    for cluster in ("certplane_xds", "certplane_authz"):
        validation = clusters(config)[cluster]["transport_socket"]["typed_config"]["common_tls_context"]["validation_context"]
        assert [{"san_type": san_type, "matcher": {"exact": name}}] == validation["match_typed_subject_alt_names"]
        assert validation["trusted_ca"] == {"filename": "/ca.pem"}


def test_tls_to_certplane_needs_certificate_and_key_together() -> None:
    """A client certificate without its key is refused."""
    with pytest.raises(ConfigurationError, match="key"):
        XdsTls("/ca.pem", "serve", cert_file="/c.pem")


@pytest.mark.parametrize(("delta", "expected"), [(False, "GRPC"), (True, "DELTA_GRPC")])
def test_sidecar_has_a_chain_for_each_secret(delta: bool, expected: str) -> None:
    """Each name has a chain of its own, with its own secret over plain SDS, so that names fail apart."""
    config = yaml.safe_load(render_sidecar(sidecar(delta=delta)))
    (https,) = config["static_resources"]["listeners"]
    found = []
    for chain in https["filter_chains"]:
        (secret,) = chain["transport_socket"]["typed_config"]["common_tls_context"]["tls_certificate_sds_secret_configs"]
        assert [secret["name"]] == chain["filter_chain_match"]["server_names"]
        assert expected == secret["sds_config"]["api_config_source"]["api_type"]
        found.append(secret["name"])

    assert found == ["shop.example.com", "www.shop.example.com"]
    assert "dynamic_resources" not in config


@pytest.mark.parametrize(
    "secrets",
    [
        (),
        ("a.example", "a.example"),
        ("*",),
        ("A.example",),
        ("a.example.",),
        ("a b",),
        tuple(f"d{i}.example" for i in range(MAX_SECRETS + 1)),
    ],
    ids=["none", "twice", "wildcard", "upper case", "final dot", "blank", "too many"],
)
def test_sidecar_refuses_impossible_secrets(secrets: tuple[str, ...]) -> None:
    """A sidecar takes at least one name, each once, in canonical form, and no more than streams allow."""
    with pytest.raises(ConfigurationError):
        sidecar(secrets=secrets)


def test_access_log_is_off_unless_asked_for() -> None:
    """Requests are logged on all listeners or on none, without query strings."""
    silent, logging = (connection_managers(yaml.safe_load(render_edge(edge(access_log=on)))) for on in (False, True))

    assert [manager for manager in silent if "access_log" in manager] == []
    assert [m["access_log"][0]["typed_config"]["log_format"]["json_format"]["path"] for m in logging] == ["%PATH(NQ:PATH)%"] * 2
