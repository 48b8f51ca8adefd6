"""The stub resolver against a scripted DNS server: forged answers, truncation, name servers that fail, what lookups share."""

import asyncio
import socket
from collections.abc import Callable, Sequence
from ipaddress import ip_address

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from controlplane.adapters.dns_resolver import DnsResolver, _parse_nameserver
from controlplane.core.caa import CaaRecord
from controlplane.core.preflight import AddressLookup, CaaLookup, LookupStatus
from tests.fakes.dns_server import Script, dns_server

NOERROR, NXDOMAIN, SERVFAIL = dns.rcode.NOERROR, dns.rcode.NXDOMAIN, dns.rcode.SERVFAIL
NAME = "shop.example.com"
GOOD = AddressLookup(LookupStatus.FOUND, (ip_address("192.0.2.1"),))


def good(_name: str, kind: str) -> tuple[dns.rcode.Rcode, Sequence[str]]:
    return NOERROR, ["192.0.2.1"] if kind == "A" else []


def asking(*servers: str, attempt_timeout: float = 5.0, lifetime: float = 5.0) -> DnsResolver:
    """Returns a resolver that has several name servers, as a system's configuration may name them."""
    resolver = DnsResolver(servers[0], attempt_timeout=attempt_timeout, lifetime=lifetime)
    resolver._servers = tuple(_parse_nameserver(server) for server in servers)
    return resolver


def forged(query: dns.message.Message, change: Callable[[dns.message.Message], object]) -> bytes:
    """Returns an answer to `query` that points elsewhere, changed."""
    answer = dns.message.make_response(query)
    answer.answer.append(dns.rrset.from_text(query.question[0].name, 1, "IN", "A", "203.0.113.66"))
    change(answer)
    return answer.to_wire()


def wrong_id(answer: dns.message.Message) -> None:
    answer.id ^= 1


def wrong_name(answer: dns.message.Message) -> None:
    answer.question[0] = dns.rrset.from_text("other.example.com.", 0, "IN", "A")


def wrong_type(answer: dns.message.Message) -> None:
    answer.question[0] = dns.rrset.from_text(answer.question[0].name, 0, "IN", "CAA")


def no_response(answer: dns.message.Message) -> None:
    answer.flags &= ~dns.flags.QR


def no_question(answer: dns.message.Message) -> None:
    answer.question.clear()


@pytest.mark.parametrize("change", [wrong_id, wrong_name, wrong_type, no_response, no_question])
async def test_what_does_not_fit_is_dropped(change: Callable[[dns.message.Message], object]) -> None:
    """A message from the name server that does not fit the query is dropped, and the one that fits is taken."""

    def forger(query: dns.message.Message, _addr: tuple[str, int]) -> Sequence[bytes]:
        return [b"", query.to_wire()[:7], forged(query, change)]

    async with dns_server(good, forger) as server:
        assert await DnsResolver(server).addresses(NAME) == GOOD


async def test_a_stranger_is_not_heard() -> None:
    """A fitting answer that does not come from the name server is dropped."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.bind(("127.0.0.1", 0))

        def forger(query: dns.message.Message, addr: tuple[str, int]) -> Sequence[bytes]:
            stranger.sendto(forged(query, lambda _: None), addr)
            return ()

        async with dns_server(good, forger) as server:
            assert await DnsResolver(server).addresses(NAME) == GOOD


async def test_case_of_the_repeated_question() -> None:
    """A server may repeat the name in other letters."""

    def forger(query: dns.message.Message, _addr: tuple[str, int]) -> Sequence[bytes]:
        answer = dns.message.make_response(query)
        answer.set_rcode(NXDOMAIN)
        return [answer.to_wire().replace(b"example", b"eXaMpLe")]

    async with dns_server(lambda _name, _kind: None, forger) as server:
        assert await DnsResolver(server).addresses(NAME) == AddressLookup(LookupStatus.NO_SUCH_NAME, detail="NXDOMAIN")


async def test_error_without_a_question() -> None:
    """A server that cannot even repeat the question has answered."""

    def forger(query: dns.message.Message, _addr: tuple[str, int]) -> Sequence[bytes]:
        return [query.to_wire()[:2] + b"\x81\x82" + bytes(8)]

    async with dns_server(lambda _name, _kind: None, forger) as server:
        expected = AddressLookup(LookupStatus.FAILED, detail="the DNS resolver answered SERVFAIL")
        assert await DnsResolver(server).addresses(NAME) == expected


async def test_answer_that_is_garbled() -> None:
    """An answer that fits and then cannot be read is an unusable one."""

    def forger(query: dns.message.Message, _addr: tuple[str, int]) -> Sequence[bytes]:
        question = query.to_wire()[12:]
        return [query.to_wire()[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + question + b"\xc0\xff\xff"]

    async with dns_server(lambda _name, _kind: None, forger) as server:
        expected = AddressLookup(LookupStatus.FAILED, detail="the DNS resolver gave an unusable answer")
        assert await DnsResolver(server).addresses(NAME) == expected


async def test_truncated_answer() -> None:
    """An answer that does not fit a datagram is asked for over TCP."""
    records = [f'0 issue "ca{index}.example"' for index in range(40)]
    async with dns_server(lambda _name, _kind: (NOERROR, records)) as server:
        with DnsResolver(server).conversation() as conversation:
            lookup = await conversation.caa(NAME)
    expected = {CaaRecord(0, "issue", f"ca{index}.example") for index in range(40)}
    assert (expected, LookupStatus.FOUND) == (set(lookup.records), lookup.status)


async def test_aliases() -> None:
    """Aliases in the answer are followed to the records."""
    async with dns_server(lambda name, kind: (NOERROR, ["CNAME edge.example.net.", *good(name, kind)[1]])) as server:
        assert await DnsResolver(server).addresses(NAME) == GOOD


async def test_alias_to_nowhere() -> None:
    """An alias whose target does not exist is a name that does not exist."""
    async with dns_server(lambda _name, _kind: (NXDOMAIN, ["CNAME edge.example.net."])) as server:
        assert await DnsResolver(server).addresses(NAME) == AddressLookup(LookupStatus.NO_SUCH_NAME, detail="NXDOMAIN")


@pytest.mark.parametrize("first", [lambda _name, _kind: (SERVFAIL, ()), lambda _name, _kind: None], ids=["fails", "is silent"])
async def test_next_name_server(first: Script) -> None:
    """When a name server fails or is silent, the next one is asked."""
    async with dns_server(first) as bad, dns_server(good) as server:
        assert await asking(bad, server, attempt_timeout=0.1).addresses(NAME) == GOOD


async def test_name_server_that_is_not_there() -> None:
    """When nothing listens at a name server's address, the next one is asked, without waiting for the first."""
    async with dns_server(good) as gone:
        pass
    async with dns_server(good) as server, asyncio.timeout(30):
        assert await asking(gone, server, attempt_timeout=3600, lifetime=3600).addresses(NAME) == GOOD


async def test_lost_query() -> None:
    """A query that got no answer is sent again."""
    seen: set[str] = set()

    def script(name: str, kind: str) -> tuple[dns.rcode.Rcode, Sequence[str]] | None:
        if kind in seen:
            return good(name, kind)
        seen.add(kind)
        return None

    async with dns_server(script) as server:
        assert await DnsResolver(server, attempt_timeout=0.1).addresses(NAME) == GOOD


async def test_lookups_of_a_conversation_share_a_port() -> None:
    """Lookups at the same time share a source port, under different ids; each conversation has its own port."""
    queries: list[tuple[int, int]] = []

    def forger(query: dns.message.Message, addr: tuple[str, int]) -> Sequence[bytes]:
        queries.append((addr[1], query.id))
        return ()

    async with dns_server(good, forger) as server:
        resolver, ports = DnsResolver(server), set()
        for _ in range(8):  # a port may come again by chance, but not eight times
            queries.clear()
            with resolver.conversation() as conversation:
                found = await asyncio.gather(conversation.addresses(NAME), conversation.caa(NAME), conversation.caa("example.com"))
            assert [GOOD, CaaLookup(NAME, LookupStatus.NO_DATA), CaaLookup("example.com", LookupStatus.NO_DATA)] == list(found)
            assert (4, 4) == (len(queries), len({query_id for _, query_id in queries}))
            (port,) = {port for port, _ in queries}
            ports.add(port)
    assert len(ports) > 1
