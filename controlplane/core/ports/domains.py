"""Domains for the API."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from controlplane.core.managed_domain import Domain, DomainSpec, DomainStatus, Revocation
from controlplane.core.names import DomainName


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

    async def request_renewal(self, name: DomainName, at: datetime, not_before: datetime | None = None, *, replacement: str = "") -> Domain:
        """Writes the intent to renew and makes the domain due at once. Publishes a change.

        `at` is when it was asked; the renewal may begin at `not_before`, None: at once. A later request replaces an earlier one.

        With `replacement`, the identifier of a replacement, the domain becomes due at `not_before`, and the domain is returned as it is
        when the intent gives way: see `controlplane.core.domain_intents.with_renewal`.

        Raises:
            NotFound: no such domain.
        """
        ...

    async def request_revocation(self, name: DomainName, revocation: Revocation) -> Domain:
        """Writes the intent to revoke a certificate and makes the domain due at once. Publishes a change.

        The same request again changes nothing but that the domain is due at once, and not even that when it was carried out. Another
        reason for the same certificate is another request. Whether the domain has the certificate is not checked.

        Raises:
            NotFound: no such domain.
            FailedPrecondition: another certificate of the domain is being revoked.
        """
        ...

    async def delete(self, name: DomainName, expected_etag: str) -> None:
        """Removes the domain with its certificates, sealed keys, order, schedule and claims in one write, and publishes a change.

        Raises:
            NotFound: no such domain.
            Conflict: `expected_etag` is not empty and not the etag now.
        """
        ...
