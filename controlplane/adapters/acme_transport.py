"""Signed requests to an ACME server over HTTPS (RFC 8555 section 6): blocking, safe to use from several threads.

Nonces are pooled over threads. A `badNonce` is no failure (section 6.5): the request is signed again at once with the nonce that came
with the refusal. Everything else is one request and one answer; what to repeat is for those who know what was asked.
"""

import json
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import requests
import urllib3
from acme import jws
from josepy.json_util import decode_b64jose
from josepy.jwa import ES256
from josepy.jwk import JWK
from prometheus_client import Counter, Histogram

from controlplane import __version__
from controlplane.adapters.acme_replies import parse_json, problem_of, retry_after
from controlplane.core.ports import AcmeError, AcmeProblem, AcmeUnreachable, Clock

_REQUESTS = Counter(
    "certplane_acme_requests_total", "Requests to the CA, by endpoint and class of the HTTP status.", ["endpoint", "status"]
)
_SECONDS = Histogram("certplane_acme_request_seconds", "How long the CA took to answer, by endpoint.", ["endpoint"])

_BAD_NONCE = "urn:ietf:params:acme:error:badNonce"
# Resources of an order. A CA that has forgotten it may say 404 without a problem document; elsewhere that is a balancer's.
_OF_AN_ORDER = frozenset({"order", "authorization", "challenge", "finalize", "certificate"})
_NONCE_ATTEMPTS = 6  # the first, and five with the nonce of the refusal
_POOLED_NONCES = 32
_LARGEST_BODY = 1 << 20
_CONNECT_SECONDS, _READ_SECONDS = 5.0, 30.0


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


class AcmeTransport:
    """The HTTP side of one ACME server. Each thread has a session of its own: `requests` does not promise to share one."""

    def __init__(self, directory_url: str, clock: Clock, ca_bundle: str | None = None) -> None:
        """Nothing is sent yet.

        Args:
            directory_url: of the CA.
            clock: for a Retry-After that is a date.
            ca_bundle: a PEM file with the roots to trust for the CA's HTTPS; None: those of certifi.
        """
        self.directory_url = directory_url
        self._clock = clock
        self._verify: str | bool = ca_bundle or True
        self._nonces = NoncePool()
        self._directory: Mapping[str, Any] | None = None
        self._local = threading.local()
        self._sessions: list[requests.Session] = []
        self._lock = threading.Lock()

    def resource(self, name: str) -> str:
        """Returns the URL of a resource of the directory, such as `newOrder`; the directory is read once."""
        directory = self._directory
        if directory is None:
            reply, _ = self._send("directory", "GET", self.directory_url)
            directory = self._directory = parse_json(reply.body, "the directory")
        url = directory.get(name)
        if not isinstance(url, str):
            raise AcmeUnreachable(f"the directory has no {name}", sent=True)
        return url

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
            signed = jws.JWS.sign(content, key=key, alg=ES256, nonce=decode_b64jose(nonce), url=url, kid=kid)
            try:
                reply, fresh = self._send(endpoint, "POST", url, signed.json_dumps().encode())
            except _Refused as refused:
                if refused.problem.type != _BAD_NONCE or attempt == _NONCE_ATTEMPTS:
                    self._nonces.put(refused.nonce)
                    raise AcmeError(refused.problem) from None
                nonce = refused.nonce
            else:
                self._nonces.put(fresh)
                return reply
        raise AssertionError("the last attempt returns or raises")

    def close(self) -> None:
        """Closes all connections. No request may be under way."""
        with self._lock:
            for session in self._sessions:
                session.close()
            self._sessions.clear()

    def _new_nonce(self) -> str:
        _, nonce = self._send("new_nonce", "HEAD", self.resource("newNonce"))
        if not nonce:
            raise AcmeUnreachable("newNonce gave no nonce", sent=True)
        return nonce

    def _send(self, endpoint: str, method: str, url: str, body: bytes | None = None) -> tuple[Reply, str | None]:
        """Sends one request; returns a reply of class 2xx and the nonce that came with it."""
        status = "unreachable"
        begun = time.monotonic()
        try:
            with (
                _translated(endpoint),
                self._session().request(
                    method,
                    url,
                    data=body,
                    headers={"Content-Type": "application/jose+json"} if body is not None else None,
                    timeout=(_CONNECT_SECONDS, _READ_SECONDS),
                    verify=self._verify,
                    allow_redirects=False,
                    stream=True,
                ) as response,
            ):
                status = f"{response.status_code // 100}xx"
                content = response.raw.read(_LARGEST_BODY + 1, decode_content=True)
        finally:
            _SECONDS.labels(endpoint).observe(time.monotonic() - begun)
            _REQUESTS.labels(endpoint, status).inc()
        headers = response.headers
        wait = retry_after(headers.get("Retry-After"), self._clock())
        kind = headers.get("Content-Type", "").partition(";")[0].strip().lower()
        nonce = headers.get("Replay-Nonce")
        if response.ok and response.status_code < 300 and len(content) <= _LARGEST_BODY:
            return Reply(response.status_code, content, headers.get("Location", ""), kind, wait), nonce
        if response.status_code >= 400 and kind == "application/problem+json":
            raise _Refused(problem_of(parse_json(content, endpoint), response.status_code, wait), nonce)
        if response.status_code in (404, 410) and endpoint in _OF_AN_ORDER:
            raise _Refused(AcmeProblem("about:blank", f"HTTP status {response.status_code}", response.status_code, wait), nonce)
        raise AcmeUnreachable(f"HTTP status {response.status_code} to {endpoint} without a problem document", sent=True, retry_after=wait)

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = requests.Session()
            # Neither proxies, credentials nor roots from the environment.
            session.trust_env = False
            session.headers["User-Agent"] = f"certplane/{__version__} acme-python"
            self._local.session = session
            with self._lock:
                self._sessions.append(session)
        return session


class _Refused(AcmeError):
    """A problem document with the nonce that came with it."""

    def __init__(self, problem: AcmeProblem, nonce: str | None) -> None:
        super().__init__(problem)
        self.nonce = nonce


@contextmanager
def _translated(endpoint: str) -> Iterator[None]:
    """Turns whatever `requests` and urllib3 raise into `AcmeUnreachable`; says whether the request may have arrived."""
    try:
        yield
    except (requests.exceptions.ConnectTimeout, requests.exceptions.SSLError) as error:
        raise AcmeUnreachable(f"no connection to the CA for {endpoint}: {type(error).__name__}", sent=False) from error
    except requests.exceptions.ConnectionError as error:
        refused = "NewConnectionError" in repr(error) or "NameResolutionError" in repr(error)
        what = "no connection to the CA" if refused else "the connection to the CA broke"
        raise AcmeUnreachable(f"{what} during {endpoint}", sent=not refused) from error
    except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        raise AcmeUnreachable(f"no answer from the CA to {endpoint}: {type(error).__name__}", sent=True) from error
