"""The ACME account at a CA, as stored, and where it is stored (RFC 8555 section 7.3)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Protocol

from controlplane.core.ports.rotation import UnreadableRecord
from controlplane.core.sealing import Envelope


class AccountStatus(IntEnum):
    """Values of `certplane.store.v1.AccountRecord.Status`: the account's status (RFC 8555 section 7.1.2) as far as we had a part in it."""

    VALID = 1
    DEACTIVATING = 2
    """An operator wants it deactivated; the CA has not said yet that it is."""
    DEACTIVATED = 3


@dataclass(frozen=True, slots=True)
class SealedAccountKey:
    """An account key, sealed to an `account` recipient key. `spki_digest` is SHA-256 of its SubjectPublicKeyInfo (DER)."""

    envelope: Envelope
    spki_digest: bytes


@dataclass(frozen=True, slots=True)
class AccountRecord:
    """An ACME account; the key is sealed to an `account` recipient key. `account_url` is empty until the CA has answered.

    `successor` is the key that is to take the account key's place: written before the CA hears of it, and gone when the CA has it and it
    is the account key. `contact` are URLs (`mailto:`) as last told to the CA, `terms_of_service` the URL of the terms that were agreed to,
    `external_account_key_id` the key identifier of the external account that it is bound to (section 7.3.4); empty when there is none, or
    when the record is older than these fields.
    """

    directory_url: str
    account_url: str
    sealed_account_key: Envelope
    spki_digest: bytes
    create_time: datetime
    successor: SealedAccountKey | None = None
    key_change_time: datetime | None = None
    status: AccountStatus = AccountStatus.VALID
    contact: tuple[str, ...] = ()
    terms_of_service: str = ""
    external_account_key_id: str = ""


class AccountStore(Protocol):
    """ACME accounts, one a directory URL."""

    async def get(self, directory_url: str) -> AccountRecord | None:
        """Returns the authentic account record, or None.

        Raises:
            RecordRejected: there is one, but it is not authentic.
        """
        ...

    async def all(self) -> Sequence[AccountRecord | UnreadableRecord]:
        """Returns all accounts, by directory URL; those that cannot be believed come last."""
        ...

    async def create(self, record: AccountRecord) -> AccountRecord:
        """Writes the record unless there is one already; returns the one that is stored."""
        ...

    async def replace(self, before: AccountRecord, after: AccountRecord) -> bool:
        """Puts `after` in the place of `before` in one step; returns False, and writes nothing, when what is stored is not `before`.

        Raises:
            RecordRejected: what is stored is not authentic.
        """
        ...

    async def forget(self, directory_url: str) -> bool:
        """Removes the record: an operator's explicit act. Returns whether there was one."""
        ...
