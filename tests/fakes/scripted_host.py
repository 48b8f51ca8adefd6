"""A TCP server on loopback that plays a host, well-behaved or hostile: it reads a request, then does what the test's script says."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

Script = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]
"""Takes the request's head and where to write; the connection is closed after it."""


class ScriptedHost:
    """What a host has seen: each request's head, and each connection even without a request."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.connections = 0


@asynccontextmanager
async def scripted_host(script: Script, address: str, port: int = 0, tls: ssl.SSLContext | None = None) -> AsyncIterator[ScriptedHost]:
    """Listens on `address` and `port` while the context lasts."""
    host = ScriptedHost()
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host.connections += 1
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            # Peers that go away in the middle are what these scripts are for.
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                head = await reader.readuntil(b"\r\n\r\n")
                host.requests.append(head)
                await script(head, writer)
        finally:
            writer.close()
            tasks.discard(task)

    server = await asyncio.start_server(serve, address, port, ssl=tls)
    try:
        yield host
    finally:
        server.close()
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tuple(tasks), return_exceptions=True)
        await server.wait_closed()


def says(data: bytes) -> Script:
    """Returns a script that sends `data`."""

    async def script(_head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()

    return script


def answers(body: bytes, status: str = "200 OK") -> Script:
    """Returns a script that sends a plain response."""
    return says(b"HTTP/1.1 " + status.encode() + b"\r\nContent-Length: " + str(len(body)).encode() + b"\r\n\r\n" + body)


def redirects(location: str) -> Script:
    """Returns a script that redirects to `location`."""
    return says(f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode())


async def silence(_head: bytes, writer: asyncio.StreamWriter) -> None:
    """Sends nothing for as long as the peer stays."""
    await _until_gone(writer, b"", b"")


def dribbles(start: bytes, again: bytes) -> Script:
    """Returns a script that sends `start` and then `again` for ever, one piece every few milliseconds."""

    async def script(_head: bytes, writer: asyncio.StreamWriter) -> None:
        await _until_gone(writer, start, again)

    return script


def floods(start: bytes, again: bytes) -> Script:
    """Returns a script that sends `start` and then `again` for ever, as fast as the peer reads."""

    async def script(_head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(start)
        while not writer.is_closing():
            writer.write(again)
            await writer.drain()
            await asyncio.sleep(0)

    return script


async def _until_gone(writer: asyncio.StreamWriter, start: bytes, again: bytes) -> None:
    writer.write(start)
    while not writer.is_closing():
        writer.write(again)
        await writer.drain()
        await asyncio.sleep(0.005)
