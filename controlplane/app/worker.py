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

import structlog

from controlplane.adapters.dns_resolver import DnsResolver
from controlplane.adapters.live_keys import LiveKeys
from controlplane.adapters.preflight_probe import HttpPreflight
from controlplane.adapters.redis_authority_reports import RedisAuthorityReports
from controlplane.adapters.redis_certificates import RedisCertificateStore
from controlplane.adapters.redis_changes import RedisChangeFeed
from controlplane.adapters.redis_checks import RedisCheckStore
from controlplane.adapters.redis_client import connect
from controlplane.adapters.redis_envelopes import RedisEnvelopeCounts, RedisReplicaReports
from controlplane.adapters.redis_lanes import RedisLaneStore
from controlplane.adapters.redis_tokens import RedisTokenStore
from controlplane.adapters.redis_work import RedisWorkStore
from controlplane.app.issuing import make_issuance, open_authorities, random_token
from controlplane.app.key_watch import watch_keys
from controlplane.app.lifecycle import announce_ready, check_metrics_address
from controlplane.core.certificate_authorities import AuthoritySettings
from controlplane.core.departure import GRACE
from controlplane.core.exposure import check_redis_url
from controlplane.core.key_protection import NOTHING, Unlock
from controlplane.core.keyring import Role
from controlplane.core.sealing import ALL_SCHEMES, Scheme
from controlplane.endpoints.metrics_http import MetricsServer
from controlplane.endpoints.readiness import Readiness
from controlplane.usecases.authority_watch import AuthorityWatch
from controlplane.usecases.check_runner import CheckRunner
from controlplane.usecases.expiry import ExpiryWatch
from controlplane.usecases.lane_watch import LaneWatch
from controlplane.usecases.preflight_round import PreflightRound
from controlplane.usecases.sealing_watch import SealingWatch
from controlplane.usecases.worker import Worker

_DRAIN_GRACE = timedelta(seconds=10)
# A killed worker's domains are taken over after this; a live one prolongs its leases every third of it.
_LEASE_TTL = timedelta(seconds=15)
_ATTEMPTS_PER_ORDER = 4
"""Most attempts wait for a customer's host, at no cost to the CA."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """Settings of `worker`."""

    keys_dir: Path
    redis_url: str = field(repr=False)
    redis_insecure: bool
    redis_ca: Path | None
    authorities: tuple[AuthoritySettings, ...]
    dns_resolver: str
    http01_port: int
    preflight_allow: tuple[IPv4Network | IPv6Network, ...]
    concurrency: int
    metrics_address: str
    metrics_insecure: bool
    expiry_alert: timedelta
    departure_grace: timedelta = GRACE
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
    cas = open_authorities(settings.authorities, client, keys, clock)
    preflight = HttpPreflight(
        DnsResolver(settings.dns_resolver), clock=clock, http01_port=settings.http01_port, allow=settings.preflight_allow
    )
    issuance = make_issuance(
        cas,
        client,
        keys,
        work=work,
        certificates=certificates,
        preflight=preflight,
        clock=clock,
        orders_at_once=settings.concurrency,
        departure_grace=settings.departure_grace,
    )
    lanes = LaneWatch(RedisLaneStore(client), clock)
    checks = CheckRunner(
        RedisCheckStore(client, keys),
        PreflightRound(RedisTokenStore(client, keys), preflight, clock, random_token),
        clock,
        issuers=lambda request: cas.issuers(request.tenant),
    )
    owner = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
    loop = Worker(
        work=work,
        issuance=issuance,
        feed=RedisChangeFeed(settings.redis_url, ca_file=ca_file),
        clock=clock,
        owner=owner,
        concurrency=settings.concurrency * _ATTEMPTS_PER_ORDER,
        room=cas.room,
        completed=lanes.completed,
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
                lanes.run(),
                AuthorityWatch(cas.authorities, RedisAuthorityReports(client), clock).run(),
            )
            watching = [tasks.create_task(work) for work in background]
            checking = tasks.create_task(checks.run(stop))
            announce_ready(metrics=metrics_address)
            await loop.run(stop)
            await checking
            for task in watching:
                task.cancel()
    finally:
        await metrics.close()
        await cas.close()
        await client.aclose()
