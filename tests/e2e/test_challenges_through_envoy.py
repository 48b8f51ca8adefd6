"""HTTP-01 challenges and sites through a real Envoy: who is answered with what, and what goes on while the store or `serve` is away."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta

import pytest
import pytest_asyncio

from controlplane.adapters.key_files import load_key_directory
from controlplane.adapters.redis_client import connect
from controlplane.adapters.redis_tokens import RedisTokenStore
from controlplane.core.ports import TokenRecord
from controlplane.core.redacted import SecretBytes
from controlplane.embedded.valkey import start_valkey
from tests.e2e.installation import Installation, installation
from tests.fakes import samples

pytestmark = pytest.mark.asyncio(loop_scope="module")

OWN, WWW, OTHER = "shop.example.com", "www.shop.example.com", "cafe.example.com"
PREFIX = "/.well-known/acme-challenge/"
DEADLINE = 30.0
NOT_FOUND = (404, b"no such challenge\n")
TRY_AGAIN = (503, b"try again\n")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def made(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Installation]:
    """An installation that serves `OWN` with `WWW`, and `OTHER`."""
    async with installation(tmp_path_factory.mktemp("challenges")) as running:
        await asyncio.gather(running.issued(OWN, WWW), running.issued(OTHER))
        yield running


async def planted(made: Installation, *names: str) -> tuple[str, bytes]:
    """Plants a token as the worker does; returns its path and the body that answers it."""
    token = secrets.token_urlsafe(32)
    body = f"{token}.{secrets.token_urlsafe(32)}"
    client = connect(made.valkey.url)
    store = RedisTokenStore(client, load_key_directory(made.worker_keys).authenticator())
    await store.plant(TokenRecord(token, SecretBytes(body.encode()), names, samples.now() + timedelta(minutes=5)))
    await client.aclose()
    return PREFIX + token, body.encode()


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Waits until `condition` holds; fails after `DEADLINE` seconds."""
    async with asyncio.timeout(DEADLINE):
        while not await condition():
            await asyncio.sleep(0.05)


@pytest.fixture(params=["", OWN], ids=["http", "https"])
def tls_name(request: pytest.FixtureRequest) -> str:
    """The listener: with a server name it is HTTPS."""
    return request.param


@pytest.mark.parametrize(
    "host",
    [OWN, WWW, "SHOP.Example.COM", f"{OWN}.", f"{OWN}:80", f"{OWN}:8443", f"WWW.{OWN}.:443"],
)
async def test_token_is_answered_for_every_name_of_its_record(made: Installation, tls_name: str, host: str) -> None:
    """The body is the key authorization and nothing else, however the host is spelled and whichever listener is asked."""
    path, body = await planted(made, OWN, WWW)
    assert (200, body) == await made.http(host, path, tls_name=tls_name)


@pytest.mark.parametrize("host", [OTHER, "example.com", f"x.{OWN}", f"{OWN}.evil.example", "127.0.0.1", "[::1]:80", "*"])
async def test_token_is_not_answered_for_another_host(made: Installation, tls_name: str, host: str) -> None:
    """A host that the record does not name gets 404, one of another domain with a certificate too."""
    path, _ = await planted(made, OWN, WWW)
    assert NOT_FOUND == await made.http(host, path, tls_name=tls_name)


@pytest.mark.parametrize(
    "path",
    [PREFIX + "A" * 43, PREFIX + "A" * 200, PREFIX, PREFIX + "a/b", PREFIX + "cp:epoch", PREFIX + "%C3%28"],
)
async def test_unknown_token_is_not_found(made: Installation, tls_name: str, path: str) -> None:
    """What was never planted, or can be no token, gets 404 and never reaches the site."""
    assert NOT_FOUND == await made.http(OWN, path, tls_name=tls_name)


async def test_token_is_for_the_exact_path_only(made: Installation, tls_name: str) -> None:
    """A query changes nothing; anything before or behind the token makes it another one."""
    path, body = await planted(made, OWN)
    assert (200, body) == await made.http(OWN, f"{path}?x=1", tls_name=tls_name)
    assert NOT_FOUND == await made.http(OWN, f"{path}x", tls_name=tls_name)
    assert NOT_FOUND == await made.http(OWN, f"{path}/", tls_name=tls_name)
    assert NOT_FOUND == await made.http(OWN, path[:-1], tls_name=tls_name)


@pytest.mark.parametrize(
    "path", ["/", "/cart?next=/.well-known/acme-challenge/x", "/.well-known/security.txt", "/.well-known/acme-challenge"]
)
async def test_every_other_path_reaches_the_site(made: Installation, tls_name: str, path: str) -> None:
    """The site gets the request with the host as the client wrote it."""
    host = f"{OWN}:8080"
    status, body = await made.http(host, path, tls_name=tls_name)
    assert status == 200
    assert host.encode() in body


async def test_store_that_is_away_fails_challenges_only(made: Installation) -> None:
    """Without the store challenges are 503, sites and fetched certificates go on; once it is back, all works again without a restart."""
    path, body = await planted(made, OWN, WWW)
    await made.fetch(OWN)
    pids = (made.serve.pid, made.worker.pid, made.envoy.pid)
    url = made.valkey.url
    await made.valkey.stop()

    for tls_name in ("", OWN):
        assert TRY_AGAIN == await made.http(OWN, path, tls_name=tls_name)
        assert TRY_AGAIN == await made.http(OWN, PREFIX + "A" * 43, tls_name=tls_name)
        assert (await made.http(OWN, "/", tls_name=tls_name))[0] == 200
    assert (await made.fetch(OWN)).status_line == "HTTP/1.1 200 OK"

    made.valkey = await start_valkey(made.directory)
    assert url == made.valkey.url

    async def answered() -> bool:
        return (200, body) == await made.http(OWN, path)

    await until(answered)
    domain = await made.issued("after-store.example.com")
    assert int(domain.serial_number, 16) == int((await made.fetch("after-store.example.com")).serial_number, 16)
    assert pids == (made.serve.pid, made.worker.pid, made.envoy.pid)
    assert (None, None, None) == (made.serve.returncode, made.worker.returncode, made.envoy.returncode)


async def test_serve_that_is_killed_fails_challenges_only(made: Installation) -> None:
    """Without `serve` challenges are 503 and Envoy serves what it holds; a new `serve` takes up with the same Envoy."""
    path, body = await planted(made, OWN, WWW)
    before = (await made.fetch(OWN)).serial_number
    await made.serve.kill()

    for tls_name in ("", OWN):
        assert (await made.http(OWN, path, tls_name=tls_name))[0] == 503
        assert (await made.http(OWN, "/", tls_name=tls_name))[0] == 200
    assert before == (await made.fetch(OWN)).serial_number

    await made.start_serve()

    async def answered() -> bool:
        return (200, body) == await made.http(OWN, path)

    await until(answered)
    domain = await made.issued("after-serve.example.com")
    assert int(domain.serial_number, 16) == int((await made.fetch("after-serve.example.com")).serial_number, 16)
    assert before == (await made.fetch(OWN)).serial_number
