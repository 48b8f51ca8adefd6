"""A real ACME CA on this machine: Let's Encrypt's Pebble and its DNS server, as child processes, for trials and tests.

Pebble makes a new root at each start, so nothing outside trusts what it issues. Its own HTTPS endpoint gets a throw-away CA.
"""

import asyncio
import json
import os
import shutil
import socket
import ssl
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from controlplane.core.errors import ConfigurationError
from controlplane.embedded.child_process import ChildProcess
from controlplane.embedded.free_ports import free_ports
from controlplane.embedded.throwaway_ca import write_throwaway_ca

_READY_SECONDS = 15.0
_HTTP_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class PebblePorts:
    """Ports of 127.0.0.1. `http` is where validation connects; something else must answer there."""

    acme: int
    management: int
    dns: int
    dns_management: int
    http: int
    tls: int

    @classmethod
    def free(cls, *, acme: int = 0, http: int = 0, dns: int = 0) -> Self:
        """Returns free ports, except those that are given."""
        found = free_ports(6)
        return cls(acme or found[0], found[1], dns or found[2], found[3], http or found[4], found[5])


class Pebble:
    """A running Pebble. Make it with `start` or as an async context manager; end it with `stop`."""

    def __init__(
        self,
        directory: Path,
        ports: PebblePorts | None = None,
        *,
        validity_seconds: int = 0,
        env: Mapping[str, str] | None = None,
        external_accounts: Mapping[str, str] | None = None,
        blocked_domains: Sequence[str] = (),
    ) -> None:
        """Prepares; nothing runs yet.

        Args:
            directory: for its configuration, certificates and logs; must exist.
            ports: by default free ones.
            validity_seconds: of the certificates that it issues; 0: Pebble's own five years.
            env: further environment of Pebble, such as PEBBLE_WFE_NONCEREJECT.
            external_accounts: MAC keys, base64url, by key identifier: every account must be bound to one of them.
            blocked_domains: names that it refuses by policy, with all below them.
        """
        self._directory = directory
        self.ports = ports or PebblePorts.free()
        self._validity_seconds = validity_seconds
        self._env = dict(env or {})
        self._external_accounts = dict(external_accounts or {})
        self._blocked_domains = list(blocked_domains)
        self._stack = AsyncExitStack()
        self.ca_bundle = directory / "pebble-ca.pem"
        self.process: ChildProcess | None = None

    @property
    def directory_url(self) -> str:
        """The ACME directory."""
        return f"https://127.0.0.1:{self.ports.acme}/dir"

    @property
    def dns_resolver(self) -> str:
        """HOST:PORT of the DNS server that it asks."""
        return f"127.0.0.1:{self.ports.dns}"

    @property
    def management_url(self) -> str:
        """Pebble's management endpoint."""
        return f"https://127.0.0.1:{self.ports.management}"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Starts both processes and waits until they answer.

        Raises:
            ConfigurationError: the programs are not installed, or the ACME port is taken.
            ChildFailed: one of them does not come up.
        """
        dns_program, program = _program("pebble-challtestsrv"), _program("pebble")
        _refuse_taken(self.ports.acme)
        certificate, key = write_throwaway_ca(self._directory, "pebble", self.ca_bundle)
        config = self._directory / "pebble.json"
        config.write_text(json.dumps({"pebble": self._config(certificate, key)}))
        try:
            dns = await ChildProcess.start(
                # An empty -defaultIPv6 matters: the default, ::1, would be tried first.
                [
                    dns_program,
                    *("-dns01", self.dns_resolver, "-management", f"127.0.0.1:{self.ports.dns_management}"),
                    *("-http01", "", "-https01", "", "-tlsalpn01", "", "-defaultIPv4", "127.0.0.1", "-defaultIPv6", ""),
                ],
                self._directory / "pebble-challtestsrv.log",
            )
            self._stack.push_async_callback(dns.terminate)
            await dns.wait_until_ready(lambda: _listens(self.ports.dns_management), _READY_SECONDS)
            await self.start_authority(program, config)
        except BaseException:
            await self.stop()
            raise

    async def start_authority(self, program: str = "", config: Path | None = None) -> None:
        """Starts Pebble itself; after `kill_authority` with a new root, and with no memory of accounts and orders."""
        pebble = await ChildProcess.start(
            [program or _program("pebble"), "-config", str(config or self._directory / "pebble.json"), "-dnsserver", self.dns_resolver],
            self._directory / "pebble.log",
            {**os.environ, "PEBBLE_VA_NOSLEEP": "1", **self._env},
        )
        self._stack.push_async_callback(pebble.terminate)
        self.process = pebble
        await pebble.wait_until_ready(lambda: _listens(self.ports.acme), _READY_SECONDS)

    async def kill_authority(self) -> None:
        """Kills Pebble, not its DNS server."""
        if self.process is not None:
            await self.process.kill()

    async def stop(self) -> None:
        """Ends both processes."""
        await self._stack.aclose()

    async def roots(self) -> bytes:
        """Returns the root certificate of what it issues, PEM."""
        return await asyncio.to_thread(_get, f"{self.management_url}/roots/0", self.ca_bundle)

    async def set_default_ipv4(self, address: str) -> None:
        """Sets the A record of every name that has none of its own; empty: there is none."""
        await self._dns("set-default-ipv4", ip=address)

    async def set_default_ipv6(self, address: str) -> None:
        """Sets the AAAA record of every name that has none of its own; empty: there is none."""
        await self._dns("set-default-ipv6", ip=address)

    async def add_a(self, name: str, *addresses: str) -> None:
        """Sets a name's A records."""
        await self._dns("add-a", host=_absolute(name), addresses=list(addresses))

    async def clear_a(self, name: str) -> None:
        """Removes a name's own A records: the default answers again."""
        await self._dns("clear-a", host=_absolute(name))

    async def add_aaaa(self, name: str, *addresses: str) -> None:
        """Sets a name's AAAA records."""
        await self._dns("add-aaaa", host=_absolute(name), addresses=list(addresses))

    async def clear_aaaa(self, name: str) -> None:
        """Removes a name's own AAAA records."""
        await self._dns("clear-aaaa", host=_absolute(name))

    async def add_caa(self, name: str, *policies: tuple[str, str]) -> None:
        """Sets a name's CAA records: pairs of tag and value."""
        await self._dns("add-caa", host=_absolute(name), policies=[{"tag": tag, "value": value} for tag, value in policies])

    async def clear_caa(self, name: str) -> None:
        """Removes a name's CAA records."""
        await self._dns("clear-caa", host=_absolute(name))

    async def set_servfail(self, name: str) -> None:
        """Makes every question for a name fail."""
        await self._dns("set-servfail", host=_absolute(name))

    async def clear_servfail(self, name: str) -> None:
        """Ends `set_servfail`."""
        await self._dns("clear-servfail", host=_absolute(name))

    async def _dns(self, command: str, **arguments: Any) -> None:
        url = f"http://127.0.0.1:{self.ports.dns_management}/{command}"
        await asyncio.to_thread(_post, url, json.dumps(arguments).encode())

    def _config(self, certificate: Path, key: Path) -> Mapping[str, Any]:
        config: dict[str, Any] = {
            "listenAddress": f"127.0.0.1:{self.ports.acme}",
            "managementListenAddress": f"127.0.0.1:{self.ports.management}",
            "certificate": str(certificate),
            "privateKey": str(key),
            "httpPort": self.ports.http,
            "tlsPort": self.ports.tls,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": bool(self._external_accounts),
            "domainBlocklist": self._blocked_domains,
        }
        if self._external_accounts:
            config["externalAccountMACKeys"] = self._external_accounts
        if self._validity_seconds:
            config["certificateValidityPeriod"] = self._validity_seconds
        return config


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise ConfigurationError(
            f"{name} is not installed: run `apt-get install pebble`, or name another ACME CA with CERTPLANE_ACME_DIRECTORY"
        )
    return str(Path(found).resolve())


def _refuse_taken(port: int) -> None:
    """Else whoever has the port would be taken for a Pebble that is ready.

    Raises:
        ConfigurationError: somebody listens there.
    """
    with socket.socket() as attempt:
        # Connections of an earlier Pebble that are still being forgotten are no hindrance (tcp(7)).
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind(("127.0.0.1", port))
        except OSError as error:
            raise ConfigurationError(f"Pebble cannot listen on 127.0.0.1:{port}: {error.strerror}") from error


def _absolute(name: str) -> str:
    return name if name.endswith(".") else f"{name}."


async def _listens(port: int) -> bool:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.close()
    return True


def _opener(ca_bundle: Path | None) -> urllib.request.OpenerDirector:
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    if ca_bundle is not None:
        handlers.append(urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=str(ca_bundle))))
    return urllib.request.build_opener(*handlers)


def _get(url: str, ca_bundle: Path) -> bytes:
    with _opener(ca_bundle).open(url, timeout=_HTTP_SECONDS) as response:
        content: bytes = response.read()
    return content


def _post(url: str, body: bytes) -> None:
    with _opener(None).open(urllib.request.Request(url, data=body, method="POST"), timeout=_HTTP_SECONDS):  # noqa: S310 (a URL of our own)
        pass
