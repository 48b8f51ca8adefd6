"""How a command reaches the management API, and what it says when a call fails."""

import functools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import click
import grpc
from click.core import ParameterSource
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from controlplane.api.certplane.v1 import domain_service_pb2_grpc
from controlplane.cli.domain_text import printable
from controlplane.cli.options import config_option, option

CALL_SECONDS: Final = 30.0
"""For one call with one answer."""

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
CONNECTION_OPTIONS: Final = (
    option("--api-address", metavar="HOST:PORT", default="127.0.0.1:18001", help="Where the management API listens; unix:PATH too."),
    option("--api-ca", type=_FILE, help="PEM file of the CA that the API's certificate comes from. Turns TLS on."),
    option("--api-cert", type=_FILE, help="PEM file of the certificate to show, with --api-key. Turns TLS on."),
    option("--api-key", type=_FILE, help="PEM file of the private key of --api-cert."),
)
_OPTIONS: Final = (
    *CONNECTION_OPTIONS,
    option("--output", type=click.Choice(["text", "json"]), default="text", help="Text for people, or JSON as in the API."),
    config_option,
)
_NAMES: Final = ("api_address", "api_ca", "api_cert", "api_key", "output")
_STRENGTH: Final = (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT, ParameterSource.DEFAULT_MAP)

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """Where the API is, how to show who calls, and the form of the output."""

    api_address: str
    api_ca: Path | None
    api_cert: Path | None
    api_key: Path | None
    output: str

    @property
    def json(self) -> bool:
        """Whether the output is JSON."""
        return self.output == "json"


def api_options(function: Function) -> Function:
    """Declares the options of the connection."""
    return functools.reduce(lambda declared, declare: declare(declared), reversed(_OPTIONS), function)


def api_command(function: Callable[..., Any]) -> Callable[..., Any]:
    """Declares the options on a command too, and calls it with `ApiSettings`; a failed call becomes a message and exit status 1.

    The options may stand before or behind the command's name. What was said more expressly wins: command line, then environment,
    then configuration file; at the same strength, what stands behind the name.
    """

    @api_options
    @click.pass_context
    @functools.wraps(function)
    def run(context: click.Context, /, **values: Any) -> Any:
        settings = ApiSettings(**{name: _value(context, name) for name in _NAMES})
        with failures_told(settings.api_address):
            return function(settings, **{name: value for name, value in values.items() if name not in _NAMES})

    return cast("Callable[..., Any]", run)


@contextmanager
def connected(settings: ApiSettings) -> Iterator[Any]:
    """Gives a stub of DomainService.

    Raises:
        click.ClickException: a TLS file cannot be read.
    """
    # gRPC's own lines on standard error say less than the message that the command gives.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    with open_channel(settings) as channel:
        stub: Any = domain_service_pb2_grpc.DomainServiceStub
        yield stub(channel)


@contextmanager
def failures_told(address: str) -> Iterator[None]:
    """Turns a failed call into click's error: one message, then one line for each field that is wrong."""
    try:
        yield
    except grpc.RpcError as error:
        raise click.ClickException(_message(error, address)) from error


def _value(context: click.Context, name: str) -> Any:
    levels = [level for level in (context, context.parent) if level is not None and name in level.params]
    return min(levels, key=lambda level: _rank(level.get_parameter_source(name))).params[name]


def _rank(source: ParameterSource | None) -> int:
    return _STRENGTH.index(source) if source in _STRENGTH else len(_STRENGTH)


def open_channel(settings: ApiSettings) -> grpc.Channel:
    """Returns a channel to the API.

    Raises:
        click.UsageError: a certificate without its key, or the other way round.
        click.ClickException: a TLS file cannot be read.
    """
    if (settings.api_cert is None) != (settings.api_key is None):
        raise click.UsageError("--api-cert and --api-key go together")
    if settings.api_ca is None and settings.api_cert is None:
        return grpc.insecure_channel(settings.api_address)
    ca, key, certificate = (_content(path) for path in (settings.api_ca, settings.api_key, settings.api_cert))
    return grpc.secure_channel(settings.api_address, grpc.ssl_channel_credentials(ca, key, certificate))


def _content(path: Path | None) -> bytes | None:
    try:
        return None if path is None else path.read_bytes()
    except OSError as error:
        raise click.ClickException(f"cannot read {path}: {error.strerror}") from error


def _message(error: Any, address: str) -> str:
    code: grpc.StatusCode = error.code()
    details = printable(error.details() or "")
    status = _rich_status(error)
    if status is None:
        if code is grpc.StatusCode.UNAVAILABLE:
            return f"no answer from the API at {address} (does it run there, and do both sides use TLS or neither?): {details}"
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return f"no answer from the API at {address} in time"
        return f"{code.name}: {details}"
    request = error_details_pb2.BadRequest()
    if not any(packed.Unpack(request) for packed in status.details) or not request.field_violations:
        return f"{code.name}: {details}"
    return "\n".join(
        ("the request was refused:", *(f"  {printable(v.field)}: {printable(v.description)}" for v in request.field_violations))
    )


def _rich_status(error: Any) -> Any:
    try:
        return rpc_status.from_call(error)
    except ValueError:
        return None
