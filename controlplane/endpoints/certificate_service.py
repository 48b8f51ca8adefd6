"""certplane.v1.CertificateService over the use cases: messages in, messages out, nothing decided here."""

from typing import Any, Final, TypeAlias

import grpc

from controlplane.api.certplane.v1 import certificate_pb2, certificate_service_pb2, certificate_service_pb2_grpc
from controlplane.endpoints.certificate_mapping import certificate_message
from controlplane.usecases.certificates import Certificates

SERVICE_NAME: Final = "certplane.v1.CertificateService"

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class CertificateServicer:
    """The methods of the service. Errors are mapped by the interceptor of the server."""

    def __init__(self, certificates: Certificates) -> None:
        self._certificates = certificates

    async def GetCertificate(  # noqa: N802
        self, request: certificate_service_pb2.GetCertificateRequest, _context: Context
    ) -> certificate_pb2.Certificate:
        """Returns one certificate."""
        return certificate_message(await self._certificates.get(request.name, request.domain))

    async def ListCertificates(  # noqa: N802
        self, request: certificate_service_pb2.ListCertificatesRequest, _context: Context
    ) -> certificate_service_pb2.ListCertificatesResponse:
        """Returns a page of certificates."""
        page = await self._certificates.list_page(request.page_size, request.page_token, request.filter)
        return certificate_service_pb2.ListCertificatesResponse(
            certificates=(certificate_message(view, whole=False) for view in page.certificates), next_page_token=page.next_token
        )

    async def RevokeCertificate(  # noqa: N802
        self, request: certificate_service_pb2.RevokeCertificateRequest, _context: Context
    ) -> certificate_pb2.Certificate:
        """Asks for a revocation."""
        return certificate_message(await self._certificates.revoke(request.name, request.domain, request.reason))


def add_certificate_service(server: grpc.aio.Server, certificates: Certificates) -> str:
    """Adds the service to a server that is not started, and returns the service's full name."""
    add: Any = certificate_service_pb2_grpc.add_CertificateServiceServicer_to_server
    add(CertificateServicer(certificates), server)
    return SERVICE_NAME
