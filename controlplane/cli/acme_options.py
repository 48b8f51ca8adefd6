"""Options of the CAs, and of how customers' hosts are looked at: those that `worker` and `up` share, and those of `account`."""

import ipaddress
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click
from click.core import ParameterSource

from controlplane.cli import command_line
from controlplane.cli.listener_options import FILE
from controlplane.cli.options import option
from controlplane.core.errors import ConfigurationError

if TYPE_CHECKING:
    from controlplane.core.certificate_authorities import AuthoritySettings

Function = TypeVar("Function", bound=Callable[..., Any])
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

LETS_ENCRYPT_STAGING = "https://acme-staging-v02.api.letsencrypt.org/directory"

_FILE_OF_SEVERAL: Final = "certificate_authorities"
_OF_ONE: Final = (
    "acme_directory", "acme_ca_bundle", "acme_contact", "acme_profile", "acme_eab_key_id", "acme_eab_key_file", "acme_eab_algorithm",
    "ca_limits", "caa_identity",
)  # fmt: skip
"""Parameters that speak of the one CA; in --certificate-authorities each CA has its own."""

AUTHORITY_PARAMETERS: Final = frozenset({*_OF_ONE, _FILE_OF_SEVERAL})
"""Parameters of `acme_options` that `authorities_from` reads."""

_BESIDE: Final = ("dns_resolver", "http01_port", "concurrency")
"""Parameters of `acme_options` that are about no CA, but for --preflight-allow."""


class NetworkParameter(click.ParamType[Network, Any]):
    """An IP network such as `10.0.0.0/8`."""

    name = "cidr"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Network:
        """Returns the network, or fails with an example."""
        try:
            return ipaddress.ip_network(str(value), strict=False)
        except ValueError:
            self.fail(f"{value!r} is not a network; write for example 10.0.0.0/8", parameter, context)


def _stated(_context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the values that say something."""
    return tuple(value for value in values if value)


_DIRECTORY = option("--acme-directory", default=LETS_ENCRYPT_STAGING, help="Directory URL of the CA.")
_BUNDLE = option("--acme-ca-bundle", type=FILE, default=None, help="Roots (PEM) to trust for the CA's own HTTPS.")
_SEVERAL = option("--certificate-authorities", type=FILE, default=None, help="TOML file with several CAs, in place of --acme-directory.")


def acme_options(function: Function) -> Function:
    """Adds the options of the CAs (`authorities_from` reads them) and of the pre-flight."""
    for decorate in reversed(
        [
            _DIRECTORY,
            _BUNDLE,
            option("--acme-contact", default="", help="E-mail address that the CA may write to."),
            option("--acme-profile", multiple=True, callback=_stated, help="Certificate profile to ask for, if offered; repeatable."),
            option("--acme-eab-key-id", default="", help="Key identifier of an external account at the CA (RFC 8555 section 7.3.4)."),
            option("--acme-eab-key-file", type=FILE, default=None, help="File with that account's MAC key, base64url; mode 600."),
            option("--acme-eab-algorithm", type=click.Choice(["HS256", "HS384", "HS512"]), default="HS256", help="MAC for that key."),
            option("--ca-limits", default="", help="The CA's limits: a profile's name or file; empty: by the directory's host."),
            _SEVERAL,
            option("--dns-resolver", default="", metavar="HOST:PORT", help="What the pre-flight asks; empty: the system's resolvers."),
            option("--http01-port", type=click.IntRange(1, 65535), default=80, help="Where the CA, and so the pre-flight, connects."),
            option(
                "--preflight-allow", type=NetworkParameter(), multiple=True, help="Network beyond public ones to connect to; repeatable."
            ),
            option("--caa-identity", multiple=True, callback=_stated, help="CAA identity of the CA, such as letsencrypt.org; repeatable."),
            option("--concurrency", type=click.IntRange(1, 256), default=16, help="Domains worked on at the same time."),
        ]
    ):
        function = decorate(function)
    return function


def account_authority_options(function: Function) -> Function:
    """Adds the options that say at which CA an account is; `account_authority` reads them."""
    chosen = option("--certificate-authority", default="", help="Name of the CA in that file; not needed when it has one.")
    return _DIRECTORY(_BUNDLE(_SEVERAL(chosen(function))))


def authorities_from(context: click.Context, *, not_of_one: Collection[str] = ()) -> "tuple[AuthoritySettings, ...]":
    """Returns the CAs that the options of a command say, the most preferred first.

    Args:
        context: of the command.
        not_of_one: parameters that mean something else in this command, though they are called as one of the one CA.

    Raises:
        ConfigurationError: the file is not understood, or options of the one CA are given beside it.
    """
    from controlplane.core.certificate_authorities import single_authority
    from controlplane.core.external_account import MacAlgorithm

    given = context.params
    if given[_FILE_OF_SEVERAL] is not None:
        return _from_file(context, not_of_one)
    one: Mapping[str, Any] = {
        "limits": given.get("ca_limits", ""),
        "profiles": given.get("acme_profile", ()),
        "contact": given.get("acme_contact", ""),
        "ca_bundle": given["acme_ca_bundle"],
        "caa_identities": given.get("caa_identity", ()),
        "eab_key_id": given.get("acme_eab_key_id", ""),
        "eab_key_file": given.get("acme_eab_key_file"),
        "eab_algorithm": MacAlgorithm(given.get("acme_eab_algorithm", MacAlgorithm.HS256)),
    }
    return (single_authority(given["acme_directory"], **one),)


def account_authority(context: click.Context) -> "AuthoritySettings":
    """Returns the CA that `account_authority_options` say.

    Raises:
        ConfigurationError: the file is not understood, or does not have the CA.
    """
    found, name = authorities_from(context, not_of_one=("acme_contact",)), context.params["certificate_authority"]
    names = ", ".join(each.name for each in found)
    if not name:
        if len(found) > 1:
            raise ConfigurationError(f"say which CA is meant by --certificate-authority: {names}")
        return found[0]
    for authority in found:
        if authority.name == name:
            return authority
    raise ConfigurationError(f"--certificate-authority: there is no {name!r}; there are {names}")


def as_arguments(context: click.Context, allowed: tuple[Network, ...]) -> list[str]:
    """Returns the arguments that give a `worker` the options of `acme_options`, with these networks for the pre-flight."""
    about_cas = _OF_ONE if context.params[_FILE_OF_SEVERAL] is None else (_FILE_OF_SEVERAL,)
    others = {parameter.name or "" for parameter in context.command.params} - {*about_cas, *_BESIDE}
    return [*command_line.as_arguments(context, others), *(f"--preflight-allow={network}" for network in allowed)]


def _from_file(context: click.Context, not_of_one: Collection[str]) -> "tuple[AuthoritySettings, ...]":
    from controlplane.core.certificate_authorities import parse_authorities

    path: Path = context.params[_FILE_OF_SEVERAL]
    defaults = (None, ParameterSource.DEFAULT)
    of_one = [name for name in _OF_ONE if name not in not_of_one]
    beside = [name for name in of_one if context.get_parameter_source(name) not in defaults and context.params.get(name)]
    if beside:
        stated = ", ".join(f"--{name.replace('_', '-')}" for name in beside)
        raise ConfigurationError(f"{stated}: each CA has its own in --certificate-authorities {path}")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"--certificate-authorities: cannot read {path}: {error}") from None
    return parse_authorities(text, str(path), path.parent)
