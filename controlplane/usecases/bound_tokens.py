"""Tokens that clients carry back: page tokens and resume tokens.

A token is base64url without padding over a checksum, a digest of what it is bound to, and its content. The binding makes a token
useless with another request (a page token with another filter); the checksum tells a damaged token from one that is used in the
wrong place. Neither is a secret, and a token gives no right that its bearer did not have.
"""

import base64
import binascii
import hashlib
from typing import Final

from controlplane.core.errors import FieldViolation, InvalidArgument

_CHECKSUM: Final = 4
_BINDING: Final = 8


def encode_token(kind: str, binding: str, content: str) -> str:
    """Returns a token of a kind (`page`, `watch`) that carries `content`."""
    body = _digest(f"binding {kind}", binding.encode(), _BINDING) + content.encode()
    return base64.urlsafe_b64encode(_digest(f"token {kind}", body, _CHECKSUM) + body).rstrip(b"=").decode()


def decode_token(token: str, kind: str, binding: str, *, field: str, bound_to: str) -> str:
    """Returns the content of a token.

    Raises:
        InvalidArgument: the token is damaged or of another kind, or it was made for another binding (called `bound_to` in the text).
    """
    try:
        raw = base64.b64decode(token.encode("ascii") + b"=" * (-len(token) % 4), altchars=b"-_", validate=True)
        checksum, body = raw[:_CHECKSUM], raw[_CHECKSUM:]
        content = body[_BINDING:].decode()
    except (binascii.Error, UnicodeError):
        raise _refused(field, "is not a token that this API gave out; leave it empty to start again") from None
    if checksum != _digest(f"token {kind}", body, _CHECKSUM):
        raise _refused(field, "is not a token that this API gave out; leave it empty to start again")
    if body[:_BINDING] != _digest(f"binding {kind}", binding.encode(), _BINDING):
        raise _refused(field, f"was given out for another {bound_to}; repeat the one that it came from, or leave the token empty")
    return content


def _digest(label: str, content: bytes, length: int) -> bytes:
    return hashlib.sha256(label.encode() + b"\0" + content).digest()[:length]


def _refused(field: str, description: str) -> InvalidArgument:
    return InvalidArgument(FieldViolation(field, description))
