"""What `certplane serve` is made of."""

import asyncio
import contextlib
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import structlog

from controlplane.adapters.key_files import check_role, load_key_directory
from controlplane.adapters.redis_certificates import RedisCertificateStore
from controlplane.adapters.redis_changes import RedisChangeFeed
from controlplane.adapters.redis_client import connect
from controlplane.adapters.redis_domains import RedisDomainStore
from controlplane.adapters.redis_tokens import RedisTokenStore
from controlplane.app.lifecycle import announce_ready, check_metrics_address
from controlplane.core.admission import Admission
from controlplane.core.exposure import check_listener, check_redis_url
from controlplane.core.keyring import Role
from controlplane.core.names import load_public_suffixes
from controlplane.endpoints.domain_service import add_domain_service
from controlplane.endpoints.ext_authz import add_ext_authz
from controlplane.endpoints.grpc_server import TlsFiles, build_server
from controlplane.endpoints.health_reflection import add_health_and_reflection
from controlplane.endpoints.metrics_http import MetricsServer
from controlplane.endpoints.readiness import Readiness
from controlplane.endpoints.sds import SdsServer
from controlplane.endpoints.wire_codec import serialise_tls_certificate
from controlplane.usecases.challenges import Challenges
from controlplane.usecases.domains import DomainService
from controlplane.usecases.expiry import ExpiryWatch
from controlplane.usecases.secrets import SecretDirectory

_DRAIN_SECONDS = 5.0
_FOLLOWING_SECONDS = 2.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """Settings of `serve`; addresses are HOST:PORT or unix:PATH."""

    keys_dir: Path
    redis_url: str = field(repr=False)
    redis_insecure: bool
    redis_ca: Path | None
    xds_address: str
    api_address: str
    metrics_address: str
    metrics_insecure: bool
    tls: TlsFiles | None
    xds_clients: tuple[str, ...]
    api_clients: tuple[str, ...]
    expiry_alert: timedelta


async def serve(settings: ServeSettings, stop: asyncio.Event) -> None:
    """Runs until `stop` is set, then drains.

    Raises:
        ConfigurationError: an address is exposed or taken, or a key is missing, or is not for this role.
    """
    check_listener(settings.xds_address, settings.tls is not None)
    check_listener(settings.api_address, settings.tls is not None)
    check_metrics_address(settings.metrics_address, settings.metrics_insecure)
    check_redis_url(settings.redis_url, settings.redis_insecure)
    keys = load_key_directory(settings.keys_dir)
    check_role(keys, Role.SERVE)
    ca_file = str(settings.redis_ca) if settings.redis_ca else None
    clock = partial(datetime.now, UTC)

    client = connect(settings.redis_url, ca_file=ca_file)
    # Handshakes and challenges have connections of their own: a burst of API calls must not keep them waiting.
    data_path = connect(settings.redis_url, ca_file=ca_file)
    feed = RedisChangeFeed(settings.redis_url, ca_file=ca_file)
    certificates = RedisCertificateStore(data_path, keys.authenticator())
    directory = SecretDirectory(certificates, keys.opener(), feed, serialise_tls_certificate)
    challenges = Challenges(RedisTokenStore(data_path, keys.authenticator()), clock)
    domains = DomainService(RedisDomainStore(client), feed, clock, lambda: uuid.uuid4().hex)
    expiry = ExpiryWatch(certificates, clock, settings.expiry_alert)

    readiness = Readiness({"store": certificates.ping})
    xds = build_server(settings.xds_address, settings.tls, admission=Admission(settings.xds_clients, "--xds-client"))
    sds = SdsServer(directory)
    sds.add_to(xds.server)
    add_ext_authz(xds.server, challenges)
    api = build_server(settings.api_address, settings.tls, admission=Admission(settings.api_clients, "--api-client"))
    service = add_domain_service(api.server, domains, stop)
    health = add_health_and_reflection(api.server, [service], readiness)
    metrics = MetricsServer(readiness)
    metrics_address = await metrics.start(settings.metrics_address)
    await xds.server.start()
    await api.server.start()
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(asyncio.to_thread(load_public_suffixes))
            running = [tasks.create_task(work) for work in (directory.run(), expiry.run(), health.run())]
            with contextlib.suppress(TimeoutError):
                # A store that is away must not keep Envoys from being told so.
                async with asyncio.timeout(_FOLLOWING_SECONDS):
                    await directory.following()
            await health.refresh()
            announce_ready(xds=xds.address, api=api.address, metrics=metrics_address)
            await stop.wait()
            _log.info("draining")
            await health.drain()
            await sds.close()
            await asyncio.gather(xds.server.stop(_DRAIN_SECONDS), api.server.stop(_DRAIN_SECONDS))
            for task in running:
                task.cancel()
    finally:
        await metrics.close()
        await client.aclose()
        await data_path.aclose()
