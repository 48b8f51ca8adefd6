"""`certplane demo`, which `make up` runs: what a person sees, twice, and how it ends."""

import re
import socket
import sys
from dataclasses import dataclass, field
from pathlib import Path

from controlplane.demo.https_fetch import fetch_verified
from controlplane.embedded.free_ports import free_ports
from tests.e2e.command import Command, environment, mentioning, running
from tests.e2e.installation import certplane

NAME = "shop.example.com"
STEPS = ("PENDING:", "pre-flight:", "order:", "challenge:", "finalize:", "ACTIVE:", "pushed and served:", "200 OK")
NO_ORDER = "no order is placed"
PORT_OPTIONS = (
    *("http-port", "https-port", "admin-port", "xds-port", "api-port", "metrics-port", "worker-metrics-port"),
    "pebble-port",
)


@dataclass(slots=True)
class Demonstration:
    """A demonstration's state directory and ports, for one run after the other."""

    directory: Path
    ports: dict[str, int] = field(default_factory=lambda: dict(zip(PORT_OPTIONS, free_ports(len(PORT_OPTIONS)), strict=True)))
    _runs: int = 0

    async def start(self, *options: str, **variables: str) -> Command:
        """Starts a run with these options and environment variables."""
        self._runs += 1
        ports = [f"--{name}={port}" for name, port in self.ports.items()]
        argv = certplane("demo", f"--state-dir={self.directory / 'state'}", *ports, *options)
        return await Command.start(argv, self.directory / f"run-{self._runs}", environment() | variables)

    def orders(self) -> int:
        """How many orders Pebble has taken, in all runs, by its log."""
        return (self.directory / "state" / "pebble" / "pebble.log").read_text().count('Added order "')


def serial_number(output: str) -> int:
    """The serial number of the certificate in force, as a run tells it."""
    found = re.search(r"ACTIVE: certificate ([0-9A-Fa-f]+) ", output)
    assert found, output
    return int(found[1], 16)


async def test_second_run_serves_the_same_certificate_without_an_order(tmp_path: Path) -> None:
    """The first run shows each step in order; later ones serve its certificate and place no order; SIGTERM ends one with all children."""
    demonstration = Demonstration(tmp_path)
    async with await demonstration.start("--once") as first:
        assert (0, "") == (await first.finished(), first.errors)
    assert demonstration.orders() == 1
    assert NO_ORDER not in first.output
    places = [first.output.find(step) for step in STEPS]
    assert -1 not in places, first.output
    assert sorted(places) == places

    async with await demonstration.start("--once") as second:
        assert (0, "") == (await second.finished(), second.errors)
    assert NO_ORDER in second.output
    assert "pushed and served:" in second.output
    assert serial_number(first.output) == serial_number(second.output)

    async with await demonstration.start() as third:
        await third.until_it_says("Ctrl-C ends it")
        page = await fetch_verified(f"127.0.0.1:{demonstration.ports['https-port']}", NAME, tmp_path / "state" / "pebble" / "roots.pem")
        family = third.family()
        assert (0, "") == (await third.stop(), third.errors)
    assert serial_number(first.output) == int(page.serial_number, 16)
    assert demonstration.orders() == 1
    for program in ("pebble ", "pebble-challtestsrv", "valkey", "envoy", " serve ", " worker "):
        assert any(program in line for line in family.values()), program
    assert running(list(family)) == []
    assert mentioning(tmp_path) == []


async def test_missing_pebble_is_explained(tmp_path: Path) -> None:
    """Without Pebble on PATH the demonstration says how to name another CA, and ends with 1."""
    async with await Demonstration(tmp_path).start("--once", PATH=str(Path(sys.executable).parent)) as run:
        assert await run.finished() == 1
    assert "CERTPLANE_ACME_DIRECTORY" in run.errors
    assert "Traceback" not in run.errors
    assert "pebble" in run.errors


async def test_taken_port_of_pebble_is_explained(tmp_path: Path) -> None:
    """When somebody has Pebble's port, such as another demonstration, that is said without a traceback, the exit status is 1."""
    demonstration = Demonstration(tmp_path)
    with socket.create_server(("127.0.0.1", demonstration.ports["pebble-port"])):
        async with await demonstration.start("--once") as run:
            assert await run.finished() == 1
    assert "Traceback" not in run.errors
    assert f"127.0.0.1:{demonstration.ports['pebble-port']}" in run.errors
    assert mentioning(tmp_path) == []
