"""An ACME CA (RFC 8555) behind the port `CertificateAuthority`.

Messages and challenges are the `acme` package's, keys and signatures `josepy`'s. Requests, nonces, Retry-After and replies are our own
(see `acme_transport` and `acme_replies`): the package's client is neither thread-safe nor keeps what the order state machine needs.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from acme import challenges, messages
from josepy.json_util import decode_b64jose, encode_b64jose

from controlplane.adapters.acme_account import AcmeAccount, OpenedAccount
from controlplane.adapters.acme_account_changes import AccountChanges
from controlplane.adapters.acme_account_keys import AccountKeys
from controlplane.adapters.acme_account_requests import AccountRequests, Pace
from controlplane.adapters.acme_replies import authorization_of, chain_of, order_of, renewal_info_of
from controlplane.adapters.acme_requests import MOST_IN_FLIGHT, Reply
from controlplane.adapters.acme_transport import AcmeTransport
from controlplane.core.external_account import ExternalAccount
from controlplane.core.failure import ACME
from controlplane.core.ports import (
    AccountStore,
    AcmeError,
    AcmeUnreachable,
    Clock,
    Opener,
    RemoteAuthorization,
    RemoteOrder,
    RenewalInfo,
    Sealer,
)
from controlplane.core.redacted import SecretBytes

T = TypeVar("T")


async def no_wait(_endpoint: str) -> None:
    """A pace without limits."""


async def free() -> None:
    """A registration that no limit counts."""


class AcmeClient:
    """Implements `core.ports.CertificateAuthority`. Nothing is sent before the first call; `close` it at the end."""

    def __init__(
        self,
        directory_url: str,
        *,
        accounts: AccountStore,
        sealer: Sealer,
        opener: Opener,
        clock: Clock,
        ca_bundle: str | None = None,
        contact: str = "",
        external_account: ExternalAccount | None = None,
        pace: Pace = no_wait,
        allow_registration: Callable[[], Awaitable[None]] = free,
    ) -> None:
        """Prepares a client.

        Args:
            directory_url: of the CA.
            accounts: where the account is kept.
            sealer: seals a new account key.
            opener: opens the account key; it holds a private key of class `account`.
            clock: the time.
            ca_bundle: a PEM file with the roots to trust for the CA's own HTTPS; None: those of certifi.
            contact: an e-mail address for the CA, or empty.
            external_account: what a new account is bound to, for a CA that wants that (RFC 8555 section 7.3.4).
            pace: is awaited, with the endpoint's name in the metrics, before each request, those for the directory and for nonces included.
            allow_registration: is awaited before a new account is asked for; raises `AcmeError` when a limit does not allow it now.
        """
        self._directory_url = directory_url
        self._executor = ThreadPoolExecutor(max_workers=MOST_IN_FLIGHT, thread_name_prefix="acme")
        self._pace = pace
        self._loop: asyncio.AbstractEventLoop | None = None
        self._transport = AcmeTransport(directory_url, clock, ca_bundle, self._pace_in_thread)
        requests, keys = AccountRequests(self._transport, self._in_thread, pace), AccountKeys(directory_url, sealer, opener)
        self._changes = AccountChanges(requests, keys, accounts, clock)
        self._account = AcmeAccount(
            requests,
            keys,
            self._changes,
            accounts=accounts,
            clock=clock,
            contact=contact_urls(contact),
            external=external_account,
            allow_registration=allow_registration,
        )

    def __repr__(self) -> str:
        return f"AcmeClient({self._directory_url!r})"

    @property
    def directory_url(self) -> str:
        """The directory's URL."""
        return self._directory_url

    @property
    def account_url(self) -> str:
        """The account's URL, as CAA's `accounturi` names it (RFC 8657); empty as long as the account was not needed."""
        return self._account.known_url

    @property
    def account_changes(self) -> AccountChanges:
        """What an operator may do to the account. None of it makes one."""
        return self._changes

    async def ensure_account(self) -> str:
        """Opens or makes the account, which every other call does at need; returns its URL."""
        return (await self._account.ensure()).url

    async def profiles(self) -> frozenset[str]:
        """See `CertificateAuthority.profiles`."""
        return frozenset(await self._in_thread(self._transport.profiles))

    async def new_order(self, names: Sequence[str], *, profile: str = "", replaces: str = "") -> RemoteOrder:
        """See `CertificateAuthority.new_order`."""
        identifiers = [messages.Identifier(typ=messages.IDENTIFIER_FQDN, value=name) for name in names]
        payload = messages.NewOrder(identifiers=identifiers, profile=profile or None).to_json()
        if replaces:
            # RFC 9773 section 5: only for a CA that knows of it, since others may refuse what they do not know (RFC 8555 section 7.4).
            payload |= {"replaces": replaces} if await self._in_thread(self._transport.offers, "renewalInfo") else {}
        reply = await self._request(self._transport.post_to_resource, "new_order", "newOrder", payload)
        if not reply.location:
            raise AcmeUnreachable("newOrder gave no order URL", sent=True)
        return order_of(reply.location, reply.body, reply.retry_after)

    async def order(self, url: str) -> RemoteOrder:
        """See `CertificateAuthority.order`."""
        reply = await self._request(self._transport.post, "order", url, None)
        return order_of(url, reply.body, reply.retry_after)

    async def authorization(self, url: str) -> RemoteAuthorization:
        """See `CertificateAuthority.authorization`."""
        reply = await self._request(self._transport.post, "authorization", url, None)
        return authorization_of(url, reply.body)

    async def answer(self, challenge_url: str) -> None:
        """See `CertificateAuthority.answer`."""
        await self._request(self._transport.post, "challenge", challenge_url, {})

    async def finalize(self, finalize_url: str, csr: bytes) -> RemoteOrder:
        """See `CertificateAuthority.finalize`; the order's URL is empty when the CA does not repeat it."""
        reply = await self._request(self._transport.post, "finalize", finalize_url, {"csr": encode_b64jose(csr)})
        return order_of(reply.location, reply.body, reply.retry_after)

    async def download(self, certificate_url: str) -> tuple[bytes, ...]:
        """See `CertificateAuthority.download`."""
        return chain_of((await self._request(self._transport.post, "certificate", certificate_url, None)).body)

    async def renewal_info(self, certificate_id: str) -> RenewalInfo | None:
        """See `CertificateAuthority.renewal_info`."""
        if not await self._in_thread(self._transport.offers, "renewalInfo"):
            return None
        await self._pace("renewal_info")
        reply = await self._in_thread(self._transport.get_below, "renewal_info", "renewalInfo", certificate_id)
        return renewal_info_of(reply.body, reply.retry_after)

    async def revoke(self, leaf: bytes, reason: int) -> None:
        """See `CertificateAuthority.revoke`."""
        payload = {"certificate": encode_b64jose(leaf), "reason": reason}
        try:
            await self._request(self._transport.post_to_resource, "revoke", "revokeCert", payload)
        except AcmeError as error:
            if error.problem.type != f"{ACME}alreadyRevoked":
                raise

    async def key_authorization(self, token: str) -> SecretBytes:
        """See `CertificateAuthority.key_authorization`."""
        account = await self._account.ensure()
        challenge = challenges.HTTP01(token=decode_b64jose(token))
        return SecretBytes(challenge.key_authorization(account.key).encode())

    async def close(self) -> None:
        """Waits for requests in flight (each has a time-out), drops those that wait, and closes all connections."""
        await asyncio.get_running_loop().run_in_executor(None, lambda: self._executor.shutdown(wait=True, cancel_futures=True))
        self._transport.close()

    async def _request(self, send: Callable[..., Reply], endpoint: str, where: str, payload: Mapping[str, Any] | None) -> Reply:
        account = await self._account.ensure()
        try:
            return await self._signed_by(account, send, endpoint, where, payload)
        except AcmeError as error:
            current = await self._account.after_refusal(account, error.problem)
            if current is None:
                raise
            if endpoint == "challenge":
                # The key authorization that was published is of the key before (RFC 8555 section 8.1): it must be published anew first.
                raise AcmeUnreachable("the account key was exchanged meanwhile", sent=False) from error
        return await self._signed_by(current, send, endpoint, where, payload)

    async def _signed_by(
        self, account: OpenedAccount, send: Callable[..., Reply], endpoint: str, where: str, payload: Mapping[str, Any] | None
    ) -> Reply:
        await self._pace(endpoint)
        return await self._in_thread(send, endpoint, where, payload, account.key, account.url)

    async def _in_thread(self, function: Callable[..., T], *args: object) -> T:
        self._loop = asyncio.get_running_loop()
        return await self._loop.run_in_executor(self._executor, function, *args)

    def _pace_in_thread(self, endpoint: str) -> None:
        """`pace` for a thread; the event loop goes on meanwhile."""
        if self._pace is no_wait or self._loop is None:
            return

        async def paced() -> None:
            await self._pace(endpoint)

        asyncio.run_coroutine_threadsafe(paced(), self._loop).result()


def contact_urls(address: str) -> tuple[str, ...]:
    """Returns the contact URLs for an e-mail address (RFC 8555 section 7.3), none for an empty one."""
    return (f"mailto:{address.removeprefix('mailto:')}",) if address else ()
