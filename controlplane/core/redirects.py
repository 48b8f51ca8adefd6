"""Which redirects the pre-flight follows.

A CA follows at most ten, to http or https at the ports 80 and 443 (Let's Encrypt: "HTTP-01 challenge"; RFC 8555 section 8.3 leaves
it to the CA). A target comes from a stranger, so it is parsed strictly, and its address is judged again where it is connected to.
"""

import re
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from urllib.parse import SplitResult, urljoin, urlsplit

from controlplane.core.addresses import AddressPolicy, IPAddress
from controlplane.core.names import special_use_suffix

CHALLENGE_PATH = "/.well-known/acme-challenge/"
"""RFC 8555 section 8.3; the token follows."""
MAX_REDIRECTS = 10
_MAX_LOCATION = 2000  # characters; what Let's Encrypt takes too

_URI_CHARACTERS = re.compile(r"[!#-;=?-Z\[\]_a-z~]+")  # RFC 3986 section 2, percent-encoded octets included
_HOST = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_FOLLOWED = frozenset((301, 302, 307, 308))  # CA/Browser Forum Baseline Requirements section 3.2.2.4.19
_DEFAULT_PORTS = {"http": 80, "https": 443}


class RedirectRefused(Exception):
    """The redirect is not followed; the text is the end of a sentence that starts with what redirects: "redirects ..."."""


def check_redirect_status(status: int) -> None:
    """Checks that a CA may follow a redirect of this status.

    Raises:
        RedirectRefused: it may not, as for 303.
    """
    if status not in _FOLLOWED:
        raise RedirectRefused(f"with status {status}, which no CA follows: 301, 302, 307 and 308 are")


@dataclass(frozen=True, slots=True)
class Target:
    """What to fetch. `host` is a DNS name in lower case, or an address; `path` starts with a slash and holds the query."""

    scheme: str
    host: str | IPAddress
    port: int
    path: str

    @property
    def authority(self) -> str:
        """The value of the Host field: the port only when it is not the scheme's own (RFC 9110 section 7.2)."""
        host = f"[{self.host}]" if isinstance(self.host, IPv6Address) else str(self.host)
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The whole URL."""
        return f"{self.scheme}://{self.authority}{self.path}"

    @property
    def shown(self) -> str:
        """The URL for people to read: without query, and without a path that holds the token."""
        path = self.path.partition("?")[0]
        return f"{self.scheme}://{self.authority}" + ("" if path == "/" or CHALLENGE_PATH in path else path[:80])


@dataclass(frozen=True, slots=True)
class RedirectPolicy:
    """Where redirects may lead. `ports` are the ports that the CA follows to."""

    addresses: AddressPolicy
    ports: frozenset[int]

    def follow(self, current: Target, location: str, followed: int) -> Target:
        """Returns where `location`, as the response from `current` states it, leads after `followed` redirects before it.

        Raises:
            RedirectRefused: it must not be followed.
        """
        if not location:
            raise RedirectRefused("without saying where to")
        if followed >= MAX_REDIRECTS:
            raise RedirectRefused(f"more than {MAX_REDIRECTS} times")
        if len(location) > _MAX_LOCATION or not _URI_CHARACTERS.fullmatch(location):
            raise RedirectRefused("to something that is not a URL")
        try:
            # `urljoin` takes `http:/x` for a relative reference; a URL with a scheme is absolute (RFC 3986 section 5.2.2).
            parts = urlsplit(location if urlsplit(location).scheme else urljoin(current.url, location))
            port = parts.port
        except ValueError:
            raise RedirectRefused("to something that is not a URL") from None
        if parts.scheme not in _DEFAULT_PORTS:
            raise RedirectRefused(f"to the scheme {parts.scheme[:20]}, which no CA follows")
        port = _DEFAULT_PORTS[parts.scheme] if port is None else port
        if "@" in parts.netloc:
            raise RedirectRefused("to a URL with a user name")
        if port not in self.ports:
            raise RedirectRefused(f"to port {port}; a CA follows to 80 and 443 only")
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return Target(parts.scheme, self._host(parts), port, path)

    def _host(self, parts: SplitResult) -> str | IPAddress:
        host = (parts.hostname or "").removesuffix(".")
        try:
            address = ip_address(host)
        except ValueError:
            pass
        else:
            if reason := self.addresses.refusal(address):
                raise RedirectRefused(f"to {address}, {reason}")
            return address
        if len(host) > 253 or not _HOST.fullmatch(host) or _NUMBER.fullmatch(host.rpartition(".")[2]):
            raise RedirectRefused("to a host that is not a DNS name")
        if special_use_suffix(host):
            raise RedirectRefused(f"to {host}, which is not in the public DNS")
        return host
