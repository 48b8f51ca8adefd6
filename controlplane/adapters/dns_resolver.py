"""DNS lookups for the pre-flight: a stub resolver made of dnspython's parts. Nothing is cached: a second look is a second query.

dnspython's own asynchronous resolver opens a socket for each query and reads all of each answer; that is most of a lookup's
cost. Here the lookups of a conversation share a socket, and no EDNS is sent: an answer over 512 bytes is truncated and asked for again
over TCP (RFC 7766), as the C library's resolver does it.
"""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from secrets import SystemRandom

import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rdtypes.ANY.CAA
import dns.rdtypes.IN.A
import dns.rdtypes.IN.AAAA
import dns.resolver
import dns.rrset
import structlog

from controlplane.adapters.dns_datagrams import HEADER_SIZE, DnsDatagrams, question_section
from controlplane.core.addresses import IPAddress
from controlplane.core.caa import CaaRecord
from controlplane.core.errors import ConfigurationError
from controlplane.core.preflight import MAX_ADDRESSES, AddressLookup, CaaLookup, LookupStatus, merge_lookups

_MAX_CAA = 64  # records; more than any real set
_FIRST_PAUSE = 0.1  # seconds, before all name servers are asked again; doubled each time
_LAST_PAUSE = 2.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _NameServer:
    address: str
    port: int


@dataclass(frozen=True, slots=True)
class _Patience:
    """Seconds: for one query, and for a lookup with its repetitions."""

    attempt: float
    lifetime: float


@dataclass(frozen=True, slots=True)
class _Question:
    name: dns.name.Name
    kind: dns.rdatatype.RdataType


@dataclass(frozen=True, slots=True)
class _Outcome:
    status: LookupStatus
    detail: str = ""
    records: dns.rrset.RRset | tuple[()] = ()


_TIME_IS_UP = _Outcome(LookupStatus.NO_ANSWER, "the DNS resolver did not answer in time")
_OUT_OF_REACH = _Outcome(LookupStatus.NO_ANSWER, "the DNS resolver cannot be reached")
_UNUSABLE = _Outcome(LookupStatus.FAILED, "the DNS resolver gave an unusable answer")


class DnsResolver:
    """Looks up A, AAAA and CAA. Never raises for what a resolver answers: the outcome is a value."""

    def __init__(self, nameserver: str = "", *, attempt_timeout: float = 2.0, lifetime: float = 5.0) -> None:
        """Asks `nameserver`, `ADDRESS:PORT` (IPv6 in brackets), or the system's resolvers when it is empty.

        `attempt_timeout` is for one query in seconds, `lifetime` for a lookup with its repetitions.

        Raises:
            ConfigurationError: `nameserver` is malformed, or the system has none.
        """
        self._rotate = False
        if nameserver:
            self._servers: tuple[_NameServer, ...] = (_parse_nameserver(nameserver),)
        else:
            try:
                system = dns.resolver.Resolver()
            except dns.resolver.NoResolverConfiguration as error:
                raise ConfigurationError("the system has no DNS resolver configured; set --dns-resolver ADDRESS:PORT") from error
            self._servers = tuple(_NameServer(str(address), system.port) for address in system.nameservers)
            self._rotate = system.rotate
        self._patience = _Patience(attempt_timeout, lifetime)

    @contextmanager
    def conversation(self) -> Iterator["DnsConversation"]:
        """Yields what lookups that run at the same time share while the context lasts: a socket with a random source port of its own."""
        servers = list(self._servers)
        if self._rotate:
            SystemRandom().shuffle(servers)
        with ExitStack() as sockets:
            yield DnsConversation(tuple(servers), self._patience, sockets)

    async def addresses(self, host: str) -> AddressLookup:
        """As `DnsConversation.addresses`, in a conversation of its own."""
        with self.conversation() as conversation:
            return await conversation.addresses(host)


class DnsConversation:
    """Lookups over the same sockets, one for each name server that is asked."""

    def __init__(self, servers: tuple[_NameServer, ...], patience: _Patience, sockets: ExitStack) -> None:
        self._servers = servers
        self._patience = patience
        self._sockets = sockets
        self._open: dict[_NameServer, DnsDatagrams] = {}

    async def addresses(self, host: str) -> AddressLookup:
        """Returns the addresses of `host`, a name of ASCII labels: AAAA before A, a bounded number of each."""
        return merge_lookups(await asyncio.gather(self._addresses(host, dns.rdatatype.AAAA), self._addresses(host, dns.rdatatype.A)))

    async def caa(self, owner: str) -> CaaLookup:
        """Returns the CAA records at `owner` exactly; aliases are followed, parents are not."""
        outcome = await self._lookup(owner, dns.rdatatype.CAA)
        records = [
            CaaRecord(record.flags, record.tag.decode("latin-1"), record.value.decode("latin-1"))
            for record in outcome.records
            if isinstance(record, dns.rdtypes.ANY.CAA.CAA)
        ]
        return CaaLookup(owner, outcome.status, tuple(records[:_MAX_CAA]), outcome.detail)

    async def _addresses(self, host: str, kind: dns.rdatatype.RdataType) -> AddressLookup:
        outcome = await self._lookup(host, kind)
        found: list[IPAddress] = [
            ip_address(record.address)
            for record in outcome.records
            if isinstance(record, dns.rdtypes.IN.A.A | dns.rdtypes.IN.AAAA.AAAA)
        ]  # fmt: skip
        return AddressLookup(outcome.status, tuple(found[:MAX_ADDRESSES]), outcome.detail)

    async def _lookup(self, name: str, kind: dns.rdatatype.RdataType) -> _Outcome:
        """Asks one name server after the other, and those that were silent again after a pause, until one knows or the time is over."""
        try:
            question = _Question(dns.name.from_text(name, origin=dns.name.root), kind)
        except (dns.exception.DNSException, ValueError):
            return _UNUSABLE
        clock = asyncio.get_running_loop().time
        end = clock() + self._patience.lifetime
        servers, pause, last = list(self._servers), _FIRST_PAUSE, _TIME_IS_UP
        while servers:
            for server in tuple(servers):
                if clock() >= end:
                    return last
                last = await self._attempt(server, question, end)
                if last.status is LookupStatus.FAILED:
                    servers.remove(server)
                elif last.status is not LookupStatus.NO_ANSWER:
                    return last
            if servers:
                await asyncio.sleep(min(pause, end - clock()))
                pause = min(pause * 2, _LAST_PAUSE)
        return last

    async def _attempt(self, server: _NameServer, question: _Question, end: float) -> _Outcome:
        try:
            async with self._time_for_one(end):
                data = await self._datagrams(server).ask(question_section(question.name, question.kind))
            flags = int.from_bytes(data[2:4], "big")
            if not flags & dns.flags.TC:
                return _read(dns.rcode.from_flags(flags, 0), _parse(data))
            query = dns.message.make_query(question.name, question.kind)
            async with self._time_for_one(end):
                answer = await dns.asyncquery.tcp(query, server.address, port=server.port)
            return _read(answer.rcode(), answer)
        except TimeoutError:
            return _TIME_IS_UP
        except OSError:
            return _OUT_OF_REACH
        except (dns.exception.DNSException, EOFError, ValueError) as failure:
            _log.info("dns lookup failed", name=str(question.name), type=dns.rdatatype.to_text(question.kind), error=type(failure).__name__)
            return _UNUSABLE

    def _time_for_one(self, end: float) -> asyncio.Timeout:
        return asyncio.timeout_at(min(asyncio.get_running_loop().time() + self._patience.attempt, end))

    def _datagrams(self, server: _NameServer) -> DnsDatagrams:
        if server not in self._open:
            self._open[server] = self._sockets.enter_context(DnsDatagrams(server.address, server.port))
        return self._open[server]


def _parse(data: bytes) -> dns.message.Message | None:
    """Returns the question and the answer of a message, or None when it answers nothing.

    The counts of the sections after these (RFC 1035 section 4.1) are set to zero: nothing there is needed, and reading it is dear.
    """
    if data[6:8] == bytes(2):
        return None
    return dns.message.from_wire(data[:8] + bytes(4) + data[HEADER_SIZE:], ignore_trailing=True)


def _read(rcode: dns.rcode.Rcode, answer: dns.message.Message | None) -> _Outcome:
    """Returns what a response says.

    Raises:
        DNSException: it contradicts itself.
    """
    if rcode not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        return _Outcome(LookupStatus.FAILED, f"the DNS resolver answered {dns.rcode.to_text(rcode)}")
    # Aliases are followed within the answer, where a recursive resolver puts them all.
    records = answer.resolve_chaining().answer if isinstance(answer, dns.message.QueryMessage) else None
    if rcode == dns.rcode.NXDOMAIN:
        return _Outcome(LookupStatus.NO_SUCH_NAME, "NXDOMAIN")
    return _Outcome(LookupStatus.FOUND, records=records) if records else _Outcome(LookupStatus.NO_DATA)


def _parse_nameserver(text: str) -> _NameServer:
    address, _, port = text.rpartition(":")
    try:
        number = int(port)
        parsed = ip_address(address.removeprefix("[").removesuffix("]"))
    except ValueError:
        number = 0
    if not 0 < number < 65536:
        raise ConfigurationError(f"the DNS resolver must be an address and a port, such as 127.0.0.1:53 or [::1]:53, not {text!r}")
    return _NameServer(str(parsed), number)
