"""Many domains with certificates in force, written through the real store adapters: what a worker would have left behind."""

import asyncio
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.private_ca import PrivateCa
from controlplane.adapters.key_files import load_key_directory
from controlplane.adapters.leaf_key import make_leaf_key
from controlplane.adapters.redis_client import connect
from controlplane.adapters.redis_domains import RedisDomainStore
from controlplane.adapters.redis_work import RedisWorkStore
from controlplane.core.certificate import CertificateRecord, leaf_seal_context
from controlplane.core.chain import check_chain
from controlplane.core.managed_domain import DomainSpec, DomainState, DomainStatus
from controlplane.core.names import DomainName
from controlplane.core.ports import Sealer
from controlplane.core.renewal import renew_time

_AT_A_TIME = 16
_LEASE = timedelta(seconds=30)


async def fill(redis_url: str, worker_keys: Path, authority: PrivateCa, names: Sequence[str]) -> None:
    """Writes a domain with a certificate for each name, its leaf key sealed with the worker's keys. No worker may run yet."""
    keys = load_key_directory(worker_keys)
    sealer, client = keys.sealer(), connect(redis_url)
    domains, work = RedisDomainStore(client), RedisWorkStore(client, keys.authenticator())
    waiting = iter(names)

    async def write_some() -> None:
        for name in waiting:
            now = datetime.now(UTC)
            certificate, status = _certificate(name, authority, sealer, now)
            await domains.create(DomainSpec(DomainName(name), uuid.uuid4().hex, now, "bench"), DomainStatus())
            lease = await work.acquire(DomainName(name), "bench", _LEASE)
            if lease is None:
                raise AssertionError(f"somebody else works on {name}")
            await work.load(lease)
            await work.save_certificate(lease, certificate, status, status.renew_time)
            await work.release(lease)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(_AT_A_TIME):
                group.create_task(write_some())
    finally:
        await client.aclose()


def _certificate(name: str, authority: PrivateCa, sealer: Sealer, now: datetime) -> tuple[CertificateRecord, DomainStatus]:
    """Returns what a worker would have put in force: the record, and the status that belongs to it."""
    leaf_key = make_leaf_key((name,))
    chain = check_chain(authority.issue((name,), leaf_key), (name,), leaf_key.spki_digest, now)
    record = CertificateRecord(
        id=chain.id,
        fqdn=name,
        generation=0,
        names=(name,),
        leaf=chain.leaf,
        intermediates=chain.intermediates,
        sealed_leaf_key=sealer.seal(leaf_key.private_key, leaf_seal_context(leaf_key.spki_digest, (name,))),
        spki_digest=leaf_key.spki_digest,
        not_before=chain.not_before,
        not_after=chain.not_after,
        issue_time=now,
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
    return record, status
