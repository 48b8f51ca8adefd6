"""Which names an edge fetches when it starts: stated ones, and the busiest of an Envoy that the fleet remembers."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import click
import grpc

from controlplane.adapters.envoy_templates import MAX_PREFETCH, is_secret_name
from controlplane.cli.api_client import CONNECTION_OPTIONS, ApiSettings, failures_told
from controlplane.cli.fleet_client import fleet_connected, node_secrets
from controlplane.cli.nodes import resource_name
from controlplane.cli.options import option

_OPTIONS: Final = (
    option("--prefetch", "prefetch", metavar="NAME", multiple=True, help="A domain that an edge fetches when it starts; repeat for more."),
    option(
        "--prefetch-from", metavar="NODE", help="Also prefetch the busiest names that this node held, by the API: see `certplane nodes`."
    ),
    option("--prefetch-count", type=click.IntRange(1, MAX_PREFETCH), default=1_000, metavar="N", help="How many names of --prefetch-from."),
    *CONNECTION_OPTIONS,
)

Function = TypeVar("Function", bound=Callable[..., Any])


def prefetch_options(function: Function) -> Function:
    """Declares the options; their values are the arguments of `names_to_prefetch`."""
    return functools.reduce(lambda declared, declare: declare(declared), reversed(_OPTIONS), function)


def names_to_prefetch(
    *,
    prefetch: Sequence[str],
    prefetch_from: str | None,
    prefetch_count: int,
    api_address: str,
    api_ca: Path | None,
    api_cert: Path | None,
    api_key: Path | None,
) -> tuple[str, ...]:
    """Returns the stated names, then those of the node, each once. What is wrong with a stated name is for the template to say.

    Raises:
        click.ClickException: the node is not known, or the API does not answer.
    """
    names = dict.fromkeys(prefetch)
    if prefetch_from is not None:
        settings = ApiSettings(api_address, api_ca, api_cert, api_key, "text")
        with failures_told(api_address):
            names |= dict.fromkeys(_names_of(settings, prefetch_from, prefetch_count))
    return tuple(names)


def _names_of(settings: ApiSettings, node: str, count: int) -> Sequence[str]:
    try:
        with fleet_connected(settings) as stub:
            names = [secret.secret for secret in node_secrets(stub, resource_name(node), count)]
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.NOT_FOUND:
            raise
        message = f"no node {node!r} was seen in the last week: `certplane nodes list` shows those that were"
        raise click.ClickException(message) from error
    usable = [name for name in names if is_secret_name(name)]
    if not usable:
        click.echo(f"the node {node!r} held no names: nothing of it is prefetched", err=True)
    return usable
