"""DNS questions to one name server over one UDP socket: several at a time, told apart by their ids (RFC 1035 section 4.1.1).

Whoever does not see the questions must guess what they carry to forge an answer (RFC 5452): the socket has a random source port of its
own, every question a random id, and only the name server's address is heard. What does not fit a question is dropped unread.
"""

import asyncio
import socket
import struct
from secrets import randbelow
from typing import Self

import dns.flags
import dns.inet
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype

HEADER_SIZE = 12
"""Bytes of a message before its question."""

_MAX_DATAGRAM = 65535  # bytes
_HEADER = struct.Struct("!6H")  # id, flags, and the number of questions, answers, authority and additional records
_RESPONSE_AND_OPCODE = int(dns.flags.QR) | 0x7800
# Errors that some servers send without repeating the question.
_BARE_ERRORS = frozenset((dns.rcode.FORMERR, dns.rcode.SERVFAIL, dns.rcode.NOTIMP, dns.rcode.REFUSED))


def question_section(name: dns.name.Name, kind: dns.rdatatype.RdataType) -> bytes:
    """Returns the question for records of `kind` at `name` (RFC 1035 section 4.1.2)."""
    return name.to_digestable() + struct.pack("!2H", kind, dns.rdataclass.IN)


class DnsDatagrams:
    """A connected socket and the questions that wait for an answer on it."""

    def __init__(self, address: str, port: int) -> None:
        """Opens the socket.

        Raises:
            OSError: there is no way to the name server.
        """
        family = dns.inet.af_for_address(address)
        self._waiting: dict[int, tuple[bytes, asyncio.Future[bytes]]] = {}
        self._loop = asyncio.get_running_loop()
        self._socket = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            self._socket.connect(dns.inet.low_level_address_tuple((address, port), family))
            self._loop.add_reader(self._socket, self._receive)
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.remove_reader(self._socket)
        self._socket.close()

    async def ask(self, question: bytes) -> bytes:
        """Sends `question` once, under a fresh id, and returns the first message that fits it, however long that takes.

        It has a whole header, with the id, and the same question, if any.

        Raises:
            OSError: it could not be sent, or nobody listens there (ICMP).
        """
        while (query_id := randbelow(1 << 16)) in self._waiting:
            pass
        answer: asyncio.Future[bytes] = self._loop.create_future()
        self._waiting[query_id] = question, answer
        try:
            self._send(query_id, question)
            return await answer
        finally:
            del self._waiting[query_id]

    def _send(self, query_id: int, question: bytes) -> None:
        try:
            # No EDNS: nothing may then be in the rest of an answer that changes its meaning.
            self._socket.send(_HEADER.pack(query_id, dns.flags.RD, 1, 0, 0, 0) + question)
        except OSError as error:
            self._fail(error)  # it may tell of a question sent before

    def _receive(self) -> None:
        try:
            data = self._socket.recv(_MAX_DATAGRAM)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._fail(error)
            return
        if len(data) < HEADER_SIZE:
            return
        query_id, flags, questions, *_ = _HEADER.unpack_from(data)
        waiting = self._waiting.get(query_id)
        if waiting is None or flags & _RESPONSE_AND_OPCODE != dns.flags.QR:
            return
        question, answer = waiting
        # Names are compared without case (RFC 4343); lengths are under 64, and no type that is asked for has a letter's octet.
        repeated = questions == 1 and data[HEADER_SIZE : HEADER_SIZE + len(question)].lower() == question.lower()
        if not answer.done() and (repeated or (questions == 0 and flags & 0xF in _BARE_ERRORS)):
            answer.set_result(data)

    def _fail(self, error: OSError) -> None:
        for _, answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(error)
