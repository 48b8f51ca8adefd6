"""What `serve` reads: certificates and HTTP-01 tokens."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from controlplane.core.certificate import CertificateHead, CertificateRecord, ServableCertificate
from controlplane.core.redacted import SecretBytes


class NoCertificate(StrEnum):
    """Why there is no certificate for a name."""

    MISSING = "missing"
    """Nothing is stored under the name, or no certificate yet. A store that was emptied or restored looks like that too."""
    DELETED = "deleted"
    """The domain with this name was deleted, in the last day."""
    REJECTED = "rejected"
    """Something is stored, but it cannot be read or is not authentic. It is logged and counted."""


@dataclass(frozen=True, slots=True)
class Expiries:
    """What expires when. `least` is the certificate in force that expires next, with its domain; expired ones are only counted."""

    least: tuple[datetime, str] | None
    expired: int
    close: int


class CertificateStore(Protocol):
    """Certificates for `serve`: read only."""

    async def lookup(self, names: Sequence[str]) -> Mapping[str, CertificateRecord | NoCertificate]:
        """Returns the authenticated certificate in force for each canonical name, or why there is none.

        One round trip for all own names together, two at most when additional names are among them; one more for all intermediates that
        are met for the first time. What is wrong with one name never harms another. A certificate is returned for a name only if the
        name is on it.
        """
        ...

    async def servable(self, names: Sequence[str]) -> Mapping[str, ServableCertificate | NoCertificate]:
        """As `lookup`, and reads no more of a record than is needed to serve it: a handshake waits for this."""
        ...

    async def heads(self, names: Sequence[str]) -> Mapping[str, CertificateHead | None]:
        """Returns which certificate is in force for each canonical name, or None when only `lookup` can say.

        Far cheaper than `lookup`, in as many round trips. A head is authenticated, so that its generation can be believed. Whether the
        record beside it is the one that it speaks of, or can be read at all, it does not say: serve nothing by it. Who can write to the
        store may put an older head back in its place; with that he can hide a newer certificate from who has the older one, as he could
        by putting back the record itself.
        """
        ...

    async def previous(self, names: Sequence[str]) -> Mapping[str, CertificateRecord | NoCertificate]:
        """Returns the authenticated certificate that was in force before the present one for each canonical name, or why there is none.

        As `lookup`. Its generation is an older one, and it may have expired.
        """
        ...

    async def expiries(self, now: datetime, close: timedelta) -> Expiries:
        """Returns the next expiry after `now`, how many certificates in force are expired, and how many expire within `close`."""
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
