"""What the management API of `serve` is made of."""

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import grpc.aio
from redis.asyncio import Redis

from controlplane.adapters.live_keys import LiveKeys
from controlplane.adapters.redis_authority_reports import RedisAuthorityReports
from controlplane.adapters.redis_certificate_search import RedisCertificateSearch
from controlplane.adapters.redis_certificates import RedisCertificateStore
from controlplane.adapters.redis_changes import RedisChangeFeed
from controlplane.adapters.redis_checks import RedisCheckStore
from controlplane.adapters.redis_domains import RedisDomainStore
from controlplane.adapters.redis_lanes import RedisLaneStore
from controlplane.adapters.redis_nodes import RedisNodeStore
from controlplane.adapters.redis_replacements import RedisReplacementStore
from controlplane.core.ports import Clock
from controlplane.endpoints.certificate_service import add_certificate_service
from controlplane.endpoints.domain_service import add_domain_service
from controlplane.endpoints.fleet_service import add_fleet_service
from controlplane.usecases.authority_estimate import AuthorityEstimate
from controlplane.usecases.certificates import Certificates
from controlplane.usecases.check_queue import CheckQueue
from controlplane.usecases.domains import DomainService
from controlplane.usecases.fleet import Fleet
from controlplane.usecases.nodes import NodeRegistry
from controlplane.usecases.replacement_job import ReplacementJob
from controlplane.usecases.replacement_steps import ReplacementSteps
from controlplane.usecases.replacements import Replacements
from controlplane.usecases.serving_check import ServingCheck


@dataclass(frozen=True, slots=True)
class Management:
    """The services of a server, by their full names, and the job that must run beside it."""

    services: Sequence[str]
    job: ReplacementJob


def add_management(
    server: grpc.aio.Server,
    stop: asyncio.Event,
    *,
    client: Redis,
    keys: LiveKeys,
    feed: RedisChangeFeed,
    certificates: RedisCertificateStore,
    nodes: NodeRegistry,
    node_store: RedisNodeStore,
    clock: Clock,
    replica: str,
) -> Management:
    """Adds all services to a server that is not started. When `stop` is set, open watches end.

    Args:
        server: to add to.
        stop: is set when the process is asked to stop.
        client: the store, for everything that no handshake waits for.
        keys: of this process.
        feed: changes of domains.
        certificates: where they are read.
        nodes: those that are connected to this process.
        node_store: those of all.
        clock: the time.
        replica: a name that no other process ever has.
    """
    domains, authorities, replacements = RedisDomainStore(client), RedisAuthorityReports(client), RedisReplacementStore(client)
    steps = ReplacementSteps(domains, AuthorityEstimate(authorities, clock).estimate, clock)
    service = DomainService(domains, feed, clock, lambda: uuid.uuid4().hex, ServingCheck(certificates, keys, clock))
    fleet = Fleet(nodes, node_store, clock, RedisLaneStore(client), authorities)
    return Management(
        [
            add_domain_service(server, service, stop, CheckQueue(domains, RedisCheckStore(client, keys))),
            add_certificate_service(server, Certificates(domains, certificates, RedisCertificateSearch(client), clock)),
            add_fleet_service(server, fleet, Replacements(replacements, steps, clock)),
        ],
        ReplacementJob(replacements, steps, clock, replica),
    )
