"""A parser of one HTTP/1 response (RFC 9112), sans-IO, for responses from hostile servers.

Feed it what arrives; it holds at most `MAX_HEAD` bytes of head and `MAX_BODY` bytes of body, and is complete as soon as more input
could not change a decision: with the head for a redirect or a Content-Length over `MAX_BODY`, with `MAX_BODY` bytes for a body
without end.
Only the first response with a final status counts; interim ones (1xx) are skipped.
"""

import re
from dataclasses import dataclass
from enum import Enum, auto

MAX_HEAD = 8192
"""Bytes of status line and header fields, of all interim responses together, and of trailers and chunk extensions."""
MAX_BODY = 1024
"""Bytes of body that are kept."""

_END_OF_HEAD = re.compile(rb"\n\r?\n")
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2})(?: [^\r\n]*)?")
_FIELD_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*(.*?)[ \t]*", re.DOTALL)  # RFC 9110 section 5.6.2: token
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;.*)?", re.DOTALL)
_CONTENT_LENGTH = re.compile(rb"[0-9]{1,18}")
_REDIRECTS = frozenset((301, 302, 303, 307, 308))  # RFC 9110 section 15.4: those that carry a Location to follow


class MalformedResponse(Exception):
    """Not HTTP/1, or more than the limits allow. The text says what the server does, and holds nothing that it sent."""


class ResponseCutShort(Exception):
    """The server closed the connection before its response was complete."""


@dataclass(frozen=True, slots=True)
class Response:
    """A response. `location` is empty unless it is a redirect that has one; `truncated`: there was more body than is kept here."""

    status: int
    location: str
    body: bytes
    truncated: bool

    @property
    def is_redirect(self) -> bool:
        """Whether the status asks the client to go elsewhere."""
        return self.status in _REDIRECTS


class _State(Enum):
    HEAD = auto()
    BODY_OF_LENGTH = auto()
    BODY_UNTIL_CLOSE = auto()
    CHUNK_SIZE = auto()
    CHUNK_DATA = auto()
    CHUNK_END = auto()
    TRAILERS = auto()
    DONE = auto()


class ResponseParser:
    """Parses one response. Not reusable."""

    def __init__(self) -> None:
        self._state = _State.HEAD
        self._buffer = bytearray()
        self._searched = 0
        self._head_used = 0
        self._status = 0
        self._location = ""
        self._body = bytearray()
        self._remaining = 0
        self._truncated = False

    @property
    def complete(self) -> bool:
        """Whether the response is known; nothing more needs to be read."""
        return self._state is _State.DONE

    def feed(self, data: bytes) -> None:
        """Takes what arrived. Does nothing once complete.

        Raises:
            MalformedResponse: not HTTP/1, or over a limit.
        """
        self._buffer += data
        while self._step():
            pass

    def feed_eof(self) -> None:
        """The server closed: right for a body that ends so.

        Raises:
            ResponseCutShort: the response is not complete.
        """
        if self._state is _State.BODY_UNTIL_CLOSE:
            self._state = _State.DONE
        if not self.complete:
            started = self._buffer or self._head_used
            raise ResponseCutShort(
                "closes the connection in the middle of its answer" if started else "closes the connection without an answer"
            )

    def response(self) -> Response:
        """Returns the response. Only once complete."""
        if not self.complete:
            raise RuntimeError("the response is not complete")
        return Response(self._status, self._location, bytes(self._body), self._truncated)

    def _step(self) -> bool:
        """Consumes one element of the buffer; returns whether to try another."""
        match self._state:
            case _State.HEAD:
                return self._read_head()
            case _State.BODY_OF_LENGTH | _State.CHUNK_DATA:
                return self._read_counted()
            case _State.BODY_UNTIL_CLOSE:
                self._keep(len(self._buffer))
                return False
            case _State.CHUNK_SIZE:
                return self._read_chunk_size()
            case _State.CHUNK_END:
                return self._read_chunk_end()
            case _State.TRAILERS:
                return self._read_trailer()
            case _State.DONE:
                self._buffer.clear()
                return False

    def _take_line(self) -> bytes | None:
        """Takes a line off the buffer, without its end, CR LF or LF (RFC 9112 section 2.2); None while there is no whole one."""
        end = self._buffer.find(b"\n")
        size = len(self._buffer) if end < 0 else end + 1
        if self._head_used + size > MAX_HEAD:
            raise MalformedResponse(f"sends more than {MAX_HEAD} bytes of header fields")
        if end < 0:
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[:size]
        self._head_used += size
        return line.removesuffix(b"\r")

    def _read_head(self) -> bool:
        # The head is taken whole, so that its limit holds for any way in which it arrives.
        end = _END_OF_HEAD.search(self._buffer, self._searched)
        size = len(self._buffer) if end is None else end.end()
        if self._head_used + size > MAX_HEAD:
            raise MalformedResponse(f"sends more than {MAX_HEAD} bytes of header fields")
        if not (self._buffer[:5] == b"HTTP/"[: len(self._buffer)]):
            raise MalformedResponse("does not speak HTTP/1")
        if end is None:
            self._searched = max(0, size - 2)  # an end may have begun in the last two bytes
            return False
        self._searched = 0
        head = bytes(self._buffer[: end.start()])
        del self._buffer[:size]
        self._head_used += size
        # RFC 9112 section 5.2: a folded line goes on the line before.
        lines = re.sub(rb"\r?\n[ \t]+", b" ", head).replace(b"\r\n", b"\n").split(b"\n")
        status_line = _STATUS_LINE.fullmatch(lines[0].removesuffix(b"\r"))
        if status_line is None:
            raise MalformedResponse("sends no HTTP/1 status line")
        self._status = int(status_line[1])
        self._begin_body(_fields(lines[1:]))
        return True

    def _begin_body(self, fields: dict[bytes, list[bytes]]) -> None:
        """Decides on how the body ends: RFC 9112 section 6.3."""
        if self._status == 101:
            raise MalformedResponse("switches to a protocol that was not asked for")
        if self._status < 200:
            return
        if self._status in _REDIRECTS:
            self._location = fields.get(b"location", [b""])[0].decode("latin-1")
            self._state = _State.DONE
        elif self._status in (204, 304):
            self._state = _State.DONE
        elif b"transfer-encoding" in fields:
            codings = b",".join(fields[b"transfer-encoding"]).lower().replace(b" ", b"").replace(b"\t", b"")
            if codings != b"chunked":
                raise MalformedResponse("uses a transfer coding that was not asked for")
            self._state = _State.CHUNK_SIZE
        elif b"content-length" in fields:
            lengths = {length.strip() for line in fields[b"content-length"] for length in line.split(b",")}
            length = lengths.pop()
            if lengths or not _CONTENT_LENGTH.fullmatch(length):
                raise MalformedResponse("sends a Content-Length that is not one number")
            self._remaining = int(length)
            self._truncated = self._remaining > MAX_BODY  # too long to be right, so not read at all
            self._state = _State.BODY_OF_LENGTH if 0 < self._remaining <= MAX_BODY else _State.DONE
        else:
            self._state = _State.BODY_UNTIL_CLOSE

    def _read_counted(self) -> bool:
        size = min(self._remaining, len(self._buffer))
        self._remaining -= size
        self._keep(size)
        if self._remaining or self.complete:
            return False
        self._state = _State.DONE if self._state is _State.BODY_OF_LENGTH else _State.CHUNK_END
        return True

    def _keep(self, size: int) -> None:
        """Moves `size` bytes from the buffer to the body; a byte too many ends the response."""
        room = MAX_BODY - len(self._body)
        self._body += self._buffer[: min(size, room)]
        del self._buffer[:size]
        if size > room:
            self._truncated = True
            self._state = _State.DONE

    def _read_chunk_size(self) -> bool:
        line = self._take_line()
        if line is None:
            return False
        chunk = _CHUNK_LINE.fullmatch(line)
        if chunk is None:
            raise MalformedResponse("sends a chunk without a size")
        self._remaining = int(chunk[1], 16)
        self._state = _State.CHUNK_DATA if self._remaining else _State.TRAILERS
        return True

    def _read_chunk_end(self) -> bool:
        line = self._take_line()
        if line is None:
            return False
        if line:
            raise MalformedResponse("sends a chunk that is longer than its size")
        self._state = _State.CHUNK_SIZE
        return True

    def _read_trailer(self) -> bool:
        line = self._take_line()
        if line is None:
            return False
        if not line:
            self._state = _State.DONE
        return True


def _fields(lines: list[bytes]) -> dict[bytes, list[bytes]]:
    fields: dict[bytes, list[bytes]] = {}
    for line in lines:
        field = _FIELD_LINE.fullmatch(line.removesuffix(b"\r"))
        if field is None:
            raise MalformedResponse("sends a malformed header field")
        fields.setdefault(field[1].lower(), []).append(field[2])
    return fields
