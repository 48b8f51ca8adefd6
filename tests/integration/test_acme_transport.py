"""Signed requests: nonces, Retry-After, and replies that are not ACME."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from acme import jws
from cryptography.hazmat.primitives.asymmetric import ec
from josepy.json_util import encode_b64jose
from josepy.jwa import ES256
from josepy.jwk import JWKEC

from controlplane import __version__
from controlplane.adapters import acme_transport
from controlplane.adapters.acme_replies import authorization_of, chain_of, order_of, problem_of, retry_after
from controlplane.adapters.acme_requests import MOST_IN_FLIGHT
from controlplane.adapters.acme_transport import AcmeTransport, NoncePool, signed
from controlplane.core.ports import AcmeError, AcmeProblem, AcmeUnreachable
from controlplane.embedded.free_ports import free_ports
from tests.fakes.scripted_ca import Answer, ScriptedCa, problem, scripted_ca
from tests.fakes.tiny_pki import TinyPki

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
KEY = JWKEC(key=ec.generate_private_key(ec.SECP256R1()))


@pytest.fixture
def ca() -> Iterator[ScriptedCa]:
    """A scripted CA."""
    with scripted_ca() as running:
        yield running


@pytest.fixture
def transport(ca: ScriptedCa) -> Iterator[AcmeTransport]:
    """A transport to it."""
    made = AcmeTransport(f"{ca.url}/dir", lambda: NOW)
    yield made
    made.close()


def post(transport: AcmeTransport, ca: ScriptedCa, endpoint: str = "order"):
    return transport.post(endpoint, f"{ca.url}/order", None, KEY, "https://ca/acct/1")


def test_a_bad_nonce_is_retried_with_the_nonce_of_the_refusal(ca: ScriptedCa, transport: AcmeTransport) -> None:
    """Five refusals with badNonce are got over at once, each time with the nonce that the refusal brought, and no newNonce."""
    ca.script = [*(problem("badNonce") for _ in range(5)), Answer()]
    assert 200 == post(transport, ca).status
    assert ["GET /dir", "HEAD /nonce"] + 6 * ["POST /order"] == ca.requests
    assert ca.given_nonces[1:7] == ca.used_nonces


def test_the_sixth_bad_nonce_is_the_cas_trouble(ca: ScriptedCa, transport: AcmeTransport) -> None:
    """A CA that refuses six nonces in a row is not asked a seventh time."""
    ca.script = [problem("badNonce") for _ in range(7)]
    with pytest.raises(AcmeError) as caught:
        post(transport, ca)
    assert "urn:ietf:params:acme:error:badNonce" == caught.value.problem.type
    assert 1 == len(ca.script)


def test_nonces_are_used_again(ca: ScriptedCa, transport: AcmeTransport) -> None:
    """The nonce of each reply, refusals included, serves the next request: newNonce is asked once."""
    ca.script = [Answer(), problem("malformed"), Answer()]
    post(transport, ca)
    with pytest.raises(AcmeError):
        post(transport, ca)
    post(transport, ca)
    assert 1 == ca.requests.count("HEAD /nonce")
    assert 3 == len(set(ca.used_nonces))


def test_what_is_not_a_nonce_is_ignored(ca: ScriptedCa, transport: AcmeTransport) -> None:
    """A Replay-Nonce that is not base64url is not used (RFC 8555 section 6.5.1): the next request asks for one."""
    ca.script = [Answer(headers={"Replay-Nonce": "not a nonce"}), Answer()]
    post(transport, ca)
    post(transport, ca)
    assert ["GET /dir", "HEAD /nonce", "POST /order", "HEAD /nonce", "POST /order"] == ca.requests


def test_a_request_is_signed_as_the_acme_package_does() -> None:
    """The body is the flattened JWS that `acme.jws` makes, but for the signature, which verifies."""
    url, kid = "https://ca/order/1", "https://ca/acct/1"
    for content, account in ((b'{"a": 1}', kid), (b"", kid), (b"{}", None)):
        body = signed(content, KEY, encode_b64jose(b"nonce"), url, account)
        theirs = jws.JWS.sign(content, key=KEY, alg=ES256, nonce=b"nonce", url=url, kid=account)
        read = jws.JWS.json_loads(body)
        assert read.verify(KEY.public_key())
        assert (theirs.payload, theirs.signature.combined) == (read.payload, read.signature.combined)
        assert json.loads(theirs.json_dumps()).keys() == json.loads(body).keys()


def test_the_pool_never_gives_a_nonce_twice() -> None:
    """Threads that take at once get different nonces, and None when there are no more."""
    pool = NoncePool(1000)
    for number in range(1000):
        pool.put(str(number))
    taken: list[str] = []

    def take() -> None:
        while (nonce := pool.take()) is not None:
            taken.append(nonce)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 1000 == len(set(taken)) == len(taken)


def test_the_pool_forgets_the_oldest() -> None:
    """A bounded pool keeps the freshest nonces, and no empty ones."""
    pool = NoncePool(2)
    for nonce in ("a", "b", "c", None, ""):
        pool.put(nonce)
    assert ["c", "b", None] == [pool.take(), pool.take(), pool.take()]


@pytest.mark.parametrize(("value", "seconds"), [("120", 120.0), ("Tue, 24 Nov 2026 12:00:30 GMT", 30.0), ("nonsense", None)])
def test_retry_after_is_kept_with_a_problem(ca: ScriptedCa, transport: AcmeTransport, value: str, seconds: float | None) -> None:
    """A problem document keeps its HTTP status and its Retry-After."""
    ca.script = [problem("rateLimited", 429, **{"Retry-After": value})]
    with pytest.raises(AcmeError) as caught:
        post(transport, ca)
    assert AcmeProblem("urn:ietf:params:acme:error:rateLimited", "it is rateLimited", 429, seconds) == caught.value.problem


def test_a_conflict_keeps_its_problem(ca: ScriptedCa, transport: AcmeTransport) -> None:
    """HTTP 409 is a problem like every other."""
    ca.script = [problem("alreadyReplaced", 409)]
    with pytest.raises(AcmeError) as caught:
        post(transport, ca)
    assert ("urn:ietf:params:acme:error:alreadyReplaced", 409) == (caught.value.problem.type, caught.value.problem.status)


def test_a_balancers_503_is_no_problem_document(ca: ScriptedCa, transport: AcmeTransport) -> None:
    """An error page without JSON is an unusable answer, and its Retry-After is kept."""
    ca.script = [Answer(503, b"<html>busy</html>", {"Content-Type": "text/html", "Retry-After": "7"})]
    with pytest.raises(AcmeUnreachable) as caught:
        post(transport, ca)
    assert (True, 7.0) == (caught.value.sent, caught.value.retry_after)


@pytest.mark.parametrize(
    "answer",
    [
        Answer(301, b"", {"Location": "http://127.0.0.1:1/"}),
        Answer(500, b"not json", {"Content-Type": "application/problem+json"}),
        Answer(400, b"[]", {"Content-Type": "application/problem+json"}),
        Answer(404, b""),
        Answer(200, b"x" * ((1 << 20) + 1)),
    ],
)
def test_what_is_not_acme_is_no_answer(ca: ScriptedCa, transport: AcmeTransport, answer: Answer) -> None:
    """Redirects, broken problem documents, bare 404s to newOrder and endless bodies are unusable answers."""
    ca.script = [answer]
    with pytest.raises(AcmeUnreachable):
        post(transport, ca, "new_order")


def test_a_bare_404_to_an_order_says_that_it_is_gone(ca: ScriptedCa, transport: AcmeTransport) -> None:
    """A CA that has forgotten an order may say so with the status alone."""
    ca.script = [Answer(404, b"")]
    with pytest.raises(AcmeError) as caught:
        post(transport, ca)
    assert AcmeProblem("about:blank", "HTTP status 404", 404) == caught.value.problem


def test_a_cut_reply_was_sent(ca: ScriptedCa, transport: AcmeTransport) -> None:
    """A connection that breaks after the request may have had an effect."""
    ca.script = [Answer(cut=True)]
    with pytest.raises(AcmeUnreachable) as caught:
        post(transport, ca)
    assert caught.value.sent


def test_no_answer_costs_a_connection(ca: ScriptedCa, transport: AcmeTransport) -> None:
    """Endless bodies, redirects and cut replies give their place in the pool back: many more than there are places, and the next works."""
    ca.script = [Answer(200, b"x" * ((1 << 20) + 1)), Answer(301, b"moved", {"Location": "/"}), Answer(cut=True)] * MOST_IN_FLIGHT
    for _ in range(len(ca.script)):
        with pytest.raises(AcmeUnreachable):
            post(transport, ca)
    ca.script = [Answer()]
    assert 200 == post(transport, ca).status


def test_one_connection_serves_requests_that_follow_each_other(ca: ScriptedCa, transport: AcmeTransport) -> None:
    """Connections are kept and used again, whichever thread asks."""
    ca.script = [Answer(), problem("malformed"), Answer()]
    for _ in range(3):
        thread = threading.Thread(target=suppressed, args=(transport, ca))
        thread.start()
        thread.join()
    assert [] == ca.script
    assert 1 == len(ca.peers)


def suppressed(transport: AcmeTransport, ca: ScriptedCa) -> None:
    with suppress(AcmeError):
        post(transport, ca)


def test_a_bundle_that_is_not_there_trusts_nobody(tmp_path: Path) -> None:
    """Without the roots that were asked for nothing is sent."""
    transport = AcmeTransport("https://127.0.0.1:1/dir", lambda: NOW, str(tmp_path / "nowhere.pem"))
    with pytest.raises(AcmeUnreachable):
        transport.resource("newOrder")


def test_a_refused_connection_was_not_sent() -> None:
    """Nobody listening means that nothing arrived."""
    transport = AcmeTransport(f"http://127.0.0.1:{free_ports(1)[0]}/dir", lambda: NOW)
    with pytest.raises(AcmeUnreachable) as caught:
        transport.resource("newOrder")
    assert not caught.value.sent


def test_a_directory_without_the_resource_is_no_directory(ca: ScriptedCa, transport: AcmeTransport) -> None:
    """A directory that lacks what we need is an unusable answer."""
    with pytest.raises(AcmeUnreachable, match="has no newAccount"):
        transport.resource("newAccount")


def test_the_environment_changes_nothing(ca: ScriptedCa, transport: AcmeTransport, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Proxies and roots of the environment are ignored, and the User-Agent says who asks (RFC 8555 section 6.1)."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "nowhere"))
    ca.script = [Answer()]
    post(transport, ca)
    assert {f"certplane/{__version__} acme-python"} == ca.user_agents


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        (" 5 ", 5.0),
        ("99999999999", 604800.0),
        ("Tue, 24 Nov 2026 11:59:00 GMT", 0.0),
        ("Tue, 24 Nov 2026 13:00:00 +0000", 3600.0),
        ("-5", None),
        ("1.5", None),
        ("²", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_in_all_its_forms(value: str | None, seconds: float | None) -> None:
    """Seconds and dates are understood, a week at most and never less than nothing; all else is as if it were not there."""
    assert seconds == retry_after(value, NOW)


@pytest.mark.parametrize(
    ("date", "seconds"),
    [("Tue, 24 Nov 2026 11:00:00 GMT", 7200.0), ("Sun, 24 Nov 2030 12:59:30 GMT", 0.0), ("nonsense", 3600.0), ("", 3600.0)],
)
def test_a_date_is_by_the_cas_clock(date: str, seconds: float) -> None:
    """A Retry-After that is a date is compared with the reply's own Date, so that our clock may be wrong; with ours where there is none."""
    assert seconds == retry_after("Tue, 24 Nov 2026 13:00:00 GMT", NOW, date)


def test_the_replys_date_is_used(ca: ScriptedCa) -> None:
    """A CA whose clock is years ahead of ours is waited for as long as it means."""
    transport = AcmeTransport(f"{ca.url}/dir", lambda: datetime(2020, 1, 1, tzinfo=UTC))
    ca.script = [Answer(headers={"Date": "Tue, 24 Nov 2026 12:00:00 GMT", "Retry-After": "Tue, 24 Nov 2026 12:00:30 GMT"})]
    assert 30.0 == post(transport, ca).retry_after
    transport.close()


@pytest.mark.parametrize("token", ["short", "a" * 21, "a" * 22 + "/", "a" * 513, "{s00}" + "a" * 30, "a" * 30 + "\\n"])
def test_a_token_that_is_none_is_nonsense(token: str) -> None:
    """A challenge's token that is not base64url of 128 bits at least (RFC 8555 section 8.3) is an unusable reply, which came whole."""
    body = f"""{{"status": "pending", "identifier": {{"type": "dns", "value": "a.example"}},
        "challenges": [{{"type": "http-01", "status": "pending", "url": "c", "token": "{token}"}}]}}"""
    with pytest.raises(AcmeUnreachable, match="a token that is not one") as caught:
        authorization_of("u", body.encode())
    assert 200 == caught.value.status


@pytest.mark.parametrize(
    ("instance", "link", "page"),
    [
        ("https://ca/agree", "", "https://ca/agree"),
        ("", '<https://ca/terms/v2>;rel="terms-of-service"', "https://ca/terms/v2"),
        ("", '<https://ca/dir>;rel="index", <https://ca/terms/v2>; rel="terms-of-service"', "https://ca/terms/v2"),
        ("", '<https://ca/terms/v2>; title="t"; rel=terms-of-service', "https://ca/terms/v2"),
        ("https://ca/agree", '<https://ca/terms/v2>;rel="terms-of-service"', "https://ca/agree"),
        ("javascript:alert(1)", "", ""),
        ("https://ca/a b", "", ""),
        ("", '<https://ca/dir>;rel="index"', ""),
        ("", "", ""),
    ],
)
def test_the_page_of_a_user_action_is_found(ca: ScriptedCa, transport: AcmeTransport, instance: str, link: str, page: str) -> None:
    """New terms are found in the problem's `instance`, else in the reply's link (RFC 8555 section 7.3.3); only web addresses are."""
    document = {"type": "urn:ietf:params:acme:error:userActionRequired", "detail": "new terms", "instance": instance}
    ca.script = [Answer(403, json.dumps(document).encode(), {"Content-Type": "application/problem+json", "Link": link})]
    with pytest.raises(AcmeError) as caught:
        post(transport, ca)
    assert page == caught.value.problem.instance


@pytest.mark.parametrize("answer", [problem("malformed", 404), Answer(404, b""), problem("invalidProfile")])
def test_a_directory_that_may_have_changed_is_read_again(ca: ScriptedCa, transport: AcmeTransport, answer: Answer) -> None:
    """When a resource of the directory is not there, or a profile, the next request begins with the directory."""
    ca.script = [answer, Answer()]
    for _ in range(2):
        with suppress(AcmeError, AcmeUnreachable):
            transport.post_to_resource("new_order", "newOrder", {}, KEY, "https://ca/acct/1")
    assert ["GET /dir", "POST /order", "GET /dir", "POST /order"] == [each for each in ca.requests if each != "HEAD /nonce"]


def test_a_directory_that_lacks_something_is_read_again(ca: ScriptedCa, transport: AcmeTransport) -> None:
    """A directory that was broken for a moment is not kept."""
    for _ in range(2):
        with pytest.raises(AcmeUnreachable, match="has no newAccount"):
            transport.resource("newAccount")
    assert 2 == ca.requests.count("GET /dir")


def test_a_directory_grows_old(ca: ScriptedCa, transport: AcmeTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory is kept for a day and then read again, so that what a CA offers anew is found without a restart."""
    assert 24 * 3600 == acme_transport._DIRECTORY_SECONDS
    for _ in range(3):
        transport.resource("newOrder")
    assert 1 == ca.requests.count("GET /dir")
    monkeypatch.setattr(acme_transport, "_DIRECTORY_SECONDS", 0.0)
    transport.resource("newOrder")
    assert 2 == ca.requests.count("GET /dir")


def test_an_order_that_is_gone_says_nothing_of_the_directory(ca: ScriptedCa, transport: AcmeTransport) -> None:
    """A 404 to an order's URL leaves the directory as it is."""
    ca.script = [problem("malformed", 404), Answer()]
    for _ in range(2):
        with suppress(AcmeError):
            post(transport, ca)
    assert 1 == ca.requests.count("GET /dir")


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (Answer(502, b"<html>", {"Content-Type": "text/html"}), 502),
        (Answer(301, b"", {"Location": "/"}), 301),
        (Answer(500, b"not json", {"Content-Type": "application/problem+json"}), 500),
        (Answer(200, b"x" * ((1 << 20) + 1)), 200),
        (Answer(cut=True), 0),
        (Answer(body=b"x" * 100, cut=True, cut_after=50), 0),
    ],
)
def test_what_came_instead_of_an_answer_is_told(ca: ScriptedCa, transport: AcmeTransport, answer: Answer, status: int) -> None:
    """A reply that came whole is told with its status; one that did not has none."""
    ca.script = [answer]
    with pytest.raises(AcmeUnreachable) as caught:
        post(transport, ca)
    assert (True, status) == (caught.value.sent, caught.value.status)


def test_a_broken_problem_document_keeps_its_retry_after(ca: ScriptedCa, transport: AcmeTransport) -> None:
    """A Retry-After is obeyed even when the rest cannot be read."""
    ca.script = [Answer(503, b"{", {"Content-Type": "application/problem+json", "Retry-After": "9"})]
    with pytest.raises(AcmeUnreachable) as caught:
        post(transport, ca)
    assert 9.0 == caught.value.retry_after


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> TinyPki:
    """A CA for the scripted CA's own HTTPS."""
    return TinyPki(tmp_path_factory.mktemp("pki"))


REQUEST_SECONDS = 0.6


@pytest.fixture(params=["http", "https"])
def slow(request: pytest.FixtureRequest, pki: TinyPki) -> Iterator[tuple[ScriptedCa, AcmeTransport]]:
    """A scripted CA, and a transport whose requests have little time."""
    tls = pki.issue("127.0.0.1") if request.param == "https" else None
    with scripted_ca(tls) as ca:
        transport = AcmeTransport(f"{ca.url}/dir", lambda: NOW, str(pki.ca_file), request_seconds=REQUEST_SECONDS)
        # The directory and a nonce are there already.
        ca.script = [Answer()]
        post(transport, ca)
        yield ca, transport
        transport.close()


@pytest.mark.parametrize(
    "answer",
    [
        Answer(hang=30.0),
        Answer(drips="head", headers={"X-Padding": "x" * 1000}),
        Answer(drips="body", body=b'{"a": "' + b"x" * 1000 + b'"}'),
        Answer(drips="body", body=b'{"a": "' + b"x" * 1000 + b'"}', endless=True),
    ],
    ids=["hang", "head", "body", "endless-body"],
)
def test_a_request_has_an_end(slow: tuple[ScriptedCa, AcmeTransport], answer: Answer) -> None:
    """A CA that hangs, or drips bytes for ever, holds a thread no longer than a request may take; the next request works."""
    ca, transport = slow
    ca.script = [answer, Answer()]
    begun = time.monotonic()
    with pytest.raises(AcmeUnreachable, match="took too long over order") as caught:
        post(transport, ca)
    assert REQUEST_SECONDS <= time.monotonic() - begun < REQUEST_SECONDS + 1
    assert (True, 0) == (caught.value.sent, caught.value.status)
    assert 200 == post(transport, ca).status


def test_a_handshake_has_an_end(pki: TinyPki) -> None:
    """A server that accepts the connection and says nothing in the TLS handshake is given up, and nothing was sent."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}/dir"
        transport = AcmeTransport(url, lambda: NOW, str(pki.ca_file), request_seconds=REQUEST_SECONDS)
        begun = time.monotonic()
        with pytest.raises(AcmeUnreachable) as caught:
            transport.resource("newOrder")
        transport.close()
    assert time.monotonic() - begun < REQUEST_SECONDS + 1
    assert not caught.value.sent


def test_requests_in_time_are_left_alone(slow: tuple[ScriptedCa, AcmeTransport]) -> None:
    """A connection outlives the time of a single request, and serves those that come later."""
    ca, transport = slow
    ca.script = [Answer() for _ in range(4)]
    for _ in range(4):
        post(transport, ca)
        time.sleep(REQUEST_SECONDS / 3)
    assert 1 == len(ca.peers)


def test_several_requests_have_their_own_ends(slow: tuple[ScriptedCa, AcmeTransport]) -> None:
    """Four requests that hang end one after the other, each in its own time."""
    ca, transport = slow
    ca.script = [Answer(hang=30.0) for _ in range(MOST_IN_FLIGHT)]
    lasted: list[float] = []

    def one() -> None:
        begun = time.monotonic()
        with suppress(AcmeUnreachable):
            post(transport, ca)
        lasted.append(time.monotonic() - begun)

    threads = [threading.Thread(target=one) for _ in range(MOST_IN_FLIGHT)]
    for thread in threads:
        thread.start()
        time.sleep(0.05)
    for thread in threads:
        thread.join()
    # The first request that finds no nonce asks for one, which is a request with time of its own.
    assert all(REQUEST_SECONDS <= each < REQUEST_SECONDS + 1 for each in lasted)
    assert MOST_IN_FLIGHT == len(lasted)


def test_a_transport_that_is_closed_leaves_no_thread() -> None:
    """The thread that watches the requests ends with the transport."""
    with scripted_ca() as ca:
        before = set(threading.enumerate())
        transport = AcmeTransport(f"{ca.url}/dir", lambda: NOW)
        ca.script = [Answer()]
        post(transport, ca)
        (watching,) = (thread for thread in set(threading.enumerate()) - before if thread.name == "acme-deadlines")
        transport.close()
        assert not watching.is_alive()


def test_a_certificate_that_is_not_trusted_is_told_apart(pki: TinyPki) -> None:
    """A CA whose HTTPS certificate we do not trust gets no request, and the text says why, not that nobody listens."""
    with scripted_ca(pki.issue("127.0.0.1")) as ca:
        transport = AcmeTransport(f"{ca.url}/dir", lambda: NOW)
        with pytest.raises(AcmeUnreachable, match="TLS with the CA failed for directory: CERTIFICATE_VERIFY_FAILED") as caught:
            transport.resource("newOrder")
        transport.close()
        assert (False, []) == (caught.value.sent, ca.requests)


def test_a_name_that_is_not_the_certificates_is_told_apart(pki: TinyPki) -> None:
    """Nor does one with a certificate for another name."""
    with scripted_ca(pki.issue("another.example")) as ca:
        transport = AcmeTransport(f"{ca.url}/dir", lambda: NOW, str(pki.ca_file))
        with pytest.raises(AcmeUnreachable, match="TLS with the CA failed") as caught:
            transport.resource("newOrder")
        transport.close()
        assert (False, []) == (caught.value.sent, ca.requests)


def test_a_server_without_tls_was_not_sent_anything(ca: ScriptedCa) -> None:
    """What speaks no TLS gets no request."""
    transport = AcmeTransport(ca.url.replace("http:", "https:") + "/dir", lambda: NOW)
    with pytest.raises(AcmeUnreachable, match="TLS with the CA failed") as caught:
        transport.resource("newOrder")
    transport.close()
    assert not caught.value.sent


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b"{}", b'{"status": 5}', b'{"status": "pending", "finalize": "f", "authorizations": "a"}', b"\xff"],
)
def test_what_is_not_an_order_is_no_answer(body: bytes) -> None:
    """JSON of another shape is an unusable answer, not a TypeError."""
    with pytest.raises(AcmeUnreachable):
        order_of("https://ca/o/1", body, None)
    with pytest.raises(AcmeUnreachable):
        authorization_of("https://ca/a/1", body)


def test_an_order_with_a_status_of_its_own_is_read() -> None:
    """A status that RFC 8555 does not have is passed on."""
    order = order_of("u", b'{"status": "expired", "finalize": "f", "authorizations": [], "expires": "2026-11-24T12:00:00Z"}', 3.0)
    assert ("expired", NOW, 3.0) == (order.status, order.expire_time, order.retry_after)


def test_the_error_of_any_challenge_is_told() -> None:
    """An authorization that failed over another challenge than HTTP-01 still tells its error."""
    body = b"""{"status": "invalid", "identifier": {"type": "dns", "value": "a.example"}, "challenges": [
        {"type": "dns-01", "status": "invalid", "error": {"type": "urn:x", "detail": "no TXT"}},
        {"type": "http-01", "status": "pending", "url": "c", "token": "tttttttttttttttttttttt"}]}"""
    found = authorization_of("u", body)
    assert (AcmeProblem("urn:x", "no TXT"), "c", "t" * 22) == (found.error, found.challenge_url, found.token)


def test_subproblems_are_read_one_level_deep() -> None:
    """Subproblems name their identifier; a document nested in itself is not followed down."""
    inner = {"type": "urn:inner", "detail": "d", "identifier": {"type": "dns", "value": "a.example"}, "subproblems": [{"type": "urn:deep"}]}
    read = problem_of({"type": "urn:outer", "title": "only a title", "subproblems": [inner, "junk"]})
    assert AcmeProblem("urn:outer", "only a title", subproblems=(("a.example", AcmeProblem("urn:inner", "d")),)) == read


def test_a_chain_that_is_not_pem_is_no_answer() -> None:
    """What is not PEM is an unusable answer."""
    with pytest.raises(AcmeUnreachable):
        chain_of(b"not a certificate")
