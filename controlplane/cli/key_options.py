"""Options that unlock private key files: a passphrase, a hardware token."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from controlplane.cli.options import option
from controlplane.core.errors import ConfigurationError
from controlplane.core.key_protection import Unlock
from controlplane.core.redacted import SecretBytes
from controlplane.core.sealing import Scheme

Function = TypeVar("Function", bound=Callable[..., Any])

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_MOST_BYTES: Final = 4096

SCHEMES: Final = {scheme.name.lower().replace("_", "-"): scheme for scheme in Scheme}
"""Schemes as the command line spells them."""

WRAPPING_KEY_LABEL: Final = "certplane"
"""The AES key on the token, unless an option says otherwise."""


def unlock_options(function: Function) -> Function:
    """Adds the options; `unlock_from` makes their values one."""
    for add in (
        option("--token-pin-file", type=_FILE, default=None, help="File with the PIN of the token."),
        option("--token-key-label", default=WRAPPING_KEY_LABEL, help="AES key on the token that wraps private keys."),
        option("--token-label", default="", show_default=False, help="Label of the PKCS#11 token that wraps private keys."),
        option("--token-module", type=_FILE, default=None, help="PKCS#11 library of the token."),
        option("--key-passphrase-fd", type=int, default=None, help="Open file descriptor to read that passphrase from."),
        option("--key-passphrase-file", type=_FILE, default=None, help="File with the passphrase of encrypted private keys."),
    ):
        function = add(function)
    return function


def scheme_options(function: Function) -> Function:
    """Adds `--allowed-scheme`; `allowed_schemes` reads its value."""
    return option(
        "--allowed-scheme",
        multiple=True,
        type=click.Choice(sorted(SCHEMES)),
        default=tuple(sorted(SCHEMES)),
        show_default="all",
        help="Scheme that envelopes may be sealed by to be opened; repeatable.",
    )(function)


def allowed_schemes(names: Iterable[str]) -> frozenset[Scheme]:
    """Returns the schemes of these names."""
    return frozenset(SCHEMES[name] for name in names)


def unlock_from(
    *,
    key_passphrase_file: Path | None,
    key_passphrase_fd: int | None,
    token_module: Path | None,
    token_label: str,
    token_key_label: str,
    token_pin_file: Path | None,
) -> Unlock:
    """Reads what the options name.

    Raises:
        ConfigurationError: they contradict each other, or something cannot be read.
    """
    if key_passphrase_file is not None and key_passphrase_fd is not None:
        raise ConfigurationError("give the passphrase by --key-passphrase-file or by --key-passphrase-fd, not by both")
    passphrase = None
    if key_passphrase_file is not None:
        passphrase = _secret_of(key_passphrase_file, "--key-passphrase-file")
    elif key_passphrase_fd is not None:
        passphrase = _from_descriptor(key_passphrase_fd)
    if token_module is None:
        if token_label or token_pin_file:
            raise ConfigurationError("--token-label and --token-pin-file need --token-module: the PKCS#11 library of the token")
        return Unlock(passphrase)
    if not token_label or token_pin_file is None:
        raise ConfigurationError("--token-module needs --token-label and --token-pin-file too")
    from controlplane.adapters.pkcs11_token import Pkcs11Token

    pin = _secret_of(token_pin_file, "--token-pin-file")
    return Unlock(passphrase, Pkcs11Token(token_module, token_label, pin, token_key_label))


def _secret_of(path: Path, name: str) -> SecretBytes:
    try:
        with path.open("rb") as opened:
            if os.fstat(opened.fileno()).st_mode & 0o077:
                raise ConfigurationError(f"{path} ({name}) is open to others than its owner: run `chmod 600 {path}`")
            content = opened.read(_MOST_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"cannot read {path} ({name}): {error.strerror}") from None
    return _line_of(content, name)


def _from_descriptor(descriptor: int) -> SecretBytes:
    name = "--key-passphrase-fd"
    try:
        # To its end: a pipe may give it in parts.
        with os.fdopen(descriptor, "rb") as opened:
            content = opened.read(_MOST_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"cannot read file descriptor {descriptor} ({name}): {error.strerror}") from None
    return _line_of(content, name)


def _line_of(content: bytes, name: str) -> SecretBytes:
    """Returns the content without the newline that an editor leaves at its end."""
    secret = content.removesuffix(b"\n").removesuffix(b"\r")
    if not secret or len(content) > _MOST_BYTES:
        raise ConfigurationError(f"what {name} names is empty, or longer than {_MOST_BYTES} bytes")
    return SecretBytes(secret)
