"""From CreateDomain to the first verified handshake, one domain at a time, beside the bare client's orders."""

import asyncio
import ssl
import time
import urllib.request
from dataclasses import dataclass, field

import grpc
from prometheus_client.parser import text_string_to_metric_families

from bench.bare_acme import BareClient
from bench.handshakes import handshake, trusting
from bench.installation import Installation
from bench.processes import cpu_seconds
from controlplane.api.certplane.v1 import domain_pb2, domain_service_pb2, domain_service_pb2_grpc

_SECONDS = 30.0
_ACTIVE = domain_pb2.Domain.STATE_ACTIVE
_STEPS = ("preflight", "order", "challenge", "poll", "finalize", "download")


@dataclass(slots=True)
class Onboardings:
    """Durations in seconds.

    `served` is until the handshake; of it `created` is until CreateDomain answered, `active` from then until the watch said ACTIVE,
    `handshake` the rest. `bare` are the bare client's orders, `stock` one with the package's own polling. `steps` are the means of what
    the worker says its steps took, `cpu` the CPU time of one onboarding by process.
    """

    served: list[float] = field(default_factory=list)
    created: list[float] = field(default_factory=list)
    active: list[float] = field(default_factory=list)
    handshake: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)
    steps: dict[str, float] = field(default_factory=dict)
    cpu: dict[str, float] = field(default_factory=dict)
    failed_handshakes: int = 0
    stock: float = 0.0


async def measure(made: Installation, bare: BareClient, count: int, warm_up: int) -> Onboardings:
    """Onboards `warm_up` domains uncounted and then `count`, an order of the bare client before or after each."""
    found = Onboardings()
    async with grpc.aio.insecure_channel(made.api) as channel:
        stub = domain_service_pb2_grpc.DomainServiceStub(channel)
        client = _Client(stub, made)
        await client.start_watching()
        await _take_turns(client, bare, Onboardings(), "warm", warm_up)
        steps, cpu = await asyncio.to_thread(_step_sums, made.worker_metrics), _cpu(made)
        await _take_turns(client, bare, found, "shop", count)
        steps_after, cpu_after = await asyncio.to_thread(_step_sums, made.worker_metrics), _cpu(made)
        found.steps = {step: (steps_after[step] - steps[step]) / count for step in steps}
        found.cpu = {name: (cpu_after[name] - cpu[name]) / count for name in cpu}
        client.stop_watching()
    found.stock = await asyncio.to_thread(bare.stock_order, "stock.example.com")
    return found


async def _take_turns(client: "_Client", bare: BareClient, found: Onboardings, label: str, count: int) -> None:
    """Takes turns at being first, so that what one leaves to be finished burdens the other as often."""
    for index in range(count):
        if index % 2:
            await client.onboard(f"{label}{index}.example.com", found)
        found.bare.append(await asyncio.to_thread(bare.order, f"{label}{index}.example.com"))
        if not index % 2:
            await client.onboard(f"{label}{index}.example.com", found)


class _Client:
    """Uses the API as an onboarding program would: one watch for all domains, and a call for each."""

    def __init__(self, stub, made: Installation) -> None:
        self._stub = stub
        self._made = made
        self._context = trusting(made.roots)
        self._watch = None

    async def start_watching(self) -> None:
        """Opens the watch and reads its snapshot."""
        self._watch = self._stub.WatchDomains(domain_service_pb2.WatchDomainsRequest())
        async with asyncio.timeout(_SECONDS):
            while not (await self._watch.read()).HasField("snapshot_complete"):
                pass

    def stop_watching(self) -> None:
        """Ends the watch."""
        self._watch.cancel()

    async def onboard(self, fqdn: str, found: Onboardings) -> None:
        """Onboards one domain and notes how long everything took."""
        request = domain_service_pb2.CreateDomainRequest(domain_id=fqdn, domain=domain_pb2.Domain(tenant="bench"))
        begun = time.perf_counter()
        await self._stub.CreateDomain(request)
        created = time.perf_counter()
        serial_number = await self._until_active(f"domains/{fqdn}")
        active = time.perf_counter()
        found.failed_handshakes += self._until_served(fqdn, serial_number)
        served = time.perf_counter()
        found.served.append(served - begun)
        found.created.append(created - begun)
        found.active.append(active - created)
        found.handshake.append(served - active)

    async def _until_active(self, name: str) -> int:
        async with asyncio.timeout(_SECONDS):
            while True:
                domain = (await self._watch.read()).domain
                if domain.name != name:
                    continue
                if domain.HasField("last_error"):
                    raise AssertionError(f"{name} was not issued at the first attempt: {domain.last_error}")
                if domain.state == _ACTIVE:
                    return int(domain.serial_number, 16)

    def _until_served(self, fqdn: str, serial_number: int) -> int:
        """Shakes hands until the new certificate is served, and returns how often it was not; the event loop has nothing else to do."""
        failed, end = 0, time.monotonic() + _SECONDS
        while time.monotonic() < end:
            try:
                if handshake(self._context, self._made.https_port, fqdn)[1] == serial_number:
                    return failed
            except ssl.SSLError:
                pass
            failed += 1
        raise TimeoutError(f"{fqdn} is not served with its new certificate")


def _step_sums(address: str) -> dict[str, float]:
    """Returns for how many seconds the worker has been at each step so far."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as response:
        text = response.read().decode()
    sums = dict.fromkeys(_STEPS, 0.0)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == "certplane_issuance_step_seconds_sum":
                sums[sample.labels["step"]] = sample.value
    return sums


def _cpu(made: Installation) -> dict[str, float]:
    """Returns the CPU seconds of each process so far."""
    return {name: cpu_seconds(pid) for name, pid in made.pids.items()}
