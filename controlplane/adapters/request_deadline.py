"""A deadline for a whole HTTP request, connecting and reading included.

A socket's time-out bounds each read and not their sum, so a server that sends a byte now and then would hold a thread for ever. Here one
thread watches all requests and shuts a connection down when its request is out of time: the reading thread then sees its end. The watch
holds a duplicate of the socket's descriptor, since the descriptor itself moves into the TLS socket and may be closed and used again for
another connection while we look.
"""

import socket
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from urllib3.connection import HTTPConnection, HTTPSConnection


@dataclass(slots=True)
class WatchedRequest:
    """One request. `sent` is whether its first byte may have left; `expired` whether it was cut off."""

    deadline: float
    sent: bool = False
    expired: bool = False
    done: bool = False
    _socket: socket.socket | None = None
    _left: socket.socket | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def uses(self, connection: socket.socket) -> None:
        """Is told which connection the request goes over."""
        with self._lock:
            self._socket = connection
            late = self.expired
        if late:
            _shut(connection)

    def leaves(self, connection: socket.socket) -> bool:
        """Whether the request still needs the socket of a connection that is closed; it is then closed with the request.

        A reply without a length is read to its end from a connection that counts as closed already.
        """
        with self._lock:
            if self.done or self._socket is not connection:
                return False
            self._left = connection
            return True

    def finish(self) -> None:
        """The request is over; its connection is left alone from now on."""
        with self._lock:
            self.done, self._socket = True, None
            if self._left is not None:
                self._left.close()

    def expire(self) -> None:
        """Cuts the request off, unless it is over."""
        with self._lock:
            if self.done:
                return
            self.expired = True
            if self._socket is not None:
                _shut(self._socket)


class RequestWatch:
    """Watches requests that all have the same time. The thread runs from the first one to `close`."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._requests: deque[WatchedRequest] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._idle = False
        self._closed = False

    @contextmanager
    def watched(self) -> Iterator[WatchedRequest]:
        """Watches one request, which this thread makes."""
        request = WatchedRequest(time.monotonic() + self._seconds)
        with self._changed:
            # The deadlines come in order, as every request has the same time: whoever is first in the queue is the next to be late. So
            # the thread need not be woken for a new one: it wakes for an older one first, unless there was none.
            self._forget_done()
            self._requests.append(request)
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="acme-deadlines", daemon=True)
                self._thread.start()
            elif self._idle:
                self._changed.notify()
        _CURRENT.request = request
        try:
            yield request
        finally:
            _CURRENT.request = None
            request.finish()

    def close(self) -> None:
        """Ends the thread. No request may be under way."""
        with self._changed:
            self._closed = True
            self._changed.notify()
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()

    def _watch(self) -> None:
        with self._changed:
            while not self._closed:
                self._forget_done()
                left = self._requests[0].deadline - time.monotonic() if self._requests else None
                if left is None or left > 0:
                    self._idle = left is None
                    self._changed.wait(left)
                else:
                    self._requests.popleft().expire()

    def _forget_done(self) -> None:
        while self._requests and self._requests[0].done:
            self._requests.popleft()


class _Current(threading.local):
    """The request that the thread is making."""

    request: WatchedRequest | None = None


_CURRENT = _Current()


class _Watched(HTTPConnection):
    """Tells the thread's request which socket it goes over, and when it is sent."""

    _duplicate: socket.socket | None = None

    def _new_conn(self) -> socket.socket:
        made = super()._new_conn()
        self._duplicate = made.dup()
        self._tell()
        return made

    def _tell(self) -> None:
        if _CURRENT.request is not None and self._duplicate is not None:
            _CURRENT.request.uses(self._duplicate)

    def putrequest(self, method: str, url: str, skip_host: bool = False, skip_accept_encoding: bool = False) -> None:
        """Marks the request as sent; a TLS connection has been made by then."""
        self._tell()
        if _CURRENT.request is not None:
            _CURRENT.request.sent = True
        super().putrequest(method, url, skip_host, skip_accept_encoding)

    def close(self) -> None:
        """Closes the duplicate too, unless the reply is still being read."""
        if self._duplicate is not None:
            duplicate, self._duplicate = self._duplicate, None
            if _CURRENT.request is None or not _CURRENT.request.leaves(duplicate):
                duplicate.close()
        super().close()


class WatchedHttpConnection(_Watched):
    """Without TLS."""


class WatchedHttpsConnection(_Watched, HTTPSConnection):
    """With TLS."""


def _shut(connection: socket.socket) -> None:
    # Shutting down ends reads in other threads, which closing does not. It may be closed already: the request has ended just now.
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
