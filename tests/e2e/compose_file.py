"""docker-compose.yml read as Compose reads it, as far as this file goes; what it does not know it refuses.

Compose Specification: interpolation (12-interpolation.md), services (05-services.md), profiles (15-profiles.md).
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]

_READ = {
    "build",
    "command",
    "depends_on",
    "entrypoint",
    "environment",
    "healthcheck",
    "networks",
    "ports",
    "profiles",
    "restart",
    "secrets",
    "tmpfs",
    "volumes",
}
_WITHOUT_A_PART_HERE = {"cap_drop", "image", "init", "network_mode", "read_only", "security_opt", "stop_grace_period", "ulimits", "user"}
_VARIABLE = re.compile(r"\$(?:(?P<dollar>\$)|\{(?P<name>\w+)(?::(?P<kind>[-?])(?P<word>[^{}]*))?\}|(?P<fault>))")


@dataclass(frozen=True, slots=True)
class Service:
    """One service. All texts are as they are inside the container.

    `argv` is entrypoint and command; `mounts` are paths with their volumes; `scratch` are paths that begin empty; `files` are
    paths with their content (secrets, and what the image's Dockerfile copies); `published` are pairs of host port and container
    port; `health` is the command of the health check, or empty; `needs` are services with the condition to wait for; `stays`
    says that it runs on, and does not end with status 0.
    """

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    mounts: Mapping[str, str]
    scratch: tuple[str, ...]
    files: Mapping[str, str]
    networks: frozenset[str]
    address: str
    published: tuple[tuple[int, int], ...]
    health: tuple[str, ...]
    health_seconds: float
    needs: Mapping[str, str]
    stays: bool


def env_file(path: Path) -> dict[str, str]:
    """Returns the variables of an env file."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def interpolate(value: Any, variables: Mapping[str, str]) -> Any:
    """Returns `value` with `${NAME}`, `${NAME:-default}` and `${NAME:?message}` filled in, and `$$` as `$`.

    Raises:
        ValueError: a variable has to be set and is not.
    """
    if isinstance(value, dict):
        return {key: interpolate(each, variables) for key, each in value.items()}
    if isinstance(value, list):
        return [interpolate(each, variables) for each in value]
    return _VARIABLE.sub(lambda found: _filled(found, variables), value) if isinstance(value, str) else value


def read_services(variables: Mapping[str, str], path: Path = ROOT / "docker-compose.yml") -> dict[str, Service]:
    """Returns the services of the Compose file that run with these variables, in the file's order.

    Raises:
        ValueError: a variable has to be set and is not, or the file has something that is not known here.
    """
    content = interpolate(yaml.safe_load(path.read_text(encoding="utf-8")), variables)
    profiles = set(variables.get("COMPOSE_PROFILES", "").split(","))
    run = {name: value for name, value in content["services"].items() if not value.get("profiles") or profiles & set(value["profiles"])}
    secrets = {name: variables[secret["environment"]] for name, secret in content["secrets"].items()}
    return {name: _service(name, value, run, secrets) for name, value in run.items()}


def _filled(found: re.Match[str], variables: Mapping[str, str]) -> str:
    if found["fault"] is not None:
        raise ValueError(f"not an interpolation that is known here: {found.string!r}")
    if found["dollar"]:
        return "$"
    value = variables.get(found["name"], "")
    if not value and found["kind"] == "?":
        raise ValueError(f"{found['name']} is not set: {found['word']}")
    return value or found["word"] or ""


def _service(name: str, content: Mapping[str, Any], run: Mapping[str, Any], secrets: Mapping[str, str]) -> Service:
    if unknown := content.keys() - _READ - _WITHOUT_A_PART_HERE:
        raise ValueError(f"{name} has keys that are not known here: {unknown}")
    image_entrypoint, image_files = _image(content)
    entrypoint = content.get("entrypoint", image_entrypoint)
    networks = content.get("networks", [])
    address = "".join(each.get("ipv4_address", "") for each in networks.values()) if isinstance(networks, dict) else ""
    check = content.get("healthcheck", {"test": ["NONE"], "timeout": "30s"})
    needs = {
        other: how["condition"]
        for other, how in content.get("depends_on", {}).items()
        if other in run or how.get("required", True) is not False
    }
    return Service(
        name=name,
        argv=(*entrypoint, *content.get("command", [])),
        environment={key: str(value) for key, value in content.get("environment", {}).items()},
        mounts={path: volume for volume, path in (each.split(":")[:2] for each in content.get("volumes", []))},
        scratch=tuple(content.get("tmpfs", ())),
        files={**image_files, **{f"/run/secrets/{secret}": secrets[secret] for secret in content.get("secrets", [])}},
        networks=frozenset(networks),
        address=address,
        published=tuple((int(words[-2]), int(words[-1])) for words in (each.split(":") for each in content.get("ports", []))),
        health=_health(check["test"]),
        health_seconds=float(check["timeout"].removesuffix("s")),
        needs=needs,
        stays=content.get("restart") == "unless-stopped",
    )


def _health(test: list[str]) -> tuple[str, ...]:
    match test:
        case ["NONE"]:
            return ()
        case ["CMD", *words]:
            return tuple(words)
        case ["CMD-SHELL", script]:
            return ("/bin/sh", "-c", script)
    raise ValueError(f"not a health check: {test}")


def _image(content: Mapping[str, Any]) -> tuple[list[str], dict[str, str]]:
    """Returns the entrypoint of a service's image, and the single files that it gets from the repository.

    Of images from elsewhere none is known: Redis's own entrypoint starts what it is given, as long as the user is not root.
    """
    if "build" not in content:
        return [], {}
    text = (ROOT / content["build"]["dockerfile"]).read_text(encoding="utf-8")
    entrypoint = re.findall(r"^ENTRYPOINT (\[.*\])$", text, re.MULTILINE)
    copied = re.findall(r"^COPY ([^\s-]\S*) (/\S+)$", text, re.MULTILINE)
    files = {target: (ROOT / source).read_text(encoding="utf-8") for source, target in copied}
    return json.loads(entrypoint[-1]) if entrypoint else [], files
