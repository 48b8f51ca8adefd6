"""Reads the MAC key of an external account from a file that is its owner's alone."""

import os
import re
import stat
from pathlib import Path

from josepy.json_util import decode_b64jose

from controlplane.core.errors import ConfigurationError
from controlplane.core.external_account import ExternalAccount, MacAlgorithm
from controlplane.core.redacted import SecretBytes

_MOST_BYTES = 4096
_BASE64URL = re.compile(rb"[A-Za-z0-9_-]+={0,2}")


def read_external_account(key_id: str, path: Path, algorithm: MacAlgorithm = MacAlgorithm.HS256) -> ExternalAccount:
    """Returns the external account `key_id` with the MAC key in the file: base64url, as CAs give it (RFC 8555 section 7.3.4).

    Raises:
        ConfigurationError: the file cannot be read, is open to others than its owner, or holds no such key; its content is never told.
    """
    try:
        # The mode is asked of what was opened, so the file cannot be exchanged in between; a pipe does not block.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            content = opened.read(_MOST_BYTES + 1) if stat.S_ISREG(mode) else b""
    except OSError as error:
        raise ConfigurationError(f"cannot read the MAC key file {path}: {error.strerror}") from None
    if not stat.S_ISREG(mode):
        raise ConfigurationError(f"the MAC key file {path} is not a regular file")
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigurationError(f"the MAC key file {path} is open to others than its owner: run `chmod 600 {path}`")
    encoded = content.strip()
    try:
        if len(content) > _MOST_BYTES or not _BASE64URL.fullmatch(encoded):
            raise ValueError
        key = decode_b64jose(encoded.rstrip(b"=").decode("ascii"))
    except ValueError:
        raise ConfigurationError(f"the MAC key file {path} must hold the key in base64url on one line, as the CA gave it") from None
    return ExternalAccount(key_id, SecretBytes(key), algorithm)
