"""CheckDomain from the call to customers' hosts and back: the pieces of `serve` and `worker` on a Valkey, with a DNS server and hosts."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import dns.rcode
import grpc
import pytest
import structlog
from click.testing import CliRunner, Result
from google.rpc import error_details_pb2

from controlplane.adapters import redis_keys as keys
from controlplane.adapters.dns_resolver import DnsResolver
from controlplane.adapters.preflight_probe import HttpPreflight
from controlplane.adapters.record_hmac import RecordHmac
from controlplane.adapters.redis_changes import RedisChangeFeed
from controlplane.adapters.redis_checks import RedisCheckStore
from controlplane.adapters.redis_client import connect
from controlplane.adapters.redis_domains import RedisDomainStore
from controlplane.adapters.redis_tokens import RedisTokenStore
from controlplane.api.certplane.v1 import check_pb2, domain_pb2
from controlplane.api.certplane.v1 import domain_service_pb2 as pb
from controlplane.cli.domains import domains as domains_command
from controlplane.core.addresses import parse_networks
from controlplane.core.caa import Issuer
from controlplane.core.ports import TokenStore
from controlplane.core.ports.checks import CheckLimits, CheckRequest
from controlplane.embedded.free_ports import free_ports
from controlplane.endpoints.domain_service import add_domain_service
from controlplane.endpoints.grpc_server import build_server
from controlplane.usecases.challenges import Challenges
from controlplane.usecases.check_queue import CheckQueue
from controlplane.usecases.check_runner import CheckRunner
from controlplane.usecases.domains import DomainService
from controlplane.usecases.preflight_round import PreflightRound
from tests.fakes.dns_server import dns_server
from tests.fakes.domain_api import connected, detail, failure_of, violations
from tests.fakes.scripted_host import Script, answers, scripted_host, silence

DEADLINE = 10.0
EDGE, OTHER, SHUT, SILENT = "127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4"
ACTOR, ANSWER = domain_pb2.DomainError.Actor.Value, check_pb2.CaaObservation.Answer.Value

ZONE: dict[str, tuple[str, ...]] = {
    "good.example.com": (EDGE,),
    "www.good.example.com": (EDGE,),
    "wrong.example.com": (OTHER,),
    "refused.example.com": (SHUT,),
    "silent.example.com": (SILENT,),
    "half.example.com": (EDGE, OTHER),
    "forbidden.example.com": (EDGE,),
}
CAA = {"forbidden.example.com": ('0 issue "digicert.com"',), "example.com": ('0 issue "letsencrypt.org"',)}


def resolve(name: str, kind: str) -> tuple[dns.rcode.Rcode, Sequence[str]]:
    """Answers from the tables."""
    if kind == "CAA":
        return dns.rcode.NOERROR, CAA.get(name, ())
    if name not in ZONE:
        return dns.rcode.NXDOMAIN, ()
    return dns.rcode.NOERROR, ZONE[name] if kind == "A" else ()


def edge(tokens: TokenStore) -> Script:
    """A host that answers challenges as Envoy does: what the ext_authz use case says."""
    challenges = Challenges(tokens, lambda: datetime.now(UTC))

    async def script(head: bytes, writer: asyncio.StreamWriter) -> None:
        lines = head.split(b"\r\n")
        method, path, _ = lines[0].split(b" ")
        (host,) = (line[6:] for line in lines if line.lower().startswith(b"host: "))
        reply = await challenges.reply(method, host, path)
        assert reply is not None
        writer.write(b"HTTP/1.1 %d x\r\nContent-Length: %d\r\n\r\n%b" % (reply.status, len(reply.body), reply.body))
        await writer.drain()

    return script


@dataclass
class World:
    """A Valkey, `serve`'s API over it, and hosts; workers are started by the tests."""

    stub: Any
    address: str
    url: str
    authenticator: RecordHmac
    resolver: str
    port: int

    @asynccontextmanager
    async def worker(self, fetch_seconds: float = 0.4, **options: Any) -> AsyncIterator[CheckRunner]:
        """Runs what a worker runs."""
        client, stop = connect(self.url), asyncio.Event()
        preflight = HttpPreflight(
            DnsResolver(self.resolver),
            clock=lambda: datetime.now(UTC),
            http01_port=self.port,
            allow=parse_networks(["127.0.0.0/8"]),
            ca_identities=["letsencrypt.org"],
            fetch_seconds=fetch_seconds,
        )
        tokens = RedisTokenStore(client, self.authenticator)
        made = PreflightRound(tokens, preflight, lambda: datetime.now(UTC), _Tokens())
        runner = CheckRunner(RedisCheckStore(client, self.authenticator), made, lambda: datetime.now(UTC), **options)
        task = asyncio.create_task(runner.run(stop))
        try:
            yield runner
        finally:
            stop.set()
            async with asyncio.timeout(DEADLINE):
                await task
            await client.aclose()

    async def check(self, name: str, *additional_names: str, timeout: float = DEADLINE) -> Any:
        """Has names checked that are not onboarded."""
        domain = domain_pb2.Domain(additional_names=additional_names)
        return await self.stub.CheckDomain(pb.CheckDomainRequest(domain_id=name, domain=domain), timeout=timeout)


class _Tokens:
    """Makes tokens that differ."""

    def __init__(self) -> None:
        self._made = 0

    def __call__(self) -> str:
        self._made += 1
        return f"probe-{self._made}"


@pytest.fixture
async def world(valkey_url: str, authenticator: RecordHmac) -> AsyncIterator[World]:
    """Everything but a worker."""
    (port,) = free_ports(1)
    client = connect(valkey_url)
    store = RedisDomainStore(client)
    service = DomainService(store, RedisChangeFeed(valkey_url), lambda: datetime.now(UTC), lambda: "u" * 32)
    listener = build_server("127.0.0.1:0")
    add_domain_service(listener.server, service, checks=CheckQueue(store, RedisCheckStore(client, authenticator)))
    async with AsyncExitStack() as stack:
        resolver = await stack.enter_async_context(dns_server(resolve))
        for script, address in (
            (edge(RedisTokenStore(client, authenticator)), EDGE),
            (answers(b"welcome", "404 Not Found"), OTHER),
            (silence, SILENT),
        ):
            await stack.enter_async_context(scripted_host(script, address, port))
        await listener.server.start()
        stack.push_async_callback(client.aclose)
        stack.push_async_callback(listener.server.stop, None)
        stub = await stack.enter_async_context(connected(listener.address))
        yield World(stub, listener.address, valkey_url, authenticator, resolver, port)


def kind(verdict: Any) -> str:
    return verdict.problem.type.rpartition(":")[2] if verdict.HasField("problem") else "good"


# ---- verdicts ----


async def test_domain_that_exists(world: World) -> None:
    """All names of a domain are checked, its own name first; the answer tells each address and CAA. No order, no change of the domain."""
    created = await world.stub.CreateDomain(
        pb.CreateDomainRequest(domain_id="good.example.com", domain=domain_pb2.Domain(additional_names=["www.good.example.com"]))
    )
    async with world.worker():
        response = await world.stub.CheckDomain(pb.CheckDomainRequest(name=created.name), timeout=DEADLINE)
    assert ["good.example.com", "www.good.example.com"] == [verdict.dns_name for verdict in response.verdicts]
    verdict = response.verdicts[0]
    assert ("good", True) == (kind(verdict), verdict.conclusive)
    (seen,) = verdict.observations
    assert (EDGE, "good", "status 200 with the token's body") == (seen.address, seen.kind, seen.expected)
    assert f"answers http://good.example.com:{world.port} with the token's body" == seen.seen
    assert (ANSWER("ANSWER_ALLOWS"), "example.com", ['0 issue "letsencrypt.org"']) == (
        verdict.caa.answer,
        verdict.caa.owner,
        list(verdict.caa.records),
    )
    assert abs(response.check_time.ToDatetime(UTC) - datetime.now(UTC)) < timedelta(minutes=1)
    assert created == await world.stub.GetDomain(pb.GetDomainRequest(name=created.name))


@pytest.mark.parametrize(
    ("name", "expected", "conclusive", "actor", "observed"),
    [
        ("good.example.com", "good", True, None, [(EDGE, "good")]),
        ("wrong.example.com", "wrong-answer", True, "CUSTOMER", [(OTHER, "wrong-answer")]),
        ("refused.example.com", "connection-refused", True, "CUSTOMER", [(SHUT, "connection-refused")]),
        ("silent.example.com", "timeout", False, "NOBODY", [(SILENT, "timeout")]),
        ("half.example.com", "wrong-answer", True, "CUSTOMER", [(EDGE, "good"), (OTHER, "wrong-answer")]),
        ("forbidden.example.com", "caa-forbids", True, "CUSTOMER", [(EDGE, "good")]),
        ("missing.example.com", "no-such-name", True, "CUSTOMER", []),
    ],
)
async def test_name_that_is_not_onboarded(
    world: World, name: str, expected: str, conclusive: bool, actor: str | None, observed: list[tuple[str, str]]
) -> None:
    """A name is checked before it is onboarded: its probe is answered, and each fault is told apart, with who must act."""
    async with world.worker():
        (verdict,) = (await world.check(name)).verdicts
    assert (expected, conclusive) == (kind(verdict), verdict.conclusive)
    assert observed == sorted((seen.address, seen.kind) for seen in verdict.observations)
    assert actor is None or verdict.problem.must_act == ACTOR(f"ACTOR_{actor}")
    assert ANSWER("ANSWER_FORBIDS" if name == "forbidden.example.com" else "ANSWER_ALLOWS") == verdict.caa.answer


async def test_probe_answers_for_its_names_only_and_not_for_long(world: World) -> None:
    """While a check runs its token answers for the names that are checked, for no other, and afterwards for nobody."""
    client = connect(world.url)
    challenges = Challenges(RedisTokenStore(client, world.authenticator), lambda: datetime.now(UTC))

    async def status(host: bytes) -> int:
        reply = await challenges.reply(b"GET", host, b"/.well-known/acme-challenge/probe-1")
        assert reply is not None
        return reply.status

    async with world.worker(fetch_seconds=2):
        checking = asyncio.create_task(world.check("silent.example.com", "good.example.com"))
        async with asyncio.timeout(DEADLINE):
            while await status(b"silent.example.com") != 200:
                await asyncio.sleep(0.01)
        assert (200, 404) == (await status(b"good.example.com"), await status(b"wrong.example.com"))
        await checking
        assert 404 == await status(b"good.example.com")
    await client.aclose()


async def test_ca_of_the_tenant(world: World) -> None:
    """The CA that would issue for the tenant is the one that CAA is judged for."""

    def issuers(request: CheckRequest) -> Sequence[Issuer]:
        return [Issuer(frozenset(("digicert.com",)))] if request.tenant == "acme" else []

    async with world.worker(issuers=issuers):
        of_tenant = pb.CheckDomainRequest(domain_id="forbidden.example.com", domain=domain_pb2.Domain(tenant="acme"))
        found = await asyncio.gather(world.stub.CheckDomain(of_tenant, timeout=DEADLINE), world.check("forbidden.example.com"))
    assert ["good", "caa-forbids"] == [kind(response.verdicts[0]) for response in found]


# ---- the queue ----


async def test_equal_checks_are_one(world: World) -> None:
    """Twenty equal checks at the same time are carried out once, by one of two workers, and all are answered."""
    async with world.worker(), world.worker():
        responses = await asyncio.gather(*(world.check("half.example.com") for _ in range(20)))
    assert 1 == len({response.SerializeToString(deterministic=True) for response in responses})


async def test_checks_at_a_time_are_bounded(world: World) -> None:
    """A slow check does not keep others waiting where there is room, and where there is none they wait their turn."""
    async with world.worker(concurrency=2, fetch_seconds=1) as runner:
        slow = asyncio.create_task(world.check("silent.example.com"))
        await world.check("good.example.com")
        assert not slow.done()
        many = [asyncio.create_task(world.check(f"missing{number}.example.com")) for number in range(10)]
        while not all(task.done() for task in many):
            assert len(runner._running) <= 2
            await asyncio.sleep(0.01)
        assert ["no-such-name"] * 10 == [kind(task.result().verdicts[0]) for task in many]
        await slow


async def test_no_worker(world: World) -> None:
    """Without a worker a check is UNAVAILABLE after two seconds, with the reason and when to try again; a later worker is used."""
    started = asyncio.get_running_loop().time()
    error = await failure_of(world.check("good.example.com"))
    assert 1.5 < asyncio.get_running_loop().time() - started < 5
    assert (grpc.StatusCode.UNAVAILABLE, "no worker took the check: none is running") == (error.code(), error.details())
    assert "NO_WORKER" == detail(error, error_details_pb2.ErrorInfo).reason
    assert 5 == detail(error, error_details_pb2.RetryInfo).retry_delay.seconds
    async with world.worker():
        assert "good" == kind((await world.check("good.example.com")).verdicts[0])


async def test_worker_that_takes_too_long(world: World) -> None:
    """A check that is not done in the caller's time is DEADLINE_EXCEEDED; it goes on, and who asks again gets its result."""
    async with world.worker(fetch_seconds=2):
        error = await failure_of(world.check("silent.example.com", timeout=1))
        assert grpc.StatusCode.DEADLINE_EXCEEDED is error.code()
        assert "timeout" == kind((await world.check("silent.example.com")).verdicts[0])


async def test_busy_workers(world: World) -> None:
    """A check that waits for its turn until the caller's time is over is DEADLINE_EXCEEDED: workers are there."""
    async with world.worker(fetch_seconds=4, concurrency=1):
        slow = asyncio.create_task(world.check("silent.example.com"))
        await asyncio.sleep(0.5)
        error = await failure_of(world.check("good.example.com", timeout=2.8))
        assert grpc.StatusCode.DEADLINE_EXCEEDED is error.code()
        assert "timeout" == kind((await slow).verdicts[0])


async def test_too_many_checks(world: World) -> None:
    """When too many checks wait, another one is RESOURCE_EXHAUSTED, with when to try again."""
    client = connect(world.url)
    await client.zadd(keys.CHECKS_WAITING, {str(number): 9e15 for number in range(CheckLimits().waiting)})
    error = await failure_of(world.check("good.example.com"))
    assert grpc.StatusCode.RESOURCE_EXHAUSTED is error.code()
    assert 5 == detail(error, error_details_pb2.RetryInfo).retry_delay.seconds
    await client.aclose()


async def test_store_that_loses_the_check(world: World) -> None:
    """A check that the store has lost is asked for again."""
    client = connect(world.url)
    checking = asyncio.create_task(world.check("good.example.com"))
    async with asyncio.timeout(DEADLINE):
        while not await client.zcard(keys.CHECKS_WAITING):
            await asyncio.sleep(0.01)
    await client.flushall()
    async with world.worker():
        assert "good" == kind((await checking).verdicts[0])
    await client.aclose()


async def test_stopping_worker_ends_its_checks(world: World) -> None:
    """A worker that is told to stop finishes what it has taken and takes no more."""
    async with world.worker(fetch_seconds=1) as runner:
        checking = asyncio.create_task(world.check("silent.example.com"))
        async with asyncio.timeout(DEADLINE):
            while not runner._running:
                await asyncio.sleep(0.01)
    assert "timeout" == kind((await checking).verdicts[0])


# ---- requests ----


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (pb.CheckDomainRequest(), "name"),
        (pb.CheckDomainRequest(name="domains/good.example.com", domain_id="good.example.com"), "name"),
        (pb.CheckDomainRequest(name="good.example.com"), "name"),
        (pb.CheckDomainRequest(domain_id="co.uk"), "domain_id"),
        (pb.CheckDomainRequest(domain_id="127.0.0.1"), "domain_id"),
        (pb.CheckDomainRequest(domain_id="a.example.com", domain=domain_pb2.Domain(tenant="A b")), "domain.tenant"),
        (
            pb.CheckDomainRequest(domain_id="a.example.com", domain=domain_pb2.Domain(additional_names=["*.b.example.com"])),
            "domain.additional_names[0]",
        ),
        (
            pb.CheckDomainRequest(
                domain_id="a.example.com", domain=domain_pb2.Domain(additional_names=[f"a{n}.example.com" for n in range(25)])
            ),
            "domain.additional_names",
        ),
    ],
)
async def test_bad_request(world: World, request_: pb.CheckDomainRequest, field: str) -> None:
    """What is wrong with a request is told by field, before anything is asked for."""
    error = await failure_of(world.stub.CheckDomain(request_))
    assert grpc.StatusCode.INVALID_ARGUMENT is error.code()
    assert {field} == set(violations(error))
    client = connect(world.url)
    assert 0 == await client.zcard(keys.CHECKS_WAITING)
    await client.aclose()


async def test_unknown_domain(world: World) -> None:
    """A resource name of no domain is NOT_FOUND: `domain_id` is for names that are not onboarded."""
    error = await failure_of(world.stub.CheckDomain(pb.CheckDomainRequest(name="domains/good.example.com")))
    assert grpc.StatusCode.NOT_FOUND is error.code()


# ---- the command ----


async def run(world: World, *arguments: str) -> Result:
    """Runs `certplane domains check`."""
    env = {"CERTPLANE_API_ADDRESS": world.address}
    return await asyncio.to_thread(CliRunner().invoke, domains_command, ["check", *arguments], env=env)


async def test_command_for_a_good_domain(world: World) -> None:
    """All names of a domain that exists are shown, each with its address and CAA; the exit status is 0."""
    domain = domain_pb2.Domain(additional_names=["www.good.example.com"])
    await world.stub.CreateDomain(pb.CreateDomainRequest(domain_id="good.example.com", domain=domain))
    with structlog.testing.capture_logs():
        async with world.worker():
            result = await run(world, "good.example.com")
    assert 0 == result.exit_code, result.output
    lines = result.stdout.splitlines()
    assert [
        "good.example.com: good",
        f"  address       127.0.0.1 answers http://good.example.com:{world.port} with the token's body",
        '  CAA           the CA may issue, by the record at example.com (0 issue "letsencrypt.org")',
        "",
        "www.good.example.com: good",
    ] == lines[:5]
    assert lines[-1].startswith("checked at 20")


async def test_command_for_a_bad_name(world: World) -> None:
    """A conclusive problem is shown with what was seen, what was expected and who must act; the exit status is 1."""
    with structlog.testing.capture_logs():
        async with world.worker():
            result = await run(world, "half.example.com", "--additional-name", "forbidden.example.com")
    assert 1 == result.exit_code
    lines = result.stdout.splitlines()
    assert "half.example.com: a CA would not issue" == lines[0]
    assert "  type          urn:certplane:error:preflight:wrong-answer" in lines
    assert "  who must act  the owner of the domain (DNS, CAA or a firewall)" in lines
    assert (
        f"  address       127.0.0.2 answers http://half.example.com:{world.port} with status 404 where 200 is needed;"
        " expected: status 200 with the token's body"
    ) in lines
    assert (
        "  CAA           the CA may not issue: the record at forbidden.example.com allows only digicert.com;"
        ' add \'issue "letsencrypt.org"\' (0 issue "digicert.com")'
    ) in lines


async def test_command_for_a_silent_name(world: World) -> None:
    """A problem that is not conclusive is shown as such, and is no failure."""
    with structlog.testing.capture_logs():
        async with world.worker():
            result = await run(world, "silent.example.com")
    assert 0 == result.exit_code
    assert result.stdout.startswith("silent.example.com: not conclusive, this may be the view from here only\n")


@pytest.mark.parametrize("option", [("--json",), ("--output", "json")])
async def test_command_in_json(world: World, option: Sequence[str]) -> None:
    """JSON is the API's."""
    with structlog.testing.capture_logs():
        async with world.worker():
            result = await run(world, "refused.example.com", *option)
    assert 1 == result.exit_code
    (verdict,) = json.loads(result.stdout)["verdicts"]
    assert ("refused.example.com", True, "connection-refused") == (
        verdict["dnsName"],
        verdict["conclusive"],
        verdict["observations"][0]["kind"],
    )


async def test_command_without_a_worker(world: World) -> None:
    """Without a worker the command says so."""
    with structlog.testing.capture_logs():
        result = await run(world, "good.example.com")
    assert 1 == result.exit_code
    assert "UNAVAILABLE: no worker took the check: none is running" in result.output
