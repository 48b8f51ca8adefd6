"""Ports: what the use cases need from the world. The docstrings are contracts; one contract suite runs against each implementation.

Unless said otherwise, every coroutine raises `Unavailable` when what is behind it does not answer, and every time is an aware
datetime in UTC.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from controlplane.core.certificate import CertificateRecord
from controlplane.core.managed_domain import Domain, DomainSpec, DomainStatus, Problem
from controlplane.core.names import DomainName
from controlplane.core.order import OrderRecord
from controlplane.core.redacted import SecretBytes
from controlplane.core.sealing import Envelope, KeyClass, SealContext

Clock = Callable[[], datetime]
"""Returns the time now, aware, in UTC."""


# ---- domains, as the API sees them ----


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a listing. `next_token` is empty at the end."""

    domains: tuple[Domain, ...]
    next_token: str


class DomainStore(Protocol):
    """Domains for the API. Never touches certificates' content, orders or leases."""

    async def create(self, spec: DomainSpec, status: DomainStatus) -> Domain:
        """Writes a new domain, due at once, and publishes a change; claims its additional names first.

        Atomic per shard: the own name with everything about it is one write; a claim of an additional name counts only while
        the owner's record lists it, so a crash between the two leaves nothing that blocks anybody.

        Raises:
            AlreadyExists: the own name or an additional name is a domain of its own, or another domain's additional name.
        """
        ...

    async def get(self, name: DomainName) -> Domain | None:
        """Returns the domain whose own name this is, or None."""
        ...

    async def list_page(self, page_size: int, page_token: str) -> Page:
        """Returns up to `page_size` domains in an order that stays the same between calls.

        Raises:
            InvalidArgument: `page_token` was not made by this store.
        """
        ...

    async def request_renewal(self, name: DomainName, at: datetime) -> Domain:
        """Writes the intent to renew and makes the domain due at once. Publishes a change.

        Raises:
            NotFound: no such domain.
        """
        ...

    async def delete(self, name: DomainName, expected_etag: str) -> None:
        """Removes the domain with its certificates, sealed keys, order, schedule and claims in one write, and publishes a change.

        Raises:
            NotFound: no such domain.
            Conflict: `expected_etag` is not empty and not the etag now.
        """
        ...


# ---- changes ----


@dataclass(frozen=True, slots=True)
class DomainChanged:
    """Something about the domain `fqdn` was written: spec, status or certificate.

    `certificate` is true when what is served may have changed, `asked` when the API asked for something and the domain is due.
    `names` are all names that the domain had before or has after.
    `position` resumes after this change.
    """

    fqdn: str
    names: tuple[str, ...]
    certificate: bool
    deleted: bool
    position: str
    asked: bool = False


@dataclass(frozen=True, slots=True)
class ChangesLost:
    """Changes may have been missed (a gap, a trimmed or restored stream, another store): read again whatever you hold."""

    position: str


class ChangeFeed(Protocol):
    """The change streams of all shards."""

    async def position(self) -> str:
        """Returns the position now: `follow` from it sees every later change."""
        ...

    def follow(self, position: str = "") -> AsyncIterator[DomainChanged | ChangesLost]:
        """Yields changes in the order of each shard, for ever, from `position` (empty: from now).

        A gap is yielded as `ChangesLost`, never skipped. When the store goes away it keeps trying, and yields `ChangesLost` once
        it is back unless it can prove that nothing was missed. It never raises `Unavailable` once started.
        """
        ...


# ---- what is served ----


class CertificateStore(Protocol):
    """Certificates for `serve`: read only."""

    async def lookup(self, names: Sequence[str]) -> Mapping[str, CertificateRecord]:
        """Returns the authenticated certificate in force for each canonical name that has one; names without are absent.

        One round trip for all own names together, two at most when additional names are among them. A record that is not
        authentic is logged and counted and treated as absent. A certificate is returned for a name only if the name is on it.
        """
        ...

    async def least_expiry(self) -> tuple[datetime, str] | None:
        """Returns the least time of expiry of all certificates in force, with its domain; None when there is none."""
        ...


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """An HTTP-01 token (RFC 8555 section 8.3) and the body that answers it, for these names only.

    `key_authorization` is a capability while its challenge lasts, hence redacted.
    """

    token: str
    key_authorization: SecretBytes
    names: tuple[str, ...]
    expire_time: datetime


class TokenStore(Protocol):
    """HTTP-01 tokens: written by `worker`, read by `serve`."""

    async def plant(self, record: TokenRecord) -> None:
        """Writes an authenticated token record that disappears by itself at `expire_time`."""
        ...

    async def find(self, token: str) -> TokenRecord | None:
        """Returns the authentic, unexpired record, or None. `token` comes from a stranger: any string is safe."""
        ...

    async def withdraw(self, tokens: Iterable[str]) -> None:
        """Removes tokens; unknown ones are ignored."""
        ...


# ---- work ----


@dataclass(frozen=True, slots=True)
class Lease:
    """The right of one worker to write a domain's status. `token` is the fencing token: it only ever grows."""

    name: DomainName
    owner: str
    token: int


@dataclass(frozen=True, slots=True)
class Work:
    """A leased domain as read under its lease."""

    domain: Domain
    order: OrderRecord | None
    certificate: CertificateRecord | None


class WorkStore(Protocol):
    """The worker's side of the store. Every write is fenced by the lease and raises `LeaseLost` when it does not hold any more."""

    async def due(self, now: datetime, limit: int) -> Sequence[DomainName]:
        """Returns up to `limit` domains whose due time has come and that nobody leases, the longest due first."""
        ...

    async def next_due(self) -> datetime | None:
        """Returns the earliest due time of all, or None."""
        ...

    async def acquire(self, name: DomainName, owner: str, ttl: timedelta) -> Lease | None:
        """Takes the lease if it is free and the domain exists, else returns None. Hides the domain from `due` for `ttl`."""
        ...

    async def extend(self, lease: Lease, ttl: timedelta) -> None:
        """Prolongs the lease."""
        ...

    async def release(self, lease: Lease) -> None:
        """Gives the lease back; does nothing when it is lost already."""
        ...

    async def load(self, lease: Lease) -> Work:
        """Reads the domain, its order and its certificate in one step.

        Raises:
            LeaseLost: the domain is gone or somebody else's.
        """
        ...

    async def save_status(self, lease: Lease, status: DomainStatus, due: datetime | None) -> None:
        """Writes the status and the next due time (None: never by itself) and publishes a change.

        A renewal request written by the API since `load` keeps the domain due at once, whatever `due` says.
        """
        ...

    async def save_order(self, lease: Lease, order: OrderRecord | None, status: DomainStatus | None = None) -> None:
        """Writes the order (None removes it) and, when given, the status in the same write. Due time stays as it is."""
        ...

    async def save_certificate(
        self, lease: Lease, certificate: CertificateRecord, status: DomainStatus, due: datetime | None
    ) -> CertificateRecord:
        """Puts a certificate in force: one write of certificate, status, due time, expiry index and change event, removing the order.

        The record's generation is set by the store; the record as stored is returned. The certificate before it stays as the
        previous one.
        """
        ...


@dataclass(frozen=True, slots=True)
class AccountRecord:
    """An ACME account; the key is sealed to an `account` recipient key. `account_url` is empty until the CA has answered."""

    directory_url: str
    account_url: str
    sealed_account_key: Envelope
    spki_digest: bytes
    create_time: datetime


class AccountStore(Protocol):
    """ACME accounts, one a directory URL."""

    async def get(self, directory_url: str) -> AccountRecord | None:
        """Returns the authentic account record, or None.

        Raises:
            RecordRejected: there is one, but it is not authentic.
        """
        ...

    async def create(self, record: AccountRecord) -> AccountRecord:
        """Writes the record unless there is one already; returns the one that is stored."""
        ...

    async def set_url(self, directory_url: str, account_url: str) -> None:
        """Completes the record with the account's URL."""
        ...

    async def forget(self, directory_url: str) -> bool:
        """Removes the record: an operator's explicit act. Returns whether there was one."""
        ...


# ---- sealing ----


class Sealer(Protocol):
    """Seals to the ACTIVE recipient key of a class. Needs public keys only."""

    def seal(self, plaintext: SecretBytes, context: SealContext) -> Envelope:
        """Returns a new envelope.

        Raises:
            SealingError: there is no ACTIVE recipient key of the context's class.
        """
        ...


class Opener(Protocol):
    """Opens envelopes of the classes whose private keys this process holds."""

    def open(self, envelope: Envelope, context: SealContext) -> SecretBytes:
        """Returns the plaintext.

        Raises:
            SealingError: unknown key, forbidden scheme, other context, or a damaged envelope; the text does not say which bytes.
        """
        ...


class RecordAuthenticator(Protocol):
    """HMAC-SHA256 over a record, under a key that the store never has."""

    def wrap(self, kind: str, key: str, payload: bytes) -> bytes:
        """Returns a serialised AuthenticatedRecord for `payload`, bound to its kind and its key in the store."""
        ...

    def unwrap(self, kind: str, key: str, data: bytes) -> bytes:
        """Returns the payload.

        Raises:
            RecordRejected: not authentic, made for another kind or key, or damaged.
        """
        ...


class PrivateKeyClasses(Protocol):
    """What a key directory holds, for the check that a role never has the other's."""

    def private_classes(self) -> frozenset[KeyClass]:
        """Returns the classes of which a private recipient key is present."""
        ...


# ---- the certificate authority ----


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
class AcmeProblem:
    """A problem document (RFC 7807, RFC 8555 section 6.7), with what HTTP said beside it.

    `status` is the HTTP status, 0 when it came inside another object; `retry_after` in seconds.
    """

    type: str
    detail: str
    status: int = 0
    retry_after: float | None = None
    subproblems: tuple[tuple[str, "AcmeProblem"], ...] = ()


class AcmeError(Exception):
    """The CA refused, with a problem document."""

    def __init__(self, problem: AcmeProblem) -> None:
        super().__init__(f"{problem.type}: {problem.detail}")
        self.problem = problem


class AcmeUnreachable(Exception):
    """No usable answer: connection refused or cut, a time-out, or a reply that is not ACME (a balancer's 503).

    `sent` is false when the request certainly did not reach the CA. `retry_after` in seconds, if a reply said so.
    """

    def __init__(self, detail: str, *, sent: bool, retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.sent = sent
        self.retry_after = retry_after


class CertificateAuthority(Protocol):
    """An ACME CA for one account. Blocking work runs off the event loop. Raises `AcmeError` and `AcmeUnreachable` everywhere."""

    @property
    def directory_url(self) -> str:
        """The directory's URL."""
        ...

    async def new_order(self, names: Sequence[str]) -> RemoteOrder:
        """Places an order (RFC 8555 section 7.4)."""
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


# ---- the customer's host ----


@dataclass(frozen=True, slots=True)
class PreflightVerdict:
    """What the pre-flight found for one name.

    `problem` None: good. `conclusive` false: it may be our own view (a time-out from inside, a failing resolver), so an order is
    delayed but not forbidden.
    """

    name: DomainName
    problem: Problem | None
    conclusive: bool


class Preflight(Protocol):
    """Checks that the CA would reach us at a name, without spending an order. Everything that it meets is hostile input."""

    async def check(self, name: DomainName, token: str, expected_body: bytes) -> PreflightVerdict:
        """Fetches `/.well-known/acme-challenge/{token}` at every address of `name` and walks CAA.

        Takes 15 seconds at most. Never raises for anything that a host or a resolver does.
        """
        ...
