"""Options that `serve`, `worker` and `up` share: the store, the TLS of listeners, who may have what."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from controlplane.cli.options import option
from controlplane.core.admission import ENVOY, OPERATOR
from controlplane.core.errors import ConfigurationError
from controlplane.endpoints.tls_files import TlsFiles

Function = TypeVar("Function", bound=Callable[..., Any])
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


def redis_options(*, required: bool) -> Callable[[Function], Function]:
    """Adds `--redis-url`, `--redis-insecure` and `--redis-ca`."""

    def add(function: Function) -> Function:
        function = option("--redis-ca", type=FILE, default=None, help="CA bundle (PEM) for a rediss:// store.")(function)
        function = option(
            "--redis-insecure", is_flag=True, default=False, help="Allow redis:// to another machine: the network is trusted."
        )(function)
        return option(
            "--redis-url",
            required=required,
            default=None if required else "",
            show_default=False,
            help="redis://, rediss:// or unix:// of the store." + ("" if required else " Without it, a Valkey of its own is started."),
        )(function)

    return add


def tls_options(function: Function) -> Function:
    """Adds `--tls-cert`, `--tls-key`, `--tls-client-ca`, and who is admitted: `--xds-client`, `--api-client`."""
    for name, default, listener in (("--api-client", OPERATOR, "API"), ("--xds-client", ENVOY, "xDS")):
        text = f"Name (SAN) on a certificate that the {listener} listener admits over TLS; repeatable; * admits any."
        function = option(name, multiple=True, default=(default,), callback=_stated, help=text)(function)
    function = option("--tls-client-ca", type=FILE, default=None, help="CA (PEM) that clients' certificates must come from.")(function)
    function = option("--tls-key", type=FILE, default=None, help="Private key (PEM) of the gRPC listeners.")(function)
    return option("--tls-cert", type=FILE, default=None, help="Certificate chain (PEM) of the gRPC listeners.")(function)


def _stated(_context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the values that say something: an option that is given and empty stands for nobody."""
    return tuple(value for value in values if value)


def envoy_options(function: Function) -> Function:
    """Adds what an Envoy may have: `--access-policy` and `--max-secrets-per-node`."""
    function = option(
        "--max-secrets-per-node",
        type=click.IntRange(min=64),
        default=10_000,
        help="Certificates that an Envoy that asks on demand holds at most, besides those that it names in its configuration.",
    )(function)
    return option(
        "--access-policy",
        type=click.Path(path_type=Path),
        default=None,
        help="TOML file that says which tenants' certificates a client may have; without it everyone admitted may have all.",
    )(function)


def tls_files(cert: Path | None, key: Path | None, client_ca: Path | None) -> TlsFiles | None:
    """Returns the files of a TLS listener, None for plaintext.

    Raises:
        ConfigurationError: some of the three are stated, but not all.
    """
    if cert is None and key is None and client_ca is None:
        return None
    if cert is None or key is None or client_ca is None:
        raise ConfigurationError("TLS needs all of --tls-cert, --tls-key and --tls-client-ca; `certplane pki init DIR` makes them")
    return TlsFiles(ca=client_ca, certificate=cert, private_key=key)
