"""certplane.v1.FleetService over the use cases: messages in, messages out, nothing decided here."""

from typing import Any, Final, TypeAlias

import grpc

from controlplane.api.certplane.v1 import fleet_pb2, fleet_service_pb2, fleet_service_pb2_grpc
from controlplane.core.node import node_resource_name
from controlplane.endpoints.fleet_mapping import authority_message, lane_message, node_message, replica_message
from controlplane.endpoints.replacement_methods import ReplacementMethods
from controlplane.usecases.fleet import Fleet
from controlplane.usecases.replacements import Replacements

SERVICE_NAME: Final = "certplane.v1.FleetService"

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class FleetServicer(ReplacementMethods):
    """The methods of the service. Errors are mapped by the interceptor of the server."""

    def __init__(self, fleet: Fleet, replacements: Replacements) -> None:
        super().__init__(replacements)
        self._fleet = fleet

    async def ListNodes(  # noqa: N802
        self, request: fleet_service_pb2.ListNodesRequest, _context: Context
    ) -> fleet_service_pb2.ListNodesResponse:
        """Returns a page of nodes."""
        page = await self._fleet.list_page(request.page_size, request.page_token)
        return fleet_service_pb2.ListNodesResponse(nodes=map(node_message, page.nodes), next_page_token=page.next_token)

    async def GetNode(self, request: fleet_service_pb2.GetNodeRequest, _context: Context) -> fleet_pb2.Node:  # noqa: N802
        """Returns one node."""
        return node_message(await self._fleet.get(request.name))

    async def ListNodeSecrets(  # noqa: N802
        self, request: fleet_service_pb2.ListNodeSecretsRequest, _context: Context
    ) -> fleet_service_pb2.ListNodeSecretsResponse:
        """Returns a page of a node's names."""
        page = await self._fleet.list_secrets(request.parent, request.page_size, request.page_token)
        prefix = f"{node_resource_name(page.node_id)}/secrets/"
        secrets = (fleet_pb2.NodeSecret(name=prefix + name, secret=name) for name in page.names)
        return fleet_service_pb2.ListNodeSecretsResponse(secrets=secrets, next_page_token=page.next_token)

    async def GetFleetStatus(  # noqa: N802
        self, _request: fleet_service_pb2.GetFleetStatusRequest, _context: Context
    ) -> fleet_service_pb2.GetFleetStatusResponse:
        """Returns the replicas, totals, lanes and CAs."""
        status = await self._fleet.status()
        return fleet_service_pb2.GetFleetStatusResponse(
            replicas=map(replica_message, status.replicas),
            connected_nodes=status.connected_nodes,
            secrets_held=sum(replica.secrets_held for replica in status.replicas),
            refused_secrets=sum(replica.refused for replica in status.replicas),
            lanes=[lane_message(lane, backlog, status.time) for lane, backlog in status.lanes.items()],
            certificate_authorities=map(authority_message, status.authorities),
        )


def add_fleet_service(server: grpc.aio.Server, fleet: Fleet, replacements: Replacements) -> str:
    """Adds the service to a server that is not started, and returns the service's full name."""
    add: Any = fleet_service_pb2_grpc.add_FleetServiceServicer_to_server
    add(FleetServicer(fleet, replacements), server)
    return SERVICE_NAME
