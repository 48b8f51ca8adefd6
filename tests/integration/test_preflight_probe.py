"""The pre-flight against real sockets: hostile hosts on loopback, and a real DNS server."""

import asyncio
import json
import shutil
import ssl
import urllib.request
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dns.rcode
import pytest

from controlplane.adapters.dns_resolver import DnsResolver
from controlplane.adapters.preflight_probe import HttpPreflight
from controlplane.core.addresses import parse_networks
from controlplane.core.caa import Issuer
from controlplane.core.errors import ConfigurationError
from controlplane.core.managed_domain import Actor
from controlplane.core.names import DomainName
from controlplane.core.ports import PreflightVerdict
from controlplane.core.ports.preflight import FULL_PATIENCE, CaaAnswer, CaaObservation, Observation
from controlplane.embedded.child_process import ChildProcess
from controlplane.embedded.free_ports import free_ports
from controlplane.embedded.throwaway_ca import write_throwaway_ca
from tests.fakes.dns_server import Script as DnsScript
from tests.fakes.dns_server import dns_server
from tests.fakes.scripted_host import Script, ScriptedHost, answers, dribbles, floods, redirects, says, scripted_host, silence

NAME = DomainName("shop.example.com")
TOKEN = "abc_def-123"
BODY = b"abc_def-123.thumbprint"
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
OK = b"HTTP/1.1 200 OK\r\n"

NOERROR, NXDOMAIN, SERVFAIL = dns.rcode.NOERROR, dns.rcode.NXDOMAIN, dns.rcode.SERVFAIL


class DnsControl:
    """pebble-challtestsrv and its management interface."""

    def __init__(self, resolver: str, management: str) -> None:
        self.resolver = resolver
        self._management = management

    async def post(self, path: str, **content: object) -> None:
        """Sends a command."""

        def send() -> None:
            request = urllib.request.Request(f"{self._management}/{path}", json.dumps(content).encode())
            urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=5).close()

        await asyncio.to_thread(send)

    async def point(self, host: str, *addresses: str) -> None:
        """Gives `host` exactly these addresses."""
        v4, v6 = [a for a in addresses if ":" not in a], [a for a in addresses if ":" in a]
        if v4:
            await self.post("add-a", host=host, addresses=v4)
        if v6:
            await self.post("add-aaaa", host=host, addresses=v6)


@pytest.fixture
async def real_dns(tmp_path: Path) -> AsyncIterator[DnsControl]:
    """A DNS server that knows no address until it is told."""
    program = shutil.which("pebble-challtestsrv")
    if program is None:
        pytest.skip("pebble-challtestsrv is not installed")
    dns_port, management = free_ports(2)
    arguments = [
        program,
        "-dns01",
        f"127.0.0.1:{dns_port}",
        "-management",
        f"127.0.0.1:{management}",
        "-defaultIPv4",
        "",
        "-defaultIPv6",
        "",
    ]
    arguments += ["-http01", "", "-https01", "", "-tlsalpn01", ""]
    control = DnsControl(f"127.0.0.1:{dns_port}", f"http://127.0.0.1:{management}")

    async def ready() -> bool:
        try:
            await control.post("add-a", host="ready.test", addresses=["127.0.0.1"])
        except OSError:
            return False
        return bool((await DnsResolver(control.resolver, lifetime=0.5).addresses("ready.test")).addresses)

    async with await ChildProcess.start(arguments, tmp_path / "dns.log") as process:
        await process.wait_until_ready(ready, 10)
        yield control


class World:
    """Scripted hosts that share one port, and a pre-flight that is told to connect there."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self.port, self.tls_port, self.shut_port = free_ports(3)

    async def host(self, script: Script, address: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> ScriptedHost:
        """Starts a host, on the port for TLS when it has a context."""
        return await self._stack.enter_async_context(scripted_host(script, address, self.tls_port if tls else self.port, tls))

    async def dns(self, script: DnsScript) -> str:
        """Starts a scripted DNS server; returns its ADDRESS:PORT."""
        return await self._stack.enter_async_context(dns_server(script))

    async def check(
        self, resolver: str, *, allow: Sequence[str] = ("127.0.0.0/8", "::1"), identities: Sequence[str] = (), patience: float = 5.0,
        name: DomainName = NAME, whole: timedelta = FULL_PATIENCE, issuer: Issuer | None = None,
    ) -> PreflightVerdict:  # fmt: skip
        """Runs the pre-flight; `patience` is for each lookup and each request, in seconds, `whole` for the check."""
        probe = HttpPreflight(
            DnsResolver(resolver, attempt_timeout=patience, lifetime=patience),
            clock=lambda: NOW,
            http01_port=self.port,
            https_port=self.tls_port,
            allow=parse_networks(allow),
            ca_identities=identities,
            fetch_seconds=patience,
        )
        return await probe.check(name, TOKEN, BODY, patience=whole, issuer=issuer)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """An empty world."""
    async with AsyncExitStack() as stack:
        yield World(stack)


def at(*addresses: str, **others: Sequence[str]) -> DnsScript:
    """Returns a DNS script: `shop.example.com` has these addresses; `other_example_com=[...]` those. The rest does not exist."""
    zone = {NAME.value: addresses, **{name.replace("_", "."): found for name, found in others.items()}}

    def script(name: str, kind: str) -> tuple[dns.rcode.Rcode, Sequence[str]]:
        if name not in zone:
            return NXDOMAIN, ()
        return NOERROR, [a for a in zone[name] if kind == ("AAAA" if ":" in a else "A")]

    return script


def kind(verdict: PreflightVerdict) -> str:
    return verdict.problem.type.rpartition(":")[2] if verdict.problem else "good"


def detail(verdict: PreflightVerdict) -> str:
    return verdict.problem.detail if verdict.problem else ""


# ---- names that are answered ----


async def test_good_name(world: World, real_dns: DnsControl) -> None:
    """A name whose address answers with the token's body is good; the request is the CA's, to the very path and host."""
    host = await world.host(answers(BODY))
    await real_dns.point(NAME.value, "127.0.0.1")
    seen = Observation(
        "127.0.0.1",
        "good",
        f"answers http://shop.example.com:{world.port} with the token's body",
        "status 200 with the token's body",
    )
    expected = PreflightVerdict(NAME, None, conclusive=True, observations=(seen,), caa=CaaObservation(CaaAnswer.ABSENT))
    assert expected == await world.check(real_dns.resolver)
    (request,) = host.requests
    assert request.startswith(b"GET /.well-known/acme-challenge/abc_def-123 HTTP/1.1\r\n")
    assert f"\r\nHost: shop.example.com:{world.port}\r\n".encode() in request
    assert b"gzip" not in request


async def test_every_address_is_asked(world: World, real_dns: DnsControl) -> None:
    """Every address is asked, over IPv6 and IPv4."""
    hosts = [await world.host(answers(BODY), address) for address in ("127.0.0.1", "127.0.0.2", "::1")]
    await real_dns.point(NAME.value, "127.0.0.1", "127.0.0.2", "::1")
    assert kind(await world.check(real_dns.resolver)) == "good"
    assert [host.connections for host in hosts] == [1, 1, 1]


@pytest.mark.parametrize(
    "response",
    [
        OK + b"\r\n" + BODY,
        OK + b"Content-Length: 24\r\n\r\n" + BODY + b"\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n4\r\nabc_\r\n12;x=y\r\ndef-123.thumbprint\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\n" + BODY,
        b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK + b"\r\n" + BODY,
    ],
)
async def test_framings_of_the_body(world: World, response: bytes) -> None:
    """The body may end by its length, by chunks or with the connection."""
    await world.host(says(response))
    assert kind(await world.check(await world.dns(at("127.0.0.1")))) == "good"


async def test_silent_ipv6_beside_good_ipv4(world: World) -> None:
    """IPv6 without an answer does no harm beside IPv4 that answers: the CA falls back."""
    await world.host(silence, "::1")
    await world.host(answers(BODY))
    assert kind(await world.check(await world.dns(at("::1", "127.0.0.1")), patience=0.5)) == "good"


# ---- names that are answered wrongly, or not ----


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (answers(b"not here", "404 Not Found"), "status 404 where 200 is needed"),
        (answers(b"oops", "500 Internal Server Error"), "status 500"),
        (answers(b"<html>welcome</html>"), "another body than the token's"),
        (says(OK + b"Content-Length: 999999999999999\r\n\r\n"), "another body than the token's"),
        (says(OK + b"Transfer-Encoding: gzip\r\n\r\n"), "uses a transfer coding"),
        (says(b"SSH-2.0-OpenSSH_9.2\r\n"), "does not speak HTTP/1"),
        (says(b"HTTP/1.1 101 Switching Protocols\r\n\r\n"), "switches to a protocol"),
        (says(b"HTTP/1.1 302 Found\r\n\r\n"), "without saying where to"),
        (floods(OK, b"X-Endless: header\r\n" * 100), "more than 8192 bytes of header fields"),
        (floods(OK + b"\r\n", b"x" * 1000), "another body than the token's"),
        (floods(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1;" + b"y" * 50 + b"\r\nx\r\n"), "more than 8192 bytes of header fields"),
        (floods(OK + b"Transfer-Encoding: chunked\r\n\r\nffffffff\r\n", b"x" * 1000), "another body than the token's"),
    ],
)
async def test_wrong_answer(world: World, script: Script, words: str) -> None:
    """Another answer than the token's is conclusive and the customer's to correct; the detail names the address and what was seen."""
    await world.host(script)
    verdict = await world.check(await world.dns(at("127.0.0.1")))
    assert verdict.problem is not None
    assert (kind(verdict) in {"wrong-answer", "server-error", "bad-redirect"}, verdict.conclusive, verdict.problem.must_act) == (
        True,
        True,
        Actor.CUSTOMER,
    )
    assert words in detail(verdict)
    assert "127.0.0.1" in detail(verdict)
    assert TOKEN not in detail(verdict)


@pytest.mark.parametrize(
    "script",
    [
        silence,
        dribbles(OK + b"X: ", b"y"),
        dribbles(OK + b"Content-Length: 1000\r\n\r\n", b""),
        dribbles(OK + b"Transfer-Encoding: chunked\r\n\r\n", b""),
        dribbles(b"HTTP/1.1 100 Continue\r\n", b"Y: z\r\n"),
    ],
    ids=["silence", "slow head", "no body", "no chunk", "slow interim head"],
)
async def test_slow_host(world: World, script: Script) -> None:
    """A host that takes too long, however it fills the time, is inconclusive."""
    await world.host(script)
    verdict = await world.check(await world.dns(at("127.0.0.1")), patience=0.3)
    assert (kind(verdict), verdict.conclusive) == ("timeout", False)
    assert "127.0.0.1 does not answer" in detail(verdict)


async def test_host_that_hangs_up(world: World) -> None:
    """A connection that is closed without an answer is inconclusive."""
    await world.host(says(b""))
    verdict = await world.check(await world.dns(at("127.0.0.1")))
    assert (kind(verdict), verdict.conclusive) == ("connection-cut", False)


async def test_host_that_resets(world: World) -> None:
    """A connection that is reset in the middle of the answer is inconclusive."""

    async def script(_head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(OK)
        await writer.drain()
        writer.transport.abort()

    await world.host(script)
    verdict = await world.check(await world.dns(at("127.0.0.1")))
    assert (kind(verdict), verdict.conclusive) == ("connection-cut", False)


@pytest.mark.parametrize(("addresses", "conclusive"), [(("127.0.0.1",), True), (("::1", "127.0.0.2"), False)])
async def test_refused_connection(world: World, addresses: Sequence[str], conclusive: bool) -> None:
    """A refused connection is conclusive, except over IPv6 beside IPv4 that answers: some CAs fall back then."""
    await world.host(answers(BODY), "127.0.0.2")
    verdict = await world.check(await world.dns(at(*addresses)))
    assert verdict.problem is not None
    assert (kind(verdict), verdict.conclusive, verdict.problem.must_act) == ("connection-refused", conclusive, Actor.CUSTOMER)
    assert f"{addresses[0]} refuses the connection to port {world.port}" in detail(verdict)


async def test_private_address_is_never_connected_to(world: World) -> None:
    """A name that points to an address which is not public is conclusive, and nothing connects there."""
    host = await world.host(answers(BODY))
    verdict = await world.check(await world.dns(at("127.0.0.1")), allow=())
    assert (kind(verdict), verdict.conclusive) == ("private-address", True)
    assert "points to 127.0.0.1, a loopback address" in detail(verdict)
    assert host.connections == 0


# ---- redirects ----


async def test_redirect_to_another_host(world: World) -> None:
    """A redirect is followed to another host, which is resolved by itself and sees its own name."""
    await world.host(redirects(f"http://other.example.com:{world.port}/x?y=z"))
    other = await world.host(answers(BODY), "127.0.0.2")
    assert kind(await world.check(await world.dns(at("127.0.0.1", other_example_com=["127.0.0.2"])))) == "good"
    (request,) = other.requests
    assert request.startswith(f"GET /x?y=z HTTP/1.1\r\nHost: other.example.com:{world.port}\r\n".encode())


async def test_redirect_stays_at_the_address(world: World) -> None:
    """A redirect to the same host goes on at the address that is being checked."""

    async def script(head: bytes, writer: asyncio.StreamWriter) -> None:
        await (answers(BODY) if head.startswith(b"GET /next ") else redirects("/next"))(head, writer)

    hosts = [await world.host(script, address) for address in ("127.0.0.1", "127.0.0.2")]
    assert kind(await world.check(await world.dns(at("127.0.0.1", "127.0.0.2")))) == "good"
    assert [len(host.requests) for host in hosts] == [2, 2]


def server_tls(directory: Path) -> tuple[ssl.SSLContext, list[str | None]]:
    """Returns a server context whose certificate is for another name and from an unknown CA, and the list of SNIs it sees."""
    certificate, key = write_throwaway_ca(directory, "host", directory / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    seen: list[str | None] = []
    context.sni_callback = lambda _socket, name, _context: seen.append(name)
    return context, seen


async def test_redirect_to_https(world: World, tmp_path: Path) -> None:
    """A redirect to https is followed with the host's SNI; the certificate does not matter, as it does not to the CA."""
    tls, seen = server_tls(tmp_path)
    await world.host(redirects(f"https://shop.example.com:{world.tls_port}/x"))
    await world.host(answers(BODY), tls=tls)
    assert kind(await world.check(await world.dns(at("127.0.0.1")))) == "good"
    assert seen == ["shop.example.com"]


async def test_redirect_to_https_without_tls(world: World) -> None:
    """A redirect to https where no TLS is spoken is conclusive."""

    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    await world.host(redirects(f"https://shop.example.com:{world.tls_port}/x"))
    async with await asyncio.start_server(serve, "127.0.0.1", world.tls_port):
        verdict = await world.check(await world.dns(at("127.0.0.1")))
    assert (kind(verdict), verdict.conclusive) == ("tls-failed", True)


async def test_redirect_loop(world: World) -> None:
    """A loop of redirects ends after the tenth, conclusively."""
    host = await world.host(redirects("/again"))
    verdict = await world.check(await world.dns(at("127.0.0.1")))
    assert (kind(verdict), verdict.conclusive) == ("bad-redirect", True)
    assert "more than 10 times" in detail(verdict)
    assert len(host.requests) == 11


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("http://169.254.169.254/latest/meta-data/", "to 169.254.169.254, a link-local address"),
        ("http://[::1]:PORT/", "to ::1, a loopback address"),
        ("http://127.0.0.2:PORT/", "to 127.0.0.2, a loopback address"),
        ("http://[::ffff:127.0.0.2]:PORT/", "IPv4-mapped"),
        ("http://2130706434:PORT/", "to a host that is not a DNS name"),
        ("http://other.example.com:SHUT/", "a CA follows to 80 and 443 only"),
        ("http://user:password@other.example.com:PORT/", "to a URL with a user name"),
        ("http://inside.example.com:PORT/", "to a host at 127.0.0.2, a loopback address"),
        ("http://missing.example.com:PORT/", "to a host that has no address"),
        ("http://localhost:PORT/", "to a host that is not a DNS name"),
        ("ftp://other.example.com/", "to the scheme ftp"),
        ("http://other.example.com:PORT/\\\r\n", "not a URL"),
    ],
)
async def test_forbidden_redirect(world: World, location: str, words: str) -> None:
    """A redirect to a forbidden place is conclusive, and nothing connects there."""
    location = location.replace("PORT", str(world.port)).replace("SHUT", str(world.shut_port))
    await world.host(redirects(location.removesuffix("\r\n")))
    inside = await world.host(answers(BODY), "127.0.0.2")
    inside_v6 = await world.host(answers(BODY), "::1")
    resolver = await world.dns(at("127.0.0.1", inside_example_com=["127.0.0.2"], other_example_com=["127.0.0.1"]))
    verdict = await world.check(resolver, allow=["127.0.0.1"])
    assert (kind(verdict), verdict.conclusive) == ("bad-redirect", True)
    assert words in detail(verdict)
    assert (inside.connections, inside_v6.connections) == (0, 0)


async def test_dns_rebinding(world: World) -> None:
    """A name that resolves to a forbidden address the second time is refused there, and nothing connects to it."""
    await world.host(redirects("/again"))
    inside = await world.host(answers(BODY), "127.0.0.2")
    asked = 0

    def script(_name: str, kind: str) -> tuple[dns.rcode.Rcode, Sequence[str]]:
        nonlocal asked
        if kind != "A":
            return NOERROR, ()
        asked += 1
        return NOERROR, ["127.0.0.1" if asked == 1 else "127.0.0.2"]

    verdict = await world.check(await world.dns(script), allow=["127.0.0.1"])
    assert (kind(verdict), verdict.conclusive) == ("bad-redirect", True)
    assert (asked, inside.connections) == (2, 0)


async def test_redirect_to_a_host_whose_lookup_fails(world: World) -> None:
    """A redirect to a host that cannot be resolved just now is inconclusive."""
    await world.host(redirects(f"http://other.example.com:{world.port}/"))
    zone = at("127.0.0.1")
    verdict = await world.check(await world.dns(lambda name, kind: (SERVFAIL, ()) if name == "other.example.com" else zone(name, kind)))
    assert (kind(verdict), verdict.conclusive) == ("redirect-lookup-failed", False)


async def test_whole_time_is_bounded(world: World) -> None:
    """However many hosts and redirects there are, the check concludes within its total time."""

    async def script(head: bytes, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.2)
        await redirects("/again")(head, writer)

    await world.host(script)
    started = asyncio.get_running_loop().time()
    verdict = await world.check(await world.dns(at("127.0.0.1")), whole=timedelta(seconds=0.5))
    assert asyncio.get_running_loop().time() - started < 1
    assert (kind(verdict), verdict.conclusive) == ("time-over", False)


async def test_silence_is_not_known_before_its_time(world: World) -> None:
    """IPv6 that had not its time to answer is not called silent, good IPv4 beside it or not; nothing is concluded."""
    await world.host(silence, "::1")
    await world.host(answers(BODY))
    verdict = await world.check(await world.dns(at("::1", "127.0.0.1")), whole=timedelta(seconds=0.3))
    assert (kind(verdict), verdict.conclusive) == ("time-over", False)
    assert [("::1", "time-over"), ("127.0.0.1", "good")] == [(seen.address, seen.kind) for seen in verdict.observations]


async def test_wrong_answer_within_a_short_time(world: World) -> None:
    """What is known when the time is over is told as it is: a wrong answer stays conclusive, the rest is unknown."""
    await world.host(answers(b"welcome"))
    zone = at("127.0.0.1")
    resolver = await world.dns(lambda name, kind: None if kind == "CAA" else zone(name, kind))
    verdict = await world.check(resolver, whole=timedelta(seconds=0.3))
    assert (kind(verdict), verdict.conclusive) == ("wrong-answer", True)
    assert verdict.caa is not None
    assert CaaAnswer.UNKNOWN is verdict.caa.answer


@pytest.mark.parametrize("whole", [timedelta(0), timedelta(seconds=-1)])
async def test_no_time_at_all(world: World, whole: timedelta) -> None:
    """Without any time nothing is known, and nothing is concluded."""
    verdict = await world.check(await world.dns(at("127.0.0.1")), whole=whole)
    assert (kind(verdict), verdict.conclusive) == ("time-over", False)


@pytest.mark.parametrize("silent", ["AAAA", "CAA"])
async def test_lookup_that_had_not_its_time(world: World, silent: str) -> None:
    """A lookup that is cut short by the patience blames nobody."""
    await world.host(answers(BODY))
    zone = at("127.0.0.1")
    resolver = await world.dns(lambda name, kind: None if kind == silent else zone(name, kind))
    verdict = await world.check(resolver, whole=timedelta(seconds=0.3))
    assert verdict.problem is not None
    assert (False, Actor.NOBODY) == (verdict.conclusive, verdict.problem.must_act)
    assert "the time for the check was over" in detail(verdict)


async def test_redirect_that_no_ca_follows(world: World) -> None:
    """A redirect with status 303 is conclusive: CAs follow 301, 302, 307 and 308 only."""
    host = await world.host(says(b"HTTP/1.1 303 See Other\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n"))
    verdict = await world.check(await world.dns(at("127.0.0.1")))
    assert (kind(verdict), verdict.conclusive) == ("bad-redirect", True)
    assert "with status 303, which no CA follows" in detail(verdict)
    assert 1 == len(host.requests)


@pytest.mark.parametrize("name", ["co.uk", "github.io", "shop.local"])
async def test_name_that_no_ca_certifies(world: World, name: str) -> None:
    """A name that has become a public suffix since it was onboarded, or is in no public DNS, is not asked for at all."""
    asked: list[str] = []

    def script(name: str, _kind: str) -> tuple[dns.rcode.Rcode, Sequence[str]]:
        asked.append(name)
        return NOERROR, ()

    verdict = await world.check(await world.dns(script), name=DomainName(name))
    assert verdict.problem is not None
    assert (kind(verdict), verdict.conclusive, verdict.problem.must_act) == ("not-certifiable", True, Actor.CUSTOMER)
    assert [] == asked


async def test_private_address_beside_a_public_one_is_told(world: World) -> None:
    """An address that a CA drops is told of, and harms nothing beside one that answers."""
    await world.host(answers(BODY))
    verdict = await world.check(await world.dns(at("127.0.0.1", "10.0.0.1")), allow=["127.0.0.1"])
    assert "good" == kind(verdict)
    assert [("127.0.0.1", "good"), ("10.0.0.1", "private-address")] == [(seen.address, seen.kind) for seen in verdict.observations]


# ---- DNS ----


async def test_name_that_does_not_exist(world: World) -> None:
    """NXDOMAIN is conclusive and the customer's."""
    verdict = await world.check(await world.dns(at()), name=DomainName("missing.example.com"))
    assert verdict.problem is not None
    assert (kind(verdict), verdict.conclusive, verdict.problem.must_act) == ("no-such-name", True, Actor.CUSTOMER)


async def test_name_without_addresses(world: World, real_dns: DnsControl) -> None:
    """A name without A and AAAA is conclusive and the customer's."""
    verdict = await world.check(real_dns.resolver)
    assert (kind(verdict), verdict.conclusive) == ("no-address", True)


async def test_servfail(world: World, real_dns: DnsControl) -> None:
    """SERVFAIL proves nothing."""
    await real_dns.post("set-servfail", host=NAME.value)
    verdict = await world.check(real_dns.resolver, patience=0.5)
    assert (kind(verdict), verdict.conclusive) == ("dns-failed", False)
    assert "SERVFAIL" in detail(verdict)


async def test_servfail_for_one_family(world: World) -> None:
    """A failing AAAA lookup does no harm beside an A record that answers."""
    await world.host(answers(BODY))
    zone = at("127.0.0.1")
    verdict = await world.check(await world.dns(lambda name, kind: (SERVFAIL, ()) if kind == "AAAA" else zone(name, kind)), patience=0.5)
    assert kind(verdict) == "good"


async def test_silent_resolver(world: World) -> None:
    """A resolver that does not answer is the operator's problem, and inconclusive."""
    verdict = await world.check(await world.dns(lambda _name, _kind: None), patience=0.3)
    assert verdict.problem is not None
    assert (kind(verdict), verdict.conclusive, verdict.problem.must_act) == ("resolver-silent", False, Actor.OPERATOR)


async def test_unreachable_resolver(world: World) -> None:
    """A resolver that is not there is the operator's problem, and inconclusive."""
    verdict = await world.check(f"127.0.0.1:{world.shut_port}", patience=0.5)
    assert verdict.problem is not None
    assert (kind(verdict), verdict.conclusive, verdict.problem.must_act) == ("resolver-silent", False, Actor.OPERATOR)


async def test_crowd_of_addresses(world: World) -> None:
    """Of very many addresses only a bounded number is connected to."""
    host = await world.host(answers(BODY), "0.0.0.0")
    crowd = [f"127.0.1.{index}" for index in range(1, 60)]
    assert kind(await world.check(await world.dns(at(*crowd)))) == "good"
    assert host.connections == 8


@pytest.mark.parametrize("text", ["127.0.0.1", "resolver.example:53", "127.0.0.1:0", "127.0.0.1:99999", "127.0.0.1:x", ":53", "::1"])
def test_malformed_resolver(text: str) -> None:
    """A resolver that is not an address and a port stops the process at its start, with what to write."""
    with pytest.raises(ConfigurationError, match=r"such as 127\.0\.0\.1:53"):
        DnsResolver(text)


def test_resolver_over_ipv6() -> None:
    """An IPv6 resolver is written in brackets."""
    assert DnsResolver("[::1]:53")


# ---- CAA ----


@pytest.mark.parametrize(
    ("issuer", "expected"),
    [
        (None, CaaAnswer.ALLOWS),
        (Issuer(frozenset(("letsencrypt.org",)), "https://ca.example/acct/1"), CaaAnswer.ALLOWS),
        (Issuer(frozenset(("letsencrypt.org",)), "https://ca.example/acct/2"), CaaAnswer.FORBIDS),
        (Issuer(frozenset(("pki.goog",))), CaaAnswer.FORBIDS),
        (Issuer(frozenset()), CaaAnswer.ALLOWS),
    ],
)
async def test_caa_of_the_ca_that_is_to_issue(world: World, issuer: Issuer | None, expected: CaaAnswer) -> None:
    """CAA is judged for the CA and the account that the check is asked for, else for the pre-flight's own; records are shown."""
    await world.host(answers(BODY))
    zone = at("127.0.0.1")
    record = '0 issue "letsencrypt.org; accounturi=https://ca.example/acct/1"'
    resolver = await world.dns(lambda name, kind: (NOERROR, [record]) if (name, kind) == ("example.com", "CAA") else zone(name, kind))
    verdict = await world.check(resolver, identities=["letsencrypt.org"], issuer=issuer)
    assert verdict.caa is not None
    assert (expected, "example.com", (record,)) == (verdict.caa.answer, verdict.caa.owner, verdict.caa.records)
    assert ("caa-forbids" if expected is CaaAnswer.FORBIDS else "good") == kind(verdict)


async def test_caa_of_a_name_that_leads_nowhere(world: World) -> None:
    """CAA is looked at also where there is no address: the customer hears of both at once."""
    resolver = await world.dns(lambda _name, kind: (NOERROR, ['0 issue ";"'] if kind == "CAA" else ()))
    verdict = await world.check(resolver, identities=["letsencrypt.org"])
    assert "no-address" == kind(verdict)
    assert verdict.caa is not None
    assert CaaAnswer.FORBIDS is verdict.caa.answer


@pytest.mark.parametrize(
    ("owner", "policies", "expected"),
    [
        ("shop.example.com", [("issue", "letsencrypt.org")], "good"),
        ("example.com", [("issue", "digicert.com"), ("issue", "letsencrypt.org; validationmethods=http-01")], "good"),
        ("shop.example.com", [("issue", ";")], "caa-forbids"),
        ("shop.example.com", [("issue", "digicert.com")], "caa-forbids"),
        ("com", [("issue", "digicert.com")], "caa-forbids"),
        ("shop.example.com", [("issue", "letsencrypt.org; validationmethods=dns-01")], "caa-forbids"),
        ("other.example.com", [("issue", ";")], "good"),
    ],
)
async def test_caa(world: World, real_dns: DnsControl, owner: str, policies: list[tuple[str, str]], expected: str) -> None:
    """The closest CAA record set on the way up decides."""
    await world.host(answers(BODY))
    await real_dns.point(NAME.value, "127.0.0.1")
    await real_dns.post("add-caa", host=owner, policies=[{"tag": tag, "value": value} for tag, value in policies])
    verdict = await world.check(real_dns.resolver, identities=["letsencrypt.org"])
    assert (expected, True) == (kind(verdict), verdict.conclusive)
    assert expected == "good" or f"the CAA record at {owner}" in detail(verdict)


async def test_closest_caa_hides_the_parents(world: World, real_dns: DnsControl) -> None:
    """A record set at the name itself makes those of its parents irrelevant."""
    await world.host(answers(BODY))
    await real_dns.point(NAME.value, "127.0.0.1")
    await real_dns.post("add-caa", host="example.com", policies=[{"tag": "issue", "value": ";"}])
    await real_dns.post("add-caa", host=NAME.value, policies=[{"tag": "issue", "value": "letsencrypt.org"}])
    assert kind(await world.check(real_dns.resolver, identities=["letsencrypt.org"])) == "good"


async def test_caa_lookup_that_fails(world: World, real_dns: DnsControl) -> None:
    """A CAA lookup that fails on the way up is inconclusive."""
    await world.host(answers(BODY))
    await real_dns.point(NAME.value, "127.0.0.1")
    await real_dns.post("set-servfail", host="example.com")
    verdict = await world.check(real_dns.resolver, identities=["letsencrypt.org"], patience=0.5)
    assert (kind(verdict), verdict.conclusive) == ("caa-lookup-failed", False)
    assert "the lookup at example.com failed (the DNS resolver answered SERVFAIL)" in detail(verdict)


async def test_critical_caa_property(world: World) -> None:
    """An unknown property that is critical forbids issuance."""
    await world.host(answers(BODY))
    zone = at("127.0.0.1")
    record = '128 tbs "unknown"'
    resolver = await world.dns(lambda name, kind: (NOERROR, [record]) if (name, kind) == (NAME.value, "CAA") else zone(name, kind))
    verdict = await world.check(resolver, identities=["letsencrypt.org"])
    assert (kind(verdict), verdict.conclusive) == ("caa-forbids", True)


async def test_caa_is_asked_for_at_once(world: World) -> None:
    """The whole tree is asked without waiting for an answer."""
    await world.host(answers(BODY))
    zone, asked = at("127.0.0.1"), set()

    def script(name: str, kind: str) -> tuple[dns.rcode.Rcode, Sequence[str]] | None:
        if kind != "CAA":
            return zone(name, kind)
        asked.add(name)
        return None

    verdict = await world.check(await world.dns(script), patience=0.3)
    assert (kind(verdict), verdict.conclusive) == ("caa-lookup-failed", False)
    assert asked == {"shop.example.com", "example.com", "com"}


@pytest.mark.parametrize("above", [None, (SERVFAIL, ())], ids=["silent", "failing"])
async def test_lookup_that_fails_above_caa_records(world: World, above: tuple[dns.rcode.Rcode, Sequence[str]] | None) -> None:
    """What is above the closest record set may fail or be silent: it is not waited for."""
    await world.host(answers(BODY))
    zone = at("127.0.0.1")

    def script(name: str, kind: str) -> tuple[dns.rcode.Rcode, Sequence[str]] | None:
        if kind != "CAA":
            return zone(name, kind)
        return (NOERROR, ['0 issue "letsencrypt.org"']) if name == NAME.value else above

    verdict = await world.check(await world.dns(script), identities=["letsencrypt.org"], patience=3600)
    assert (kind(verdict), verdict.conclusive) == ("good", True)


async def test_failure_hides_caa_records_above(world: World) -> None:
    """A failed lookup may hide a closer record set, so that one above it decides nothing."""
    await world.host(answers(BODY))
    zone = at("127.0.0.1")

    def script(name: str, kind: str) -> tuple[dns.rcode.Rcode, Sequence[str]] | None:
        if kind != "CAA":
            return zone(name, kind)
        return {NAME.value: (NXDOMAIN, ()), "example.com": (SERVFAIL, ()), "com": (NOERROR, ['0 issue ";"'])}[name]

    verdict = await world.check(await world.dns(script), identities=["letsencrypt.org"])
    assert (kind(verdict), verdict.conclusive) == ("caa-lookup-failed", False)
    assert "the lookup at example.com failed" in detail(verdict)


async def test_host_is_asked_before_caa_is_known(world: World) -> None:
    """The token is fetched while the CAA lookups are still open."""
    host = await world.host(answers(BODY))
    zone = at("127.0.0.1")

    def script(name: str, kind: str) -> tuple[dns.rcode.Rcode, Sequence[str]] | None:
        return zone(name, kind) if kind != "CAA" or host.requests else None

    resolver = DnsResolver(await world.dns(script), attempt_timeout=0.1)
    probe = HttpPreflight(resolver, clock=lambda: NOW, http01_port=world.port, allow=parse_networks(["127.0.0.1"]))
    assert kind(await probe.check(NAME, TOKEN, BODY)) == "good"
