"""One request to a CA over HTTPS and its answer: blocking, safe to use from several threads, with connections that are reused.

What an answer means for the next request is for `acme_transport`. Redirects are never followed: no CA needs them for what we send, and a
signed request is for one URL.
"""

import http.client
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import certifi
import urllib3
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

# Resources of an order. A CA that has forgotten it may say 404 without a problem document; elsewhere that is a balancer's.
RESOURCES_OF_AN_ORDER = frozenset({"order", "authorization", "challenge", "finalize", "certificate"})
# RFC 8555 section 6.5.1: base64url; whatever else comes is ignored.
_NONCE = re.compile(r"[A-Za-z0-9_-]{1,512}")
_LARGEST_BODY = 1 << 20
# Urllib3 bounds each read by the first two, and nothing bounds how many there are: the last one is for a whole request.
_CONNECT_SECONDS, _READ_SECONDS, REQUEST_SECONDS = 5.0, 30.0, 45.0
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


class Refused(AcmeError):
    """A problem document with the nonce that came with it."""

    def __init__(self, problem: AcmeProblem, nonce: str | None) -> None:
        super().__init__(problem)
        self.nonce = nonce


class AcmeRequests:
    """Requests to one CA, for `MOST_IN_FLIGHT` threads: one more waits for a connection."""

    def __init__(self, clock: Clock, ca_bundle: str | None = None, request_seconds: float = REQUEST_SECONDS) -> None:
        """Nothing is sent yet; the arguments are those of `AcmeTransport`."""
        self._clock = clock
        self._ca_bundle = ca_bundle
        self._connections: urllib3.PoolManager | None = None
        self._lock = threading.Lock()
        self._watch = RequestWatch(request_seconds)

    def send(self, endpoint: str, method: str, url: str, body: bytes | None = None) -> tuple[Reply, str | None]:
        """Sends one request; returns a reply of class 2xx and the nonce that came with it.

        Args:
            endpoint: for metrics, one of a few words.
            method: GET, HEAD or POST.
            url: where to.
            body: of a POST.

        Raises:
            Refused: the CA refused with a problem document, or does not know the resource of an order.
            AcmeUnreachable: no usable answer.
        """
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
            raise Refused(problem, nonce)
        if response.status in (404, 410) and endpoint in RESOURCES_OF_AN_ORDER:
            raise Refused(AcmeProblem("about:blank", f"HTTP status {response.status}", response.status, wait), nonce)
        detail = f"HTTP status {response.status} to {endpoint} without a problem document"
        raise AcmeUnreachable(detail, sent=True, retry_after=wait, status=response.status)

    def close(self) -> None:
        """Closes all connections. No request may be under way."""
        self._watch.close()
        with self._lock:
            if self._connections is not None:
                self._connections.clear()

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
