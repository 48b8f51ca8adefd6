"""Finds secrets in anything that a system leaves behind, in whatever form they were written down."""

import base64
import json
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field

from redis.asyncio import Redis

_BLANK = re.compile(rb"\\+[nrt]|\s+")
_PEM = re.compile(rb"-----BEGIN [A-Z0-9 ]*(?:PRIVATE KEY|RECORD KEY)[A-Z ]*-----")


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret by what it is called in failures; `content` never shows itself."""

    title: str
    content: bytes = field(repr=False)

    def forms(self) -> Mapping[str, bytes]:
        """What the secret looks like in each way of writing it down, in hexadecimal in lower case."""
        forms = {"raw": self.content, "hex": self.content.hex().encode(), "decimal": str(int.from_bytes(self.content, "big")).encode()}
        escaped = repr(self.content)[2:-1]
        forms["repr"], forms["repr in JSON"] = escaped.encode(), json.dumps(escaped)[1:-1].encode()
        forms["hex with colons"] = self.content.hex(":").encode()
        forms["list of numbers"] = b",".join(str(number).encode() for number in self.content)
        # base64 looks different at each of the three places in a group of bytes where the secret may begin, as inside DER or PEM.
        for offset in range(3):
            whole = len(self.content) - (len(self.content) + offset) % 3
            padded = bytes(offset) + self.content[:whole]
            text = base64.b64encode(padded)[4 if offset else 0 :]
            forms[f"base64 at {offset}"], forms[f"base64url at {offset}"] = text, text.replace(b"+", b"-").replace(b"/", b"_")
        return forms


@dataclass(frozen=True, slots=True)
class Place:
    """Something to search: a file, a key of the store, a reply."""

    title: str
    content: bytes = field(repr=False)


def find(secrets: Iterable[Secret], places: Iterable[Place]) -> list[str]:
    """Returns `SECRET as FORM in PLACE` for each find, and each private PEM block. Line breaks do not hide anything."""
    needles = [(f"{secret.title} as {name}", form) for secret in secrets for name, form in secret.forms().items()]
    found = []
    for place in places:
        joined = _BLANK.sub(b"", place.content)
        views = {place.content, joined, place.content.lower(), joined.lower()}
        found += [f"{title} in {place.title}" for title, form in needles if any(form in view for view in views)]
        found += [f"a PEM block in {place.title}"] * bool(_PEM.search(place.content))
    return found


async def store_places(client: Redis) -> list[Place]:
    """Every key of a store with its whole value."""
    places = []
    async for key in client.scan_iter(count=1000):
        content = b"\n".join([key, *[part async for part in _parts(client, key)]])
        places.append(Place(f"the store's {key.decode(errors='replace')}", content))
    return places


async def _parts(client: Redis, key: bytes) -> AsyncIterator[bytes]:
    match (await client.type(key)).decode():
        case "string":
            yield await client.get(key) or b""
        case "hash":
            for name, value in (await client.hgetall(key)).items():
                yield name
                yield value
        case "list":
            for value in await client.lrange(key, 0, -1):
                yield value
        case "set":
            for value in await client.smembers(key):
                yield value
        case "zset":
            for value in await client.zrange(key, 0, -1):
                yield value
        case "stream":
            for _, fields in await client.xrange(key):
                for name, value in fields.items():
                    yield name
                    yield value
        case "none":
            pass
        case other:
            raise AssertionError(f"nobody looks into a {other}")
