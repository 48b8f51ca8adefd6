"""What can go wrong with one request, each fault a small class that says what becomes of the exchange."""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from tests.faults.http1 import Request, Response

ACME = "urn:ietf:params:acme:error:"
EditDocument = Callable[[dict[str, Any]], None]
"""Changes a JSON object in place."""


class Exchange(Protocol):
    """One request, as a fault sees it."""

    @property
    def request(self) -> Request:
        """What the client sent."""
        ...

    async def forward(self) -> Response:
        """Sends the request to the CA, where it takes effect."""
        ...

    async def answer(self, response: Response) -> None:
        """Sends a response to the client."""
        ...

    async def send(self, data: bytes) -> None:
        """Sends bytes to the client."""
        ...

    async def nonce(self) -> str:
        """Returns a nonce that the CA takes, as every reply of a CA to a POST has one (RFC 8555 section 6.5)."""
        ...

    def close(self) -> None:
        """Closes the client's connection, without an answer if there was none."""
        ...

    def refuse_handshakes(self, count: int) -> None:
        """Closes the next connections in the TLS handshake."""
        ...

    async def client_gone(self) -> None:
        """Waits until the client closes the connection."""
        ...


class Fault(Protocol):
    """Something that goes wrong."""

    async def play(self, exchange: Exchange) -> None:
        """Carries the exchange to its end, in its own way."""
        ...


@dataclass(frozen=True, slots=True)
class Drop:
    """The connection breaks before the CA has the request."""

    async def play(self, exchange: Exchange) -> None:
        """See `Fault`."""
        exchange.close()


@dataclass(frozen=True, slots=True)
class LoseReply:
    """The connection breaks after the request took effect."""

    async def play(self, exchange: Exchange) -> None:
        """See `Fault`."""
        await exchange.forward()
        exchange.close()


@dataclass(frozen=True, slots=True)
class Delay:
    """Everything takes longer."""

    seconds: float

    async def play(self, exchange: Exchange) -> None:
        """See `Fault`."""
        await asyncio.sleep(self.seconds)
        await exchange.answer(await exchange.forward())


@dataclass(frozen=True, slots=True)
class Hang:
    """No answer comes, until the client gives up; with `after_effect` the CA had the request."""

    after_effect: bool = False

    async def play(self, exchange: Exchange) -> None:
        """See `Fault`."""
        if self.after_effect:
            await exchange.forward()
        await exchange.client_gone()


@dataclass(frozen=True, slots=True)
class Duplicate:
    """The CA gets the request twice; the client the first answer, or the second: for a POST that its nonce was used already."""

    second: bool = False

    async def play(self, exchange: Exchange) -> None:
        """See `Fault`."""
        first = await exchange.forward()
        again = await exchange.forward()
        await exchange.answer(again if self.second else first)


@dataclass(frozen=True, slots=True)
class Refuse:
    """A problem document (RFC 8555 section 6.7) comes in place of the answer; with `after_effect` although the request took effect.

    `subproblems` are pairs of a name and its problem's type and detail.
    """

    type: str
    status: int = 400
    detail: str = "the fault proxy refuses"
    headers: Mapping[str, str] = field(default_factory=dict)
    subproblems: tuple[tuple[str, str, str], ...] = ()
    after_effect: bool = False

    async def play(self, exchange: Exchange) -> None:
        """See `Fault`."""
        if self.after_effect:
            await exchange.forward()
        await exchange.answer(self.response(await exchange.nonce()))

    def response(self, nonce: str) -> Response:
        """Returns the answer; `nonce` empty where no nonce belongs."""
        document: dict[str, Any] = problem(self.type, self.detail, self.status)
        if self.subproblems:
            document["subproblems"] = [
                {**problem(kind, detail), "identifier": {"type": "dns", "value": name}} for name, kind, detail in self.subproblems
            ]
        fresh = {"replay-nonce": nonce} if nonce else {}
        headers = {"content-type": "application/problem+json", **fresh, **{k.lower(): v for k, v in self.headers.items()}}
        return Response(self.status, headers, json.dumps(document).encode())


@dataclass(frozen=True, slots=True)
class Page:
    """A balancer's HTML page, without a nonce, in place of the answer."""

    status: int = 503
    headers: Mapping[str, str] = field(default_factory=dict)
    after_effect: bool = False

    async def play(self, exchange: Exchange) -> None:
        """See `Fault`."""
        if self.after_effect:
            await exchange.forward()
        body = b"<html><head><title>Service unavailable</title></head><body>Try again.</body></html>"
        await exchange.answer(Response(self.status, {"content-type": "text/html", **{k.lower(): v for k, v in self.headers.items()}}, body))


@dataclass(frozen=True, slots=True)
class Cut:
    """The connection breaks in the midst of the answer."""

    async def play(self, exchange: Exchange) -> None:
        """See `Fault`."""
        response = await exchange.forward()
        whole = response.encoded(head_only=exchange.request.method == "HEAD")
        await exchange.send(whole[: len(whole) - len(response.body) // 2 if response.body else len(whole) // 2])
        exchange.close()


@dataclass(frozen=True, slots=True)
class Drip:
    """The answer comes byte by byte, and never to its end: no single read takes long."""

    seconds: float = 0.1

    async def play(self, exchange: Exchange) -> None:
        """See `Fault`."""
        response = await exchange.forward()
        for byte in response.encoded(head_only=exchange.request.method == "HEAD")[:-1]:
            await exchange.send(bytes([byte]))
            await asyncio.sleep(self.seconds)
        await exchange.client_gone()


@dataclass(frozen=True, slots=True)
class Garbage:
    """What comes is not HTTP."""

    async def play(self, exchange: Exchange) -> None:
        """See `Fault`."""
        await exchange.send(b"\x16\x03\x01 this is not HTTP at all\r\n\r\n\x00\xff")
        exchange.close()


@dataclass(frozen=True, slots=True)
class BreakTls:
    """The connection breaks before the CA has the request, and the next so many do not get through the TLS handshake."""

    connections: int = 1

    async def play(self, exchange: Exchange) -> None:
        """See `Fault`."""
        exchange.refuse_handshakes(self.connections)
        exchange.close()


@dataclass(frozen=True, slots=True)
class Rewrite:
    """The CA's answer is changed on its way: its JSON by `edit`, or the whole body by `body`, its headers and its status."""

    edit: EditDocument | None = None
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int = 0

    async def play(self, exchange: Exchange) -> None:
        """See `Fault`."""
        response = await exchange.forward()
        body = response.body if self.body is None else self.body
        if self.edit is not None:
            document = response.document
            self.edit(document)
            body = json.dumps(document).encode()
        headers = {**response.headers, **{name.lower(): value for name, value in self.headers.items()}}
        await exchange.answer(replace(response, status=self.status or response.status, headers=headers, body=body))


def problem(type_: str, detail: str, status: int = 0) -> dict[str, Any]:
    """Returns a problem document; a type without a colon is one of ACME's."""
    document: dict[str, Any] = {"type": type_ if ":" in type_ else ACME + type_, "detail": detail}
    return document | ({"status": status} if status else {})
