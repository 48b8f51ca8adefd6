"""What `certplane worker` is made of."""

import asyncio
import os
import secrets
import socket
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from urllib.parse import urlsplit

import structlog

from controlplane.adapters.acme_client import AcmeClient
from controlplane.adapters.dns_resolver import DnsResolver
from controlplane.adapters.leaf_key import make_leaf_key
from controlplane.adapters.live_keys import LiveKeys
from controlplane.adapters.preflight_probe import HttpPreflight
from controlplane.adapters.redis_certificates import RedisCertificateStore
from controlplane.adapters.redis_changes import RedisChangeFeed
from controlplane.adapters.redis_client import connect
from controlplane.adapters.redis_envelopes import RedisEnvelopeCounts, RedisReplicaReports
from controlplane.adapters.redis_tokens import RedisAccountStore, RedisTokenStore
from controlplane.adapters.redis_work import RedisWorkStore
from controlplane.app.key_watch import watch_keys
from controlplane.app.lifecycle import announce_ready, check_metrics_address
from controlplane.core.exposure import check_redis_url
from controlplane.core.key_protection import NOTHING, Unlock
from controlplane.core.keyring import Role
from controlplane.core.sealing import ALL_SCHEMES, Scheme
from controlplane.endpoints.metrics_http import MetricsServer
from controlplane.endpoints.readiness import Readiness
from controlplane.usecases.expiry import ExpiryWatch
from controlplane.usecases.issuance import Issuance
from controlplane.usecases.sealing_watch import SealingWatch
from controlplane.usecases.worker import Worker

_DRAIN_GRACE = timedelta(seconds=10)
# A killed worker's domains are taken over after this; a live one prolongs its leases every third of it.
_LEASE_TTL = timedelta(seconds=15)
_LETS_ENCRYPT = "letsencrypt.org"

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """Settings of `worker`."""

    keys_dir: Path
    redis_url: str = field(repr=False)
    redis_insecure: bool
    redis_ca: Path | None
    acme_directory: str
    acme_ca_bundle: Path | None
    acme_contact: str
    dns_resolver: str
    http01_port: int
    preflight_allow: tuple[IPv4Network | IPv6Network, ...]
    caa_identities: tuple[str, ...]
    concurrency: int
    metrics_address: str
    metrics_insecure: bool
    expiry_alert: timedelta
    unlock: Unlock = NOTHING
    allowed_schemes: frozenset[Scheme] = ALL_SCHEMES
    seal_with_legacy_scheme: bool = False


async def worker(settings: WorkerSettings, stop: asyncio.Event) -> None:
    """Runs until `stop` is set, then finishes or gives back what it works on.

    Raises:
        ConfigurationError: an address is exposed or taken, or a key is missing, or is not for this role.
    """
    check_metrics_address(settings.metrics_address, settings.metrics_insecure)
    check_redis_url(settings.redis_url, settings.redis_insecure)
    keys = LiveKeys(
        settings.keys_dir,
        Role.WORKER,
        settings.unlock,
        allowed_schemes=settings.allowed_schemes,
        seal_with_legacy=settings.seal_with_legacy_scheme,
    )
    ca_file = str(settings.redis_ca) if settings.redis_ca else None
    clock = partial(datetime.now, UTC)

    client = connect(settings.redis_url, ca_file=ca_file)
    work = RedisWorkStore(client, keys, clock)
    certificates = RedisCertificateStore(client, keys)
    authority = AcmeClient(
        settings.acme_directory,
        accounts=RedisAccountStore(client, keys),
        sealer=keys,
        opener=keys,
        clock=clock,
        ca_bundle=str(settings.acme_ca_bundle) if settings.acme_ca_bundle else None,
        contact=settings.acme_contact,
    )
    preflight = HttpPreflight(
        DnsResolver(settings.dns_resolver),
        clock=clock,
        http01_port=settings.http01_port,
        allow=settings.preflight_allow,
        ca_identities=settings.caa_identities or known_caa_identities(settings.acme_directory),
        account_url=lambda: authority.account_url,
    )
    issuance = Issuance(
        work=work,
        tokens=RedisTokenStore(client, keys),
        sealer=keys,
        authority=authority,
        preflight=preflight,
        make_leaf_key=make_leaf_key,
        clock=clock,
    )
    owner = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
    loop = Worker(
        work=work,
        issuance=issuance,
        feed=RedisChangeFeed(settings.redis_url, ca_file=ca_file),
        clock=clock,
        owner=owner,
        concurrency=settings.concurrency,
        lease_ttl=_LEASE_TTL,
        drain_grace=_DRAIN_GRACE,
    )
    expiry = ExpiryWatch(certificates, clock, settings.expiry_alert)
    metrics = MetricsServer(Readiness({"store": certificates.ping}))
    metrics_address = await metrics.start(settings.metrics_address)
    try:
        async with asyncio.TaskGroup() as tasks:
            background = (
                expiry.run(),
                watch_keys(keys, RedisReplicaReports(client, keys), owner, clock),
                SealingWatch(RedisEnvelopeCounts(client)).run(),
            )
            watching = [tasks.create_task(work) for work in background]
            announce_ready(metrics=metrics_address)
            await loop.run(stop)
            for task in watching:
                task.cancel()
    finally:
        await metrics.close()
        await authority.close()
        await client.aclose()


def known_caa_identities(directory_url: str) -> tuple[str, ...]:
    """Returns the CAA identities of a CA that is known by its directory URL; none for any other."""
    host = urlsplit(directory_url).hostname or ""
    return (_LETS_ENCRYPT,) if host == _LETS_ENCRYPT or host.endswith("." + _LETS_ENCRYPT) else ()
