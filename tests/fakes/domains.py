"""DomainStore and ChangeFeed in memory, with the semantics of the ports: claims of additional names, revisions, positions, gaps."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime

from controlplane.core.domain_intents import with_renewal, with_revocation
from controlplane.core.errors import AlreadyExists, Conflict, FieldViolation, InvalidArgument, NotFound, Unavailable
from controlplane.core.managed_domain import Domain, DomainSpec, DomainStatus, Revocation
from controlplane.core.names import DomainName, domain_resource_name
from controlplane.core.ports import ALL_KINDS, ChangeKind, ChangesLost, DomainChanged, Page


class InMemoryDomains:
    """Both ports over one set of domains, as in one process of the real store.

    What a worker would do is done with `put_status`. `away` makes every call raise `Unavailable`; `broken` makes every call raise
    that exception; `trim` forgets changes as a stream of bounded length does.
    """

    def __init__(self) -> None:
        self.away = False
        self.broken: Exception | None = None
        self.list_calls = 0
        self.list_sizes: list[int] = []
        self._domains: dict[DomainName, Domain] = {}
        self._claims: dict[DomainName, DomainName] = {}
        self._changes: list[DomainChanged] = []
        self._trimmed = 0
        self._epoch = "e1"
        self._written = asyncio.Condition()

    # ---- DomainStore ----

    async def create(self, spec: DomainSpec, status: DomainStatus) -> Domain:
        """See `DomainStore.create`."""
        self._answer()
        for name in spec.all_names:
            owner = self._owner(name)
            if owner is not None:
                raise AlreadyExists(domain_resource_name(owner), f"{name} belongs to {domain_resource_name(owner)}")
        self._claims |= dict.fromkeys(spec.additional_names, spec.fqdn)
        domain = Domain(spec, status, 1)
        await self._write(domain, ChangeKind.SPEC)
        return domain

    async def get(self, name: DomainName) -> Domain | None:
        """See `DomainStore.get`."""
        self._answer()
        return self._domains.get(name)

    async def list_page(self, page_size: int, page_token: str) -> Page:
        """See `DomainStore.list_page`; the order is that of the names."""
        self._answer()
        self.list_calls += 1
        self.list_sizes.append(page_size)
        if page_token and not page_token.startswith("after:"):
            raise InvalidArgument(FieldViolation("page_token", "was not made by this store"))
        after = page_token.removeprefix("after:")
        rest = [self._domains[name] for name in sorted(self._domains) if name.value > after]
        page = tuple(rest[:page_size])
        return Page(page, f"after:{page[-1].spec.fqdn}" if len(rest) > page_size else "")

    async def request_renewal(self, name: DomainName, at: datetime, not_before: datetime | None = None, *, replacement: str = "") -> Domain:
        """See `DomainStore.request_renewal`."""
        self._answer()
        domain = self._existing(name)
        return await self._replace_spec(domain, with_renewal(domain, at, not_before, replacement), again=False)

    async def request_revocation(self, name: DomainName, revocation: Revocation) -> Domain:
        """See `DomainStore.request_revocation`."""
        self._answer()
        domain = self._existing(name)
        return await self._replace_spec(domain, with_revocation(domain, revocation), again=domain.pending_revocation is not None)

    async def _replace_spec(self, domain: Domain, spec: DomainSpec, *, again: bool) -> Domain:
        if spec == domain.spec and not again:
            return domain
        changed = replace(domain, spec=spec, revision=domain.revision + 1)
        await self._write(changed, ChangeKind.SPEC)
        return changed

    async def delete(self, name: DomainName, expected_etag: str) -> None:
        """See `DomainStore.delete`."""
        self._answer()
        domain = self._existing(name)
        if expected_etag not in {"", domain.etag}:
            raise Conflict(f"{domain_resource_name(name)} has changed since it was read")
        del self._domains[name]
        for additional in domain.spec.additional_names:
            del self._claims[additional]
        await self._publish(domain, ChangeKind.DELETED)

    # ---- ChangeFeed ----

    async def position(self) -> str:
        """See `ChangeFeed.position`."""
        self._answer()
        return self._position(self._trimmed + len(self._changes))

    async def follow(self, position: str = "", *, kinds: frozenset[ChangeKind] = ALL_KINDS) -> AsyncIterator[DomainChanged | ChangesLost]:
        """See `ChangeFeed.follow`."""
        epoch, number = self._epoch, self._trimmed + len(self._changes)
        if position:
            epoch, _, text = position.partition(":")
            number = int(text) if text.isdigit() else -1
        while True:
            if epoch != self._epoch or not self._trimmed <= number <= self._trimmed + len(self._changes):
                epoch, number = self._epoch, self._trimmed + len(self._changes)
                yield ChangesLost(self._position(number))
            elif number < self._trimmed + len(self._changes):
                change = self._changes[number - self._trimmed]
                number += 1
                if change.kind in kinds:
                    yield change
            else:
                async with self._written:
                    if epoch == self._epoch and number == self._trimmed + len(self._changes):
                        await self._written.wait()

    # ---- what the world does ----

    async def put_status(self, name: str, status: DomainStatus, *, certificate: bool = False) -> Domain:
        """Writes a status as a worker does."""
        domain = self._existing(DomainName(name))
        changed = replace(domain, status=status, revision=domain.revision + 1)
        await self._write(changed, ChangeKind.CERTIFICATE if certificate else ChangeKind.STATUS)
        return changed

    async def trim(self) -> None:
        """Forgets all changes so far, and one more that nobody sees: who had not read them has lost some."""
        self._trimmed += len(self._changes) + 1
        self._changes.clear()
        async with self._written:
            self._written.notify_all()

    def _answer(self) -> None:
        if self.broken is not None:
            raise self.broken
        if self.away:
            raise Unavailable("redis at 10.0.0.7:6379 does not answer", retry_after=2.5)

    def _owner(self, name: DomainName) -> DomainName | None:
        return name if name in self._domains else self._claims.get(name)

    def _existing(self, name: DomainName) -> Domain:
        if name not in self._domains:
            raise NotFound(domain_resource_name(name))
        return self._domains[name]

    def _position(self, number: int) -> str:
        return f"{self._epoch}:{number}"

    async def _write(self, domain: Domain, kind: ChangeKind) -> None:
        self._domains[domain.spec.fqdn] = domain
        await self._publish(domain, kind)

    async def _publish(self, domain: Domain, kind: ChangeKind) -> None:
        names = tuple(name.value for name in domain.spec.all_names)
        position = self._position(self._trimmed + len(self._changes) + 1)
        self._changes.append(DomainChanged(domain.spec.fqdn.value, names, kind, position))
        async with self._written:
            self._written.notify_all()
