"""What an operator does to an ACME account: exchange its key, change its contact, deactivate it (RFC 8555 sections 7.3.2, 7.3.5, 7.3.6).

None of this ever makes an account. A rollover is two writes with a request between them:

1. the new key is written, sealed, beside the account key;
2. the CA is asked to put it in the account key's place;
3. it becomes the account key in the record, and the one before is gone.

After a death at any point both keys that the CA may have are in the record, and whoever comes next, an operator's command or a worker,
asks the CA which one it has (`complete`) and goes on. Two who do so at the same time do no harm: the CA takes one request, and the other
finds the new key in force.
"""

from collections.abc import Callable
from dataclasses import replace
from enum import Enum, auto

import structlog

from controlplane.adapters.acme_account_keys import AccountKeys, unusable
from controlplane.adapters.acme_account_requests import AccountRequests, RemoteAccount, is_lost
from controlplane.core.errors import Conflict, FailedPrecondition, NotFound
from controlplane.core.failure import ACME
from controlplane.core.ports import AccountRecord, AccountStatus, AccountStore, AcmeError, AcmeProblem, Clock

_log = structlog.get_logger(__name__)

_MOST_WRITES = 8


class _Holder(Enum):
    """Which of the two keys of a rollover the CA has."""

    ACCOUNT_KEY = auto()
    SUCCESSOR = auto()
    NEITHER = auto()


class AccountChanges:
    """Changes the account at one CA, in the store and at the CA.

    Every method raises `NotFound` when there is no record, `AcmeError` and `AcmeUnreachable`, and `Unavailable` and `RecordRejected` of the
    store.
    """

    def __init__(self, requests: AccountRequests, keys: AccountKeys, accounts: AccountStore, clock: Clock) -> None:
        self._requests = requests
        self._keys = keys
        self._accounts = accounts
        self._clock = clock

    async def record(self) -> AccountRecord:
        """Returns the account as stored."""
        record = await self._accounts.get(self._directory)
        if record is None:
            raise NotFound(f"the ACME account at {self._directory}")
        return record

    async def remote(self) -> RemoteAccount:
        """Returns the account as the CA has it; nothing is changed.

        Raises:
            FailedPrecondition: it is not registered.
        """
        record = await self._registered()
        key = self._keys.open_account_key(record)
        if record.successor is not None and await self._holder(record) is _Holder.SUCCESSOR:
            key = self._keys.open(record.successor)
        return await self._requests.read(record.account_url, key)

    async def terms_of_service(self) -> str:
        """Returns the URL of the CA's terms of service as they are now, empty when it names none."""
        return await self._requests.terms_of_service()

    async def rollover(self) -> AccountRecord:
        """Exchanges the account key for a new one, or completes a rollover that was begun; returns the record afterwards.

        Raises:
            FailedPrecondition: the account is not registered, or not in use.
        """
        record = self._in_use(await self._registered())
        if record.successor is None:
            successor = self._keys.make()
            record = await self.update(lambda stored: stored if stored.successor else replace(self._in_use(stored), successor=successor))
        return await self.complete(record)

    async def complete(self, record: AccountRecord) -> AccountRecord:
        """Completes the rollover that `record` has begun, if it has; returns the record afterwards.

        Raises:
            AcmeError: the CA refuses and has the account key still (the next call tries again), or it knows neither key
                (`accountDoesNotExist`), or the new key is another account's (`accountUnusable`).
        """
        if record.successor is None:
            return record
        account_key, successor = self._keys.open_account_key(record), self._keys.open(record.successor)
        if await self._holder(record) is not _Holder.SUCCESSOR:
            try:
                await self._requests.change_key(record.account_url, account_key, successor)
            except AcmeError as error:
                # A 409 says that the key is an account's already, and which (section 7.3.5): asking by the key itself says the same and
                # proves it. Every other refusal may mean that somebody else was faster: the request was signed by a key of the past.
                holder = await self._holder(record)
                if holder is _Holder.ACCOUNT_KEY:
                    raise
                if holder is _Holder.NEITHER:
                    raise AcmeError(AcmeProblem(f"{ACME}accountDoesNotExist", "the CA knows neither key of a rollover", 400)) from error
        _log.info("account key exchanged", directory_url=self._directory, account_url=record.account_url)
        return await self.update(lambda stored: _promoted(stored, record, self._clock))

    async def set_contact(self, contact: tuple[str, ...]) -> AccountRecord:
        """Replaces the contact URLs; returns the record afterwards.

        Raises:
            FailedPrecondition: the account is not registered, or not in use.
        """
        record = await self.complete(self._in_use(await self._registered()))
        await self._requests.set_contact(record.account_url, self._keys.open_account_key(record), contact)
        return await self.update(lambda stored: replace(stored, contact=contact))

    async def deactivate(self) -> AccountRecord:
        """Deactivates the account, or completes that; returns the record afterwards. Nothing is registered in its place.

        It is marked before the CA hears of it, so that no worker uses it any more.
        """
        record = await self.record()
        if record.status is AccountStatus.DEACTIVATED:
            return record
        record = await self.update(lambda stored: replace(stored, status=max(stored.status, AccountStatus.DEACTIVATING)))
        try:
            await self._deactivate_at_the_ca(record)
        except AcmeError as error:
            # That is how a CA speaks of an account that is deactivated already (section 7.3.6), or unknown.
            if not (is_lost(error.problem) or error.problem.type == f"{ACME}unauthorized"):
                raise
        _log.warning("account deactivated", directory_url=self._directory, account_url=record.account_url)
        return await self.update(lambda stored: replace(stored, status=AccountStatus.DEACTIVATED))

    async def update(self, change: Callable[[AccountRecord], AccountRecord]) -> AccountRecord:
        """Changes what is stored in one step, again when somebody wrote in between; returns the record afterwards.

        Raises:
            Conflict: somebody always did.
        """
        for _ in range(_MOST_WRITES):
            stored = await self.record()
            changed = change(stored)
            if changed == stored or await self._accounts.replace(stored, changed):
                return changed
        raise Conflict(f"the ACME account at {self._directory} is being changed by somebody else: try again")

    @property
    def _directory(self) -> str:
        return self._requests.directory_url

    async def _deactivate_at_the_ca(self, record: AccountRecord) -> None:
        key = self._keys.open_account_key(record)
        if record.successor is not None and await self._holder(record) is _Holder.SUCCESSOR:
            key = self._keys.open(record.successor)
        # Without a URL the reply to the registration may have been lost.
        url = record.account_url or await self._requests.find(key)
        if url:
            await self._requests.deactivate(url, key)

    async def _registered(self) -> AccountRecord:
        record = await self.record()
        if not record.account_url:
            raise FailedPrecondition(f"the CA at {self._directory} has not registered the account yet: a worker does at its first order")
        return record

    def _in_use(self, record: AccountRecord) -> AccountRecord:
        if record.status is not AccountStatus.VALID:
            raise FailedPrecondition(f"the ACME account at {self._directory} is {record.status.name.lower()}")
        return record

    async def _holder(self, record: AccountRecord) -> _Holder:
        """Asks the CA which key of a rollover it has."""
        if record.successor is not None:
            url = await self._requests.find(self._keys.open(record.successor))
            if url == record.account_url:
                return _Holder.SUCCESSOR
            if url is not None:
                raise unusable(f"the new account key is the key of another account, {url}")
        found = await self._requests.find(self._keys.open_account_key(record))
        return _Holder.ACCOUNT_KEY if found == record.account_url else _Holder.NEITHER


def _promoted(stored: AccountRecord, begun: AccountRecord, clock: Clock) -> AccountRecord:
    """Returns `stored` with the successor of `begun` as its account key."""
    successor = begun.successor
    if successor is None or stored.successor is None or stored.successor.spki_digest != successor.spki_digest:
        if successor is not None and stored.spki_digest == successor.spki_digest:
            return stored
        raise Conflict(
            f"the ACME account at {stored.directory_url} was changed by somebody else meanwhile: look at `certplane account show`"
        )
    # The envelope as stored: it may have been sealed anew since.
    return replace(
        stored,
        sealed_account_key=stored.successor.envelope,
        spki_digest=stored.successor.spki_digest,
        successor=None,
        key_change_time=clock(),
    )
