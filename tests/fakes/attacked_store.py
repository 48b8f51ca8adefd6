"""The parts of `serve` over a real store, and an attacker who writes to that store: what they know and what they can do with it."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from envoy.service.auth.v3 import external_auth_pb2, external_auth_pb2_grpc
from envoy.service.discovery.v3 import ads_pb2_grpc
from redis.asyncio import Redis

from controlplane.adapters import redis_keys as keys
from controlplane.adapters.certificate_codec import HEAD_KIND, KIND
from controlplane.adapters.key_files import LoadedKeys, load_key_directory
from controlplane.adapters.key_generation import KeyKind, add_recipient_key, generate_role_directories
from controlplane.adapters.live_keys import LiveKeys
from controlplane.adapters.record_codec import encode_certificate_times, encode_envelope
from controlplane.adapters.redis_certificates import RedisCertificateStore
from controlplane.adapters.redis_changes import RedisChangeFeed
from controlplane.adapters.redis_client import connect
from controlplane.adapters.redis_domains import RedisDomainStore
from controlplane.adapters.redis_tokens import RedisTokenStore
from controlplane.adapters.redis_work import RedisWorkStore
from controlplane.api.certplane.store.v1.certificate_pb2 import CertificateHead as HeadMessage
from controlplane.api.certplane.store.v1.certificate_pb2 import CertificateRecord as CertificateMessage
from controlplane.api.certplane.store.v1.envelope_pb2 import AuthenticatedRecord
from controlplane.core.access import AccessPolicy
from controlplane.core.certificate import CertificateRecord
from controlplane.core.keyring import Role
from controlplane.core.managed_domain import DomainState, DomainStatus
from controlplane.core.names import DomainName
from controlplane.core.sealing import KeyClass, Scheme
from controlplane.endpoints.ext_authz import add_ext_authz
from controlplane.endpoints.grpc_server import build_server
from controlplane.endpoints.sds import SdsServer
from controlplane.endpoints.wire_codec import serialise_tls_certificate
from controlplane.usecases.challenges import Challenges
from controlplane.usecases.secrets import SecretDirectory
from controlplane.xds.subscription import Limits
from tests.fakes import samples
from tests.fakes.certificates import issue
from tests.fakes.secret_streams import Stream, connected, secrets_of

_LEASE = timedelta(seconds=30)
_FIELDS = ("certificate", "head", "previous")


@dataclass
class AttackedStore:
    """A store with `serve` on it. `serve` holds a second leaf key, for HPKE_P256, whose scheme its policy forbids."""

    client: Redis
    serve_dir: Path
    worker_dir: Path
    channel: grpc.aio.Channel

    # ---- what the owners do ----

    @property
    def serve(self) -> LoadedKeys:
        """The keys of `serve`."""
        return load_key_directory(self.serve_dir)

    @property
    def worker(self) -> LoadedKeys:
        """The keys of the worker."""
        return load_key_directory(self.worker_dir)

    async def create(self, fqdn: str) -> CertificateRecord:
        """A new domain with its first certificate."""
        await RedisDomainStore(self.client).create(samples.spec(fqdn), DomainStatus())
        return await self.renew(fqdn)

    async def renew(self, fqdn: str) -> CertificateRecord:
        """Puts another certificate in force, as a worker does."""
        store = RedisWorkStore(self.client, self.worker.authenticator())
        lease = await store.acquire(DomainName(fqdn), "worker", _LEASE)
        assert lease is not None
        await store.load(lease)
        record, leaf_key = issue(fqdn)
        sealed = replace(record, tenant="acme", sealed_leaf_key=self.worker.sealer().seal(leaf_key, record.seal_context))
        saved = await store.save_certificate(lease, sealed, DomainStatus(DomainState.ACTIVE), samples.now() + timedelta(days=60))
        await store.release(lease)
        return saved

    # ---- what an attacker reads and writes ----

    async def stored(self, fqdn: str) -> dict[str, bytes]:
        """The certificate, its head and the certificate before, as they are stored."""
        values = await self.client.hmget(keys.domain(fqdn), list(_FIELDS))
        return {field: value for field, value in zip(_FIELDS, values, strict=True) if value is not None}

    async def put(self, fqdn: str, fields: Mapping[str, bytes]) -> None:
        """Writes these in place of what is there."""
        await self.client.hset(keys.domain(fqdn), mapping=dict(fields))

    async def announce(self, fqdn: str, kind: str = "certificate") -> None:
        """Says that something of this kind changed, as the scripts of a worker's and the API's writes do."""
        shard = keys.shard_of(fqdn)
        number = await self.client.incr(keys.sequence(shard))
        place = await self.client.xadd(keys.changes(shard), {"q": number, "n": fqdn, "a": fqdn, "k": kind})
        await self.client.publish(f"{keys.changes(shard)}/{kind}", f"{place.decode()}\n{number}\n{fqdn}\n{fqdn}\n{kind}")

    async def record(self, fqdn: str, field: str = "certificate") -> CertificateMessage:
        """What a record holds: its payload is not secret."""
        return payload((await self.stored(fqdn))[field])

    async def plant(self, fqdn: str, record: CertificateMessage) -> None:
        """Writes a record under the MAC of the one that is there: this attacker has no record key."""
        wrapped = AuthenticatedRecord.FromString((await self.stored(fqdn))["certificate"])
        wrapped.payload = record.SerializeToString()
        await self.put(fqdn, {"certificate": wrapped.SerializeToString()})

    async def authenticate(self, fqdn: str, record: CertificateMessage) -> None:
        """Writes a record and its head with the record key of the owners: this attacker has stolen it, and no recipient key."""
        head = HeadMessage(id=record.id, generation=record.generation, tenant=record.tenant)
        authenticator = self.worker.authenticator()
        wrapped = authenticator.wrap(KIND, fqdn, record.SerializeToString())
        await self.put(fqdn, {"certificate": wrapped, "head": authenticator.wrap(HEAD_KIND, fqdn, head.SerializeToString())})

    # ---- clients ----

    def stream(self) -> Stream:
        """A new stream of incremental ADS."""
        return Stream(ads_pb2_grpc.AggregatedDiscoveryServiceStub(self.channel).DeltaAggregatedResources())

    async def challenge(self, host: str, token: str) -> int:
        """The HTTP status that Envoy is told to answer a challenge with."""
        request = external_auth_pb2.CheckRequest()
        request.attributes.request.http.method = "GET"
        request.attributes.request.http.host = host
        request.attributes.request.http.path = f"/.well-known/acme-challenge/{token}"
        reply = await external_auth_pb2_grpc.AuthorizationStub(self.channel).Check(request, timeout=10)
        return int(reply.denied_response.status.code)


def served_leaf(secret) -> bytes:
    """The leaf certificate of a secret, after a check that the private key beside it is its own."""
    certificate = secret.tls_certificate
    leaf = x509.load_pem_x509_certificates(certificate.certificate_chain.inline_bytes)[0]
    assert leaf.public_key() == load_pem_private_key(certificate.private_key.inline_bytes, None).public_key()
    return leaf.public_bytes(Encoding.DER)


async def ask(store: AttackedStore, *names: str) -> tuple[dict[str, bytes], set[str]]:
    """Asks for names on a new stream; returns the leaf certificates that come, and the names that are said not to be there."""
    stream = store.stream()
    await stream.delta(*names)
    found: dict[str, bytes] = {}
    removed: set[str] = set()
    while len(found) + len(removed) < len(set(names)):
        answer = await stream.read()
        found |= {name: served_leaf(secret) for name, secret in secrets_of(answer).items()}
        removed |= set(answer.removed_resources)
    stream.call.cancel()
    return found, removed


def payload(stored: bytes) -> CertificateMessage:
    """Reads a certificate record without asking whether it is authentic."""
    return CertificateMessage.FromString(AuthenticatedRecord.FromString(stored).payload)


def message_of(record: CertificateRecord) -> CertificateMessage:
    """Returns a record as it is stored, without intermediates."""
    message = CertificateMessage(
        id=record.id,
        fqdn=record.fqdn,
        generation=record.generation,
        names=record.names,
        leaf=record.leaf,
        sealed_leaf_key=encode_envelope(record.sealed_leaf_key),
        spki_digest=record.spki_digest,
        tenant=record.tenant,
    )
    encode_certificate_times(message, record.not_before, record.not_after, record.issue_time)
    return message


@asynccontextmanager
async def attacked_store(redis_url: str, directory: Path) -> AsyncIterator[AttackedStore]:
    """Runs the parts of `serve` on an empty store, with the keys of a new installation."""
    serve_dir, worker_dir = directory / "serve-keys", directory / "worker-keys"
    generate_role_directories(serve_dir, worker_dir, KeyKind(Scheme.HPKE_X25519), samples.now())
    add_recipient_key(KeyClass.LEAF, KeyKind(Scheme.HPKE_P256), samples.now(), private_dir=serve_dir)
    live = LiveKeys(serve_dir, Role.SERVE, allowed_schemes=frozenset({Scheme.HPKE_X25519}))
    client, data_path = connect(redis_url), connect(redis_url)
    secrets = SecretDirectory(RedisCertificateStore(data_path, live), live, RedisChangeFeed(redis_url), serialise_tls_certificate)
    sds = SdsServer(secrets, limits=Limits(), access=AccessPolicy())
    listener = build_server("127.0.0.1:0", None)
    sds.add_to(listener.server)
    add_ext_authz(listener.server, Challenges(RedisTokenStore(data_path, live), partial(datetime.now, UTC)))
    await listener.server.start()
    try:
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(secrets.run())
            await secrets.following()
            async with connected(listener.address) as channel:
                yield AttackedStore(client, serve_dir, worker_dir, channel)
            await sds.close()
            running.cancel()
    finally:
        await listener.server.stop(0)
        await client.aclose()
        await data_path.aclose()
