"""certplane.v1.DomainService over the use cases: messages in, messages out, nothing decided here."""

import asyncio
from typing import Any, Final, TypeAlias

import grpc
from google.protobuf import empty_pb2

from controlplane.api.certplane.v1 import domain_pb2, domain_service_pb2, domain_service_pb2_grpc
from controlplane.core.errors import FieldViolation, InvalidArgument, Unavailable
from controlplane.endpoints.check_mapping import check_response
from controlplane.endpoints.domain_mapping import domain_message, new_domain, not_before, watch_message
from controlplane.endpoints.observed_calls import UNARY_DEADLINE
from controlplane.usecases.check_queue import CheckQueue
from controlplane.usecases.domain_watch import WatchEvent
from controlplane.usecases.domains import DomainService

SERVICE_NAME: Final = "certplane.v1.DomainService"
_LAST_WRITE_SECONDS: Final = 1.0
# So much of a caller's time is left for the answer, when it is that there is none yet.
_ANSWER_SECONDS: Final = 0.2

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class DomainServicer:
    """The methods of the service. Errors are mapped by what surrounds every call."""

    def __init__(self, service: DomainService, stopping: asyncio.Event, checks: CheckQueue | None) -> None:
        self._service = service
        self._stopping = stopping
        self._checks = checks

    async def CreateDomain(self, request: domain_service_pb2.CreateDomainRequest, _context: Context) -> domain_pb2.Domain:  # noqa: N802
        """Onboards a domain."""
        return domain_message(await self._service.create(new_domain(request)))

    async def GetDomain(self, request: domain_service_pb2.GetDomainRequest, _context: Context) -> domain_pb2.Domain:  # noqa: N802
        """Returns one domain."""
        return domain_message(await self._service.get(request.name))

    async def ListDomains(  # noqa: N802
        self, request: domain_service_pb2.ListDomainsRequest, _context: Context
    ) -> domain_service_pb2.ListDomainsResponse:
        """Returns a page of domains."""
        page = await self._service.list_page(request.page_size, request.page_token, request.filter)
        return domain_service_pb2.ListDomainsResponse(domains=map(domain_message, page.domains), next_page_token=page.next_token)

    async def DeleteDomain(self, request: domain_service_pb2.DeleteDomainRequest, _context: Context) -> empty_pb2.Empty:  # noqa: N802
        """Removes a domain."""
        await self._service.delete(request.name, request.etag)
        return empty_pb2.Empty()

    async def RenewDomain(self, request: domain_service_pb2.RenewDomainRequest, _context: Context) -> domain_pb2.Domain:  # noqa: N802
        """Asks for a new certificate."""
        return domain_message(await self._service.renew(request.name, not_before(request)))

    async def CheckDomain(  # noqa: N802
        self, request: domain_service_pb2.CheckDomainRequest, context: Context
    ) -> domain_service_pb2.CheckDomainResponse:
        """Has a worker check a domain's names."""
        if self._checks is None:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "this server takes no checks")
            raise AssertionError("abort raises")
        if bool(request.name) == bool(request.domain_id):
            raise InvalidArgument(FieldViolation("name", "send either the name of a domain that exists, or domain_id"))
        remaining: Any = context.time_remaining()
        seconds = max(min(UNARY_DEADLINE if remaining is None else remaining, UNARY_DEADLINE) - _ANSWER_SECONDS, 0)
        if request.name:
            result = await self._checks.check_domain(request.name, seconds)
        else:
            domain = request.domain
            result = await self._checks.check_new(request.domain_id, domain.tenant, domain.additional_names, seconds)
        return check_response(result)

    async def WatchDomains(self, request: domain_service_pb2.WatchDomainsRequest, context: Context) -> None:  # noqa: N802
        """Sends a snapshot and changes, until the caller goes or the server stops."""
        writing: set[asyncio.Future[None]] = set()

        async def deliver(event: WatchEvent) -> None:
            # Shielded: gRPC refuses to end a call while a write that was given up is still on its way.
            write = asyncio.ensure_future(context.write(watch_message(event)))
            writing.add(write)
            write.add_done_callback(writing.discard)
            await asyncio.shield(write)

        watch = asyncio.create_task(self._service.watch(tuple(request.names), request.resume_token, deliver))
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait((watch, stopping), return_when=asyncio.FIRST_COMPLETED)
            if watch.done():
                watch.result()
            raise Unavailable("the server is stopping")
        finally:
            watch.cancel()
            stopping.cancel()
            await asyncio.gather(watch, stopping, return_exceptions=True)
            if writing:
                await asyncio.wait(writing, timeout=_LAST_WRITE_SECONDS)


def add_domain_service(
    server: grpc.aio.Server, service: DomainService, stopping: asyncio.Event | None = None, checks: CheckQueue | None = None
) -> str:
    """Adds the service to a server that is not started, and returns the service's full name.

    When `stopping` is set, open watches end with UNAVAILABLE at once; their callers resume elsewhere with their last token. Without
    `checks` CheckDomain is UNIMPLEMENTED.
    """
    add: Any = domain_service_pb2_grpc.add_DomainServiceServicer_to_server
    add(DomainServicer(service, stopping or asyncio.Event(), checks), server)
    return SERVICE_NAME
