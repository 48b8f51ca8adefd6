"""Resource names as clients spell them, and the one canonical name behind all spellings.

An edge subscribes to whatever a stranger wrote into the server name of a ClientHello, so a resource name is any string of bytes. Envoy
does not fold case: each spelling is a resource of its own for it, and an answer must repeat the spelling byte for byte. DNS does fold
case (RFC 4343), so one certificate stands behind all of them. Hence two forms: the spelled name (`bytes`), and the canonical name
(`str`, lower case) that is looked up.

A trailing dot is not accepted. A server name has none (RFC 6066 section 3), the edge's filter chain closes nearly everything else
before it becomes a name, and to fold it would only give a stranger one more way to make an Envoy hold the same certificate twice.
"""

import re

WILDCARD = b"*"
"""What asks for everything (xDS page, "How the client specifies what resources to return"). It names no secret."""

_MAX_LENGTH = 253
"""Characters in a DNS name without its trailing dot (RFC 1035 section 2.3.4: 255 octets on the wire)."""

_DNS_NAME = re.compile(rb"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*")


def canonical_name(name: bytes) -> str | None:
    """Returns the canonical name behind a spelled name, or None when it cannot be a DNS name.

    None stands for a resource that does not exist and never will: the empty name, the wildcard `*`, bytes that are not ASCII, NUL,
    more than 253 characters, an empty label, a label of more than 63 characters, or a trailing dot.
    """
    if len(name) > _MAX_LENGTH:
        return None
    folded = name.lower()
    return folded.decode("ascii") if _DNS_NAME.fullmatch(folded) else None


def is_answerable(name: bytes) -> bool:
    """Returns whether an answer may repeat `name`.

    Resource names are protobuf strings: a client refuses a whole answer, and with it the stream, over one name that is not UTF-8.
    """
    try:
        name.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
