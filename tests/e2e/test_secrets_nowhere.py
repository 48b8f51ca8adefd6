"""Secrets stay where they belong: not in the store, not in any log at any level, not in metrics, not in Envoy's admin interface."""

import asyncio
import base64
import json
import urllib.request
from datetime import timedelta
from pathlib import Path

import dns.rcode
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from josepy.json_util import encode_b64jose
from josepy.jwk import JWKEC
from redis.asyncio import Redis

from controlplane.adapters.key_files import load_key_directory
from controlplane.adapters.redis_client import connect
from controlplane.adapters.redis_tokens import RedisTokenStore
from controlplane.api.certplane.v1 import domain_pb2, domain_service_pb2
from controlplane.core.ports import TokenRecord
from controlplane.core.redacted import SecretBytes
from tests.e2e.installation import Installation, installation
from tests.e2e.secret_search import Place, Secret, find, store_places
from tests.e2e.store_history import StoreHistory, private_key, scalar
from tests.fakes import samples
from tests.fakes.dns_server import dns_server

ISSUED = ("shop.example.com", "cafe.example.com", "bakery.example.com")
RENEWED = ISSUED[0]
FAILING = "broken.example.com"
DEADLINE = 30.0


def resolves_here(_name: str, kind: str) -> tuple[dns.rcode.Rcode, list[str]]:
    """A DNS in which every name leads to this machine."""
    return dns.rcode.NOERROR, ["127.0.0.1"] if kind == "A" else []


async def issue_renew_and_fail(made: Installation) -> None:
    """Three certificates, one of them renewed, and one order that fails at its challenge, after the pre-flight was content."""
    await made.pebble.set_servfail(FAILING)
    for name in (*ISSUED, FAILING):
        await made.create(name, f"www.{name}")
    first = (await made.wait_until_active(*ISSUED))[RENEWED].serial_number
    await made.stub.RenewDomain(domain_service_pb2.RenewDomainRequest(name=f"domains/{RENEWED}"))
    async with asyncio.timeout(DEADLINE):
        while (await made.get(RENEWED)).serial_number == first:
            await asyncio.sleep(0.05)
        while (await made.get(FAILING)).state != domain_pb2.Domain.STATE_FAILED:
            await asyncio.sleep(0.05)
    error = (await made.get(FAILING)).last_error
    assert (FAILING, "urn:ietf:params:acme:error:connection") == (error.failed_name, error.type), error.detail
    for name in ISSUED:
        await made.fetch(name)


async def until_no_token_is_left(client: Redis) -> None:
    """Waits until all tokens are withdrawn, which is the last thing that a worker does for an order."""
    async with asyncio.timeout(DEADLINE):
        while [key async for key in client.scan_iter(match="*:token:*", count=1000)]:
            await asyncio.sleep(0.05)


def log_files(made: Installation) -> list[Path]:
    """The logs of serve, worker, Valkey and Envoy, and Envoy's configuration."""
    found = [*made.directory.glob("*.log"), made.directory / "valkey" / "valkey.log", *(made.directory / "envoy").iterdir()]
    assert {"serve.log", "worker.log", "valkey.log", "envoy.log", "envoy.yaml"} == {path.name for path in found}
    return found


async def places(made: Installation, client: Redis) -> list[Place]:
    """The store as it is now, logs, metrics, and all that Envoy shows."""
    admin = f"http://127.0.0.1:{made.admin_port}"
    urls = [f"http://{address}/metrics" for address in (made.serve_metrics, made.worker_metrics)]
    urls += [f"{admin}/config_dump?include_eds", f"{admin}/stats", f"{admin}/certs", f"{admin}/clusters"]
    replies = [await asyncio.to_thread(lambda url=url: urllib.request.urlopen(url, timeout=10).read()) for url in urls]
    return [
        *await store_places(client),
        *(Place(str(path.relative_to(made.directory)), path.read_bytes()) for path in log_files(made)),
        *(Place(url, reply) for url, reply in zip(urls, replies, strict=True)),
    ]


async def test_secrets_are_nowhere(tmp_path: Path) -> None:
    """After issuances, a renewal and a failed order no secret is found; the same search finds each one that is planted."""
    async with dns_server(resolves_here) as resolver, installation(tmp_path, worker=False) as made:
        made.dns_resolver = resolver
        await made.start_worker()
        client = connect(made.valkey.url)
        try:
            await issue_renew_and_fail(made)
            await until_no_token_is_left(client)
            history = StoreHistory(made)
            leaf_keys, account_key, answers = history.leaf_keys(), history.account_key(), history.key_authorizations()
            thumbprint = "." + encode_b64jose(JWKEC(key=account_key).thumbprint())
            keys = [*leaf_keys, Secret("the account key", scalar(account_key)), *history.keys_of_roles()]
            capabilities = [
                Secret("a key authorization", thumbprint.encode()),
                *(Secret("a token's body", body.encode()) for body in answers),
            ]

            assert find([*keys, *capabilities], await places(made, client)) == []
            # The append-only file has had tokens too, as long as they were good for something; keys it must never have had.
            assert find(keys, [Place(path.name, path.read_bytes()) for path in history.files]) == []

            # What was searched for is what there was: a key for each of five orders at least, and answers for the failed one.
            assert len(leaf_keys) >= len(ISSUED) + 2
            assert any(FAILING in secret.title for secret in leaf_keys)
            assert {thumbprint in body for body in answers} == {True, False}
            assert any(FAILING in names for body, names in answers.items() if thumbprint in body)
            assert len(history.keys_of_roles()) == 4
            assert b'"level": "debug"' in made.serve.log_path.read_bytes()

            await check_that_planted_secrets_are_found(made, client, keys, thumbprint)
        finally:
            await client.aclose()


async def check_that_planted_secrets_are_found(made: Installation, client: Redis, keys: list[Secret], thumbprint: str) -> None:
    """The positive control: what is planted in the store or in a log is found, each key in each form."""
    for secret in keys:
        for form in secret.forms().values():
            assert find([secret], [Place("here", b"before " + form + b" after")])
    leaf_key, account_key = keys[0], next(secret for secret in keys if secret.title == "the account key")
    pem, der = pem_of(leaf_key.content), der_of(account_key.content)
    record = TokenRecord("planted-token", SecretBytes(f"planted-token{thumbprint}".encode()), ISSUED, samples.now() + timedelta(minutes=5))

    await client.hset("planted-hash", "key", base64.b64encode(der))
    await client.zadd("planted-zset", {leaf_key.content: 0})
    await client.xadd("planted-stream", {"key": leaf_key.content.hex().upper()})
    await RedisTokenStore(client, load_key_directory(made.worker_keys).authenticator()).plant(record)
    with made.worker.log_path.open("ab") as log:
        log.write(json.dumps({"event": "planted", "key": pem.decode()}).encode() + b"\n")
    with made.serve.log_path.open("ab") as log:
        log.write(f"planted {account_key.content!r}\n".encode())

    found = "\n".join(find([leaf_key, account_key, Secret("a key authorization", thumbprint.encode())], await places(made, client)))
    for title, place in [
        (account_key.title, "planted-hash"),
        (leaf_key.title, "planted-zset"),
        (leaf_key.title, "planted-stream"),
        ("a key authorization", "token:planted-token"),
        (leaf_key.title, "worker.log"),
        ("a PEM block", "worker.log"),
        (account_key.title, "serve.log"),
    ]:
        assert any(line.startswith(title) and line.endswith(place) for line in found.splitlines()), f"{title} in {place}"


def key_of(number: bytes) -> ec.EllipticCurvePrivateKey:
    """The P-256 key with this secret number."""
    return ec.derive_private_key(int.from_bytes(number, "big"), ec.SECP256R1())


def pem_of(number: bytes) -> bytes:
    """A P-256 key as PEM."""
    return key_of(number).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def der_of(number: bytes) -> bytes:
    """A P-256 key as DER PKCS#8."""
    der = key_of(number).private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    assert scalar(private_key(der)) == number
    return der
