"""Many domains with certificates in force, written through the real store adapters: what a worker would have left behind."""

import asyncio
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from redis.asyncio import Redis

from bench.private_ca import PrivateCa
from controlplane.adapters.key_files import load_key_directory
from controlplane.adapters.leaf_key import make_leaf_key
from controlplane.adapters.redis_client import connect
from controlplane.adapters.redis_domains import RedisDomainStore
from controlplane.adapters.redis_work import RedisWorkStore
from controlplane.core.certificate import CertificateRecord, leaf_seal_context
from controlplane.core.chain import CheckedChain, check_chain
from controlplane.core.managed_domain import DomainSpec, DomainState, DomainStatus
from controlplane.core.names import DomainName
from controlplane.core.ports import RecordAuthenticator
from controlplane.core.renewal import renew_time
from controlplane.core.sealing import Envelope

TENANT = "bench"
_AT_A_TIME = 16
_LEASE = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class StoredDomain:
    """A domain as a worker leaves it after its first issuance; `record` has no generation yet, which is the store's matter."""

    spec: DomainSpec
    record: CertificateRecord
    status: DomainStatus

    @property
    def due(self) -> datetime:
        """When a worker looks next."""
        if self.status.renew_time is None:
            raise AssertionError("a domain with a certificate has a time of renewal")
        return self.status.renew_time


def stored_domain(name: str, chain: CheckedChain, sealed_leaf_key: Envelope, spki_digest: bytes, now: datetime) -> StoredDomain:
    """Returns what a worker would have put in force for a chain that passed its checks."""
    record = CertificateRecord(
        id=chain.id,
        fqdn=name,
        generation=0,
        names=(name,),
        leaf=chain.leaf,
        intermediates=chain.intermediates,
        sealed_leaf_key=sealed_leaf_key,
        spki_digest=spki_digest,
        not_before=chain.not_before,
        not_after=chain.not_after,
        issue_time=now,
        tenant=TENANT,
    )
    renewal = renew_time(chain.not_before, chain.not_after, name)
    status = DomainStatus(
        state=DomainState.ACTIVE,
        certificate_id=chain.id,
        serial_number=chain.serial_number,
        issue_time=now,
        expire_time=chain.not_after,
        renew_time=renewal,
        next_attempt_time=renewal,
    )
    spec = DomainSpec(DomainName(name), uuid.uuid4().hex, now, TENANT, create_request_id=str(uuid.uuid4()))
    return StoredDomain(spec, record, status)


class AdapterWriter:
    """Writes domains as the API and a worker do, one after the other. No worker may run yet."""

    def __init__(
        self, client: Redis, authenticator: RecordAuthenticator, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._domains = RedisDomainStore(client)
        self._work = RedisWorkStore(client, authenticator, clock)

    async def write(self, stored: StoredDomain) -> None:
        """Creates the domain and puts its certificate in force under a lease."""
        name = stored.spec.fqdn
        await self._domains.create(stored.spec, DomainStatus())
        lease = await self._work.acquire(name, "bench", _LEASE)
        if lease is None:
            raise AssertionError(f"somebody else works on {name}")
        await self._work.load(lease)
        await self._work.save_certificate(lease, stored.record, stored.status, stored.due)
        await self._work.release(lease)


async def fill(redis_url: str, worker_keys: Path, authority: PrivateCa, names: Sequence[str]) -> None:
    """Writes a domain with a certificate for each name, its leaf key sealed with the worker's keys. No worker may run yet."""
    keys = load_key_directory(worker_keys)
    sealer, client = keys.sealer(), connect(redis_url)
    writer = AdapterWriter(client, keys.authenticator())
    waiting = iter(names)

    async def write_some() -> None:
        for name in waiting:
            now = datetime.now(UTC)
            leaf_key = make_leaf_key((name,))
            chain = check_chain(authority.issue((name,), leaf_key), (name,), leaf_key.spki_digest, now)
            sealed = sealer.seal(leaf_key.private_key, leaf_seal_context(leaf_key.spki_digest, (name,)))
            await writer.write(stored_domain(name, chain, sealed, leaf_key.spki_digest, now))

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(_AT_A_TIME):
                group.create_task(write_some())
    finally:
        await client.aclose()
