"""Signed requests to an ACME server over HTTPS (RFC 8555 section 6): blocking, safe to use from several threads.

Connections and nonces are pooled over threads. A `badNonce` is no failure (section 6.5): the request is signed again at once with the
nonce that came with the refusal. Everything else is one request and one answer; what to repeat is for those who know what was asked.
Redirects are never followed: no CA needs them for what we send, and a signed request is for one URL.
"""

import http.client
import json
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import certifi
import urllib3
from josepy.json_util import encode_b64jose
from josepy.jwa import ES256
from josepy.jwk import JWK
from prometheus_client import Counter, Histogram
from urllib3.util.ssl_ import create_urllib3_context

from controlplane import __version__
from controlplane.adapters.acme_replies import parse_json, problem_of, retry_after
from controlplane.adapters.request_deadline import RequestWatch, WatchedHttpConnection, WatchedHttpsConnection, WatchedRequest
from controlplane.core.ports import AcmeError, AcmeProblem, AcmeUnreachable, Clock

_REQUESTS = Counter(
    "certplane_acme_requests_total", "Requests to the CA, by endpoint and class of the HTTP status.", ["endpoint", "status"]
)
_SECONDS = Histogram("certplane_acme_request_seconds", "How long the CA took to answer, by endpoint.", ["endpoint"])

_BAD_NONCE = "urn:ietf:params:acme:error:badNonce"
_INVALID_PROFILE = "urn:ietf:params:acme:error:invalidProfile"
# Resources of an order. A CA that has forgotten it may say 404 without a problem document; elsewhere that is a balancer's.
_OF_AN_ORDER = frozenset({"order", "authorization", "challenge", "finalize", "certificate"})
_NONCE_ATTEMPTS = 6  # the first, and five with the nonce of the refusal
_POOLED_NONCES = 32
# RFC 8555 section 6.5.1: base64url; whatever else comes is ignored.
_NONCE = re.compile(r"[A-Za-z0-9_-]{1,512}")
_LARGEST_BODY = 1 << 20
# Urllib3 bounds each read by the first two, and nothing bounds how many there are: the last one is for a whole request.
_CONNECT_SECONDS, _READ_SECONDS, _REQUEST_SECONDS = 5.0, 30.0, 45.0
# Profiles and renewal information come and go; a CA's own limit for reading the directory is far above this.
_DIRECTORY_SECONDS = 24 * 3600.0
_HEADERS = {"User-Agent": f"certplane/{__version__} acme-python"}
_SIGNED_HEADERS = {**_HEADERS, "Content-Type": "application/jose+json"}

# Pebble 2.4.0 locks itself up with more requests in flight; one process needs no more against Let's Encrypt's limits either.
MOST_IN_FLIGHT = 4


@dataclass(frozen=True, slots=True)
class Reply:
    """A successful reply. `location` and `content_type` are empty when not sent; `retry_after` in seconds."""

    status: int
    body: bytes
    location: str
    content_type: str
    retry_after: float | None


class NoncePool:
    """Unused nonces, the freshest first; the oldest are forgotten when there are too many. Thread-safe."""

    def __init__(self, size: int = _POOLED_NONCES) -> None:
        self._nonces: deque[str] = deque(maxlen=size)

    def put(self, nonce: str | None) -> None:
        """Keeps a nonce, if there is one."""
        if nonce:
            self._nonces.append(nonce)

    def take(self) -> str | None:
        """Returns a nonce that nobody else gets, or None."""
        try:
            # One operation of a deque is atomic: there is no moment between looking and taking.
            return self._nonces.pop()
        except IndexError:
            return None


def signed(content: bytes, key: JWK, nonce: str, url: str, kid: str | None) -> bytes:
    """Returns a request's body: a flattened JWS (RFC 7515 section 7.2.2) with the protected header of RFC 8555 section 6.2.

    `acme.jws` makes the same, but reads back and writes again what it has just written: a fifth of a request's whole CPU time.
    """
    header: dict[str, Any] = {"alg": ES256.name, "nonce": nonce, "url": url}
    if kid is None:
        header["jwk"] = key.public_key().to_json()
    else:
        header["kid"] = kid
    protected, payload = encode_b64jose(json.dumps(header).encode()), encode_b64jose(content)
    signature = ES256.sign(key.key, f"{protected}.{payload}".encode())
    return json.dumps({"protected": protected, "payload": payload, "signature": encode_b64jose(signature)}).encode()


class AcmeTransport:
    """The HTTP side of one ACME server, for `MOST_IN_FLIGHT` threads: one more waits for a connection."""

    def __init__(
        self,
        directory_url: str,
        clock: Clock,
        ca_bundle: str | None = None,
        pace: Callable[[str], None] = lambda _: None,
        request_seconds: float = _REQUEST_SECONDS,
    ) -> None:
        """Nothing is sent yet.

        Args:
            directory_url: of the CA.
            clock: for a Retry-After that is a date, in a reply that does not say its own.
            ca_bundle: a PEM file with the roots to trust for the CA's HTTPS; None: those of certifi.
            pace: is called, with the endpoint, before each request that comes on top of the one that was asked for: the directory, a
                nonce, the repetition after a `badNonce`. It may block.
            request_seconds: the longest that one request may take, from connecting to the last byte.
        """
        self.directory_url = directory_url
        self._clock = clock
        self._ca_bundle = ca_bundle
        self._pace = pace
        self._nonces = NoncePool()
        self._directory: Mapping[str, Any] | None = None
        self._directory_read = 0.0
        self._connections: urllib3.PoolManager | None = None
        self._lock = threading.Lock()
        self._watch = RequestWatch(request_seconds)

    def resource(self, name: str) -> str:
        """Returns the URL of a resource of the directory, such as `newOrder`; the directory is read once a day."""
        url = self._read_directory().get(name)
        if not isinstance(url, str):
            # Broken for a moment, it is not kept.
            self._directory = None
            raise AcmeUnreachable(f"the directory has no {name}", sent=True, status=200)
        return url

    def offers(self, name: str) -> bool:
        """Whether the directory has a resource that not every CA has, such as `renewalInfo`."""
        return isinstance(self._read_directory().get(name), str)

    def profiles(self) -> Sequence[str]:
        """Returns the names of the profiles in the directory's `meta` (draft-ietf-acme-profiles section 3)."""
        offered = self._meta("profiles")
        return tuple(offered) if isinstance(offered, dict) else ()

    def terms_of_service(self) -> str:
        """Returns the URL of the CA's terms of service (RFC 8555 section 7.1.1), empty when it names none."""
        url = self._meta("termsOfService")
        return url if isinstance(url, str) else ""

    def requires_external_account(self) -> bool:
        """Whether the CA makes accounts only for those who have one elsewhere (RFC 8555 section 7.1.1, externalAccountRequired)."""
        return self._meta("externalAccountRequired") is True

    def get_below(self, endpoint: str, name: str, path: str) -> Reply:
        """Reads what is below a resource of the directory with a plain GET (RFC 9773 section 4.1)."""
        try:
            reply, _ = self._send(endpoint, "GET", f"{self.resource(name).rstrip('/')}/{path}")
        except _Refused as refused:
            raise AcmeError(refused.problem) from None
        return reply

    def post(self, endpoint: str, url: str, payload: Mapping[str, Any] | None, key: JWK, kid: str | None) -> Reply:
        """Sends a signed request.

        Args:
            endpoint: for metrics, one of a few words.
            url: where to.
            payload: a JSON object; None for POST-as-GET (section 6.3).
            key: the account key, P-256.
            kid: the account's URL; None to sign with the public key inside (newAccount).

        Raises:
            AcmeError: the CA refused with a problem document.
            AcmeUnreachable: no usable answer.
        """
        content = b"" if payload is None else json.dumps(payload).encode()
        nonce = self._nonces.take()
        for attempt in range(1, _NONCE_ATTEMPTS + 1):
            nonce = nonce or self._new_nonce()
            try:
                reply, fresh = self._send(endpoint, "POST", url, signed(content, key, nonce, url, kid))
            except _Refused as refused:
                if refused.problem.type != _BAD_NONCE or attempt == _NONCE_ATTEMPTS:
                    self._nonces.put(refused.nonce)
                    raise AcmeError(refused.problem) from None
                nonce = refused.nonce
                self._pace(endpoint)
            else:
                self._nonces.put(fresh)
                return reply
        raise AssertionError("the last attempt returns or raises")

    def post_to_resource(self, endpoint: str, name: str, payload: Mapping[str, Any], key: JWK, kid: str | None) -> Reply:
        """`post` to a resource of the directory; so both take one change of threads."""
        return self.post(endpoint, self.resource(name), payload, key, kid)

    def close(self) -> None:
        """Closes all connections. No request may be under way."""
        self._watch.close()
        with self._lock:
            if self._connections is not None:
                self._connections.clear()

    def _read_directory(self) -> Mapping[str, Any]:
        directory = self._directory
        if directory is None or time.monotonic() - self._directory_read > _DIRECTORY_SECONDS:
            self._pace("directory")
            reply, _ = self._send("directory", "GET", self.directory_url)
            directory = self._directory = parse_json(reply.body, "the directory")
            self._directory_read = time.monotonic()
        return directory

    def _meta(self, name: str) -> Any:
        meta = self._read_directory().get("meta")
        return meta.get(name) if isinstance(meta, dict) else None

    def _new_nonce(self) -> str:
        url = self.resource("newNonce")
        self._pace("new_nonce")
        _, nonce = self._send("new_nonce", "HEAD", url)
        if not nonce:
            raise AcmeUnreachable("newNonce gave no nonce", sent=True, status=200)
        return nonce

    def _send(self, endpoint: str, method: str, url: str, body: bytes | None = None) -> tuple[Reply, str | None]:
        """Sends one request; returns a reply of class 2xx and the nonce that came with it."""
        status = "unreachable"
        begun = time.monotonic()
        try:
            with (
                self._watch.watched() as watched,
                _translated(endpoint, watched),
                self._response(method, url, body) as response,
            ):
                status = f"{response.status // 100}xx"
                content = response.read(_LARGEST_BODY + 1, decode_content=True)
                if watched.expired:
                    # A body without a length ends with the connection, and we have ended that.
                    raise TimeoutError
        finally:
            _SECONDS.labels(endpoint).observe(time.monotonic() - begun)
            _REQUESTS.labels(endpoint, status).inc()
        headers = response.headers
        wait = retry_after(headers.get("Retry-After"), self._clock(), headers.get("Date"))
        kind = headers.get("Content-Type", "").partition(";")[0].strip().lower()
        nonce = sent if _NONCE.fullmatch(sent := headers.get("Replay-Nonce", "")) else None
        if 200 <= response.status < 300:
            if len(content) > _LARGEST_BODY:
                raise AcmeUnreachable(f"the reply to {endpoint} is too large", sent=True, status=response.status)
            return Reply(response.status, content, headers.get("Location", ""), kind, wait), nonce
        if response.status >= 400 and kind == "application/problem+json":
            document = parse_json(content, endpoint, response.status, wait)
            problem = problem_of(document, response.status, wait, links=headers.get("Link", ""))
            self._doubt_directory(endpoint, problem)
            raise _Refused(problem, nonce)
        if response.status in (404, 410):
            problem = AcmeProblem("about:blank", f"HTTP status {response.status}", response.status, wait)
            self._doubt_directory(endpoint, problem)
            if endpoint in _OF_AN_ORDER:
                raise _Refused(problem, nonce)
        detail = f"HTTP status {response.status} to {endpoint} without a problem document"
        raise AcmeUnreachable(detail, sent=True, retry_after=wait, status=response.status)

    def _doubt_directory(self, endpoint: str, problem: AcmeProblem) -> None:
        """Has the directory read again when a refusal may mean that what it says has changed."""
        moved = problem.status in (404, 410) and endpoint not in _OF_AN_ORDER
        if moved or problem.type == _INVALID_PROFILE:
            self._directory = None

    @contextmanager
    def _response(self, method: str, url: str, body: bytes | None) -> Iterator[urllib3.BaseHTTPResponse]:
        """Sends a request; the connection goes back to the pool at the end, closed when the body was not read to its end."""
        headers = _HEADERS if body is None else _SIGNED_HEADERS
        response = self._pool().urlopen(method, url, body=body, headers=headers, redirect=False, preload_content=False)
        try:
            yield response
        finally:
            if not response.closed:
                response.close()
            response.release_conn()

    def _pool(self) -> urllib3.PoolManager:
        """Returns the connections. They are made at the first request, in its thread: reading all roots of certifi takes a while."""
        with self._lock:
            if self._connections is None:
                # What the environment says of proxies, credentials and roots is not asked.
                context = create_urllib3_context()
                bundle = self._ca_bundle or certifi.where()
                context.load_verify_locations(**{"capath" if Path(bundle).is_dir() else "cafile": bundle})
                self._connections = made = urllib3.PoolManager(
                    maxsize=MOST_IN_FLIGHT,
                    block=True,
                    retries=urllib3.Retry(False),
                    timeout=urllib3.Timeout(connect=_CONNECT_SECONDS, read=_READ_SECONDS),
                    cert_reqs="CERT_REQUIRED",
                    ssl_context=context,
                )
                made.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}
            return self._connections


class _Refused(AcmeError):
    """A problem document with the nonce that came with it."""

    def __init__(self, problem: AcmeProblem, nonce: str | None) -> None:
        super().__init__(problem)
        self.nonce = nonce


class _HttpPool(urllib3.HTTPConnectionPool):
    """Connections whose requests have a deadline."""

    ConnectionCls = WatchedHttpConnection


class _HttpsPool(urllib3.HTTPSConnectionPool):
    """Connections whose requests have a deadline."""

    ConnectionCls = WatchedHttpsConnection


@contextmanager
def _translated(endpoint: str, watched: WatchedRequest) -> Iterator[None]:
    """Turns whatever urllib3 raises into `AcmeUnreachable`; says whether the request may have arrived."""
    try:
        yield
    except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError) as error:
        sent = watched.sent and not isinstance(error, urllib3.exceptions.ConnectTimeoutError)
        if watched.expired:
            detail = f"the CA took too long over {endpoint}"
        elif isinstance(error, urllib3.exceptions.SSLError):
            detail = f"TLS with the CA failed for {endpoint}: {_cause(error)}"
        elif not sent:
            # A refused connection and a name without an address are kinds of a connection that could not be made.
            detail = f"no connection to the CA for {endpoint}: {type(error.__cause__ or error).__name__}"
        elif isinstance(error, urllib3.exceptions.ProtocolError):
            detail = f"the connection to the CA broke during {endpoint}"
        else:
            detail = f"no answer from the CA to {endpoint}: {type(error).__name__}"
        raise AcmeUnreachable(detail, sent=sent) from error


def _cause(error: BaseException) -> str:
    """Returns OpenSSL's word for a failure of TLS, such as `CERTIFICATE_VERIFY_FAILED`."""
    inner = error.args[0] if error.args and isinstance(error.args[0], BaseException) else error
    reason = getattr(inner, "reason", None)
    return reason if isinstance(reason, str) else type(inner).__name__
