"""A DNS server on loopback that answers as a test's script says: for what the usual test servers cannot do."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import cast

import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

Script = Callable[[str, str], tuple[dns.rcode.Rcode, Sequence[str]] | None]
"""Takes a name (without the last dot) and a type; returns a response code and the records' data, or None for silence."""


class _Responder(asyncio.DatagramProtocol):
    def __init__(self, script: Script) -> None:
        self._script = script

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        (question,) = query.question
        scripted = self._script(question.name.to_text(omit_final_dot=True), dns.rdatatype.to_text(question.rdtype))
        if scripted is None:
            return
        rcode, records = scripted
        response = dns.message.make_response(query)
        response.set_rcode(rcode)
        if records:
            response.answer.append(dns.rrset.from_text_list(question.name, 1, "IN", question.rdtype, list(records)))
        self._transport.sendto(response.to_wire(), addr)


@asynccontextmanager
async def dns_server(script: Script) -> AsyncIterator[str]:
    """Runs the server; yields its ADDRESS:PORT."""
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: _Responder(script), local_addr=("127.0.0.1", 0))
    try:
        yield f"127.0.0.1:{transport.get_extra_info('sockname')[1]}"
    finally:
        transport.close()
