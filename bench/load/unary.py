"""Unary gRPC calls from a cheap client: many at a time on one connection, each a stream of its own (RFC 9113)."""

import time
from collections.abc import Callable

from bench.load.http2 import Http2Connection, data_frame, prefixed, request_headers


class UnaryCalls(Http2Connection):
    """A connection for calls of one method. `failed` is called with what ended the connection or a call."""

    def __init__(self, path: str, failed: Callable[[str], None]) -> None:
        super().__init__()
        self._path = path
        self._failed = failed
        self._next_stream = 1
        self._open: dict[int, tuple[Callable[[bytes, float], None], bytearray]] = {}
        self._waiting: list[tuple[bytes, Callable[[bytes, float], None]]] = []

    def call(self, message: bytes, answered: Callable[[bytes, float], None]) -> None:
        """Calls; `answered` is given the answer and the time when its trailers came (`time.perf_counter`)."""
        self._waiting.append((message, answered))
        self._call_waiting()

    def _call_waiting(self) -> None:
        frames = []
        while self._waiting and self.window >= len(self._waiting[0][0]) + 5:
            message, answered = self._waiting.pop(0)
            stream, self._next_stream = self._next_stream, self._next_stream + 2
            self._open[stream] = (answered, bytearray())
            frames.append(request_headers(stream, self._path) + data_frame(stream, prefixed(message), last=True))
            self.window -= len(message) + 5
        if frames:
            self.transport.write(b"".join(frames))

    def data(self, stream: int, payload: memoryview) -> None:
        """Collects."""
        self._open[stream][1].extend(payload)

    def headers(self, stream: int, *, last: bool) -> None:
        """Hands an answer over."""
        if last:
            answered, data = self._open.pop(stream)
            if len(data) < 5:
                self._failed("a call was answered with an error")
            answered(bytes(data[5:]), time.perf_counter())

    def grown(self, _stream: int, _increment: int) -> None:
        """Sends on."""
        self._call_waiting()

    def ended(self, reason: str) -> None:
        """Tells it."""
        self._failed(reason)
