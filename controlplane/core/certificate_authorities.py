"""Which CAs may issue, in order of preference: the configuration, parsed.

One CA needs nothing but its directory URL. Several are a TOML file:

    preference = ["letsencrypt", "example-ca"]      # names; without it, the order in the file

    [[certificate_authority]]
    name = "letsencrypt"                            # lower-case letters, digits, `.` and `-`; stays with certificates and in metrics
    directory = "https://acme-v02.api.letsencrypt.org/directory"
    profiles = ["tlsserver"]                        # certificate profiles, the first that the directory offers; none: the CA's default
    contact = "operations@example.com"              # e-mail address for the CA

    [[certificate_authority]]
    name = "example-ca"
    directory = "https://acme.example-ca.com/directory"
    limits = "example-ca-limits.toml"               # a profile of limits, by name or file; without it, by the directory's host
    ca_bundle = "example-ca-roots.pem"              # roots of the CA's own HTTPS
    caa_identities = ["example-ca.com"]             # issuer domain names in CAA (RFC 8659) that mean this CA
    eab_key_id = "kid-1"                            # External Account Binding (RFC 8555 section 7.3.4)
    eab_key_file = "example-ca.mac"                 # file with the MAC key, base64url, its owner's alone
    eab_algorithm = "HS256"                         # or HS384, HS512
    tenants = ["acme", "shop-*"]                    # whose domains may be issued here; without it, everybody's

Only `name` and `directory` must be given. Files are looked for beside the TOML file.
"""

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from controlplane.core.errors import ConfigurationError
from controlplane.core.exposure import is_loopback
from controlplane.core.external_account import MacAlgorithm

T = TypeVar("T")

_KNOWN: Final[Mapping[str, str]] = MappingProxyType(
    {"acme-v02.api.letsencrypt.org": "letsencrypt", "acme-staging-v02.api.letsencrypt.org": "letsencrypt-staging"}
)
_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?")
_TABLE: Final = "certificate_authority"
_TOP: Final = frozenset({_TABLE, "preference"})
_FIELDS: Final = frozenset(
    {
        "name", "directory", "limits", "profiles", "contact", "ca_bundle", "caa_identities", "eab_key_id", "eab_key_file", "eab_algorithm",
        "tenants",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ExternalAccountFile:
    """Where the MAC key of an external account is; the key itself is read by who composes."""

    key_id: str
    key_file: Path
    algorithm: MacAlgorithm = MacAlgorithm.HS256


@dataclass(frozen=True, slots=True)
class AuthoritySettings:
    """One CA. `limits` is a profile's name or file, empty: by the directory's host. `tenants` are patterns, None: everybody.

    The name is what a domain's status keeps of who issued and who refused, so it must stay the same.
    """

    name: str
    directory_url: str
    limits: str = ""
    profiles: tuple[str, ...] = ()
    contact: str = ""
    ca_bundle: Path | None = None
    caa_identities: tuple[str, ...] = ()
    external_account: ExternalAccountFile | None = None
    tenants: tuple[str, ...] | None = None

    def serves(self, tenant: str) -> bool:
        """Whether domains of this tenant may be issued here."""
        return serves(self.tenants, tenant)


def serves(patterns: Sequence[str] | None, tenant: str) -> bool:
    """Whether a tenant is one of those that the patterns (`*`, `?`, `[...]`) are for; None stands for everybody."""
    return patterns is None or any(fnmatchcase(tenant, pattern) for pattern in patterns)


def authority_name(directory_url: str) -> str:
    """Returns the name of a CA that was given none: after its host."""
    host = (urlsplit(directory_url).hostname or "").lower()
    name = _KNOWN.get(host, host.replace(":", "-"))
    return name if _NAME.fullmatch(name) else "ca"


def single_authority(  # noqa: D417 (the others are those of AuthoritySettings)
    directory_url: str,
    *,
    limits: str = "",
    profiles: tuple[str, ...] = (),
    contact: str = "",
    ca_bundle: Path | None = None,
    caa_identities: tuple[str, ...] = (),
    eab_key_id: str = "",
    eab_key_file: Path | None = None,
    eab_algorithm: MacAlgorithm = MacAlgorithm.HS256,
) -> AuthoritySettings:
    """Returns the one CA that command-line options speak of, named after its host.

    Args:
        directory_url: of the CA.

    Raises:
        ConfigurationError: the URL is not a directory's, or only half of the external account is given.
    """
    _check_directory("--acme-directory", directory_url)
    if bool(eab_key_id) != (eab_key_file is not None):
        raise ConfigurationError("--acme-eab-key-id and --acme-eab-key-file are given together or not at all")
    return AuthoritySettings(
        authority_name(directory_url),
        directory_url,
        limits=limits,
        profiles=profiles,
        contact=contact,
        ca_bundle=ca_bundle,
        caa_identities=caa_identities,
        external_account=ExternalAccountFile(eab_key_id, eab_key_file, eab_algorithm) if eab_key_file else None,
    )


def parse_authorities(text: str, source: str, base: Path) -> tuple[AuthoritySettings, ...]:
    """Parses the file.

    Args:
        text: TOML.
        source: where it is from, for errors.
        base: the directory that files named in it are relative to.

    Returns:
        At least one CA, the most preferred first.

    Raises:
        ConfigurationError: something in it is not understood; the text says which key, and what to write.
    """
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{source} is not TOML: {error}") from error
    _refuse_unknown(source, "", content, _TOP)
    tables = content.get(_TABLE)
    if not isinstance(tables, list) or not tables:
        raise ConfigurationError(f"{source}: {_TABLE} is not a list of tables; write [[{_TABLE}]] once for each CA")
    found = [_Table(source, f"{_TABLE}[{number}]", table).settings(base) for number, table in enumerate(tables)]
    for field, values in (("name", [each.name for each in found]), ("directory", [each.directory_url for each in found])):
        for number, value in enumerate(values):
            if value in values[:number]:
                raise ConfigurationError(f"{source}: {_TABLE}[{number}].{field}: another CA has {value!r} already")
    return _ordered(source, found, content.get("preference"))


def _ordered(source: str, found: Sequence[AuthoritySettings], preference: object) -> tuple[AuthoritySettings, ...]:
    if preference is None:
        return tuple(found)
    names = [each.name for each in found]
    if not isinstance(preference, list) or not all(isinstance(name, str) for name in preference):
        raise ConfigurationError(f"{source}: preference is not a list of names; write preference = {names!r}")
    for number, name in enumerate(preference):
        if name not in names:
            raise ConfigurationError(f"{source}: preference[{number}]: {name!r} is not the name of a CA; there are {', '.join(names)}")
    if sorted(preference) != sorted(names):
        raise ConfigurationError(f"{source}: preference must name every CA once: {', '.join(names)}")
    return tuple(sorted(found, key=lambda each: preference.index(each.name)))


class _Table:
    """One table, with the path of its keys for errors."""

    def __init__(self, source: str, path: str, table: object) -> None:
        self._source = source
        self._path = path
        if not isinstance(table, dict):
            raise ConfigurationError(f"{source}: {path} is not a table; write [[{_TABLE}]]")
        _refuse_unknown(source, f"{path}.", table, _FIELDS)
        self._table = table

    def settings(self, base: Path) -> AuthoritySettings:
        """Returns what the table says."""
        name, directory = self._required("name"), self._required("directory")
        if not _NAME.fullmatch(name):
            raise self._wrong("name", f"{name!r} has other than lower-case letters, digits, `.` and `-`")
        _check_directory(f"{self._source}: {self._path}.directory", directory)
        bundle = self._text("ca_bundle")
        limits = self._text("limits")
        return AuthoritySettings(
            name,
            directory,
            limits=str(base / limits) if "/" in limits or limits.endswith(".toml") else limits,
            profiles=self._texts("profiles") or (),
            contact=self._text("contact"),
            ca_bundle=base / bundle if bundle else None,
            caa_identities=self._texts("caa_identities") or (),
            external_account=self._external_account(base),
            tenants=self._texts("tenants"),
        )

    def _external_account(self, base: Path) -> ExternalAccountFile | None:
        key_id, key_file = self._text("eab_key_id"), self._text("eab_key_file")
        if not key_id and not key_file:
            if "eab_algorithm" in self._table:
                raise self._wrong("eab_algorithm", "there is neither eab_key_id nor eab_key_file")
            return None
        for field, value in (("eab_key_id", key_id), ("eab_key_file", key_file)):
            if not value:
                raise self._wrong(field, "eab_key_id and eab_key_file are given together or not at all")
        algorithm = self._text("eab_algorithm") or MacAlgorithm.HS256
        if algorithm not in set(MacAlgorithm):
            raise self._wrong("eab_algorithm", f"{algorithm!r} is none of {', '.join(MacAlgorithm)}")
        return ExternalAccountFile(key_id, base / key_file, MacAlgorithm(algorithm))

    def _required(self, field: str) -> str:
        value = self._text(field)
        if not value:
            raise self._wrong(field, "it must be given")
        return value

    def _text(self, field: str) -> str:
        return self._typed(field, "", lambda value: isinstance(value, str), "a text")

    def _texts(self, field: str) -> tuple[str, ...] | None:
        value: Sequence[str] | None = self._typed(
            field, None, lambda value: isinstance(value, list) and all(isinstance(each, str) and each for each in value), "a list of texts"
        )
        return None if value is None else tuple(value)

    def _typed(self, field: str, default: T, right: Callable[[Any], bool], kind: str) -> T:
        if field not in self._table:
            return default
        value = self._table[field]
        if not right(value):
            raise self._wrong(field, f"it is not {kind}")
        typed: T = value
        return typed

    def _wrong(self, field: str, why: str) -> ConfigurationError:
        return ConfigurationError(f"{self._source}: {self._path}.{field}: {why}")


def _refuse_unknown(source: str, path: str, table: Mapping[str, Any], known: frozenset[str]) -> None:
    unknown = sorted(table.keys() - known)
    if unknown:
        raise ConfigurationError(f"{source}: {path}{unknown[0]} is not understood; there are {', '.join(sorted(known))}")


def _check_directory(where: str, url: str) -> None:
    """Checks that account keys and orders go over TLS (RFC 8555 section 6.1), or stay on this machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        parts, host = None, ""
    if parts is None or not host or not (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))):
        raise ConfigurationError(f"{where}: {url!r} is not an https:// URL")
