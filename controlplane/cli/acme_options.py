"""Options that `worker` and `up` share: the CA, and how customers' hosts are looked at."""

import ipaddress
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from controlplane.cli.listener_options import FILE
from controlplane.cli.options import option

Function = TypeVar("Function", bound=Callable[..., Any])
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

LETS_ENCRYPT_STAGING = "https://acme-staging-v02.api.letsencrypt.org/directory"


class NetworkParameter(click.ParamType[Network, Any]):
    """An IP network such as `10.0.0.0/8`."""

    name = "cidr"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Network:
        """Returns the network, or fails with an example."""
        try:
            return ipaddress.ip_network(str(value), strict=False)
        except ValueError:
            self.fail(f"{value!r} is not a network; write for example 10.0.0.0/8", parameter, context)


def acme_options(function: Function) -> Function:
    """Adds the options of the CA and of the pre-flight."""
    for decorate in reversed(
        [
            option("--acme-directory", default=LETS_ENCRYPT_STAGING, help="Directory URL of the CA."),
            option("--acme-ca-bundle", type=FILE, default=None, help="Roots (PEM) to trust for the CA's own HTTPS."),
            option("--acme-contact", default="", help="E-mail address that the CA may write to."),
            option("--dns-resolver", default="", metavar="HOST:PORT", help="What the pre-flight asks; empty: the system's resolvers."),
            option("--http01-port", type=click.IntRange(1, 65535), default=80, help="Where the CA, and so the pre-flight, connects."),
            option(
                "--preflight-allow", type=NetworkParameter(), multiple=True, help="Network beyond public ones to connect to; repeatable."
            ),
            option("--caa-identity", multiple=True, help="CAA identity of the CA, such as letsencrypt.org; repeatable."),
            option("--concurrency", type=click.IntRange(1, 256), default=16, help="Domains worked on at the same time."),
        ]
    ):
        function = decorate(function)
    return function


def as_arguments(
    acme_directory: str,
    acme_ca_bundle: Path | None,
    acme_contact: str,
    dns_resolver: str,
    http01_port: int,
    preflight_allow: tuple[Network, ...],
    caa_identity: tuple[str, ...],
    concurrency: int,
) -> list[str]:
    """Returns the arguments that give a `worker` these options."""
    arguments = [f"--acme-directory={acme_directory}", f"--http01-port={http01_port}", f"--concurrency={concurrency}"]
    arguments += [f"--acme-ca-bundle={acme_ca_bundle.absolute()}"] if acme_ca_bundle else []
    arguments += [f"--acme-contact={acme_contact}"] if acme_contact else []
    arguments += [f"--dns-resolver={dns_resolver}"] if dns_resolver else []
    arguments += [f"--preflight-allow={network}" for network in preflight_allow]
    return arguments + [f"--caa-identity={identity}" for identity in caa_identity]
