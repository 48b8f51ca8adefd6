"""Addresses to listen on, as configured: `HOST:PORT`, `[IPV6]:PORT`, and for gRPC `unix:PATH`."""

import re
import socket
import stat
from pathlib import Path
from typing import Final

from controlplane.core.errors import ConfigurationError

UNIX_PREFIX: Final = "unix:"
_HOST_PORT: Final = re.compile(r"(?:\[(?P<ipv6>[0-9A-Fa-f:.%]+)\]|(?P<host>[^\s\[\]:/]+)):(?P<port>\d{1,5})", re.ASCII)


def split_host_port(address: str) -> tuple[str, int]:
    """Returns host and port of an address; the host of `[::1]:0` is `::1`.

    Raises:
        ConfigurationError: it is not an address.
    """
    found = _HOST_PORT.fullmatch(address)
    if found is None or int(found["port"]) > 65_535:
        raise ConfigurationError(f"{address!a} is not an address to listen on; write HOST:PORT, for example 127.0.0.1:18001")
    return found["ipv6"] or found["host"], int(found["port"])


def join_host_port(host: str, port: int) -> str:
    """Returns `HOST:PORT`, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def refuse_live_unix_socket(path: str) -> None:
    """Makes sure that nobody listens on a unix socket: gRPC would take it over silently.

    Raises:
        ConfigurationError: somebody listens, or the path is something else than a socket.
    """
    try:
        if not stat.S_ISSOCK(Path(path).stat().st_mode):
            raise ConfigurationError(f"cannot listen on unix:{path}: the path exists and is no socket")
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigurationError(f"cannot listen on unix:{path}: {error.strerror}") from error
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except OSError:
            return
    raise ConfigurationError(f"cannot listen on unix:{path}: another process does")
