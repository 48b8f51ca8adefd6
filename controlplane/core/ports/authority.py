"""The certificate authority, as the order state machine sees it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from controlplane.core.redacted import SecretBytes


@dataclass(frozen=True, slots=True)
class RemoteOrder:
    """An order as the CA reports it (RFC 8555 section 7.1.3). `status`: pending, ready, processing, valid, invalid.

    `retry_after` is what the CA asked for, in seconds, if it did.
    """

    url: str
    status: str
    finalize_url: str
    authorization_urls: tuple[str, ...]
    certificate_url: str
    expire_time: datetime | None
    error: "AcmeProblem | None" = None
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class RemoteAuthorization:
    """An authorization with its HTTP-01 challenge (RFC 8555 section 7.1.4); `token` and `challenge_url` are empty when none is offered."""

    url: str
    name: str
    status: str
    challenge_status: str
    challenge_url: str
    token: str
    error: "AcmeProblem | None" = None


@dataclass(frozen=True, slots=True)
class RenewalInfo:
    """When the CA suggests to renew a certificate (RFC 9773 section 4.2), as sent: nothing is checked yet.

    `retry_after` is when to ask again, in seconds, if the CA said so.
    """

    start: datetime
    end: datetime
    explanation_url: str = ""
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class AcmeProblem:
    """A problem document (RFC 7807, RFC 8555 section 6.7), with what HTTP said beside it.

    `status` is the HTTP status, 0 when it came inside another object; `retry_after` in seconds. `instance` is a page for people that the
    CA names with a `userActionRequired` (RFC 8555 section 7.3.3), empty without one.
    """

    type: str
    detail: str
    status: int = 0
    retry_after: float | None = None
    subproblems: tuple[tuple[str, "AcmeProblem"], ...] = ()
    instance: str = ""


class AcmeError(Exception):
    """The CA refused, with a problem document."""

    def __init__(self, problem: AcmeProblem) -> None:
        super().__init__(f"{problem.type}: {problem.detail}")
        self.problem = problem


class AcmeUnreachable(Exception):
    """No usable answer: connection refused or cut, a time-out, or a reply that is not ACME (a balancer's 503).

    `sent` is false when the request certainly did not reach the CA. `retry_after` in seconds, if a reply said so. `status` is the HTTP
    status of a reply that is not ACME, 0 when there was none, or none to its end.
    """

    def __init__(self, detail: str, *, sent: bool, retry_after: float | None = None, status: int = 0) -> None:
        super().__init__(detail)
        self.sent = sent
        self.retry_after = retry_after
        self.status = status


class CertificateAuthority(Protocol):
    """An ACME CA for one account. Blocking work runs off the event loop. Raises `AcmeError` and `AcmeUnreachable` everywhere."""

    @property
    def directory_url(self) -> str:
        """The directory's URL."""
        ...

    @property
    def account_url(self) -> str:
        """The account's URL, as CAA's `accounturi` names it (RFC 8657); empty as long as the account was not needed."""
        ...

    async def ensure_account(self) -> str:
        """Opens the account, or registers it when there is none, which every other call does at need; returns its URL."""
        ...

    async def profiles(self) -> frozenset[str]:
        """Returns the names of the profiles that the directory offers (draft-ietf-acme-profiles); none without any."""
        ...

    async def new_order(self, names: Sequence[str], *, profile: str = "", replaces: str = "") -> RemoteOrder:
        """Places an order (RFC 8555 section 7.4).

        Args:
            names: what for.
            profile: of those that the directory offers; empty: the CA's default.
            replaces: the certificate that this one will replace (RFC 9773 section 5); empty, or ignored by a CA without ARI: none.
        """
        ...

    async def renewal_info(self, certificate_id: str) -> RenewalInfo | None:
        """Asks when a certificate is to be renewed (RFC 9773 section 4), by its unique identifier (section 4.1).

        Returns None when the directory has no `renewalInfo`.
        """
        ...

    async def revoke(self, leaf: bytes, reason: int) -> None:
        """Revokes a certificate, DER, by the account key (RFC 8555 section 7.6); one that is revoked already counts as done.

        `reason` is a code of RFC 5280 section 5.3.1.
        """
        ...

    async def order(self, url: str) -> RemoteOrder:
        """Reads an order."""
        ...

    async def authorization(self, url: str) -> RemoteAuthorization:
        """Reads an authorization."""
        ...

    async def answer(self, challenge_url: str) -> None:
        """Tells the CA that the challenge can be validated (RFC 8555 section 7.5.1)."""
        ...

    async def finalize(self, finalize_url: str, csr: bytes) -> RemoteOrder:
        """Sends the CSR, DER (RFC 8555 section 7.4)."""
        ...

    async def download(self, certificate_url: str) -> tuple[bytes, ...]:
        """Returns the chain, DER, leaf first (RFC 8555 section 7.4.2)."""
        ...

    async def key_authorization(self, token: str) -> SecretBytes:
        """Returns `token.thumbprint` (RFC 8555 section 8.1) as ASCII."""
        ...
