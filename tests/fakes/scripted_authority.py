"""A CA in memory that goes by RFC 8555 section 7.1.6, with faults from a script: no network, no waiting."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TypeVar

from controlplane.core.ports import (
    AcmeError,
    AcmeProblem,
    AcmeUnreachable,
    RemoteAuthorization,
    RemoteOrder,
    RenewalInfo,
)
from controlplane.core.redacted import SecretBytes

T = TypeVar("T")

ACME = "urn:ietf:params:acme:error:"
CHAIN = (b"leaf", b"intermediate")


@dataclass(frozen=True, slots=True)
class Play:
    """What a call gives in place of its reply; `after` it took effect, or without any; it takes `seconds`."""

    error: AcmeError | AcmeUnreachable
    after: bool = False
    seconds: float = 0.0


def refused(code: str, status: int = 400, retry_after: float | None = None, *subproblems: tuple[str, AcmeProblem]) -> Play:
    """A refusal, without effect."""
    return Play(AcmeError(AcmeProblem(ACME + code, f"it is {code}", status, retry_after, subproblems)))


def lost(*, after: bool = True) -> Play:
    """A connection that breaks."""
    return Play(AcmeUnreachable("the connection broke", sent=True), after)


@dataclass(slots=True)
class ScriptedAuthority:
    """`CertificateAuthority` with orders for `names`, each numbered.

    `script` has what the next calls of a method give in place of a reply, None for none; `calls` is the transcript, with what was sent.
    A challenge that is answered is valid at once, unless `failing` has an error for its name; a CSR is signed at once, unless the order
    is read fewer than `signing_reads` times. `shown` may change what is shown of an order; `takes` lets the time of a call pass.
    """

    clock: Callable[[], datetime]
    script: dict[str, list[Play | None]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    failing: dict[str, AcmeProblem] = field(default_factory=dict)
    authorized: set[str] = field(default_factory=set)
    dead: dict[str, str] = field(default_factory=dict)
    signing_reads: int = 0
    lifetime: timedelta | None = timedelta(hours=8)
    account_url: str = "https://ca.example/acct/1"
    directory_url: str = "https://ca.example/dir"
    shown: Callable[[RemoteOrder], RemoteOrder] = lambda order: order
    takes: Callable[[float], None] = lambda _: None
    csrs: list[bytes] = field(default_factory=list)
    _orders: dict[str, RemoteOrder] = field(default_factory=dict)
    _names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _answered: set[str] = field(default_factory=set)
    _reads: int = 0

    @property
    def counted(self) -> Counter[str]:
        """How often each method was called."""
        return Counter(call.split()[0] for call in self.calls)

    async def profiles(self) -> frozenset[str]:
        """See `CertificateAuthority`."""
        return frozenset()

    async def renewal_info(self, certificate_id: str) -> RenewalInfo | None:
        """See `CertificateAuthority`."""

    async def revoke(self, leaf: bytes, reason: int) -> None:
        """See `CertificateAuthority`."""

    async def new_order(self, names: Sequence[str], *, profile: str = "", replaces: str = "") -> RemoteOrder:
        """See `CertificateAuthority`."""
        play = self._begin(
            "new_order", *names, *([f"profile={profile}"] if profile else []), *([f"replaces={replaces}"] if replaces else [])
        )
        number = len(self._orders) + 1
        url = f"https://ca.example/o/{number}"
        authorizations = tuple(f"https://ca.example/a/{number}/{name}" for name in names)
        expires = None if self.lifetime is None else self.clock() + self.lifetime
        self._orders[url] = RemoteOrder(url, "pending", f"https://ca.example/f/{number}", authorizations, "", expires)
        self._names[url] = tuple(names)
        return self._end(play, self._show(url))

    async def order(self, url: str) -> RemoteOrder:
        """See `CertificateAuthority`."""
        play = self._begin("order", url)
        if self._orders[url].status == "processing":
            self._reads += 1
            if self._reads >= self.signing_reads:
                self._orders[url] = replace(self._orders[url], status="valid", certificate_url=f"{url}/certificate")
        return self._end(play, self._show(url))

    async def authorization(self, url: str) -> RemoteAuthorization:
        """See `CertificateAuthority`."""
        play = self._begin("authorization", url)
        name = url.rpartition("/")[2]
        status = self.dead.get(name) or self._status(name)
        challenge = "pending" if status == "pending" else status
        token = "" if status == "valid" else f"token-for-{name}".ljust(43, "x")
        error = self.failing.get(name) if status == "invalid" else None
        return self._end(play, RemoteAuthorization(url, name, status, challenge, f"https://ca.example/c/{name}", token, error))

    async def answer(self, challenge_url: str) -> None:
        """See `CertificateAuthority`."""
        play = self._begin("answer", challenge_url)
        name = challenge_url.rpartition("/")[2]
        if self._status(name) != "pending":
            raise AcmeError(AcmeProblem(f"{ACME}malformed", "the challenge is not pending", 400))
        self._answered.add(name)
        self._end(play, None)

    async def finalize(self, finalize_url: str, csr: bytes) -> RemoteOrder:
        """See `CertificateAuthority`."""
        play = self._begin("finalize", finalize_url)
        url = finalize_url.replace("/f/", "/o/")
        if self._show(url).status != "ready":
            raise AcmeError(AcmeProblem(f"{ACME}orderNotReady", "the order is not ready", 403))
        self.csrs.append(csr)
        self._orders[url] = replace(self._orders[url], status="processing")
        return self._end(play, self._show(url))

    async def download(self, certificate_url: str) -> tuple[bytes, ...]:
        """See `CertificateAuthority`."""
        return self._end(self._begin("download", certificate_url), CHAIN)

    async def key_authorization(self, token: str) -> SecretBytes:
        """See `CertificateAuthority`."""
        return SecretBytes(f"{token}.thumbprint".encode())

    def _status(self, name: str) -> str:
        if name in self._answered:
            return "invalid" if name in self.failing else "valid"
        return "valid" if name in self.authorized else "pending"

    def _show(self, url: str) -> RemoteOrder:
        order, statuses = self._orders[url], {self._status(name) for name in self._names[url]}
        if order.status == "pending":
            status = "invalid" if "invalid" in statuses else "ready" if statuses == {"valid"} else "pending"
            order = replace(order, status=status)
        return self.shown(order)

    def _begin(self, method: str, *what: str) -> Play | None:
        self.calls.append(" ".join((method, *what)))
        play = self.script[method].pop(0) if self.script.get(method) else None
        if play is not None:
            self.takes(play.seconds)
        if play is not None and not play.after:
            raise play.error
        return play

    def _end(self, play: Play | None, reply: T) -> T:
        if play is not None:
            raise play.error
        return reply
