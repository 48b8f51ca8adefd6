"""The ACME account: made once, its key sealed before the CA hears of it, and never silently made again (RFC 8555 section 7.3)."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from urllib.parse import urlsplit

import structlog
from josepy.jwk import JWK
from prometheus_client import Gauge

from controlplane.adapters.acme_account_changes import AccountChanges
from controlplane.adapters.acme_account_keys import AccountKeys, unusable
from controlplane.adapters.acme_account_requests import AccountRequests, is_lost
from controlplane.core.errors import Conflict, RecordRejected, SealingError
from controlplane.core.external_account import ExternalAccount
from controlplane.core.failure import ACME, refused, stops_account
from controlplane.core.ports import AccountRecord, AccountStatus, AccountStore, AcmeError, AcmeProblem, Clock

_log = structlog.get_logger(__name__)

_UNUSABLE = Gauge(
    "certplane_acme_account_unusable", "1 while the ACME account at a CA cannot be used and an operator must act, by the CA's host.", ["ca"]
)

# An operator's command changes the record in another process.
_LOOK_AGAIN = timedelta(seconds=30)
# A CA that says that it does not know the account is asked once more after this: it may have spoken too soon.
_ASK_AGAIN = timedelta(minutes=5)

# How CAs refuse a request whose signature does not fit the account's key, or whose account is not in use.
_ABOUT_THE_ACCOUNT = frozenset({f"{ACME}malformed", f"{ACME}unauthorized", f"{ACME}accountDoesNotExist"})


@dataclass(frozen=True, slots=True)
class OpenedAccount:
    """An account whose key is open. It stays inside the adapter."""

    url: str
    key: JWK = field(repr=False)
    spki_digest: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class _Lost:
    """An account that the CA says it does not know: for which record it said so, and until when it is not asked again."""

    record: AccountRecord
    problem: AcmeProblem
    until: datetime


class AcmeAccount:
    """The account at one CA: opened, or made, at its first use; what other processes do to it is noticed within half a minute."""

    def __init__(
        self,
        requests: AccountRequests,
        keys: AccountKeys,
        changes: AccountChanges,
        *,
        accounts: AccountStore,
        clock: Clock,
        contact: tuple[str, ...],
        external: ExternalAccount | None,
        allow_registration: Callable[[], Awaitable[None]],
    ) -> None:
        self._requests = requests
        self._keys = keys
        self._changes = changes
        self._accounts = accounts
        self._clock = clock
        self._contact = contact
        self._external = external
        self._allow_registration = allow_registration
        self._lock = asyncio.Lock()
        self._opened: OpenedAccount | None = None
        self._known_url = ""
        self._record: AccountRecord | None = None
        self._looked: datetime | None = None
        self._lost: _Lost | None = None
        self._told: AcmeProblem | None = None
        self._gauge = _UNUSABLE.labels(urlsplit(requests.directory_url).hostname or "")

    async def ensure(self) -> OpenedAccount:
        """Returns the account; makes it when there is none. Concurrent callers share one attempt at a time.

        Raises:
            AcmeError: the CA refuses or does not know the account, or the account cannot be used (`accountUnusable`): its key does not
                open, or it was deactivated.
            AcmeUnreachable: the CA does not answer; the key is kept, and the next call goes on with it.
            Unavailable: the store does not answer.
        """
        opened = self._opened
        if opened is None or not self._fresh():
            async with self._lock:
                if self._opened is None or not self._fresh():
                    await self._look()
                opened = self._opened
        if opened is None:
            raise AssertionError("an account that cannot be used raises")
        return opened

    @property
    def known_url(self) -> str:
        """The account's URL, empty as long as the account was not needed."""
        return self._known_url

    async def after_refusal(self, used: OpenedAccount, problem: AcmeProblem) -> OpenedAccount | None:
        """Says what to do about a request that the CA refused.

        Another process may have exchanged the account key or deactivated the account, so the record is read again if the refusal can
        come from that. An account that the CA does not know is not registered again: nothing is sent for it until its record changes,
        or a few minutes have passed.

        Args:
            used: what the request was signed with.
            problem: the refusal.

        Returns:
            The account with another key to try with; None when the refusal stands.

        Raises:
            AcmeError: the account was deactivated.
        """
        if problem.type not in _ABOUT_THE_ACCOUNT:
            return None
        async with self._lock:
            if not self._changed_from(used):
                await self._look()
            if self._changed_from(used):
                return self._opened
            if is_lost(problem) and self._record is not None:
                self._give_up(problem, self._record)
        return None

    @property
    def _directory(self) -> str:
        return self._requests.directory_url

    def _fresh(self) -> bool:
        # A clock that was set back makes what was read old.
        return self._looked is not None and timedelta() <= self._clock() - self._looked < _LOOK_AGAIN

    def _changed_from(self, used: OpenedAccount) -> bool:
        opened = self._opened
        return opened is not None and (opened.url, opened.spki_digest) != (used.url, used.spki_digest)

    async def _look(self) -> None:
        """Reads the record, and opens the account anew if it is not as before."""
        record = None
        try:
            record = await self._accounts.get(self._directory)
            if self._opened is None or record is None or record != self._record:
                await self._open(record)
        except (RecordRejected, SealingError) as error:
            failed = unusable(f"the stored account key cannot be used: {error}")
            self._give_up(failed.problem, record)
            raise failed from error
        except AcmeError as error:
            self._give_up(error.problem, record)
            raise
        self._looked = self._clock()

    def _give_up(self, problem: AcmeProblem, record: AccountRecord | None) -> None:
        """Notes that the account cannot be used; operators are told once, if it is for them to act."""
        now, self._opened = self._clock(), None
        if stops_account(refused(problem, now)) and problem != self._told:
            advice = "`certplane account forget` lets the next attempt make a new one" if is_lost(problem) else "see the reason"
            _log.error(
                "the account cannot be used", directory_url=self._directory, problem=problem.type, reason=problem.detail, advice=advice
            )
            self._gauge.set(1)
            self._told = problem
        if is_lost(problem) and record is not None and (self._lost is None or now >= self._lost.until or record != self._lost.record):
            self._lost = _Lost(record, problem, now + _ASK_AGAIN)

    async def _open(self, record: AccountRecord | None) -> None:
        if self._opened is not None and record is None:
            _log.warning("the account was forgotten", directory_url=self._directory, account_url=self._opened.url)
        self._opened = None
        lost = self._lost
        if lost is not None and record == lost.record and self._clock() < lost.until:
            raise AcmeError(lost.problem)
        if record is None:
            # The key is stored before the CA hears of it: a crash in between leaves no account whose key is lost.
            record = await self._accounts.create(self._new_record())
        if record.status is not AccountStatus.VALID:
            raise unusable(f"the account is {record.status.name.lower()}; `certplane account forget` lets the next attempt make a new one")
        record = await self._after_rollover(record)
        key = self._keys.open_account_key(record)
        if not record.account_url:
            record = await self._registered(record, key)
        self._opened, self._record, self._lost = OpenedAccount(record.account_url, key, record.spki_digest), record, None
        self._known_url, self._told = record.account_url, None
        self._gauge.set(0)

    async def _after_rollover(self, record: AccountRecord) -> AccountRecord:
        """Completes a rollover that was begun and not ended; goes on with the account key as it is when the CA refuses."""
        try:
            return await self._changes.complete(record)
        except AcmeError as error:
            if not error.problem.status or is_lost(error.problem):
                raise
            _log.error("the CA refuses the new account key", directory_url=self._directory, problem=error.problem.type)
            return record

    async def _registered(self, record: AccountRecord, key: JWK) -> AccountRecord:
        await self._allow_registration()
        # With a key that has an account already the CA answers 200 with its URL (section 7.3), so this may be repeated.
        url = await self._requests.register(key, self._contact, self._external)
        terms = await self._requests.terms_of_service()
        bound_to = self._external.key_id if self._external is not None else ""
        _log.info("account registered", directory_url=self._directory, account_url=url, terms_of_service=terms)

        def completed(stored: AccountRecord) -> AccountRecord:
            if stored.spki_digest != record.spki_digest:
                raise Conflict(f"the ACME account at {self._directory} was forgotten while it was being registered")
            return replace(stored, account_url=url, contact=self._contact, terms_of_service=terms, external_account_key_id=bound_to)

        return await self._changes.update(completed)

    def _new_record(self) -> AccountRecord:
        made = self._keys.make()
        return AccountRecord(self._directory, "", made.envelope, made.spki_digest, self._clock())
