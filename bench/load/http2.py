"""Just enough HTTP/2 and gRPC framing for clients that cost far less than the server they measure.

gRPC's own clients take as much CPU for a message as a server does, so on two cores they would be measured too. Windows are those that
Envoy has by Certplane's template. Reference: RFC 9113 (frames, flow control), RFC 7541 section 6.2.2 (headers that are not indexed), and
PROTOCOL-HTTP2.md of gRPC (the prefix of five bytes).
"""

import asyncio
from collections.abc import Callable

_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_ACK, _END_STREAM, _END_HEADERS = 1, 1, 4
_ENABLE_PUSH, _INITIAL_WINDOW_SIZE = b"\x00\x02", b"\x00\x04"
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_HEAD = 9
_WINDOW = 1024 * 1024
_DEFAULT_WINDOW = 65_535
_FRAME = 16_384
_BUFFER = 128 * 1024


class Http2Connection(asyncio.BufferedProtocol):
    """Frames in and out; what streams mean by them is for the children of this class."""

    def __init__(self) -> None:
        self._buffer = bytearray(_BUFFER)
        self._view = memoryview(self._buffer)
        self._filled = 0
        self._unacknowledged = 0
        self.window = _DEFAULT_WINDOW
        """What may still be sent on the whole connection, in bytes; `stream_window` is what a new stream may send."""
        self.stream_window = _DEFAULT_WINDOW
        self.greeted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Set when the server's settings came: it has taken the connection up."""
        self.transport: asyncio.WriteTransport

    # ---- for children ----

    def data(self, stream: int, payload: memoryview) -> None:
        """Takes content of a stream; `payload` must not be kept."""

    def headers(self, stream: int, *, last: bool) -> None:
        """Takes note of headers or trailers; `last`: the server has ended the stream."""

    def grown(self, stream: int, increment: int) -> None:
        """Takes note of a window that has grown; stream 0 is the connection."""

    def ended(self, reason: str) -> None:
        """Takes note of the end of the connection, or of a stream that the server has reset."""

    # ---- out ----

    def close(self) -> None:
        """Ends the connection."""
        self.transport.abort()

    def connection_made(self, transport: asyncio.WriteTransport) -> None:  # type: ignore[override]  # the loop gives one that writes
        """Greets with Envoy's windows."""
        self.transport = transport
        settings = _ENABLE_PUSH + (0).to_bytes(4, "big") + _INITIAL_WINDOW_SIZE + _WINDOW.to_bytes(4, "big")
        transport.write(_PREFACE + _frame(_SETTINGS, 0, 0, settings) + _window_update(0, _WINDOW - _DEFAULT_WINDOW))

    # ---- in ----

    def get_buffer(self, _sizehint: int) -> memoryview:
        """Gives what is free."""
        return self._view[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        """Takes all whole frames; the rest moves to the front."""
        buffer, view, end = self._buffer, self._view, self._filled + nbytes
        position = 0
        while end - position >= _HEAD:
            length = int.from_bytes(buffer[position : position + 3], "big")
            begin = position + _HEAD
            if end - begin < length:
                break
            kind, flags = buffer[position + 3], buffer[position + 4]
            stream = int.from_bytes(buffer[position + 5 : begin], "big")
            position = begin + length
            if kind == _DATA:
                self.data(stream, view[begin:position])
                self._acknowledge(stream, length)
            else:
                self._take(kind, flags, stream, bytes(view[begin:position]))
        self._filled = end - position
        if self._filled:
            buffer[: self._filled] = buffer[position:end]

    def connection_lost(self, error: Exception | None) -> None:
        """Tells it."""
        self.ended(f"connection lost: {error}")

    def _acknowledge(self, stream: int, length: int) -> None:
        """Lets the server send on. Either there is one stream, or its messages are far smaller than its window."""
        self._unacknowledged += length
        if self._unacknowledged >= _WINDOW // 2:
            increment, self._unacknowledged = self._unacknowledged, 0
            self.transport.write(_window_update(0, increment) + _window_update(stream, increment))

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == _HEADERS:
            self.headers(stream, last=bool(flags & _END_STREAM))
        elif kind == _SETTINGS and not flags & _ACK:
            self._take_settings(payload)
        elif kind == _WINDOW_UPDATE:
            increment = int.from_bytes(payload, "big")
            if stream == 0:
                self.window += increment
            self.grown(stream, increment)
        elif kind == _PING and not flags & _ACK:
            self.transport.write(_frame(_PING, _ACK, 0, payload))
        elif kind in (_RST_STREAM, _GOAWAY):
            self.ended(f"ended by the server: frame {kind}, {payload!r}")

    def _take_settings(self, payload: bytes) -> None:
        for start in range(0, len(payload), 6):
            if payload[start : start + 2] == _INITIAL_WINDOW_SIZE:
                self.stream_window = int.from_bytes(payload[start + 2 : start + 6], "big")
        self.transport.write(_frame(_SETTINGS, _ACK, 0, b""))
        if not self.greeted.done():
            self.greeted.set_result(None)


class Http2Stream(Http2Connection):
    """A connection with one stream both ways. `received` is called with each message, `failed` with what ended it."""

    _STREAM = 1

    def __init__(self, path: str, received: Callable[[bytes], None], failed: Callable[[str], None]) -> None:
        super().__init__()
        self._path = path
        self._received = received
        self._failed = failed
        self._message = bytearray()
        self._waiting = bytearray()
        self._window = 0

    def open(self, message: bytes) -> None:
        """Begins the stream with a first message. The connection must have been greeted."""
        self._window = self.stream_window
        self.transport.write(request_headers(self._STREAM, self._path))
        self.send(message)

    def send(self, message: bytes) -> None:
        """Sends a message, as far as the server's windows allow; the rest follows when they grow."""
        self._waiting += prefixed(message)
        self._send_waiting()

    def _send_waiting(self) -> None:
        waiting, frames = self._waiting, []
        while waiting and (size := min(_FRAME, len(waiting), self.window, self._window)) > 0:
            frames.append(data_frame(self._STREAM, bytes(waiting[:size])))
            del waiting[:size]
            self.window -= size
            self._window -= size
        if frames:
            self.transport.write(b"".join(frames))

    def data(self, _stream: int, payload: memoryview) -> None:
        """Puts messages together."""
        message = self._message
        message += payload
        while len(message) >= 5:
            end = 5 + int.from_bytes(message[1:5], "big")
            if len(message) < end:
                return
            with memoryview(message) as view:
                whole = bytes(view[5:end])
            del message[:end]
            self._received(whole)

    def headers(self, _stream: int, *, last: bool) -> None:
        """Ends with the trailers."""
        if last:
            self._failed("ended by the server")

    def grown(self, stream: int, increment: int) -> None:
        """Sends on."""
        if stream:
            self._window += increment
        self._send_waiting()

    def ended(self, reason: str) -> None:
        """Tells it."""
        self._failed(reason)


def request_headers(stream: int, path: str) -> bytes:
    """Returns the HEADERS frame of a gRPC request."""
    headers = (
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "bench"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
    )
    return _frame(_HEADERS, _END_HEADERS, stream, b"".join(b"\x00" + _text(name) + _text(value) for name, value in headers))


def data_frame(stream: int, payload: bytes, *, last: bool = False) -> bytes:
    """Returns a DATA frame; `last` ends the client's side of the stream."""
    return _frame(_DATA, _END_STREAM if last else 0, stream, payload)


def prefixed(message: bytes) -> bytes:
    """Returns a gRPC message as it is framed, not compressed."""
    return b"\x00" + len(message).to_bytes(4, "big") + message


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def _window_update(stream: int, increment: int) -> bytes:
    return _frame(_WINDOW_UPDATE, 0, stream, increment.to_bytes(4, "big"))


def _text(value: str) -> bytes:
    return bytes([len(value)]) + value.encode()
