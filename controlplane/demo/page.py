"""The customer's site of the demonstration: one page that says which host was asked for."""

import asyncio
import html
from importlib import resources

_MOST_HEAD_BYTES = 16_384
_SECONDS = 5.0


class DemonstrationPage:
    """A small HTTP/1.1 server on loopback (RFC 9112) that answers every GET with the page."""

    def __init__(self) -> None:
        self._template = (resources.files("controlplane.demo") / "page.html").read_text(encoding="utf-8")
        self._server: asyncio.Server | None = None

    async def start(self) -> str:
        """Listens on a free port of 127.0.0.1 and returns HOST:PORT."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=_MOST_HEAD_BYTES)
        port: int = self._server.sockets[0].getsockname()[1]
        return f"127.0.0.1:{port}"

    async def close(self) -> None:
        """Stops listening."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_SECONDS):
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                fields = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
                body = self._template.replace("{{host}}", html.escape(fields.get("host", "?"))).encode()
                writer.write(
                    b"HTTP/1.1 200 OK\r\ncontent-type: text/html; charset=utf-8\r\nconnection: close\r\n"
                    + f"content-length: {len(body)}\r\n\r\n".encode()
                    + body
                )
                await writer.drain()
        except (TimeoutError, OSError, EOFError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()
