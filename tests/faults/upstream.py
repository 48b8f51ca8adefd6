"""The way to Pebble: one connection and one request at a time.

Pebble locks itself up for ever when enough requests are in flight at once. A CA that answers one request after the other is as good for
every test, and never hangs.
"""

import asyncio
import ssl
from pathlib import Path

from tests.faults.endpoints import NEW_NONCE_PATH
from tests.faults.http1 import Request, Response, read_response

_SECONDS = 30.0


class Upstream:
    """Sends requests to Pebble; close it at the end."""

    def __init__(self, port: int, ca_bundle: Path) -> None:
        """`port` is of 127.0.0.1; `ca_bundle` what Pebble's own certificate is trusted by."""
        self._port = port
        self._context = ssl.create_default_context(cafile=str(ca_bundle))
        self._lock = asyncio.Lock()
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def send(self, request: Request) -> Response:
        """Sends a request as it came (the Host too, from which Pebble makes its URLs) and returns the response.

        Raises:
            OSError: Pebble is not there, or has closed the connection.
            TimeoutError: it does not answer.
        """
        async with self._lock, asyncio.timeout(_SECONDS):
            try:
                reader, writer = await self._connection()
                writer.write(request.encoded())
                return await read_response(reader, request.method)
            except asyncio.IncompleteReadError as error:
                self._drop()
                raise ConnectionResetError("the CA closed the connection") from error
            except BaseException:
                self._drop()
                raise

    async def nonce(self, host: str) -> str:
        """Returns a nonce that Pebble takes."""
        return (await self.send(Request("HEAD", NEW_NONCE_PATH, {"host": host}))).headers["replay-nonce"]

    async def close(self) -> None:
        """Closes the connection."""
        async with self._lock:
            self._drop()

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._reader is None or self._writer is None or self._reader.at_eof():
            self._drop()
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port, ssl=self._context)
        return self._reader, self._writer

    def _drop(self) -> None:
        if self._writer is not None:
            self._writer.transport.abort()
        self._reader = self._writer = None
