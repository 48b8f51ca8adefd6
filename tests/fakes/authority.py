"""A CA whose replies get lost, or that refuses, on the way to a real one."""

import time
from collections import Counter
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from controlplane.core.ports import (
    AcmeError,
    AcmeProblem,
    AcmeUnreachable,
    CertificateAuthority,
    RemoteAuthorization,
    RemoteOrder,
    RenewalInfo,
)
from controlplane.core.redacted import SecretBytes

T = TypeVar("T")


@dataclass(slots=True)
class FaultyAuthority:
    """`CertificateAuthority` in front of another.

    `lost` has methods whose next so many replies are lost after they took effect; `refused` has methods whose next call is refused
    before it is sent; `foreign_chain` is what is downloaded in place of the real chain; `calls` counts what arrived. An order that was
    finalized is `processing` for `signing_seconds`, whatever the real CA says.
    """

    real: CertificateAuthority
    lost: Counter[str] = field(default_factory=Counter)
    refused: dict[str, AcmeProblem] = field(default_factory=dict)
    unreachable: bool = False
    foreign_chain: tuple[bytes, ...] = ()
    calls: Counter[str] = field(default_factory=Counter)
    ordered: list[tuple[str, ...]] = field(default_factory=list)
    order_urls: list[str] = field(default_factory=list)
    signing_seconds: float = 0.0
    _finalized: float = 0.0

    @property
    def directory_url(self) -> str:
        """See `CertificateAuthority`."""
        return self.real.directory_url

    @property
    def account_url(self) -> str:
        """See `CertificateAuthority`."""
        return self.real.account_url

    async def ensure_account(self) -> str:
        """See `CertificateAuthority`."""
        return await self.real.ensure_account()

    async def profiles(self) -> frozenset[str]:
        """See `CertificateAuthority`."""
        return await self.real.profiles()

    async def new_order(self, names: Sequence[str], *, profile: str = "", replaces: str = "") -> RemoteOrder:
        """See `CertificateAuthority`."""
        self.ordered.append(tuple(names))
        return await self._pass("new_order", self._noted(tuple(names), profile, replaces))

    async def renewal_info(self, certificate_id: str) -> RenewalInfo | None:
        """See `CertificateAuthority`."""
        return await self._pass("renewal_info", self.real.renewal_info(certificate_id))

    async def revoke(self, leaf: bytes, reason: int) -> None:
        """See `CertificateAuthority`."""
        await self._pass("revoke", self.real.revoke(leaf, reason))

    async def order(self, url: str) -> RemoteOrder:
        """See `CertificateAuthority`."""
        return self._signing(await self._pass("order", self.real.order(url)))

    async def authorization(self, url: str) -> RemoteAuthorization:
        """See `CertificateAuthority`."""
        return await self._pass("authorization", self.real.authorization(url))

    async def answer(self, challenge_url: str) -> None:
        """See `CertificateAuthority`."""
        await self._pass("answer", self.real.answer(challenge_url))

    async def finalize(self, finalize_url: str, csr: bytes) -> RemoteOrder:
        """See `CertificateAuthority`."""
        placed = await self._pass("finalize", self.real.finalize(finalize_url, csr))
        self._finalized = time.monotonic()
        return self._signing(placed)

    async def download(self, certificate_url: str) -> tuple[bytes, ...]:
        """See `CertificateAuthority`."""
        chain = await self._pass("download", self.real.download(certificate_url))
        return self.foreign_chain or chain

    async def key_authorization(self, token: str) -> SecretBytes:
        """See `CertificateAuthority`."""
        return await self.real.key_authorization(token)

    def _signing(self, order: RemoteOrder) -> RemoteOrder:
        if not self._finalized or time.monotonic() - self._finalized >= self.signing_seconds:
            return order
        return replace(order, status="processing", certificate_url="")

    async def _noted(self, names: tuple[str, ...], profile: str, replaces: str) -> RemoteOrder:
        placed = await self.real.new_order(names, profile=profile, replaces=replaces)
        self.order_urls.append(placed.url)
        return placed

    async def _pass(self, method: str, call: Coroutine[Any, Any, T]) -> T:
        problem = self.refused.pop(method, None)
        if problem is not None or self.unreachable:
            call.close()
            if problem is not None:
                raise AcmeError(problem)
            raise AcmeUnreachable("connection refused", sent=False)
        reply = await call
        self.calls[method] += 1
        if self.lost[method]:
            self.lost[method] -= 1
            raise AcmeUnreachable("the connection broke", sent=True)
        return reply
