"""The text of a key file: lines that explain it to whoever finds it, headers, and PEM blocks (RFC 7468 allows text before them).

    # Certplane key file. SECRET: ...
    Kind: private
    Class: leaf
    Scheme: HPKE_X25519
    Phase: ACTIVE
    Key-Id: 0123456789abcdef
    Created: 2026-01-31T12:00:00Z

    -----BEGIN PRIVATE KEY-----

`Kind` is `private`, `public` or `record`; a record key has neither class nor scheme. The headers are checked against the blocks:
a key whose id is not the one in its header was mixed up or tampered with. `Phase` is the one header that an operator may edit.
A private key may be encrypted under a passphrase (ENCRYPTED PRIVATE KEY blocks), or wrapped by a hardware token (one CERTPLANE WRAPPED
PRIVATE KEY block, bound to class and id, which holds the PEM blocks).
"""

import base64
import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TypeVar

from controlplane.adapters.recipient_keys import (
    RecipientPrivateKey,
    RecipientPublicKey,
    private_key_from_pem,
    public_key_from_pem,
)
from controlplane.adapters.record_hmac import RECORD_KEY_BYTES, record_key_id
from controlplane.core.key_protection import NOTHING, Unlock
from controlplane.core.keyring import RecipientKey, RecordKey
from controlplane.core.redacted import SecretBytes
from controlplane.core.sealing import KeyClass, KeyPhase, Scheme

_T = TypeVar("_T")
_E = TypeVar("_E", bound=StrEnum)

_RECORD_LABEL = b"CERTPLANE RECORD KEY"
_PLAIN_LABEL, _ENCRYPTED_LABEL, _WRAPPED_LABEL = b"PRIVATE KEY", b"ENCRYPTED PRIVATE KEY", b"CERTPLANE WRAPPED PRIVATE KEY"
_BLOCK = re.compile(rb"-----BEGIN ([A-Z ]+)-----\s.*?-----END \1-----[ \t]*(?:\r?\n|\Z)", re.DOTALL)
_HEADER = re.compile(r"([A-Za-z-]+):[ \t]*(\S+)\s*")

_KEEP_SAFE = (
    "# Certplane key file. SECRET: keep it on the machines that need it, readable by their owner only (mode 0600),\n"
    "# and in a backup that is as safe. "
)
_PURPOSE = {
    KeyClass.LEAF: "It opens the TLS keys of all domains. Only `certplane serve` may have it.\n",
    KeyClass.ACCOUNT: "It opens the keys of ACME accounts. Only `certplane worker` may have it.\n",
}
_RECORD_PURPOSE = "Whoever has it can forge stored records. Both `certplane serve` and `certplane worker` need it.\n"
_PUBLIC_NOTE = (
    "# Certplane key file. Not secret, but whoever can change it can have new keys sealed to a key of their own:\n"
    "# only its owner may write it. `certplane worker` seals to it.\n"
)


@dataclass(frozen=True, slots=True)
class PrivateKeyFile:
    """A private recipient key, with what its file says of it."""

    about: RecipientKey
    key: RecipientPrivateKey

    def content(self, unlock: Unlock = NOTHING) -> SecretBytes:
        """Returns the file's content, protected by the token of `unlock`, else by its passphrase, else by neither.

        Raises:
            ConfigurationError: the token is not there or refuses.
        """
        head = (_KEEP_SAFE + _PURPOSE[self.about.key_class] + _recipient_headers("private", self.about)).encode()
        if unlock.provider is None:
            return SecretBytes(head + self.key.to_pem(unlock.passphrase).reveal())
        wrapped = unlock.provider.wrap(self.key.to_pem(), _bound_to(self.about))
        return SecretBytes(head + _block(_WRAPPED_LABEL, wrapped))


@dataclass(frozen=True, slots=True)
class PublicKeyFile:
    """A public recipient key, with what its file says of it."""

    about: RecipientKey
    key: RecipientPublicKey

    def content(self, _unlock: Unlock = NOTHING) -> SecretBytes:
        """Returns the file's content."""
        return SecretBytes((_PUBLIC_NOTE + _recipient_headers("public", self.about)).encode() + self.key.to_pem())


@dataclass(frozen=True, slots=True)
class RecordKeyFile:
    """A record key, with what its file says of it."""

    about: RecordKey
    key: SecretBytes

    def content(self, _unlock: Unlock = NOTHING) -> SecretBytes:
        """Returns the file's content: a record key is never encrypted, since both roles read it unattended."""
        headers = {"Kind": "record", **_common_headers(self.about)}
        return SecretBytes((_KEEP_SAFE + _RECORD_PURPOSE + _lines(headers)).encode() + _block(_RECORD_LABEL, self.key.reveal()))


KeyFile = PrivateKeyFile | PublicKeyFile | RecordKeyFile


def parse_key_file(content: SecretBytes, unlock: Unlock = NOTHING) -> KeyFile:
    """Reads a key file's content; `unlock` unlocks a private key that is encrypted or wrapped.

    Raises:
        ValueError: it is not one, is damaged or locked, or its headers do not fit its key. The text completes the sentence "the file
            ...", and neither it nor the chain holds anything of a key.
        ConfigurationError: the token that it needs is not there or refuses.
    """
    headers = _headers(content)
    blocks = _blocks(content)
    kind = _header(headers, "Kind", lambda value: value if value in {"private", "public", "record"} else None)
    phase = _header(headers, "Phase", _member(KeyPhase))
    created = _header(headers, "Created", _timestamp)
    stated_id = _header(headers, "Key-Id", str)
    if kind == "record":
        record_key = _record_key(blocks)
        _check_id(stated_id, record_key_id(record_key))
        return RecordKeyFile(RecordKey(stated_id, phase, created), record_key)
    key_class = _header(headers, "Class", _member(KeyClass))
    scheme = _header(headers, "Scheme", Scheme.__members__.get)
    about = RecipientKey(stated_id, key_class, scheme, phase, created)
    if kind == "private":
        private = _private_key(about, blocks, unlock)
        _check_recipient(about, private.public)
        return PrivateKeyFile(about, private)
    public = public_key_from_pem(_of_label(blocks, b"PUBLIC KEY"))
    _check_recipient(about, public)
    return PublicKeyFile(about, public)


def _private_key(about: RecipientKey, blocks: Sequence[tuple[bytes, SecretBytes]], unlock: Unlock) -> RecipientPrivateKey:
    label = blocks[0][0]
    if label == _ENCRYPTED_LABEL:
        if unlock.passphrase is None:
            raise ValueError("is encrypted: give its passphrase with --key-passphrase-file or --key-passphrase-fd")
        return private_key_from_pem(_of_label(blocks, label), unlock.passphrase)
    if label == _WRAPPED_LABEL:
        if unlock.provider is None:
            raise ValueError("is wrapped by a hardware token: say which with --token-module, --token-label and --token-pin-file")
        blocks = _blocks(unlock.provider.unwrap(_content_of(blocks, label), _bound_to(about)))
    return private_key_from_pem(_of_label(blocks, _PLAIN_LABEL))


def _bound_to(about: RecipientKey) -> bytes:
    """Returns what a wrapped key is bound to: so a key of one class does not unwrap as one of another."""
    return f"certplane/recipient-key/v1 {about.key_class} {about.scheme.name} {about.key_id}".encode()


def _block(label: bytes, content: bytes) -> bytes:
    body = b"\n".join(re.findall(rb".{1,64}", base64.b64encode(content)))
    return b"-----BEGIN %b-----\n%b\n-----END %b-----\n" % (label, body, label)


def _content_of(blocks: Sequence[tuple[bytes, SecretBytes]], label: bytes) -> bytes:
    """Returns what the one block of this label encodes."""
    texts = _of_label(blocks, label)
    try:
        (text,) = texts
        return base64.b64decode(b"".join(text.splitlines()[1:-1]), validate=True)
    except (ValueError, binascii.Error):
        raise ValueError(f"is damaged: its {label.decode()} is not one block of base64") from None


def _recipient_headers(kind: str, about: RecipientKey) -> str:
    return _lines({"Kind": kind, "Class": str(about.key_class), "Scheme": about.scheme.name, **_common_headers(about)})


def _common_headers(about: RecipientKey | RecordKey) -> Mapping[str, str]:
    created = about.create_time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"Phase": str(about.phase), "Key-Id": about.key_id, "Created": created}


def _lines(headers: Mapping[str, str]) -> str:
    return "".join(f"{name}: {value}\n" for name, value in headers.items()) + "\n"


def _headers(content: SecretBytes) -> Mapping[str, str]:
    """Returns the headers: whatever stands before the first block and is no comment."""
    headers: dict[str, str] = {}
    for line in content.reveal().partition(b"-----BEGIN ")[0].decode("utf-8", "replace").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        match = _HEADER.fullmatch(line)
        if match is None or match[1] in headers:
            raise ValueError("is not a Certplane key file: a line above the key is no header, or one that is there twice")
        headers[match[1]] = match[2]
    return headers


def _header(headers: Mapping[str, str], name: str, parse: Callable[[str], _T | None]) -> _T:
    value = headers.get(name)
    if value is None:
        raise ValueError(f"has no `{name}:` line")
    parsed = parse(value)
    if parsed is None:
        raise ValueError(f"has a `{name}:` line with a value that is not known")
    return parsed


def _member(kind: type[_E]) -> Callable[[str], _E | None]:
    return {member.value: member for member in kind}.get


def _timestamp(value: str) -> datetime | None:
    try:
        parsed = datetime.fromisoformat(value)
    except ValueError:
        return None
    return parsed if parsed.tzinfo is not None else None


def _blocks(content: SecretBytes) -> list[tuple[bytes, SecretBytes]]:
    """Returns label and text of every PEM block; between and after them stands nothing else."""
    body = content.reveal()
    start = body.find(b"-----BEGIN ")
    blocks = []
    while start != -1 and start < len(body):
        match = _BLOCK.match(body, start)
        if match is None:
            raise ValueError("is damaged: a key block in it is not whole, or something else stands below the first block")
        blocks.append((match[1], SecretBytes(match[0])))
        start = match.end()
    if not blocks:
        raise ValueError("has no key in it")
    return blocks


def _of_label(blocks: Sequence[tuple[bytes, SecretBytes]], label: bytes) -> list[bytes]:
    if any(found != label for found, _ in blocks):
        raise ValueError(f"has a block that is not a {label.decode()}")
    return [block.reveal() for _, block in blocks]


def _record_key(blocks: Sequence[tuple[bytes, SecretBytes]]) -> SecretBytes:
    """Returns the record key of the one block."""
    key = SecretBytes(_content_of(blocks, _RECORD_LABEL))
    if len(key.reveal()) != RECORD_KEY_BYTES:
        raise ValueError(f"is damaged: it must hold one record key of {RECORD_KEY_BYTES} bytes")
    return key


def _check_recipient(about: RecipientKey, key: RecipientPublicKey) -> None:
    if key.scheme is not about.scheme:
        raise ValueError(f"says `Scheme: {about.scheme.name}`, but its key is for {key.scheme.name}")
    _check_id(about.key_id, key.key_id)


def _check_id(stated: str, actual: str) -> None:
    if stated != actual:
        raise ValueError(f"has a `Key-Id:` line that is not the id of its key, which is {actual}: was the key exchanged?")
