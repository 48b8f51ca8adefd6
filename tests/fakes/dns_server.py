"""A DNS server on loopback that answers as a test's script says: for what the usual test servers cannot do.

It speaks UDP and TCP on one port; an answer over 512 bytes is truncated over UDP, as EDNS is not its business (RFC 1035 section 4.2.1).
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import cast

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

Script = Callable[[str, str], tuple[dns.rcode.Rcode, Sequence[str]] | None]
"""Takes a name (without the last dot) and a type; returns a response code and the records' data, or None for silence.

A record that begins with `CNAME ` is of that type; those after it belong to its target.
"""
Forger = Callable[[dns.message.Message, tuple[str, int]], Sequence[bytes]]
"""Takes a query and where it came from; returns datagrams that are sent there before the answer."""

_MAX_UDP = 512  # bytes


class _Responder(asyncio.DatagramProtocol):
    def __init__(self, script: Script, forger: Forger) -> None:
        self._script = script
        self._forger = forger

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        for forged in self._forger(query, addr):
            self._transport.sendto(forged, addr)
        response = _respond(query, self._script)
        if response is None:
            return
        wire = response.to_wire()
        if len(wire) > _MAX_UDP:
            response.flags |= dns.flags.TC
            response.answer.clear()
            wire = response.to_wire()
        self._transport.sendto(wire, addr)


def _respond(query: dns.message.Message, script: Script) -> dns.message.Message | None:
    (question,) = query.question
    scripted = script(question.name.to_text(omit_final_dot=True), dns.rdatatype.to_text(question.rdtype))
    if scripted is None:
        return None
    rcode, records = scripted
    response = dns.message.make_response(query)
    response.set_rcode(rcode)
    owner = question.name
    for record in records:
        kind, text = ("CNAME", record[6:]) if record.startswith("CNAME ") else (question.rdtype, record)
        rrset = dns.rrset.from_text(owner, 1, "IN", kind, text)
        response.find_rrset(response.answer, owner, rrset.rdclass, rrset.rdtype, create=True).update(rrset)
        if kind == "CNAME":
            owner = rrset[0].target
    return response


@asynccontextmanager
async def dns_server(script: Script, forger: Forger = lambda _query, _addr: ()) -> AsyncIterator[str]:
    """Runs the server; yields its ADDRESS:PORT."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            size = int.from_bytes(await reader.readexactly(2), "big")
            response = _respond(dns.message.from_wire(await reader.readexactly(size)), script)
            if response is not None:
                wire = response.to_wire()
                writer.write(len(wire).to_bytes(2, "big") + wire)
                await writer.drain()
        finally:
            writer.close()

    loop = asyncio.get_running_loop()
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        address = server.sockets[0].getsockname()
        transport, _ = await loop.create_datagram_endpoint(lambda: _Responder(script, forger), local_addr=address)
        try:
            yield f"{address[0]}:{address[1]}"
        finally:
            transport.close()
