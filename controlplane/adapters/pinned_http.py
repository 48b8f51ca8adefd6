"""One HTTP/1.1 GET to one address that was checked before: the name goes into the Host field and SNI, never to a resolver.

The peer is hostile. What is read is bounded by the parser, time by the caller's deadline; there are no proxies, no compression, no
kept connections. TLS is not verified: the CA, whose view this takes, does not verify either, and nothing secret is sent.
"""

import asyncio
import errno
import ssl
from collections.abc import Callable
from typing import cast

from controlplane.core.addresses import IPAddress
from controlplane.core.http_response import MalformedResponse, Response, ResponseCutShort, ResponseParser
from controlplane.core.preflight import Finding
from controlplane.core.redirects import Target

_NO_ROUTE = frozenset((errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT))


class FetchFailed(Exception):
    """No response: `finding` classifies it, the text goes on after the address."""

    def __init__(self, finding: Finding, detail: str) -> None:
        super().__init__(detail)
        self.finding = finding


def unverified_tls() -> ssl.SSLContext:
    """Returns the context of `fetch`: as permissive as a CA's client, whose only wish is to read a public token."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.set_alpn_protocols(["http/1.1"])
    return context


async def fetch(address: IPAddress, target: Target, tls: ssl.SSLContext) -> Response:
    """Sends the request for `target` to `address` and returns the response, redirects not followed.

    Raises:
        FetchFailed: no connection, or no usable response.
        TimeoutError: the caller's deadline passed.
    """
    exchange = _Exchange(_request(target))
    transport = await _connect(exchange, address, target, tls)
    try:
        await exchange.over
        if exchange.failure:
            raise exchange.failure
        return exchange.parser.response()
    except MalformedResponse as error:
        raise FetchFailed(Finding.WRONG_ANSWER, f"{error} when asked for {target.shown}") from error
    except ResponseCutShort as error:
        raise FetchFailed(Finding.CUT_SHORT, f"{error} when asked for {target.shown}") from error
    except OSError as error:
        raise FetchFailed(Finding.CUT_SHORT, f"breaks the connection when asked for {target.shown}") from error
    finally:
        # Not closed in good manner: a peer that does not read must not be waited for.
        transport.abort()


class _Exchange(asyncio.Protocol):
    """Sends the request as soon as there is a connection; it is over with the response or with what failed."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self.parser = ResponseParser()
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.failure: Exception | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).write(self._request)

    def data_received(self, data: bytes) -> None:
        self._step(lambda: self.parser.feed(data))

    def eof_received(self) -> None:
        self._step(self.parser.feed_eof)

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is None:
            self.eof_received()
        else:
            self._conclude(exc)

    def _step(self, step: Callable[[], None]) -> None:
        if self.over.done():
            return
        try:
            step()
        except (MalformedResponse, ResponseCutShort) as failure:
            self._conclude(failure)
        if self.parser.complete:
            self._conclude(None)

    def _conclude(self, failure: Exception | None) -> None:
        if not self.over.done():
            self.failure = failure
            self.over.set_result(None)


async def _connect(exchange: _Exchange, address: IPAddress, target: Target, tls: ssl.SSLContext) -> asyncio.Transport:
    secure = target.scheme == "https"
    try:
        transport, _ = await asyncio.get_running_loop().create_connection(
            lambda: exchange,
            str(address),
            target.port,
            ssl=tls if secure else None,
            server_hostname=_sni(target) if secure else None,
        )
        return transport
    except TimeoutError:
        raise
    except ConnectionRefusedError as error:
        raise FetchFailed(Finding.REFUSED, f"refuses the connection to port {target.port}") from error
    except ssl.SSLError as error:
        raise FetchFailed(Finding.TLS_FAILED, f"fails the TLS handshake for {target.shown}") from error
    except ConnectionError as error:
        raise FetchFailed(Finding.CUT_SHORT, f"breaks the connection to port {target.port}") from error
    except OSError as error:
        if error.errno in _NO_ROUTE:
            raise FetchFailed(Finding.UNREACHABLE, f"cannot be reached from here: no route for {target.shown}") from error
        raise FetchFailed(
            Finding.UNREACHABLE, f"cannot be connected to from here ({errno.errorcode.get(error.errno or 0, 'unknown')})"
        ) from error


def _sni(target: Target) -> str:
    """The host; for an address the `ssl` module sends no SNI (RFC 6066 section 3)."""
    return str(target.host)


def _request(target: Target) -> bytes:
    # mod_security takes a request without Accept for an attack, so it is stated (as CAs do).
    lines = (
        f"GET {target.path} HTTP/1.1",
        f"Host: {target.authority}",
        "User-Agent: certplane-preflight",
        "Accept: */*",
        "Accept-Encoding: identity",
        "Connection: close",
    )
    return "\r\n".join((*lines, "", "")).encode("ascii")
