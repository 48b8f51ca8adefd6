"""What the client of the checks asks for."""

from base64 import b64encode
from collections import Counter
from itertools import islice
from pathlib import Path

from bench.load.check_client import Work, _requests

REQUEST = b"GET /TTTT host /TTTT"


def work(**what: str) -> Work:
    """For no server."""
    return Work("", 0, "", b64encode(REQUEST).decode(), 1.0, **what)


def test_every_token_is_asked_for_from_five_places(tmp_path: Path) -> None:
    """Each of them five times, with others between, and the file from its beginning again after its end."""
    tokens = [f"{index:04d}" for index in range(450)]
    (tmp_path / "tokens").write_text("\n".join(tokens))
    asked = list(islice(_requests(work(token="TTTT", tokens_file=str(tmp_path / "tokens"))), 5 * 450 + 1))
    assert {token.encode(): 5 for token in tokens[1:]} | {b"0000": 6} == dict(Counter(token for _, token in asked))
    assert (b"GET /0000 host /0000", b"0000") == asked[0] == asked[200] == asked[-1]
    assert all(token == request[5:9] == request[-4:] for request, token in asked)


def test_without_a_file_every_token_is_another() -> None:
    """Of the length of the one that they stand for."""
    asked = list(islice(_requests(work(token="T" * 20)), 100))
    assert 100 == len({token for _, token in asked})
    assert {20} == {len(token) for _, token in asked}


def test_without_a_token_all_requests_are_the_same() -> None:
    """As they were given."""
    assert [(REQUEST, b"")] * 3 == list(islice(_requests(work()), 3))
