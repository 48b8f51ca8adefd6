"""The bounded HTTP/1 response parser, by tables. Every table runs with the bytes whole and one by one."""

import pytest

from controlplane.core.http_response import MAX_BODY, MAX_HEAD, MalformedResponse, Response, ResponseCutShort, ResponseParser

OK = b"HTTP/1.1 200 OK\r\n"

WHOLE = [
    (OK + b"Content-Length: 3\r\n\r\nabc", Response(200, "", b"abc", False)),
    (OK + b"content-length:3\r\n\r\nabcdef", Response(200, "", b"abc", False)),
    (OK + b"Content-Length: 0\r\n\r\n", Response(200, "", b"", False)),
    (OK + b"Content-Length: 3, 3\r\nContent-Length: 3\r\n\r\nabc", Response(200, "", b"abc", False)),
    (b"HTTP/1.0 200\r\nContent-Length: 1\r\n\r\nx", Response(200, "", b"x", False)),
    (b"HTTP/1.1 200 OK\nContent-Length: 2\n\nab", Response(200, "", b"ab", False)),
    (OK + b"X-Folded: a\r\n b\r\n\tc\r\nContent-Length: 1\r\n\r\nx", Response(200, "", b"x", False)),
    (b"HTTP/1.1 100 C\r\n\r\nHTTP/1.1 103 E\r\nLink: x\r\n\r\n" + OK + b"Content-Length: 1\r\n\r\nx", Response(200, "", b"x", False)),
    (b"HTTP/1.1 204 No Content\r\n\r\n", Response(204, "", b"", False)),
    (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", Response(304, "", b"", False)),
    (b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\ngone", Response(404, "", b"gone", False)),
    (b"HTTP/1.1 301 Moved\r\nLocation:  https://a.test/x \r\n\r\n", Response(301, "https://a.test/x", b"", False)),
    (b"HTTP/1.1 302 Found\r\nlocation: /a\r\nLocation: /b\r\n\r\n", Response(302, "/a", b"", False)),
    (b"HTTP/1.1 307 T\r\nContent-Length: 99999\r\n\r\n", Response(307, "", b"", False)),
    (b"HTTP/1.1 308 P\r\nLocation: /\xff\r\n\r\n", Response(308, "/\xff", b"", False)),
    (OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n", Response(200, "", b"abcde", False)),
    (OK + b"Transfer-Encoding: Chunked\r\nContent-Length: 1\r\n\r\n1\r\na\r\n0\r\nTrailer: x\r\n\r\n", Response(200, "", b"a", False)),
    (OK + b"Transfer-Encoding: chunked\r\n\r\n000A \r\n0123456789\r\n0\r\n\r\n", Response(200, "", b"0123456789", False)),
    (OK + b"Content-Length: 1024\r\n\r\n" + b"x" * 1024, Response(200, "", b"x" * 1024, False)),
    (OK + b"Content-Length: 1025\r\n\r\n", Response(200, "", b"", True)),
    (OK + b"Content-Length: 999999999999999999\r\n\r\n", Response(200, "", b"", True)),
    (OK + b"\r\n" + b"x" * 1025, Response(200, "", b"x" * 1024, True)),
    (OK + b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFF\r\n" + b"x" * 1025, Response(200, "", b"x" * 1024, True)),
]  # fmt: skip

MALFORMED = [
    (b"SSH-2.0-OpenSSH_9.2\r\n", "does not speak HTTP/1"),
    (b"\x15\x03\x01\x00\x02\x02\x16", "does not speak HTTP/1"),
    (b"\r\nHTTP/1.1 200 OK\r\n\r\n", "does not speak HTTP/1"),
    (b"HTTP/2 200 OK\r\n\r\n", "no HTTP/1 status line"),
    (b"HTTP/1.1 20 OK\r\n\r\n", "no HTTP/1 status line"),
    (b"HTTP/1.1 2000 OK\r\n\r\n", "no HTTP/1 status line"),
    (b"HTTP/1.1 abc OK\r\n\r\n", "no HTTP/1 status line"),
    (b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\n\r\n", "switches to a protocol"),
    (OK + b"no colon\r\n\r\n", "malformed header field"),
    (OK + b"a b: c\r\n\r\n", "malformed header field"),
    (OK + b": c\r\n\r\n", "malformed header field"),
    (OK + b"Content-Length: -1\r\n\r\n", "Content-Length"),
    (OK + b"Content-Length: +1\r\n\r\n", "Content-Length"),
    (OK + b"Content-Length: \r\n\r\n", "Content-Length"),
    (OK + b"Content-Length: 0x10\r\n\r\n", "Content-Length"),
    (OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", "Content-Length"),
    (OK + b"Content-Length: 9999999999999999999999\r\n\r\n", "Content-Length"),
    (OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n", "transfer coding"),
    (OK + b"Transfer-Encoding: identity\r\n\r\n", "transfer coding"),
    (OK + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n", "chunk without a size"),
    (OK + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n", "chunk without a size"),
    (OK + b"Transfer-Encoding: chunked\r\n\r\n11111111111111111\r\n", "chunk without a size"),
    (OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n", "longer than its size"),
    (OK + b"X: " + b"a" * MAX_HEAD, "more than 8192 bytes of header fields"),
    (OK + b"X: a\r\n" * 3000, "more than 8192 bytes of header fields"),
    (b"HTTP/1.1 100 Continue\r\n\r\n" * 400, "more than 8192 bytes of header fields"),
    (OK + b"Transfer-Encoding: chunked\r\n\r\n1;" + b"x" * MAX_HEAD, "more than 8192 bytes of header fields"),
    (OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: a\r\n" * 3000, "more than 8192 bytes of header fields"),
]

CUT = [
    (b"", "without an answer"),
    (b"HTT", "in the middle"),
    (OK, "in the middle"),
    (b"HTTP/1.1 100 Continue\r\n\r\n", "in the middle"),
    (OK + b"Content-Length: 3\r\n\r\nab", "in the middle"),
    (OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nab", "in the middle"),
    (OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "in the middle"),
    (OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n", "in the middle"),
]


def feed(parser: ResponseParser, data: bytes, step: int) -> None:
    for start in range(0, len(data), step):
        parser.feed(data[start : start + step])


@pytest.mark.parametrize("step", [1, 7, 100_000])
@pytest.mark.parametrize(("data", "expected"), WHOLE)
def test_whole_response(data: bytes, expected: Response, step: int) -> None:
    """A response is known as soon as its last needed byte is there, however the bytes arrive."""
    parser = ResponseParser()
    feed(parser, data, step)
    assert parser.complete
    assert expected == parser.response()


@pytest.mark.parametrize("step", [1, 7, 100_000])
@pytest.mark.parametrize(("data", "words"), MALFORMED)
def test_malformed_response(data: bytes, words: str, step: int) -> None:
    """What is not HTTP/1, or over a limit, is refused while it arrives, without a word of what was sent."""
    with pytest.raises(MalformedResponse, match=words):
        feed(ResponseParser(), data, step)


@pytest.mark.parametrize(("data", "words"), CUT)
def test_cut_response(data: bytes, words: str) -> None:
    """A connection that closes too early gives no response."""
    parser = ResponseParser()
    parser.feed(data)
    assert not parser.complete
    with pytest.raises(ResponseCutShort, match=words):
        parser.feed_eof()


@pytest.mark.parametrize("body", [b"", b"abc", b"x" * MAX_BODY])
def test_body_until_the_connection_closes(body: bytes) -> None:
    """Without a length the body ends with the connection, and is known only then."""
    parser = ResponseParser()
    parser.feed(OK + b"Server: x\r\n\r\n" + body)
    assert not parser.complete
    parser.feed_eof()
    expected = Response(200, "", body, truncated=False)
    assert expected == parser.response()


def test_response_before_it_is_complete() -> None:
    """Asking for a response that is not complete is a mistake of the caller."""
    parser = ResponseParser()
    parser.feed(OK)
    with pytest.raises(RuntimeError):
        parser.response()


def test_input_after_the_end_is_dropped() -> None:
    """Bytes after the response change nothing and are not kept."""
    parser = ResponseParser()
    parser.feed(OK + b"Content-Length: 1\r\n\r\nx")
    parser.feed(b"y" * 100_000)
    expected = Response(200, "", b"x", truncated=False)
    assert expected == parser.response()
    assert not parser._buffer


@pytest.mark.parametrize(
    ("status", "redirect"), [(200, False), (301, True), (302, True), (303, True), (304, False), (307, True), (308, True), (300, False)]
)
def test_redirect_statuses(status: int, redirect: bool) -> None:
    """Exactly the five statuses that carry a Location to follow are redirects."""
    assert redirect == Response(status, "", b"", truncated=False).is_redirect
