"""Renders the Envoy configurations in `envoy/`: parameters in, YAML text out.

Parameters are checked when they are made, so a rendered configuration is well-formed whatever the operator typed; the
templates write every value as JSON besides.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from ipaddress import ip_address
from pathlib import Path

import jinja2

from controlplane.core.errors import ConfigurationError

_HOST_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST = re.compile(rf"{_HOST_LABEL}(\.{_HOST_LABEL})*\.?")
_PRINTABLE = re.compile(r"[\x20-\x7e]+")
MAX_SECRETS = 256
"""How many secrets a sidecar may name. Each costs a gRPC stream, and Envoy's circuit breaker stops them all at 1,024."""
MAX_PREFETCH = 10_000
"""How many names an edge may prefetch. It holds them for ever, at about 30 kB each, and names them in the first request of each stream."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where something listens: `host`, an IP address or a DNS name, and a TCP port from 1 to 65535; or `path` of a Unix socket."""

    host: str
    port: int
    path: str = ""

    @property
    def is_static(self) -> bool:
        """Whether no resolver is needed."""
        return bool(self.path) or _is_ip_address(self.host)


def parse_endpoint(text: str) -> Endpoint:
    """Returns the endpoint that `HOST:PORT`, `[IPV6]:PORT` or `unix:/PATH` states.

    Raises:
        ConfigurationError: `text` is none of these.
    """
    if text.startswith("unix:/"):
        path = text.removeprefix("unix:")
        # sockaddr_un.sun_path holds 108 bytes with the zero at the end (unix(7)).
        if len(path) > 107 or not _PRINTABLE.fullmatch(path):
            raise ConfigurationError(f"the path of {text!r} must be up to 107 printable ASCII characters")
        return Endpoint("", 0, path)
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or (":" in host) != bracketed:
        raise ConfigurationError(f"{text!r} is not HOST:PORT (an IPv6 address stands in brackets)")
    if not (_is_ip_address(host) or (len(host) <= 253 and _HOST.fullmatch(host))):
        raise ConfigurationError(f"{host!r} is neither an IP address nor a host name")
    _check_port("port", int(port))
    return Endpoint(host, int(port))


@dataclass(frozen=True, slots=True)
class XdsTls:
    """TLS from Envoy to `serve`; paths are as Envoy sees them and are read when it starts.

    `cert_file` and `key_file` (both or neither) make it mutual. `server_name` is what the server's certificate must carry as
    a subject alternative name: a DNS name or an IP address.
    """

    ca_file: str
    server_name: str
    cert_file: str = ""
    key_file: str = ""

    def __post_init__(self) -> None:
        for field, value in (("the CA file", self.ca_file), ("the server's name", self.server_name)):
            _check_text(field, value)
        for field, value in (("the certificate file", self.cert_file), ("the key file", self.key_file)):
            if value:
                _check_text(field, value)
        if bool(self.cert_file) != bool(self.key_file):
            raise ConfigurationError("a client certificate needs both its file and its key's file")

    @property
    def san_type(self) -> str:
        """The kind of `server_name`, as Envoy's SubjectAltNameMatcher calls it."""
        return "IP_ADDRESS" if _is_ip_address(self.server_name) else "DNS"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parameters:
    """What every kind of Envoy needs.

    `xds_address` and `upstream` as `parse_endpoint` takes them; `listen_address` is an IP address; `max_connections` bounds all
    listeners together.
    """

    xds_address: str
    upstream: str
    https_port: int
    admin_port: int
    node_id: str
    node_cluster: str
    listen_address: str = "127.0.0.1"
    xds_tls: XdsTls | None = None
    access_log: bool = False
    max_connections: int = 50_000

    @property
    def xds_endpoint(self) -> Endpoint:
        """Where `serve` is."""
        return parse_endpoint(self.xds_address)

    @property
    def upstream_endpoint(self) -> Endpoint:
        """Where the sites are."""
        return parse_endpoint(self.upstream)

    def __post_init__(self) -> None:
        parse_endpoint(self.xds_address)
        parse_endpoint(self.upstream)
        if not _is_ip_address(self.listen_address):
            raise ConfigurationError(f"the listen address {self.listen_address!r} is not an IP address")
        _check_text("the node id", self.node_id)
        _check_text("the node cluster", self.node_cluster)
        if self.max_connections < 1:
            raise ConfigurationError("the number of connections must be positive")
        ports = {"HTTPS port": self.https_port, "admin port": self.admin_port}
        http_port: int | None = getattr(self, "http_port", None)
        if http_port is not None:
            ports["HTTP port"] = http_port
        for field, port in ports.items():
            _check_port(field, port)
        if len(set(ports.values())) != len(ports):
            raise ConfigurationError(f"{', '.join(sorted(ports))} must differ from each other")


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeParameters(_Parameters):
    """An edge: certificates for any name, fetched at the handshake. Those of `prefetch`, the busiest first, it fetches when it starts.

    Raises:
        ConfigurationError: a value is not usable; the text says which.
    """

    http_port: int
    node_cluster: str = "edge"
    prefetch: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _Parameters.__post_init__(self)
        if len(self.prefetch) > MAX_PREFETCH:
            raise ConfigurationError(f"an edge prefetches up to {MAX_PREFETCH:,} names; it gets the others when they are asked for")
        _check_names("name to prefetch", self.prefetch)

    @property
    def pinned(self) -> tuple[str, ...]:
        """Goes into the node's metadata: names that are never taken away to make room for others."""
        return self.prefetch

    @property
    def on_demand(self) -> bool:
        """Goes into the node's metadata: an edge subscribes to names as strangers ask for them."""
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class SidecarParameters(_Parameters):
    """A sidecar: the named secrets only. `delta` chooses DeltaSecrets over StreamSecrets. No HTTP listener without `http_port`.

    Raises:
        ConfigurationError: a value is not usable; the text says which.
    """

    secrets: tuple[str, ...]
    http_port: int | None = None
    node_cluster: str = "sidecar"
    delta: bool = False

    def __post_init__(self) -> None:
        _Parameters.__post_init__(self)
        if not self.secrets:
            raise ConfigurationError("a sidecar needs the name of at least one secret")
        if len(self.secrets) > MAX_SECRETS:
            raise ConfigurationError(f"a sidecar takes up to {MAX_SECRETS} secrets, one stream each; an edge takes any number on one")
        _check_names("secret", self.secrets)

    @property
    def pinned(self) -> tuple[str, ...]:
        """Goes into the node's metadata: names that are never taken away to make room for others."""
        return self.secrets

    @property
    def on_demand(self) -> bool:
        """Goes into the node's metadata: a sidecar subscribes only to what its configuration names."""
        return False

    @property
    def sds_api_type(self) -> str:
        """The value of ApiConfigSource.ApiType."""
        return "DELTA_GRPC" if self.delta else "GRPC"


def is_secret_name(name: str) -> bool:
    """Returns whether a configuration may name this secret: a DNS name in lower case without a final dot."""
    return len(name) <= 253 and _HOST.fullmatch(name) is not None and name == name.lower().rstrip(".")


def render_edge(parameters: EdgeParameters) -> str:
    """Returns a complete Envoy configuration in YAML that gets certificates by SNI over delta ADS."""
    return _render("edge.yaml.j2", parameters)


def render_sidecar(parameters: SidecarParameters) -> str:
    """Returns a complete Envoy configuration in YAML that gets named certificates over SDS."""
    return _render("sidecar.yaml.j2", parameters)


def template_directory() -> Path:
    """Returns where the templates are: inside an installed package, or in the checkout that an editable installation points to.

    Raises:
        ConfigurationError: neither is there; the installation is not complete.
    """
    installed = Path(str(resources.files("controlplane"))) / "envoy_templates"
    checkout = Path(__file__).resolve().parents[2] / "envoy"
    for candidate in (installed, checkout):
        if (candidate / "edge.yaml.j2").is_file():
            return candidate
    raise ConfigurationError(f"the Envoy templates are missing from {installed}: install Certplane again")


def _render(template: str, parameters: EdgeParameters | SidecarParameters) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(template_directory()),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 - YAML, not HTML; the templates quote with tojson
        keep_trailing_newline=True,
    )
    return environment.get_template(template).render(p=parameters)


def _is_ip_address(text: str) -> bool:
    try:
        return "%" not in text and bool(ip_address(text))
    except ValueError:
        return False


def _check_port(field: str, port: int) -> None:
    if not 1 <= port <= 65535:
        raise ConfigurationError(f"the {field} {port} is not between 1 and 65535")


def _check_names(field: str, names: Sequence[str]) -> None:
    if len(set(names)) != len(names):
        raise ConfigurationError(f"a {field} is given twice")
    for name in names:
        if not is_secret_name(name):
            raise ConfigurationError(f"the {field} {name!r} is not a DNS name in lower case without a final dot")


def _check_text(field: str, value: str) -> None:
    if not _PRINTABLE.fullmatch(value) or len(value) > 1024:
        raise ConfigurationError(f"{field} must be 1 to 1,024 printable ASCII characters")
