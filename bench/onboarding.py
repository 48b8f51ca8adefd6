"""From CreateDomain to the first verified handshake, one domain at a time, beside the bare client's orders."""

import asyncio
import ssl
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field

import grpc
from prometheus_client.parser import text_string_to_metric_families

from bench.bare_acme import BareClient
from bench.handshakes import handshake, trusting
from bench.installation import Installation
from controlplane.api.certplane.v1 import domain_pb2, domain_service_pb2, domain_service_pb2_grpc

_SECONDS = 30.0
_ACTIVE = domain_pb2.Domain.STATE_ACTIVE
_STEPS = ("preflight", "order", "challenge", "poll", "finalize", "download")


@dataclass(slots=True)
class Onboardings:
    """Durations in seconds. `served`: until the handshake; of it `created`: until CreateDomain answered, `active`: from then until the

    watch said ACTIVE, `handshake`: the rest. `steps` are means of what the worker says its steps took.
    """

    served: list[float] = field(default_factory=list)
    created: list[float] = field(default_factory=list)
    active: list[float] = field(default_factory=list)
    handshake: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)
    steps: dict[str, float] = field(default_factory=dict)
    failed_handshakes: int = 0
    stock: float = 0.0


async def measure(made: Installation, bare: BareClient, count: int, warm_up: int) -> Onboardings:
    """Onboards `warm_up` domains uncounted and then `count`, an order of the bare client before or after each."""
    found = Onboardings()
    async with grpc.aio.insecure_channel(made.api) as channel:
        stub = domain_service_pb2_grpc.DomainServiceStub(channel)
        client = _Client(stub, made, found)
        await client.start_watching()
        for index in range(-warm_up, count):
            if index == 0:
                for durations in (found.served, found.created, found.active, found.handshake, found.bare):
                    durations.clear()
                steps_before = await asyncio.to_thread(_step_sums, made.worker_metrics)
            if index % 2:
                await client.onboard(f"shop{index + warm_up}.example.com")
            found.bare.append(await asyncio.to_thread(bare.order, f"bare{index + warm_up}.example.com"))
            if not index % 2:
                await client.onboard(f"shop{index + warm_up}.example.com")
        steps_after = await asyncio.to_thread(_step_sums, made.worker_metrics)
        found.steps = {step: (steps_after[step] - steps_before[step]) / count for step in _STEPS}
        client.stop_watching()
    found.stock = await asyncio.to_thread(bare.stock_order, "stock.example.com")
    return found


class _Client:
    """Uses the API as an onboarding program would: one watch for all domains, and a call for each."""

    def __init__(self, stub, made: Installation, found: Onboardings) -> None:
        self._stub = stub
        self._made = made
        self._found = found
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

    async def onboard(self, fqdn: str) -> None:
        """Onboards one domain and notes how long everything took."""
        request = domain_service_pb2.CreateDomainRequest(domain_id=fqdn, domain=domain_pb2.Domain(tenant="bench"))
        begun = time.perf_counter()
        await self._stub.CreateDomain(request)
        created = time.perf_counter()
        serial_number = await self._until_active(f"domains/{fqdn}")
        active = time.perf_counter()
        self._until_served(fqdn, serial_number)
        served = time.perf_counter()
        self._found.served.append(served - begun)
        self._found.created.append(created - begun)
        self._found.active.append(active - created)
        self._found.handshake.append(served - active)

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

    def _until_served(self, fqdn: str, serial_number: int) -> None:
        """Shakes hands until the new certificate is served; blocks the event loop, which has nothing else to do."""
        end = time.monotonic() + _SECONDS
        while time.monotonic() < end:
            try:
                if handshake(self._context, self._made.https_port, fqdn)[1] == serial_number:
                    return
            except ssl.SSLError:
                pass
            self._found.failed_handshakes += 1
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


def remainder(found: Onboardings, mean_served: float) -> float:
    """Returns what is left of the mean when the worker's steps and the handshake are taken away."""
    return mean_served - sum(found.steps.values()) - _mean(found.handshake)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
