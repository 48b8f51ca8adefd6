"""A fault-injecting HTTPS reverse proxy in front of Pebble.

Clients use it as their CA: Pebble makes its URLs from the Host that it is asked by, so all of them lead through the proxy. What is not
hit by a rule passes unchanged. Every request is logged.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from controlplane.embedded.pebble import Pebble
from controlplane.embedded.throwaway_ca import write_throwaway_ca
from tests.faults.authority import ExtendedAuthority
from tests.faults.endpoints import Endpoint, classify
from tests.faults.faults import Fault
from tests.faults.http1 import Request, Response, read_request
from tests.faults.request_log import LoggedRequest, RequestLog
from tests.faults.rules import Rule, nth
from tests.faults.upstream import Upstream

_HANDSHAKE_SECONDS = 5.0


class FaultProxy:
    """Make it with `fault_proxy`."""

    def __init__(self, pebble: Pebble, directory: Path) -> None:
        """`directory` gets the proxy's own certificate."""
        self.log = RequestLog()
        self.rules: list[Rule] = []
        self.ca_bundle = directory / "fault-proxy-ca.pem"
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(*write_throwaway_ca(directory, "fault-proxy", self.ca_bundle))
        self._upstream = Upstream(pebble.ports.acme, pebble.ca_bundle)
        self.authority = ExtendedAuthority(self._upstream, self.log)
        self.refused_handshakes = 0
        """How many of the next connections are closed before the TLS handshake is over."""
        self.latency = 0.0
        """Seconds that a request is on its way to the CA, and as many back."""
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def directory_url(self) -> str:
        """The ACME directory."""
        return f"https://127.0.0.1:{self.port}/dir"

    def fault(
        self,
        endpoint: Endpoint,
        fault: Fault,
        hits: frozenset[int] = nth(1),
        *,
        after: Endpoint | None = None,
        of_order: int | None = None,
    ) -> Rule:
        """Adds a rule; of several that apply the first one plays."""
        rule = Rule(endpoint, fault, hits, after, of_order)
        self.rules.append(rule)
        return rule

    async def run(self) -> None:
        """Takes connections until it is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            connection, _ = await loop.sock_accept(self._listener)
            if self.refused_handshakes:
                self.refused_handshakes -= 1
                connection.close()
                continue
            task = loop.create_task(self._serve(connection))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Closes everything, in whatever state it is."""
        self._listener.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._upstream.close()

    async def _serve(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        try:
            transport, _ = await loop.connect_accepted_socket(
                lambda: protocol, connection, ssl=self._context, ssl_handshake_timeout=_HANDSHAKE_SECONDS
            )
        except (OSError, TimeoutError):
            # Whoever did not like the certificate, or was killed.
            connection.close()
            return
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        try:
            while not transport.is_closing() and (request := await read_request(reader)):
                await self._exchange(_ClientExchange(self, request, reader, writer))
        except (OSError, asyncio.IncompleteReadError):
            # The client is gone in the midst of something.
            pass
        finally:
            transport.abort()

    async def _exchange(self, exchange: "_ClientExchange") -> None:
        entry = exchange.entry
        number = self.log.order_of(entry.path)
        if number is not None:
            self.log.orders[number - 1].followed = True
        self.log.requests.append(entry)
        for rule in self.rules:
            if rule.applies(entry.endpoint, accepted=self.log.accepted_kinds, order=number):
                entry.fault = rule.fault
                await rule.fault.play(exchange)
                return
        try:
            response = await exchange.forward()
        except (OSError, TimeoutError):
            # As if there were nothing in between: a CA that is away.
            exchange.close()
        else:
            await exchange.answer(response)


@dataclass(slots=True)
class _ClientExchange:
    """Implements `Exchange`."""

    proxy: FaultProxy
    request: Request
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    entry: LoggedRequest = field(init=False)

    def __post_init__(self) -> None:
        self.entry = LoggedRequest.of(classify(self.request.target), self.request)

    async def forward(self) -> Response:
        """See `Exchange`."""
        await asyncio.sleep(self.proxy.latency)
        response = await self.proxy.authority.answer(self.request, self.entry)
        await asyncio.sleep(self.proxy.latency)
        return response

    async def answer(self, response: Response) -> None:
        """See `Exchange`."""
        self.entry.answered = response.status
        await self.send(response.encoded(head_only=self.request.method == "HEAD"))

    async def send(self, data: bytes) -> None:
        """See `Exchange`."""
        self.writer.write(data)
        await self.writer.drain()

    async def nonce(self) -> str:
        """See `Exchange`."""
        return await self.proxy.authority.upstream.nonce(self.request.headers["host"])

    def close(self) -> None:
        """See `Exchange`."""
        self.writer.close()

    def refuse_handshakes(self, count: int) -> None:
        """See `Exchange`."""
        self.proxy.refused_handshakes += count

    async def client_gone(self) -> None:
        """See `Exchange`."""
        while await self.reader.read(1024):
            pass


@asynccontextmanager
async def fault_proxy(pebble: Pebble, directory: Path) -> AsyncIterator[FaultProxy]:
    """Runs a proxy in front of a Pebble."""
    proxy = FaultProxy(pebble, directory)
    running = asyncio.create_task(proxy.run())
    try:
        yield proxy
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        await proxy.close()
