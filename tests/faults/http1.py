"""As much of HTTP/1.1 (RFC 9112) as an ACME client and Pebble speak with each other."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_PHRASES = {200: "OK", 201: "Created", 204: "No Content"}


@dataclass(frozen=True, slots=True)
class Request:
    """A request; header names are lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""

    def encoded(self) -> bytes:
        """Returns it as it goes over the wire."""
        lines = [f"{self.method} {self.target} HTTP/1.1", *(f"{name}: {value}" for name, value in self.headers.items())]
        return "\r\n".join([*lines, "", ""]).encode() + self.body


@dataclass(frozen=True, slots=True)
class Response:
    """A response; header names are lower case. `links` are its Link headers, of which there may be several."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    links: tuple[str, ...] = ()

    @property
    def document(self) -> dict[str, Any]:
        """The body as a JSON object; empty when it is none."""
        try:
            parsed = json.loads(self.body)
        except ValueError:
            return {}
        return parsed if isinstance(parsed, dict) else {}

    def encoded(self, *, head_only: bool = False) -> bytes:
        """Returns it as it goes over the wire; `head_only` in answer to HEAD."""
        length = {} if head_only or self.status == 204 else {"content-length": str(len(self.body))}
        lines = [f"HTTP/1.1 {self.status} {_PHRASES.get(self.status, 'Said')}"]
        lines += [f"{name}: {value}" for name, value in ({**self.headers, **length}).items()]
        lines += [f"link: {link}" for link in self.links]
        return "\r\n".join([*lines, "", ""]).encode() + (b"" if head_only else self.body)


async def read_request(reader: asyncio.StreamReader) -> Request | None:
    """Reads a request; None when the peer has closed the connection."""
    try:
        start, headers, _ = _head(await reader.readuntil(b"\r\n\r\n"))
    except (asyncio.IncompleteReadError, OSError):
        return None
    method, target, _ = start.split(" ", 2)
    return Request(method, target, headers, await reader.readexactly(int(headers.get("content-length", "0"))))


async def read_response(reader: asyncio.StreamReader, method: str) -> Response:
    """Reads the response to a request of this method."""
    start, headers, links = _head(await reader.readuntil(b"\r\n\r\n"))
    status = int(start.split(" ")[1])
    if method == "HEAD" or status == 204:
        body = b""
    elif headers.pop("transfer-encoding", "") == "chunked":
        body = await _chunks(reader)
    else:
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    headers.pop("content-length", None)
    return Response(status, headers, body, links)


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    parts: list[bytes] = []
    while size := int(await reader.readuntil(b"\r\n"), 16):
        parts.append(await reader.readexactly(size))
        await reader.readexactly(2)
    await reader.readuntil(b"\r\n")
    return b"".join(parts)


def _head(data: bytes) -> tuple[str, dict[str, str], tuple[str, ...]]:
    start, *lines = data.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    fields = [(name.strip().lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    return start, {name: value for name, value in fields if name != "link"}, tuple(value for name, value in fields if name == "link")
