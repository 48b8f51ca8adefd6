"""What `certplane.v1.CertificateService` does: shows certificates without their keys, and takes requests to revoke them.

Nothing here talks to a CA: a revocation is an intent in the store, which a worker carries out.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from controlplane.core.certificate import CertificateRecord
from controlplane.core.certificate_names import certificate_resource_name, parse_certificate_resource
from controlplane.core.domain_filter import DomainFilter
from controlplane.core.errors import FailedPrecondition, FieldViolation, InvalidArgument, NotFound, RecordRejected
from controlplane.core.managed_domain import Domain, Revocation
from controlplane.core.names import DomainName, domain_resource_name, parse_domain_resource
from controlplane.core.ports import CertificateStore, Clock, DomainStore, Page
from controlplane.core.ports.certificates import CertificateSearch
from controlplane.core.revocation_plan import RevocationReason
from controlplane.usecases.concurrently import all_of
from controlplane.usecases.domain_listing import Listing, list_matching

DEFAULT_PAGE_SIZE: Final = 100
MAX_PAGE_SIZE: Final = 200
"""Each takes some tens of microseconds, in which no handshake is answered."""

_LISTING: Final = Listing("certificates", DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class CertificateView:
    """A certificate with the domain that it belongs to. `previous_id` is the certificate before it, if there is one and it was read."""

    record: CertificateRecord
    domain: Domain
    in_force: bool
    previous_id: str = ""

    @property
    def certificate_authority(self) -> str:
        """The name of the CA that issued it; empty when that is not known."""
        status = self.domain.status
        return status.certificate_authority if status.certificate_id == self.record.id else ""

    @property
    def revocation(self) -> Revocation | None:
        """The revocation that was asked for."""
        asked = self.domain.spec.revocation
        return asked if asked is not None and asked.certificate_id == self.record.id else None

    @property
    def revocation_done(self) -> bool:
        """Whether that is over."""
        return self.revocation is not None and self.domain.pending_revocation is None


@dataclass(frozen=True, slots=True)
class CertificatePage:
    """A page of certificates. `next_token` is empty at the end."""

    certificates: tuple[CertificateView, ...]
    next_token: str


class Certificates:
    """The use cases. Every method raises `Unavailable` when the store does not answer."""

    def __init__(self, domains: DomainStore, certificates: CertificateStore, search: CertificateSearch, clock: Clock) -> None:
        self._domains = domains
        self._certificates = certificates
        self._search = search
        self._clock = clock
        # A search costs the store seconds of work if there are a million domains: one after the other.
        self._searching = asyncio.Lock()

    async def get(self, name: str, domain: str = "") -> CertificateView:
        """Returns a certificate that is in force or was before that.

        Args:
            name: its resource name.
            domain: the resource name of its domain; empty: all are searched.

        Raises:
            InvalidArgument: one of them is not such a resource name.
            NotFound: no such domain, or no such certificate.
        """
        certificate_id = parse_certificate_resource(name, field="name")
        if domain:
            fqdn = parse_domain_resource(domain, field="domain")
            views = await self._of(fqdn)
            if views is None:
                raise NotFound(domain_resource_name(fqdn))
            found = _with_id(views, certificate_id)
        else:
            found = await self._searched(certificate_id)
        if found is None:
            raise NotFound(certificate_resource_name(certificate_id))
        return found

    async def list_page(self, page_size: int, page_token: str, filter_text: str) -> CertificatePage:
        """Returns one page of the certificates in force whose domains meet a filter.

        A page may hold fewer than asked for, even none, while there is a next token.

        Args:
            page_size: 0 means 100, more than 200 means 200 (AIP-158).
            page_token: of the page before, with the same filter; empty for the first.
            filter_text: see `controlplane.core.domain_filter`.

        Raises:
            InvalidArgument: a negative size, a bad filter, or a token from elsewhere.
        """
        page = await _LISTING.page(self._listed, page_size, page_token, filter_text)
        with_one = [domain for domain in page.domains if domain.status.certificate_id]
        records = await self._certificates.lookup([domain.spec.fqdn.value for domain in with_one]) if with_one else {}
        views = []
        for domain in with_one:
            record = records.get(domain.spec.fqdn.value)
            if isinstance(record, CertificateRecord) and record.fqdn == domain.spec.fqdn.value:
                views.append(CertificateView(record, domain, in_force=True))
        return CertificatePage(tuple(views), page.next_token)

    async def revoke(self, name: str, domain: str, reason: int) -> CertificateView:
        """Asks for a certificate to be revoked. Asking again for the same has a worker try again at once, and is harmless.

        Args:
            name: its resource name.
            domain: the resource name of its domain; empty: all are searched.
            reason: a code of `RevocationReason`.

        Raises:
            InvalidArgument: one of them is not what it should be.
            NotFound: no such domain, or, where all were searched, no domain has the certificate.
            FailedPrecondition: the domain has other certificates by now, or this one has expired, or another is being revoked.
        """
        certificate_id = parse_certificate_resource(name, field="name")
        if reason not in set(RevocationReason):
            reasons = ", ".join(f"{each.name} ({int(each)})" for each in RevocationReason)
            raise InvalidArgument(FieldViolation("reason", f"is not a reason that a CA takes from a subscriber; send one of {reasons}"))
        try:
            view = await self.get(name, domain)
        except NotFound as error:
            if domain and error.resource == certificate_resource_name(certificate_id):
                raise FailedPrecondition(
                    f"{name} is neither the certificate in force of {domain} nor the one before it any more"
                ) from error
            raise
        now = self._clock()
        if view.record.not_after < now:
            raise FailedPrecondition(f"{name} has expired; a CA revokes no certificate that has")
        asked = Revocation(certificate_id, reason, now)
        after = await self._domains.request_revocation(view.domain.spec.fqdn, asked)
        _log.warning(
            "revocation requested", domain=view.record.fqdn, certificate=certificate_id, reason=RevocationReason(reason).name.lower()
        )
        return CertificateView(view.record, after, view.in_force, view.previous_id)

    async def _listed(self, condition: DomainFilter, page_size: int, store_token: str) -> Page:
        only = condition.only_domain
        if only is None:
            return await list_matching(self._domains, condition, page_size, store_token)
        domain = await self._domains.get(DomainName(only))
        return Page((domain,) if domain is not None and condition.matches(domain) else (), "")

    async def _searched(self, certificate_id: str) -> CertificateView | None:
        async with self._searching:
            async for fqdn in self._search.candidates(certificate_id):
                try:
                    found = _with_id(await self._of(fqdn) or (), certificate_id)
                except RecordRejected:
                    # Logged where it was read; another may have it.
                    continue
                if found is not None:
                    return found
        return None

    async def _of(self, fqdn: DomainName) -> Sequence[CertificateView] | None:
        """Returns the certificates of a domain, the one in force first; None when there is no such domain."""
        domain, in_force, before = await all_of(
            self._domains.get(fqdn), self._certificates.lookup([fqdn.value]), self._certificates.previous([fqdn.value])
        )
        if domain is None:
            return None
        current, previous = (
            record if isinstance(record, CertificateRecord) and record.fqdn == fqdn.value else None
            for record in (in_force[fqdn.value], before[fqdn.value])
        )
        views = []
        if current is not None:
            views.append(CertificateView(current, domain, in_force=True, previous_id=previous.id if previous is not None else ""))
        if previous is not None:
            views.append(CertificateView(previous, domain, in_force=False))
        return views


def _with_id(views: Sequence[CertificateView], certificate_id: str) -> CertificateView | None:
    return next((view for view in views if view.record.id == certificate_id), None)
