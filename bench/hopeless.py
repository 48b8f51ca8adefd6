"""Names that nobody can issue for: they point where another site answers, where nothing listens, or where nobody ever answers."""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from enum import StrEnum

from controlplane.embedded.pebble import Pebble


class Hopelessness(StrEnum):
    """What is wrong with a name; the value is the address that it points to."""

    REFUSED = "127.0.0.2"
    ELSEWHERE = "127.0.0.3"
    SILENT = "127.0.0.4"


# So many connections are taken, and never answered; of further ones not even the first packet is.
_SILENT_BACKLOG = 8
_ANOTHER_SITE = b"HTTP/1.1 404 Not Found\r\nconnection: close\r\ncontent-length: 9\r\n\r\nnot here\n"


@asynccontextmanager
async def hopeless_hosts(http_port: int) -> AsyncIterator[None]:
    """Runs what hopeless names point to, on the port where the CA and the pre-flight connect."""
    site = await asyncio.start_server(_another_site, Hopelessness.ELSEWHERE.value, http_port)
    with socket.create_server((Hopelessness.SILENT.value, http_port), backlog=_SILENT_BACKLOG):
        try:
            yield
        finally:
            site.close()


async def point_away(pebble: Pebble, names: Sequence[str]) -> None:
    """Makes names hopeless, each kind as often."""
    kinds = list(Hopelessness)
    for number, name in enumerate(names):
        await pebble.add_a(name, kinds[number % len(kinds)].value)


async def _another_site(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(_ANOTHER_SITE)
        await writer.drain()
    except (OSError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()
