"""Raw ClientHello bytes (RFC 8446 section 4.1.2, RFC 5246 section 7.4.1.2) with any bytes as server name: what no TLS library would send.

The rest of the message is one that a server takes: with a good server name it gets a ServerHello.
"""

import os
from enum import IntEnum

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

HANDSHAKE = 22
ALERT = 21
HANDSHAKE_FAILURE = 40
SERVER_HELLO = 2

_CLIENT_HELLO = 1
_TLS12_SUITES = (0xC02B, 0xC02F, 0xCCA9, 0xCCA8)
_TLS13_SUITES = (0x1301, 0x1302, 0x1303)
_X25519, _P256 = 0x001D, 0x0017
_SIGNATURES = (0x0403, 0x0804, 0x0503, 0x0805, 0x0401)
_MOST_RECORD_BYTES = 2**14


class Version(IntEnum):
    """The newest version that is offered."""

    TLS12 = 0x0303
    TLS13 = 0x0304


def client_hello(server_name: bytes | None, version: Version = Version.TLS13) -> bytes:
    """Returns a ClientHello in as many records as it needs. `server_name` None: no server_name extension at all."""
    extension = b"" if server_name is None else server_name_extension(_prefixed(2, _entry(server_name)))
    return client_hello_with(extension, version)


def server_name_extension(content: bytes) -> bytes:
    """Returns a server_name extension (RFC 6066 section 3) with any content."""
    return _extension(0, content)


def client_hello_with(server_name: bytes, version: Version = Version.TLS13) -> bytes:
    """Returns a ClientHello with a whole extension in front of its other ones, or nothing there."""
    tls13 = version is Version.TLS13
    suites = (*_TLS13_SUITES, *_TLS12_SUITES) if tls13 else _TLS12_SUITES
    extensions = server_name
    extensions += _extension(10, _prefixed(2, _shorts(_X25519, _P256)))
    extensions += _extension(11, _prefixed(1, b"\x00"))
    extensions += _extension(13, _prefixed(2, _shorts(*_SIGNATURES)))
    extensions += _extension(16, _prefixed(2, _prefixed(1, b"http/1.1")))
    if tls13:
        share = X25519PrivateKey.generate().public_key().public_bytes_raw()
        extensions += _extension(43, _prefixed(1, _shorts(Version.TLS13, Version.TLS12)))
        extensions += _extension(51, _prefixed(2, _shorts(_X25519) + _prefixed(2, share)))
    body = _shorts(Version.TLS12) + os.urandom(32) + _prefixed(1, os.urandom(32) if tls13 else b"")
    body += _prefixed(2, _shorts(*suites)) + _prefixed(1, b"\x00") + _prefixed(2, extensions)
    message = bytes([_CLIENT_HELLO]) + _prefixed(3, body)
    parts = (message[start : start + _MOST_RECORD_BYTES] for start in range(0, len(message), _MOST_RECORD_BYTES))
    return b"".join(bytes([HANDSHAKE]) + _shorts(0x0301) + _prefixed(2, part) for part in parts)


def verdict(answer: bytes) -> str:
    """Returns what a server's first bytes are: `closed` (none), `server hello`, `alert N`, or `not TLS`."""
    if not answer:
        return "closed"
    if answer[0] == HANDSHAKE and answer[5:6] == bytes([SERVER_HELLO]):
        return "server hello"
    if answer[0] == ALERT and len(answer) >= 7:
        return f"alert {answer[6]}"
    return "not TLS"


def _entry(host_name: bytes) -> bytes:
    return b"\x00" + _prefixed(2, host_name)


def _extension(number: int, content: bytes) -> bytes:
    return _shorts(number) + _prefixed(2, content)


def _prefixed(length_bytes: int, content: bytes) -> bytes:
    return len(content).to_bytes(length_bytes, "big") + content


def _shorts(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(2, "big") for number in numbers)
