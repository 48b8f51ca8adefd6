"""Secrets stay where they belong.

Not in the store, nor in a log at any level, in metrics, in a file that a process has mapped, or in Envoy's admin interface.
"""

import asyncio
import base64
import json
import mmap
import os
import urllib.request
from datetime import timedelta
from pathlib import Path

import dns.rcode
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from josepy.json_util import encode_b64jose
from josepy.jwk import JWKEC
from redis.asyncio import Redis

from controlplane.adapters.key_files import load_key_directory
from controlplane.adapters.key_generation import KeyKind, generate_role_directories
from controlplane.adapters.redis_client import connect
from controlplane.adapters.redis_tokens import RedisTokenStore
from controlplane.api.certplane.v1 import domain_pb2, domain_service_pb2
from controlplane.core.key_protection import Unlock
from controlplane.core.ports import TokenRecord
from controlplane.core.redacted import SecretBytes
from tests.e2e.installation import Installation, installation, key_directories
from tests.e2e.mapped_files import mapped_files, may_look_into
from tests.e2e.secret_search import Place, Secret, find, store_places
from tests.e2e.store_history import StoreHistory, private_key, scalar
from tests.fakes import samples
from tests.fakes.dns_server import dns_server

MANY = 100
ISSUED = ("shop.example.com", "cafe.example.com", "bakery.example.com")
ALONE = tuple(f"shop{number}.example.com" for number in range(MANY - len(ISSUED)))
RENEWED = ISSUED[0]
FAILING = "broken.example.com"
DEADLINE = 30.0
PASSPHRASE = Secret("the passphrase", b"correct horse battery staple")
UNLOCK = Unlock(SecretBytes(PASSPHRASE.content))


def resolves_here(_name: str, kind: str) -> tuple[dns.rcode.Rcode, list[str]]:
    """A DNS in which every name leads to this machine."""
    return dns.rcode.NOERROR, ["127.0.0.1"] if kind == "A" else []


async def issue_renew_and_fail(made: Installation) -> None:
    """A hundred certificates, one of them renewed, and one order that fails at its challenge, after the pre-flight was content."""
    await made.pebble.set_servfail(FAILING)
    for name in (*ISSUED, FAILING):
        await made.create(name, f"www.{name}")
    for name in ALONE:
        await made.create(name)
    first = (await made.wait_until_active(*ISSUED, *ALONE))[RENEWED].serial_number
    await made.stub.RenewDomain(domain_service_pb2.RenewDomainRequest(name=f"domains/{RENEWED}"))
    async with asyncio.timeout(DEADLINE):
        while (await made.get(RENEWED)).serial_number == first:
            await asyncio.sleep(0.05)
        while (await made.get(FAILING)).state != domain_pb2.Domain.STATE_FAILED:
            await asyncio.sleep(0.05)
    error = (await made.get(FAILING)).last_error
    assert (FAILING, "urn:ietf:params:acme:error:connection") == (error.failed_name, error.type), error.detail
    for name in (*ISSUED, *ALONE):
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
    """The store as it is now, logs, metrics, files that are mapped, and all that Envoy shows."""
    admin = f"http://127.0.0.1:{made.admin_port}"
    urls = [f"http://{address}/metrics" for address in (made.serve_metrics, made.worker_metrics)]
    urls += [f"{admin}/config_dump?include_eds", f"{admin}/stats", f"{admin}/certs", f"{admin}/clusters"]
    replies = [await asyncio.to_thread(lambda url=url: urllib.request.urlopen(url, timeout=10).read()) for url in urls]
    return [
        *await store_places(client),
        *(Place(str(path.relative_to(made.directory)), path.read_bytes()) for path in log_files(made)),
        *(Place(url, reply) for url, reply in zip(urls, replies, strict=True)),
        # Closed to others of the same user, so they are looked into where this runs as root.
        *(place for process in (made.serve, made.worker) if may_look_into(process.pid) for place in mapped_files(process.pid)),
    ]


async def test_secrets_are_nowhere(tmp_path: Path) -> None:
    """After issuances, a renewal and a failed order no secret is found; the same search finds each one that is planted."""
    generate_role_directories(*key_directories(tmp_path), KeyKind(), samples.now(), UNLOCK)
    passphrase_file = tmp_path / "passphrase"
    passphrase_file.touch(0o600)
    passphrase_file.write_bytes(PASSPHRASE.content + b"\n")
    options = [f"--key-passphrase-file={passphrase_file}"]
    async with (
        dns_server(resolves_here) as resolver,
        installation(tmp_path, worker=False, serve_options=options, worker_options=options) as made,
    ):
        made.dns_resolver = resolver
        await made.start_worker()
        client = connect(made.valkey.url)
        try:
            await issue_renew_and_fail(made)
            await until_no_token_is_left(client)
            history = StoreHistory(made, UNLOCK)
            leaf_keys, account_key, answers = history.leaf_keys(), history.account_key(), history.key_authorizations()
            thumbprint = "." + encode_b64jose(JWKEC(key=account_key).thumbprint())
            recipient_keys, record_keys = history.recipient_keys(), history.record_keys()
            keys = [*leaf_keys, Secret("the account key", scalar(account_key)), *recipient_keys, *record_keys]
            capabilities = [
                Secret("a key authorization", thumbprint.encode()),
                *(Secret("a token's body", body.encode()) for body in answers),
            ]

            assert find([*keys, *capabilities, PASSPHRASE], await places(made, client)) == []
            # The append-only file has had tokens too, as long as they were good for something; keys it must never have had.
            assert find(keys, [Place(path.name, path.read_bytes()) for path in history.files]) == []

            # A disk from which somebody has the key directories, and not the passphrase: of keys it has record keys only.
            directories = [Place(str(path), path.read_bytes()) for path in sorted(tmp_path.glob("*-keys/*"))]
            assert {secret.title for secret in record_keys} == {line.partition(" ")[0] for line in find(keys, directories)} - {"a"}

            # What was searched for is what there was: a key for each of five orders at least, and answers for the failed one.
            assert len(leaf_keys) >= MANY + 2
            assert any(FAILING in secret.title for secret in leaf_keys)
            assert {thumbprint in body for body in answers} == {True, False}
            assert any(FAILING in names for body, names in answers.items() if thumbprint in body)
            assert (2, 2) == (len(recipient_keys), len(record_keys))
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
    await RedisTokenStore(client, load_key_directory(made.worker_keys, UNLOCK).authenticator()).plant(record)
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


@pytest.mark.parametrize("deleted", [False, True])
def test_a_mapped_file_is_searched(tmp_path: Path, deleted: bool) -> None:
    """The search of mapped files finds what a process has written into one, also when the file has no name any more."""
    secret = Secret("a key", bytes(range(32)))
    before = find([secret], mapped_files(os.getpid()))
    path = tmp_path / "mapped"
    path.write_bytes(bytes(4096))
    with path.open("r+b") as opened, mmap.mmap(opened.fileno(), 0) as mapped:
        mapped[100:132] = secret.content
        if deleted and os.geteuid() == 0:
            path.unlink()
        found = find([secret], mapped_files(os.getpid()))
    assert [] == before
    assert any(str(path) in line for line in found)


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
