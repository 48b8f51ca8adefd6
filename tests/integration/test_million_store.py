"""The filler of the large benchmark store: it writes what the adapters write, with certificates and sealed keys that are real."""

import asyncio
import json
import shutil
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from redis import Redis

from bench.fill_store import AdapterWriter, StoredDomain
from bench.million.authority import LeafTemplate, LifelikeCa
from bench.million.commands import ShardWriter, write_intermediates
from bench.million.dump import Dump, kept_dump
from bench.million.filling import name_of
from bench.million.maker import Maker, new_leaf_key
from bench.million.valkey import dumped_valkey
from controlplane.adapters import redis_keys as keys
from controlplane.adapters.key_files import load_key_directory
from controlplane.adapters.key_generation import KeyKind, generate_role_directories
from controlplane.adapters.record_hmac import RecordHmac
from controlplane.adapters.redis_certificates import RedisCertificateStore
from controlplane.adapters.redis_client import connect
from controlplane.core.certificate import CertificateRecord
from controlplane.core.chain import check_chain
from controlplane.core.sealing import Scheme
from controlplane.usecases.tls_material import certificate_chain_pem, private_key_pem

DOMAINS = 300
FOUR_PLACES = {"serial number", "key", "name", "timestamps"}


@pytest.fixture(scope="module")
def authority() -> LifelikeCa:
    """A private CA."""
    return LifelikeCa()


@pytest.fixture(scope="module")
def template(authority: LifelikeCa) -> LeafTemplate:
    """Its template."""
    return authority.leaf_template(name_of(0))


@pytest.fixture(scope="module")
def role_keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The key directories of `serve` and `worker`."""
    directory = tmp_path_factory.mktemp("keys")
    generate_role_directories(directory / "serve", directory / "worker", KeyKind(Scheme.HPKE_X25519), datetime.now(UTC))
    return directory / "serve", directory / "worker"


@pytest.fixture(scope="module")
def domains(template: LeafTemplate, role_keys: tuple[Path, Path]) -> Sequence[StoredDomain]:
    """Some made domains."""
    return list(Maker(template, load_key_directory(role_keys[1]).sealer()).make(name_of(index) for index in range(DOMAINS)))


def content(client: Redis) -> dict[str, Any]:
    """Returns everything in a store; of a stream's entries all but their ids, which are the store's own time."""
    readers = {
        b"hash": client.hgetall,
        b"string": client.get,
        b"zset": lambda key: client.zrange(key, 0, -1, withscores=True),
        b"stream": lambda key: [fields for _, fields in client.xrange(key)],
    }
    return {key.decode(): (client.ttl(key), readers[client.type(key)](key)) for key in client.scan_iter()}


async def test_writes_what_the_adapters_write(domains: Sequence[StoredDomain], valkey_url: str, authenticator: RecordHmac) -> None:
    """The filler's plain commands leave the same keys, fields and bytes as the API's and the worker's adapters."""
    now = datetime.now(UTC)
    client = connect(valkey_url)
    writer = AdapterWriter(client, authenticator, lambda: now)
    for stored in domains:
        await writer.write(stored)
    await client.aclose()
    with Redis.from_url(valkey_url) as store:
        written_by_adapters = content(store)
        store.flushall()
        write_intermediates(store, domains[0].record.intermediates)
        by_shard: dict[int, list[StoredDomain]] = {}
        for stored in domains:
            by_shard.setdefault(keys.shard_of(stored.spec.fqdn.value), []).append(stored)
        for shard, some in by_shard.items():
            fast = ShardWriter(authenticator, shard)
            fast.write(store, some[:1], now)
            if some[1:]:
                fast.write(store, some[1:], now)
        assert written_by_adapters == content(store)
    assert max(len(some) for some in by_shard.values()) > 2


def test_leaf_of_template_is_what_the_builder_makes(authority: LifelikeCa, template: LeafTemplate) -> None:
    """A leaf cut from the template differs from one of the CA's builder in its four places only, and its signature verifies."""
    name = name_of(1234567)
    _, spki = new_leaf_key()
    made, serial_number = template.signer().sign(name, spki)
    leaf, built = x509.load_der_x509_certificate(made), x509.load_der_x509_certificate(template.leaf)
    leaf.verify_directly_issued_by(x509.load_der_x509_certificate(template.intermediate))
    assert described(built).keys() == described(leaf).keys()
    assert FOUR_PLACES == {what for what, value in described(leaf).items() if value != described(built)[what]}
    assert serial_number == leaf.serial_number
    assert spki == leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert [name] == leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName)
    assert authority.expire_time == leaf.not_valid_after_utc


def described(leaf: x509.Certificate) -> dict[str, Any]:
    """Returns all that a leaf says."""
    extensions = {each.oid.dotted_string: (each.critical, each.value) for each in leaf.extensions}
    return {
        "serial number": leaf.serial_number,
        "key": leaf.public_key(),
        "name": extensions.pop("2.5.29.17"),
        "timestamps": extensions.pop("1.3.6.1.4.1.32473.1"),
        "version": leaf.version,
        "issuer": leaf.issuer,
        "subject": leaf.subject,
        "validity": (leaf.not_valid_before_utc, leaf.not_valid_after_utc),
        "algorithm": leaf.signature_algorithm_oid,
        **extensions,
    }


def test_a_name_of_another_length_is_refused(template: LeafTemplate) -> None:
    """A template makes no certificate for a name that does not fit into its place."""
    _, spki = new_leaf_key()
    with pytest.raises(ValueError, match="29 characters"):
        template.signer().sign("short.example.net", spki)


def test_every_chain_passes_the_workers_checks(domains: Sequence[StoredDomain]) -> None:
    """Each made chain is what a worker would accept from a CA, and its record says what the chain says."""
    for stored in domains:
        record = stored.record
        checked = check_chain((record.leaf, *record.intermediates), record.names, record.spki_digest, datetime.now(UTC))
        assert (checked.id, checked.not_before, checked.not_after) == (record.id, record.not_before, record.not_after)
        assert checked.serial_number == stored.status.serial_number
    assert DOMAINS == len({stored.record.spki_digest for stored in domains})


def test_a_made_domain_stands_a_tls_handshake(
    authority: LifelikeCa, domains: Sequence[StoredDomain], role_keys: tuple[Path, Path], tmp_path: Path
) -> None:
    """A TLS server with the opened leaf key and the chain passes a client's verification."""
    record = domains[7].record
    opened = load_key_directory(role_keys[0]).opener().open(record.sealed_leaf_key, record.seal_context)
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    chain.write_bytes(certificate_chain_pem(record))
    key.write_bytes(private_key_pem(record, opened).reveal())
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(chain, key)
    client_context = ssl.create_default_context(cadata=authority.root_pem.decode())
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server, server_hostname=record.fqdn)
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    waiting = [client, server]
    for _ in range(4):
        waiting = [side for side in waiting if not finished(side)]
    assert [] == waiting
    assert f"{int(client.getpeercert()['serialNumber'], 16):x}" == domains[7].status.serial_number


def finished(side: ssl.SSLObject) -> bool:
    """Takes a handshake as far as it goes; returns whether it is done."""
    try:
        side.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


async def looked_up(dump: Dump) -> dict[str, CertificateRecord]:
    """Returns what `serve` finds in a dump for all its names, each key opened with its keys."""
    loaded = load_key_directory(dump.serve_keys)
    async with dumped_valkey(dump.directory) as valkey:
        client = connect(valkey.url)
        found = await RedisCertificateStore(client, loaded.authenticator()).lookup([name_of(index) for index in range(DOMAINS)])
        await client.aclose()
    records = {name: record for name, record in found.items() if isinstance(record, CertificateRecord)}
    for record in records.values():
        private_key_pem(record, loaded.opener().open(record.sealed_leaf_key, record.seal_context))
    return records


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with one dump."""
    directory = tmp_path_factory.mktemp("dumps")
    _, made = asyncio.run(kept_dump(directory, DOMAINS))
    assert made
    return directory


async def test_a_dump_is_read_by_serve(kept: Path) -> None:
    """All cores fill a store whose records `serve` believes and opens; the next run takes the same dump."""
    dump, made = await kept_dump(kept, DOMAINS)
    assert not made
    records = await looked_up(dump)
    assert {name_of(index) for index in range(DOMAINS)} == records.keys()
    root = x509.load_pem_x509_certificate(dump.roots.read_bytes())
    for record in records.values():
        x509.load_der_x509_certificate(record.intermediates[0]).verify_directly_issued_by(root)
    assert DOMAINS == len({record.leaf for record in records.values()})
    # Nothing that makes further certificates is kept.
    assert ["dump.rdb", "manifest.json", "roots.pem", "serve-keys", "worker-keys"] == sorted(path.name for path in dump.directory.iterdir())


@pytest.mark.parametrize(("field", "value"), [("layout", "of another version"), ("expire_time", "2026-01-01T00:00:00+00:00")])
async def test_a_dump_that_cannot_be_used_is_made_anew(kept: Path, tmp_path: Path, field: str, value: str) -> None:
    """A dump of another layout, or with certificates at their end, is replaced."""
    manifest = shutil.copytree(kept, tmp_path / "dumps") / str(DOMAINS) / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), field: value}))
    dump, made = await kept_dump(tmp_path / "dumps", DOMAINS)
    assert made
    assert (kept / str(DOMAINS) / "roots.pem").read_bytes() != dump.roots.read_bytes()
    assert DOMAINS == len(await looked_up(dump))
