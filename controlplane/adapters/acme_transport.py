"""Signed requests to an ACME server (RFC 8555 section 6): blocking, safe to use from several threads.

Nonces are pooled over threads. A `badNonce` is no failure (section 6.5): the request is signed again at once with the nonce that came with
the refusal. Everything else is one request and one answer (`acme_requests`); what to repeat is for those who know what was asked.
"""

import json
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from josepy.json_util import encode_b64jose
from josepy.jwa import ES256
from josepy.jwk import JWK

from controlplane.adapters.acme_replies import parse_json
from controlplane.adapters.acme_requests import REQUEST_SECONDS, RESOURCES_OF_AN_ORDER, AcmeRequests, Refused, Reply
from controlplane.core.ports import AcmeError, AcmeUnreachable, Clock

_BAD_NONCE = "urn:ietf:params:acme:error:badNonce"
_INVALID_PROFILE = "urn:ietf:params:acme:error:invalidProfile"
_GONE = (404, 410)
_NONCE_ATTEMPTS = 6  # the first, and five with the nonce of the refusal
_POOLED_NONCES = 32
# Profiles and renewal information come and go; a CA's own limit for reading the directory is far above this.
_DIRECTORY_SECONDS = 24 * 3600.0


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
        request_seconds: float = REQUEST_SECONDS,
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
        self._pace = pace
        self._nonces = NoncePool()
        self._directory: Mapping[str, Any] | None = None
        self._directory_read = 0.0
        self._requests = AcmeRequests(clock, ca_bundle, request_seconds)

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
        except Refused as refused:
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
            except Refused as refused:
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
        self._requests.close()

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
        """As `AcmeRequests.send`; has the directory read again when a refusal may mean that what it says has changed."""
        try:
            return self._requests.send(endpoint, method, url, body)
        except Refused as refused:
            moved = refused.problem.status in _GONE and endpoint not in RESOURCES_OF_AN_ORDER
            if moved or refused.problem.type == _INVALID_PROFILE:
                self._directory = None
            raise
        except AcmeUnreachable as error:
            if error.status in _GONE and endpoint not in RESOURCES_OF_AN_ORDER:
                self._directory = None
            raise
