"""Fetches a page over HTTPS through Envoy, as a browser would: SNI, chain and host name are verified."""

import asyncio
import ssl
from dataclasses import dataclass
from pathlib import Path

_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class FetchedPage:
    """What came back: HTTP status line, body, and the peer's certificate as the TLS library describes it."""

    status_line: str
    body: str
    serial_number: str
    issuer: str
    not_after: str
    protocol: str


async def fetch_verified(address: str, host: str, roots: Path | None) -> FetchedPage:
    """Returns the page at `https://host/`, asked for at `address` (HOST:PORT).

    Args:
        address: where Envoy listens.
        host: the name in SNI, in the Host header, and on the certificate.
        roots: PEM file of roots to trust; None trusts those of the system.

    Raises:
        OSError: no connection, or (`ssl.SSLError`) the certificate does not verify.
        TimeoutError: nothing came in time.
    """
    context = ssl.create_default_context(cafile=str(roots) if roots else None)
    connect_host, _, port = address.rpartition(":")
    async with asyncio.timeout(_SECONDS):
        reader, writer = await asyncio.open_connection(connect_host, int(port), ssl=context, server_hostname=host)
        try:
            certificate = writer.get_extra_info("peercert")
            protocol = writer.get_extra_info("ssl_object").version()
            writer.write(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            head, _, body = (await reader.read(-1)).decode(errors="replace").partition("\r\n\r\n")
        finally:
            writer.close()
    issuer = ", ".join(value for rdn in certificate["issuer"] for name, value in rdn if name == "commonName")
    return FetchedPage(head.split("\r\n")[0], body, certificate["serialNumber"].lower(), issuer, certificate["notAfter"], protocol)
