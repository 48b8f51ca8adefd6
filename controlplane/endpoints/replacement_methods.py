"""The methods of certplane.v1.FleetService that are about mass replacements."""

from typing import Any, TypeAlias

import grpc

from controlplane.api.certplane.v1 import fleet_service_pb2, replacement_pb2
from controlplane.endpoints.replacement_mapping import new_replacement, replacement_message
from controlplane.usecases.replacements import Replacements

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class ReplacementMethods:
    """Part of the servicer."""

    def __init__(self, replacements: Replacements) -> None:
        self._replacements = replacements

    async def ReplaceCertificates(  # noqa: N802
        self, request: fleet_service_pb2.ReplaceCertificatesRequest, _context: Context
    ) -> replacement_pb2.Replacement:
        """Begins a replacement, or counts what it would take."""
        replacement, kept = await self._replacements.create(new_replacement(request))
        return replacement_message(replacement, kept=kept)

    async def GetReplacement(  # noqa: N802
        self, request: fleet_service_pb2.GetReplacementRequest, _context: Context
    ) -> replacement_pb2.Replacement:
        """Returns one replacement."""
        return replacement_message(await self._replacements.get(request.name))

    async def ListReplacements(  # noqa: N802
        self, request: fleet_service_pb2.ListReplacementsRequest, _context: Context
    ) -> fleet_service_pb2.ListReplacementsResponse:
        """Returns a page of replacements."""
        page = await self._replacements.list_page(request.page_size, request.page_token)
        return fleet_service_pb2.ListReplacementsResponse(
            replacements=map(replacement_message, page.replacements), next_page_token=page.next_token
        )

    async def StopReplacement(  # noqa: N802
        self, request: fleet_service_pb2.StopReplacementRequest, _context: Context
    ) -> replacement_pb2.Replacement:
        """Stops a replacement."""
        return replacement_message(await self._replacements.stop(request.name))
