"""What may go over which wire in the clear: a decision on addresses, made before anything listens or connects.

Private keys cross the xDS stream, and sealed keys and records the connection to the store. Both may be plaintext only where
nobody else listens: on a loopback address or a unix socket. A host name counts as the network, since who answers to it is not
known here; `localhost` is the exception (RFC 6761 section 6.3).
"""

import ipaddress
from dataclasses import dataclass
from urllib.parse import parse_qs, unquote, urlsplit

from controlplane.core.errors import ConfigurationError

_FORMS = "write HOST:PORT, [IPV6]:PORT or unix:/PATH"


@dataclass(frozen=True, slots=True)
class ListenerAddress:
    """Where a listener listens: `host` and `port`, or `path` of a unix socket (then `host` is empty and `port` 0)."""

    host: str
    port: int
    path: str = ""

    @property
    def local(self) -> bool:
        """Whether only processes of this machine can reach it."""
        return bool(self.path) or is_loopback(self.host)


def parse_listener(address: str) -> ListenerAddress:
    """Parses HOST:PORT, [IPV6]:PORT or unix:/PATH. An empty host means every address of the machine.

    Raises:
        ConfigurationError: it is none of these.
    """
    if address.startswith("unix:"):
        path = address.removeprefix("unix:")
        if path.startswith("//"):
            path = path.removeprefix("//")
        if not path.startswith("/"):
            raise ConfigurationError(f"the listener address {address!r} has no absolute path: {_FORMS}")
        return ListenerAddress("", 0, path)
    host, colon, port = address.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not (port.isascii() and port.isdecimal()) or int(port) > 65535 or (":" in host and not bracketed):
        raise ConfigurationError(f"the listener address {address!r} is not understood: {_FORMS}")
    return ListenerAddress(host[1:-1] if bracketed else host, int(port))


def check_listener(address: str, tls: bool) -> None:
    """Checks that a listener without TLS cannot be reached over a network.

    Raises:
        ConfigurationError: it could be, or the address is not understood; the text says how to have TLS.
    """
    if tls or parse_listener(address).local:
        return
    raise ConfigurationError(
        f"the listener {address} can be reached over the network, so it needs mutual TLS: give --tls-cert, --tls-key and"
        " --tls-client-ca (`certplane pki init DIR` makes a private CA and all certificates), or listen on 127.0.0.1, [::1]"
        " or unix:/PATH"
    )


def check_redis_url(url: str, insecure: bool) -> None:
    """Checks that the way to the store is encrypted and its server verified, is local, or was declared safe by the operator.

    Never repeats the URL, which may hold a password.

    Raises:
        ConfigurationError: it is none of these, or is not a Redis URL.
    """
    try:
        parts = urlsplit(url)
        hosts = _redis_hosts(parts.netloc, parts.query)
        query = parse_qs(parts.query)
    except ValueError:
        raise ConfigurationError("the Redis URL is not understood: write redis://, rediss:// or unix://") from None
    scheme = parts.scheme.partition("+")[0]
    if scheme not in {"redis", "rediss", "unix"}:
        raise ConfigurationError("the Redis URL is not understood: it must begin with redis://, rediss:// or unix://")
    if insecure or scheme == "unix" or all(is_loopback(host) for host in hosts):
        return
    if scheme == "redis":
        raise ConfigurationError(
            "the Redis URL leads over the network in the clear: use rediss://, or --redis-insecure if that network is encrypted by"
            " other means"
        )
    if _unverified(query):
        raise ConfigurationError(
            "the Redis URL switches the verification of the server's certificate off: remove ssl_cert_reqs and ssl_check_hostname"
            " (ssl_ca_certs=FILE names a private CA), or give --redis-insecure"
        )


def is_loopback(host: str) -> bool:
    """Tells whether a host is a literal loopback address (RFC 1122 section 3.2.1.3, RFC 4291 section 2.5.3) or `localhost`."""
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def _redis_hosts(netloc: str, query: str) -> list[str]:
    """Returns the hosts of a URL as redis-py reads them: percent-decoded, from `host=` in the query when the authority has none."""
    hosts = [unquote(urlsplit(f"//{part}").hostname or "") for part in netloc.rpartition("@")[2].split(",")]
    default = parse_qs(query).get("host", ["localhost"])
    return [host for named in hosts for host in ([named] if named else default)]


def _unverified(query: dict[str, list[str]]) -> bool:
    requirement = query.get("ssl_cert_reqs", ["required"])
    hostname = query.get("ssl_check_hostname", ["true"])
    return any(value.lower() != "required" for value in requirement) or any(
        value.lower() in {"0", "f", "false", "n", "no", ""} for value in hostname
    )
