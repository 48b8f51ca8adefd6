"""DNS lookups for the pre-flight, on dnspython's asynchronous stub resolver. Nothing is cached: a second look is a second query."""

import asyncio
from ipaddress import ip_address

import dns.asyncresolver
import dns.exception
import dns.name
import dns.rdatatype
import dns.rdtypes.ANY.CAA
import dns.rdtypes.IN.A
import dns.rdtypes.IN.AAAA
import dns.resolver
import structlog

from controlplane.core.addresses import IPAddress
from controlplane.core.caa import CaaRecord
from controlplane.core.errors import ConfigurationError
from controlplane.core.preflight import MAX_ADDRESSES, AddressLookup, CaaLookup, LookupStatus, merge_lookups

_MAX_CAA = 64  # records; more than any real set
_EDNS_PAYLOAD = 1232  # bytes; fits any path without fragments (DNS flag day 2020)

_log = structlog.get_logger(__name__)


class DnsResolver:
    """Looks up A, AAAA and CAA. Never raises for what a resolver answers: the outcome is a value."""

    def __init__(self, nameserver: str = "", *, attempt_timeout: float = 2.0, lifetime: float = 5.0) -> None:
        """Asks `nameserver`, `ADDRESS:PORT` (IPv6 in brackets), or the system's resolvers when it is empty.

        `attempt_timeout` is for one query in seconds, `lifetime` for a lookup with its repetitions.

        Raises:
            ConfigurationError: `nameserver` is malformed, or the system has none.
        """
        if nameserver:
            self._resolver = dns.asyncresolver.Resolver(configure=False)
            address, self._resolver.port = _parse_nameserver(nameserver)
            self._resolver.nameservers = [address]
        else:
            try:
                self._resolver = dns.asyncresolver.Resolver()
            except dns.resolver.NoResolverConfiguration as error:
                raise ConfigurationError("the system has no DNS resolver configured; set --dns-resolver ADDRESS:PORT") from error
        self._resolver.timeout = attempt_timeout
        self._resolver.lifetime = lifetime
        self._resolver.use_edns(0, 0, _EDNS_PAYLOAD)

    async def addresses(self, host: str) -> AddressLookup:
        """Returns the addresses of `host`, a name of ASCII labels: AAAA before A, a bounded number of each."""
        return merge_lookups(await asyncio.gather(self._addresses(host, dns.rdatatype.AAAA), self._addresses(host, dns.rdatatype.A)))

    async def caa(self, owner: str) -> CaaLookup:
        """Returns the CAA records at `owner` exactly; aliases are followed, parents are not."""
        status, detail, answer = await self._lookup(owner, dns.rdatatype.CAA)
        records = [
            CaaRecord(record.flags, record.tag.decode("latin-1"), record.value.decode("latin-1"))
            for record in (answer or ())
            if isinstance(record, dns.rdtypes.ANY.CAA.CAA)
        ]
        return CaaLookup(owner, status, tuple(records[:_MAX_CAA]), detail)

    async def _addresses(self, host: str, kind: dns.rdatatype.RdataType) -> AddressLookup:
        status, detail, answer = await self._lookup(host, kind)
        found: list[IPAddress] = [
            ip_address(record.address)
            for record in (answer or ())
            if isinstance(record, dns.rdtypes.IN.A.A | dns.rdtypes.IN.AAAA.AAAA)
        ]  # fmt: skip
        return AddressLookup(status, tuple(found[:MAX_ADDRESSES]), detail)

    async def _lookup(self, name: str, kind: dns.rdatatype.RdataType) -> tuple[LookupStatus, str, dns.resolver.Answer | None]:
        try:
            absolute = dns.name.from_text(name, origin=dns.name.root)
            answer = await self._resolver.resolve(absolute, kind, search=False, raise_on_no_answer=False)
        except dns.resolver.NXDOMAIN:
            return LookupStatus.NO_SUCH_NAME, "NXDOMAIN", None
        except dns.resolver.LifetimeTimeout:
            return LookupStatus.NO_ANSWER, "the DNS resolver did not answer in time", None
        except dns.resolver.NoNameservers as failure:
            return (*_reason(failure), None)
        except (dns.exception.DNSException, OSError, ValueError) as failure:
            _log.info("dns lookup failed", name=name, type=dns.rdatatype.to_text(kind), error=type(failure).__name__)
            return LookupStatus.FAILED, "the DNS resolver gave an unusable answer", None
        if answer.rrset is None:
            return LookupStatus.NO_DATA, "", None
        return LookupStatus.FOUND, "", answer


def _reason(failure: dns.resolver.NoNameservers) -> tuple[LookupStatus, str]:
    """Tells a resolver that answered with an error from one that cannot be reached."""
    errors = failure.kwargs.get("errors") or ()
    for _server, _tcp, _port, what, response in errors:
        if response is not None and isinstance(what, str):  # an RCODE, as text
            return LookupStatus.FAILED, f"the DNS resolver answered {what}"
        if response is not None:
            return LookupStatus.FAILED, "the DNS resolver gave an unusable answer"
    return LookupStatus.NO_ANSWER, "the DNS resolver cannot be reached"


def _parse_nameserver(text: str) -> tuple[str, int]:
    address, _, port = text.rpartition(":")
    try:
        number = int(port)
        parsed = ip_address(address.removeprefix("[").removesuffix("]"))
    except ValueError:
        number = 0
    if not 0 < number < 65536:
        raise ConfigurationError(f"the DNS resolver must be an address and a port, such as 127.0.0.1:53 or [::1]:53, not {text!r}")
    return str(parsed), number
