"""The ACME account: made once, its key sealed before the CA hears of it, and never silently made again (RFC 8555 section 7.3)."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import structlog
from acme import messages
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat, load_der_private_key
from josepy.jwk import JWK, JWKEC

from controlplane.adapters.acme_transport import AcmeTransport
from controlplane.core.errors import RecordRejected, SealingError
from controlplane.core.failure import ACCOUNT_UNUSABLE, ACME
from controlplane.core.ports import AccountRecord, AccountStore, AcmeError, AcmeProblem, AcmeUnreachable, Clock, Opener, Sealer
from controlplane.core.redacted import SecretBytes
from controlplane.core.sealing import KeyClass, SealContext, spki_digest

_log = structlog.get_logger(__name__)

InThread = Callable[..., Awaitable[Any]]
"""Runs a blocking call in the adapter's threads."""


@dataclass(frozen=True, slots=True)
class OpenedAccount:
    """An account whose key is open. It stays inside the adapter."""

    url: str
    key: JWK = field(repr=False)


class AcmeAccount:
    """The account at one CA: opened, or made, at its first use."""

    def __init__(
        self,
        transport: AcmeTransport,
        in_thread: InThread,
        *,
        accounts: AccountStore,
        sealer: Sealer,
        opener: Opener,
        clock: Clock,
        contact: str,
    ) -> None:
        self._transport = transport
        self._accounts = accounts
        self._sealer = sealer
        self._opener = opener
        self._clock = clock
        self._contact = contact
        self._in_thread = in_thread
        self._lock = asyncio.Lock()
        self._opened: OpenedAccount | None = None

    async def ensure(self) -> OpenedAccount:
        """Returns the account; makes it when there is none. Concurrent callers share one attempt at a time.

        Raises:
            AcmeError: the CA refuses, or the account key that is stored cannot be used (`accountUnusable`).
            AcmeUnreachable: the CA does not answer; the key is kept, and the next call goes on with it.
            Unavailable: the store does not answer.
        """
        if self._opened is None:
            async with self._lock:
                if self._opened is None:
                    self._opened = await self._open_or_make()
        return self._opened

    @property
    def known_url(self) -> str:
        """The account's URL, empty as long as the account was not needed."""
        return self._opened.url if self._opened is not None else ""

    def lost(self) -> None:
        """Is told that the CA does not know the account. It is not registered again: only a changed record helps, so it is read again."""
        _log.error("the CA does not know the account; it takes `certplane account forget` to make a new one", directory_url=self._directory)
        self._opened = None

    @property
    def _directory(self) -> str:
        return self._transport.directory_url

    async def _open_or_make(self) -> OpenedAccount:
        try:
            record = await self._accounts.get(self._directory)
            if record is None:
                # The key is stored before the CA hears of it: a crash in between leaves no account whose key is lost.
                record = await self._accounts.create(self._new_record())
            secret = self._opener.open(record.sealed_account_key, _context(self._directory, record.spki_digest))
        except (RecordRejected, SealingError) as error:
            _log.error("the account key cannot be used", directory_url=self._directory, reason=str(error))
            raise AcmeError(AcmeProblem(ACCOUNT_UNUSABLE, f"the stored account key cannot be used: {error}")) from error
        key = JWKEC(key=load_der_private_key(secret.reveal(), None))
        if record.account_url:
            return OpenedAccount(record.account_url, key)
        # With a key that has an account already the CA answers 200 with its URL (section 7.3), so this may be repeated.
        url: str = await self._in_thread(self._register, key)
        await self._accounts.set_url(self._directory, url)
        _log.info("account registered", directory_url=self._directory, account_url=url)
        return OpenedAccount(url, key)

    def _new_record(self) -> AccountRecord:
        key = ec.generate_private_key(ec.SECP256R1())
        digest = spki_digest(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
        secret = SecretBytes(key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))
        sealed = self._sealer.seal(secret, _context(self._directory, digest))
        return AccountRecord(self._directory, "", sealed, digest, self._clock())

    def _register(self, key: JWK) -> str:
        registration = messages.NewRegistration.from_data(email=self._contact or None, terms_of_service_agreed=True)
        reply = self._transport.post_to_resource("new_account", "newAccount", registration.to_partial_json(), key, None)
        if not reply.location:
            raise AcmeUnreachable("newAccount gave no account URL", sent=True)
        return reply.location


def is_lost(problem: AcmeProblem) -> bool:
    """Whether a refusal says that the CA does not know the account."""
    return problem.type == f"{ACME}accountDoesNotExist"


def _context(directory_url: str, digest: bytes) -> SealContext:
    return SealContext(KeyClass.ACCOUNT, digest, (directory_url,))
