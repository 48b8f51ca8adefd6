"""The commands, variables and health checks of docker-compose.yml and its env files, run as processes, for there is no container here."""

import asyncio
import json
import re
import secrets
import shlex
import shutil
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError

from controlplane.api.certplane.v1 import domain_service_pb2, domain_service_pb2_grpc
from controlplane.demo.https_fetch import FetchedPage, fetch_verified
from controlplane.embedded.envoy import envoy_binary
from controlplane.embedded.free_ports import free_ports
from controlplane.embedded.valkey import valkey_binary
from tests.e2e.compose_file import ROOT, Service, env_file, read_services
from tests.e2e.compose_processes import ComposeProcesses

pytestmark = pytest.mark.asyncio(loop_scope="module")

TRIAL = ROOT / "deploy" / "trial" / "trial.env"
SHOP = "shop.example.com"


def installed(program: str) -> str:
    """The shell word for a program of this machine; one that is not there fails when it is run."""
    return shlex.quote(shutil.which(program) or f"/usr/bin/{program}")


# ---- What is so only in containers, and what stands for it here. ----
# A container's network: a loopback address for each service. Names and addresses are exchanged wherever they stand as one, in
# certificates too, so that TLS and the pre-flight go on telling services from each other. A name is known only to services that
# share a network.
NETWORK, NETWORK_HERE = "172.30.80.", "127.{}.{}."
# Ports: free ones.
PORTS = (80, 443, 6379, 8000, 8053, 8055, 8080, 8443, 14000, 15000, 18000, 18001, 18002, 18003, 19000)
# Every address of a container, and its loopback address: that service's loopback address. (Envoy's admin interface has no choice.)
WITHIN = (r"\b0\.0\.0\.0\b", r"(?<=[= ])(?=:\d)", r"\b127\.0\.0\.1(?=:\d)")
# A file that one service makes for another: paths and addresses in it are the other's.
READ_BY = {"envoy-config": "envoy"}
# Programs of every image (that scripts use); then those of each. There are no others.
EVERYWHERE = {name: f'{installed(name)} "$@"' for name in ("sh", "bash", "cat", "cp", "grep", "ls")}
PYTHON, CERTPLANE = shlex.quote(sys.executable), shlex.quote(str(Path(sys.executable).with_name("certplane")))
OWN = {"certplane": f'{CERTPLANE} "$@"', "python": f'{PYTHON} "$@"'}
# Redis and the site listen on every address, Redis on its own port, unless they are told. Of redis-cli only `redis-cli ping` is
# needed where it is not installed.
PING = (
    "import os, sys, redis; connection = redis.Connection(host='{address}', port={redis_port}, password=os.environ['REDISCLI_AUTH'],"
    " decode_responses=True); connection.connect(); connection.send_command(*sys.argv[1:]); print(connection.read_response())"
)
REDIS_SERVER, REDIS_CLI = shutil.which("redis-server") or str(valkey_binary()), shutil.which("redis-cli")
OTHERS: Mapping[str, Mapping[str, str]] = {
    "redis": {
        "redis-server": f'{REDIS_SERVER} "$@" --bind {{address}} --port {{redis_port}}',
        "redis-cli": f'{REDIS_CLI} -h {{address}} -p {{redis_port}} "$@"' if REDIS_CLI else f'{PYTHON} -c "{PING}" "$@"',
    },
    "site": {"python": f'{PYTHON} "$@" --bind {{address}}'},
    "envoy": {"envoy": f'{envoy_binary()} "$@"'},
    "pebble": {"pebble": f'{installed("pebble")} "$@"'},
    "challtestsrv": {"pebble-challtestsrv": f'{installed("pebble-challtestsrv")} "$@"'},
}
# Volumes, /tmp, and files of images and secrets: in a temporary directory, see `ThisMachine.place`.


@dataclass(frozen=True, slots=True)
class ThisMachine:
    """The table above, applied to one installation."""

    services: Mapping[str, Service]
    directory: Path
    ports: Mapping[int, int]
    network: str

    def place(self, service: Service, path: str) -> Path:
        """A volume is the same for all who mount it; everything else is the service's own."""
        if path in service.mounts:
            return self.volume(service.mounts[path])
        return self.directory / "containers" / service.name / path.strip("/")

    def volume(self, name: str) -> Path:
        """Returns the directory that stands for a volume."""
        return self.directory / "volumes" / name

    def here(self, service: Service, text: str) -> str:
        """Addresses and ports first: a path of this machine may look like one of them."""
        reader = self.services[READ_BY.get(service.name, service.name)]
        near = [other for other in self.services.values() if other.networks & reader.networks]
        for form, named in ((r"(?<![\w.-]){}(?=:\d)", near), (r"(?<=--serve-host ){}\b", self.services.values())):
            for other in named:
                text = re.sub(form.format(other.name), self.address(other), text)
        text = text.replace(NETWORK, self.network)
        for form in WITHIN:
            text = re.sub(form, self.address(reader), text)
        text = re.sub(rf"(?<![\w.])({'|'.join(map(str, PORTS))})(?![\w.])", lambda found: str(self.ports[int(found[0])]), text)
        owners = {path: each for each in (reader, service) for path in (*each.mounts, *each.scratch, *each.files)}
        paths = "|".join(map(re.escape, owners))
        return (
            re.sub(rf"(?<![\w./-])({paths})(?![\w.-])", lambda found: str(self.place(owners[found[0]], found[0])), text) if paths else text
        )

    def programs(self, service: Service) -> Mapping[str, str]:
        """Returns the programs that a service's image has, as shell commands."""
        all_of_them = {**EVERYWHERE, **OTHERS.get(service.name, OWN)}
        return {name: text.format(address=self.address(service), redis_port=self.ports[6379]) for name, text in all_of_them.items()}

    def address(self, service: Service) -> str:
        """Returns a service's loopback address."""
        number = 100 + list(self.services).index(service.name)
        return service.address.replace(NETWORK, self.network) or f"{self.network}{number}"

    def port(self, number: int) -> int:
        """Returns what stands for a port."""
        return self.ports[number]


def composed(variables: Mapping[str, str], directory: Path) -> tuple[ComposeProcesses, ThisMachine]:
    """Returns the processes of the Compose file under these variables, not running yet."""
    services = read_services(variables)
    # A network of its own for each: ports are known to be free on 127.0.0.1 only.
    network = NETWORK_HERE.format(16 + secrets.randbelow(200), secrets.randbelow(256))
    machine = ThisMachine(services, directory, dict(zip(PORTS, free_ports(len(PORTS)), strict=True)), network)
    return ComposeProcesses(services, machine, directory / "logs"), machine


@dataclass(frozen=True, slots=True)
class Trial:
    """The trial, running, and the directory of an operator who has copied what the env file says."""

    processes: ComposeProcesses
    machine: ThisMachine
    operator: Path
    healthy_before: Mapping[str, bool]

    def service(self, name: str) -> Service:
        """Returns a service of the file."""
        return self.machine.services[name]

    @property
    def api(self) -> str:
        """The API's published address."""
        return f"127.0.0.1:{self.machine.port(18001)}"

    async def operate(self, command: str) -> dict[str, object]:
        """Runs a command line of `certplane` as an operator on the host, with JSON for output, and returns that."""
        program, *words = shlex.split(command)
        process = await asyncio.create_subprocess_exec(
            Path(sys.executable).with_name(program),
            *words,
            cwd=self.operator,
            env={"CERTPLANE_API_ADDRESS": self.api, "CERTPLANE_OUTPUT": "json"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(30):
                output, errors = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode == 0, errors.decode()
        answer: dict[str, object] = json.loads(output)
        return answer

    async def fetch(self, name: str) -> FetchedPage:
        """Fetches `https://name/` at the published port, verified by the trial's root."""
        return await fetch_verified(f"127.0.0.1:{self.machine.port(8443)}", name, self.operator / "roots.pem")


def stated(command: str) -> str:
    """Returns the one command that starts so in the comments of the trial's env file, without that start."""
    (found,) = re.findall(rf"^#   {re.escape(command)} (.*)$", TRIAL.read_text(encoding="utf-8"), re.MULTILINE)
    return str(found)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def trial(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Trial]:
    """The trial of deploy/trial/trial.env."""
    directory = tmp_path_factory.mktemp("trial")
    processes, machine = composed(env_file(TRIAL), directory)
    made = Trial(processes, machine, directory / "operator", healthy := {})
    async with processes:
        for name in [name for name, service in machine.services.items() if service.health]:
            healthy[name] = await processes.is_healthy(name)
        await processes.up()
        made.operator.mkdir()
        for source in re.findall(r"pki:/pki/(\S+)", TRIAL.read_text(encoding="utf-8")):
            shutil.copy(machine.volume("pki") / source, made.operator)
        exec_in_worker, _, _ = stated("trial exec worker").rpartition(" > ")
        status, roots = await processes.run("worker", shlex.split(exec_in_worker))
        assert status == 0, roots
        (made.operator / "roots.pem").write_text(roots, encoding="utf-8")
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(trial: Trial) -> dict[str, object]:
    """The domain that the env file's command onboards, as that command shows it."""
    return await trial.operate(f"certplane {stated('certplane')}")


async def test_health_checks_tell(trial: Trial) -> None:
    """Each health check fails before its service runs, and succeeds while it does."""
    assert trial.healthy_before == dict.fromkeys(["redis", "serve", "worker", "envoy"], False)
    for name in trial.healthy_before:
        assert await trial.processes.is_healthy(name), name
    assert not trial.processes.ended()


async def test_domain_is_served_over_https(trial: Trial, shop: dict[str, object]) -> None:
    """A domain onboarded with the operator's certificate is served through Envoy, verified, and reaches the site."""
    page = await trial.fetch(SHOP)

    assert shop["state"] == "STATE_ACTIVE"
    assert int(str(shop["serialNumber"]), 16) == int(page.serial_number, 16)
    assert page.status_line == "HTTP/1.1 200 OK"
    assert "Directory listing" in page.body


async def test_api_refuses_a_caller_without_a_certificate(trial: Trial) -> None:
    """Who trusts the CA but has no certificate of it gets no answer from the API."""
    credentials = grpc.ssl_channel_credentials((trial.operator / "ca.pem").read_bytes())
    stub: Any = domain_service_pb2_grpc.DomainServiceStub
    async with grpc.aio.secure_channel(trial.api, credentials) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub(channel).ListDomains(domain_service_pb2.ListDomainsRequest(), timeout=10)

    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("password", ["wrong", ""])
async def test_store_refuses_a_wrong_password(trial: Trial, password: str) -> None:
    """The store answers the URL of `serve`, but not with another password or with none."""
    serve = trial.service("serve")
    url = trial.machine.here(serve, serve.environment["CERTPLANE_REDIS_URL"])
    async with Redis.from_url(url) as right:
        assert await right.ping()
    async with Redis.from_url(re.sub(r":[^:]*@", f":{password}@" if password else "", url)) as wrong:
        with pytest.raises(AuthenticationError):
            await wrong.ping()


async def test_store_keeps_what_it_had_when_it_is_killed(trial: Trial, shop: dict[str, object]) -> None:
    """After a kill and a new start of the store, the domain is what it was, and `serve` and `worker` are healthy again."""
    await trial.processes.kill("redis")
    await trial.processes.start("redis")
    for name in ("redis", "serve", "worker"):
        await trial.processes.wait_until_healthy(name)

    assert shop == await trial.operate(f"certplane domains --api-ca ca.pem --api-cert operator.pem --api-key operator-key.pem get {SHOP}")


async def test_second_start_keeps_keys_and_certificates(trial: Trial) -> None:
    """The services that run once at every start change no file when there are keys and certificates already."""

    def contents() -> dict[Path, bytes]:
        volumes = map(trial.machine.volume, ("pki", "serve-tls", "envoy-tls", "serve-keys", "worker-keys", "pebble-pki", "pebble-ca"))
        return {path: path.read_bytes() for volume in volumes for path in volume.iterdir()}

    before = contents()
    for name in ("pki", "keys", "pebble-pki"):
        await trial.processes.run_to_the_end(name)

    assert len(before) > 20
    assert before == contents()


async def test_example_starts_healthy_and_ends_well(tmp_path: Path) -> None:
    """With deploy/example.env, a password and an upstream everything becomes healthy, and ends with status 0 when told to."""
    example = {**env_file(ROOT / "deploy" / "example.env"), "REDIS_PASSWORD": "of-an-example", "UPSTREAM": "127.0.0.1:8000"}
    processes, _ = composed(example, tmp_path)
    async with processes:
        await processes.up()
        assert not processes.ended()
        statuses = await processes.down()

    assert statuses == dict.fromkeys(["redis", "serve", "worker", "envoy"], 0)


async def test_example_has_no_password() -> None:
    """A start with deploy/example.env as it is ends at once, and says what is missing: there is no password that everybody knows."""
    with pytest.raises(ValueError, match="REDIS_PASSWORD is not set"):
        read_services(env_file(ROOT / "deploy" / "example.env"))
