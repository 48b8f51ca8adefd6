"""ClientHellos of strangers at the edge: none of them gets a certificate, and none of them keeps anybody else from getting one."""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.e2e.client_hello import Version, client_hello, client_hello_with, server_name_extension, verdict
from tests.e2e.installation import Installation, installation

pytestmark = pytest.mark.asyncio(loop_scope="module")

GOOD = ("shop.example.com", "www.shop.example.com")
ROUNDS = 5
DEADLINE = 20.0
LONG = b".".join([b"a" * 63] * 3 + [b"a" * 61])
assert len(LONG) == 253

# What the edge closes at once, because it can be no DNS name; and what it asks Certplane for, which knows no such name.
CLOSED, REFUSED = "closed", "alert 40"
HOSTILE: dict[str, tuple[bytes, str]] = {
    "no SNI": (client_hello(None), CLOSED),
    "no SNI, TLS 1.2": (client_hello(None, Version.TLS12), CLOSED),
    "empty name": (client_hello(b""), CLOSED),
    "empty list": (client_hello_with(server_name_extension(b"\x00\x00")), CLOSED),
    "empty extension": (client_hello_with(server_name_extension(b"")), CLOSED),
    "wildcard": (client_hello(b"*"), CLOSED),
    "wildcard, TLS 1.2": (client_hello(b"*", Version.TLS12), CLOSED),
    "wildcard label": (client_hello(b"*.shop.example.com"), CLOSED),
    "not UTF-8": (client_hello(b"\xff\xfe\xc3\x28.example.com"), CLOSED),
    "not UTF-8, TLS 1.2": (client_hello(b"\xff\xfe\xc3\x28.example.com", Version.TLS12), CLOSED),
    "UTF-8 that is not ASCII": (client_hello("шоп.example.com".encode()), CLOSED),
    "NUL inside": (client_hello(b"shop.example.com\x00.example.net"), CLOSED),
    "NUL at the end": (client_hello(b"shop.example.com\x00"), CLOSED),
    "line break": (client_hello(b"shop.example.com\r\nx: y"), CLOSED),
    "slashes": (client_hello(b"../../shop.example.com"), CLOSED),
    "300 characters": (client_hello(b"a" * 300), CLOSED),
    "10 kB": (client_hello(b"a" * 10_000), CLOSED),
    "40 kB in three records": (client_hello(b"a" * 40_000), CLOSED),
    "IPv6 literal": (client_hello(b"::1"), CLOSED),
    "253 characters": (client_hello(LONG), REFUSED),
    "253 characters in one label": (client_hello(b"a" * 253), REFUSED),
    "IPv4 literal": (client_hello(b"127.0.0.1"), REFUSED),
    "trailing dot": (client_hello(b"shop.example.com."), REFUSED),
    "only dots": (client_hello(b"...."), REFUSED),
    "unknown name": (client_hello(b"unknown.example.com"), REFUSED),
    "unknown name, TLS 1.2": (client_hello(b"unknown.example.com", Version.TLS12), REFUSED),
    "the name for no name": (client_hello(b"no-sni.invalid"), REFUSED),
    "the name for no name in upper case": (client_hello(b"NO-SNI.INVALID"), REFUSED),
    "plain HTTP": (b"GET / HTTP/1.1\r\nhost: shop.example.com\r\n\r\n", CLOSED),
    "garbage": (os.urandom(600), CLOSED),
    "half a ClientHello, then silence": (client_hello(b"shop.example.com")[:90], CLOSED),
    "nothing but a record's head": (b"\x16\x03\x01\x02\x00", CLOSED),
}
SILENT = ("half a ClientHello, then silence", "nothing but a record's head")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def made(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Installation]:
    """An installation that serves `GOOD`."""
    async with installation(tmp_path_factory.mktemp("hellos")) as running:
        await running.issued(*GOOD)
        yield running


async def exchange(made: Installation, hello: bytes, enough: int = -1) -> bytes:
    """Sends bytes to the HTTPS listener; returns the first `enough` of what comes back, or all until the other side closes."""
    async with asyncio.timeout(DEADLINE):
        reader, writer = await asyncio.open_connection("127.0.0.1", made.https_port)
        try:
            writer.write(hello)
            return await reader.read(enough)
        except ConnectionResetError:
            return b""
        finally:
            writer.close()


async def verdicts(made: Installation, *, silent: bool = True) -> dict[str, str]:
    """What hostile ClientHellos get, all at the same time; `silent` false leaves out those that the edge waits for."""
    cases = [case for case in HOSTILE if silent or case not in SILENT]
    answers = await asyncio.gather(*(exchange(made, HOSTILE[case][0]) for case in cases))
    return dict(zip(cases, map(verdict, answers), strict=True))


async def vitals(made: Installation) -> dict[str, object]:
    """What must not change: processes, streams, failures to decode."""
    stats = await made.envoy_stats("^(cluster.certplane_xds.upstream_rq_total|control_plane.connected_state)$")
    metrics = await made.metrics(made.serve_metrics)
    return {
        "serve": (made.serve.pid, made.serve.returncode),
        "envoy": (made.envoy.pid, made.envoy.returncode),
        "streams ever begun by Envoy": stats["cluster.certplane_xds.upstream_rq_total"],
        "control plane connected": stats["control_plane.connected_state"],
        "streams open at serve": metrics['certplane_xds_streams{variant="delta_ads"}'],
        "requests not decoded": metrics.get('certplane_xds_decode_failures_total{variant="delta_ads"}', 0),
        "answers refused": metrics.get('certplane_xds_nacks_total{variant="delta_ads"}', 0),
    }


async def test_hostile_client_hellos_harm_nobody(made: Installation) -> None:
    """A flood of hostile ClientHellos gets no certificate, fails no good handshake, and ends neither the ADS stream nor a process."""
    for name in GOOD:
        await made.fetch(name)
    before = await vitals(made)
    finished = asyncio.Event()
    failures: list[str] = []
    served = 0

    async def good_clients(name: str) -> None:
        nonlocal served
        while not finished.is_set():
            try:
                page = await made.fetch(name)
            except (OSError, ssl.SSLError, TimeoutError) as error:
                failures.append(repr(error))
            else:
                assert name in page.body
                served += 1

    async with asyncio.TaskGroup() as tasks:
        for name in GOOD:
            tasks.create_task(good_clients(name))
        found = await asyncio.gather(*(verdicts(made) for _ in range(ROUNDS)))
        finished.set()
    for name in GOOD:
        await made.fetch(name)

    assert [{case: expected for case, (_, expected) in HOSTILE.items()}] * ROUNDS == found
    assert failures == []
    assert served >= len(GOOD)
    assert before == await vitals(made)
    assert (before["streams ever begun by Envoy"], before["requests not decoded"]) == (1, 0)
    assert b"cannot be decoded" not in made.serve.log_path.read_bytes()


async def test_new_name_is_served_after_hostile_client_hellos(made: Installation) -> None:
    """A name that is onboarded after hostile ClientHellos, one of which asked for it already, is served."""
    name = "late.example.com"
    early = verdict(await exchange(made, client_hello(name.encode())))
    await verdicts(made, silent=False)
    domain = await made.issued(name)

    assert early == REFUSED
    assert int(domain.serial_number, 16) == int((await made.fetch(name)).serial_number, 16)


@pytest.mark.parametrize("version", list(Version), ids=lambda version: version.name)
async def test_upper_case_of_a_good_name_is_served(made: Installation, version: Version) -> None:
    """DNS names have no case (RFC 4343): any spelling of a good name gets its certificate."""
    spelled = [b"SHOP.EXAMPLE.COM", b"Www.Shop.Example.Com"]
    answers = [verdict(await exchange(made, client_hello(name, version), 4096)) for name in spelled]
    page = await made.fetch("SHOP.example.COM")

    assert ["server hello"] * len(spelled) == answers
    assert page.status_line == "HTTP/1.1 200 OK"
