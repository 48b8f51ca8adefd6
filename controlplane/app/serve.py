"""What `certplane serve` is made of."""

import asyncio
import contextlib
import socket
import uuid
from datetime import UTC, datetime
from functools import partial

import structlog

from controlplane.adapters.live_keys import LiveKeys
from controlplane.adapters.redis_certificates import RedisCertificateStore
from controlplane.adapters.redis_changes import RedisChangeFeed
from controlplane.adapters.redis_client import connect
from controlplane.adapters.redis_envelopes import RedisReplicaReports
from controlplane.adapters.redis_nodes import RedisNodeStore
from controlplane.adapters.redis_tokens import RedisTokenStore
from controlplane.app.fronts import Front, FrontOfOneOfMany, OwnFront
from controlplane.app.key_watch import watch_keys
from controlplane.app.management import add_management
from controlplane.app.parent_death import die_with_parent
from controlplane.app.process_line import AnsweringEnd
from controlplane.app.serve_settings import ServeSettings, check_settings
from controlplane.core.admission import Admission
from controlplane.core.errors import ConfigurationError
from controlplane.core.keyring import Role
from controlplane.core.names import load_public_suffixes
from controlplane.endpoints.ext_authz import add_ext_authz
from controlplane.endpoints.grpc_server import build_server
from controlplane.endpoints.health_reflection import add_health_and_reflection
from controlplane.endpoints.readiness import Readiness
from controlplane.endpoints.sds import SdsServer
from controlplane.endpoints.wire_codec import serialise_tls_certificate
from controlplane.usecases.challenges import Challenges
from controlplane.usecases.expiry import ExpiryWatch
from controlplane.usecases.node_snapshots import NodeSnapshots
from controlplane.usecases.nodes import NodeRegistry
from controlplane.usecases.secrets import SecretDirectory
from controlplane.xds.subscription import Limits

_DRAIN_SECONDS = 5.0
# Names in other than lower case come from no browser: a tenth of the room is plenty.
_LEAST_SPELLINGS = 64
_FOLLOWING_SECONDS = 2.0
_FURTHER_STREAMS = 1024
_LARGEST_REQUEST_BYTES = 64 * 1024 * 1024
"""An Envoy that comes back asks at once for all that it holds and all that strangers asked it for meanwhile: a quarter of a million of the
longest names, or two million usual ones. A refused request comes again as it was, and until it is taken no new name is served."""

_log = structlog.get_logger(__name__)


async def serve_alone(settings: ServeSettings, stop: asyncio.Event) -> None:
    """Runs `serve` as one process.

    Raises:
        ConfigurationError: see `serve`.
    """
    await serve(settings, OwnFront(settings.metrics_address), stop)


async def serve_as_one_of_many(settings: ServeSettings, stop: asyncio.Event) -> None:
    """Runs `serve` as a process of a group, which `serve_group` has started.

    Raises:
        ConfigurationError: something else has started it.
        SystemExit: it cannot start as configured, which the group has been told.
    """
    die_with_parent()
    line = await AnsweringEnd.on_standard_input()
    try:
        await serve(settings, FrontOfOneOfMany(line, stop), stop)
    except ConfigurationError as error:
        await line.tell_refused(str(error))
        raise SystemExit(1) from None


async def serve(settings: ServeSettings, front: Front, stop: asyncio.Event) -> None:
    """Serves in this process until `stop` is set, then drains.

    Raises:
        ConfigurationError: an address is exposed or taken, or a key is missing, or is not for this role.
    """
    access = check_settings(settings)
    keys = LiveKeys(settings.keys_dir, Role.SERVE, settings.unlock, allowed_schemes=settings.allowed_schemes)
    ca_file = str(settings.redis_ca) if settings.redis_ca else None
    clock = partial(datetime.now, UTC)

    client = connect(settings.redis_url, ca_file=ca_file)
    # Handshakes and challenges have connections of their own: a burst of API calls must not keep them waiting.
    data_path = connect(settings.redis_url, ca_file=ca_file)
    feed = RedisChangeFeed(settings.redis_url, ca_file=ca_file)
    certificates = RedisCertificateStore(data_path, keys)
    directory = SecretDirectory(certificates, keys, feed, serialise_tls_certificate)
    challenges = Challenges(RedisTokenStore(data_path, keys), clock)
    expiry = ExpiryWatch(certificates, clock, settings.expiry_alert)

    replica = f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}"
    nodes, node_store = NodeRegistry(replica, clock), RedisNodeStore(client)
    snapshots = NodeSnapshots(nodes, node_store, clock)

    readiness = Readiness({"store": certificates.ping})
    build = partial(build_server, tls=settings.tls, shared=front.shares_ports)
    xds = build(
        settings.xds_address,
        admission=Admission(settings.xds_clients, "--xds-client"),
        # More than plain SDS may open, so that the one too many is told so instead of waiting.
        max_concurrent_streams=settings.max_secrets_per_node + _FURTHER_STREAMS,
        max_receive_bytes=_LARGEST_REQUEST_BYTES,
    )
    sds = SdsServer(directory, limits=_limits(settings), access=access, nodes=nodes)
    sds.add_to(xds.server)
    add_ext_authz(xds.server, challenges)
    api = build(settings.api_address, admission=Admission(settings.api_clients, "--api-client"))
    management = add_management(
        api.server,
        stop,
        client=client,
        keys=keys,
        feed=feed,
        certificates=certificates,
        nodes=nodes,
        node_store=node_store,
        clock=clock,
        replica=replica,
    )
    health = add_health_and_reflection(api.server, management.services, readiness)
    await front.open(readiness)
    await xds.server.start()
    await api.server.start()
    try:
        async with asyncio.TaskGroup() as tasks:
            reporting = watch_keys(keys, RedisReplicaReports(client, keys), replica, clock)
            jobs = (directory.run(), expiry.run(), health.run(), snapshots.run(), management.job.run(), reporting)
            running = [tasks.create_task(work) for work in jobs]
            with contextlib.suppress(TimeoutError):
                # A store that is away must not keep Envoys from being told so.
                async with asyncio.timeout(_FOLLOWING_SECONDS):
                    await directory.following()
            await health.refresh()
            await front.announce(xds=xds.address, api=api.address)
            # Before the first domain is created, but not before the first handshake.
            tasks.create_task(asyncio.to_thread(load_public_suffixes))
            await stop.wait()
            _log.info("draining")
            await health.drain()
            await snapshots.close()
            await sds.close()
            await asyncio.gather(xds.server.stop(_DRAIN_SECONDS), api.server.stop(_DRAIN_SECONDS))
            for task in running:
                task.cancel()
    finally:
        await front.close()
        await client.aclose()
        await data_path.aclose()


def _limits(settings: ServeSettings) -> Limits:
    return Limits(settings.max_secrets_per_node, max(_LEAST_SPELLINGS, settings.max_secrets_per_node // 10))
