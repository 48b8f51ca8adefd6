"""What `serve` reads: certificates and HTTP-01 tokens."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from controlplane.core.certificate import CertificateRecord
from controlplane.core.redacted import SecretBytes


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
