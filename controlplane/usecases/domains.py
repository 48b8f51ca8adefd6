"""What `certplane.v1.DomainService` does: onboards domains and tells where they stand.

Nothing here talks to a CA: a create and a renewal are intents in the store, which a worker carries out.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Final

import structlog

from controlplane.core.errors import AlreadyExists, FieldViolation, InvalidArgument, NotFound
from controlplane.core.managed_domain import Domain, DomainSpec, DomainState, DomainStatus
from controlplane.core.names import domain_resource_name, parse_domain_resource
from controlplane.core.ports import ChangeFeed, Clock, DomainStore, Page
from controlplane.usecases.bound_tokens import decode_token, encode_token
from controlplane.usecases.domain_listing import Listing, list_matching
from controlplane.usecases.domain_validation import NewDomain, check_new_domain
from controlplane.usecases.domain_watch import Deliver, DomainWatch
from controlplane.usecases.serving_check import ServingCheck

DEFAULT_PAGE_SIZE: Final = 100
MAX_PAGE_SIZE: Final = 1_000
MAX_WATCHED_NAMES: Final = 1_000
_MAX_ETAG: Final = 128
_LISTING: Final = Listing("page", DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)

_log = structlog.get_logger(__name__)


class DomainService:
    """The use cases. Every method raises `Unavailable` when the store does not answer.

    Args:
        store: the domains.
        feed: their changes.
        clock: the time now.
        new_uid: makes an identifier that no other life of the same name has: 32 hexadecimal digits.
        serving: tells of a domain that is read why it is not served; None leaves that out.
    """

    def __init__(
        self, store: DomainStore, feed: ChangeFeed, clock: Clock, new_uid: Callable[[], str], serving: ServingCheck | None = None
    ) -> None:
        self._store = store
        self._feed = feed
        self._clock = clock
        self._new_uid = new_uid
        self._serving = serving

    async def create(self, request: NewDomain) -> Domain:
        """Onboards a domain, due at once; or returns the existing one for a repeat.

        A repeat has the `request_id` that made the domain, or asks for the same tenant, labels and set of additional names.

        Raises:
            InvalidArgument: something in the request is wrong.
            AlreadyExists: the domain exists with other content, or one of the names belongs to another domain.
        """
        checked = check_new_domain(request)
        now = self._clock()
        spec = DomainSpec(
            fqdn=checked.fqdn,
            uid=self._new_uid(),
            create_time=now,
            tenant=request.tenant,
            additional_names=checked.additional_names,
            labels=dict(request.labels),
            create_request_id=request.request_id,
        )
        status = DomainStatus(state=DomainState.PENDING, next_attempt_time=now)
        try:
            created = await self._store.create(spec, status)
        except AlreadyExists:
            existing = await self._store.get(checked.fqdn)
            if existing is None or not _is_repeat(existing.spec, spec):
                raise
            return existing
        _log.info("domain created", domain=checked.fqdn.value, tenant=request.tenant)
        return created

    async def get(self, name: str) -> Domain:
        """Returns the domain of a resource name, `domains/{fqdn}`.

        Raises:
            InvalidArgument: `name` is not a resource name.
            NotFound: no such domain. An additional name is not a domain of its own.
        """
        fqdn = parse_domain_resource(name, field="name")
        domain = await self._store.get(fqdn)
        if domain is None:
            raise NotFound(domain_resource_name(fqdn))
        return domain if self._serving is None else replace(domain, serving_problem=await self._serving.problem(domain))

    async def list_page(self, page_size: int, page_token: str, filter_text: str) -> Page:
        """Returns one page of the domains that meet a filter; `Page.next_token` is the token for clients.

        A page may hold fewer than asked for, even none, while there is a next token.

        Args:
            page_size: 0 means 100, more than 1,000 means 1,000 (AIP-158).
            page_token: of the page before, with the same filter; empty for the first.
            filter_text: see `controlplane.core.domain_filter`.

        Raises:
            InvalidArgument: a negative size, a bad filter, or a token from elsewhere.
        """
        return await _LISTING.page(partial(list_matching, self._store), page_size, page_token, filter_text)

    async def delete(self, name: str, etag: str) -> None:
        """Removes a domain with everything that belongs to it.

        Raises:
            InvalidArgument: `name` is not a resource name, or `etag` cannot be one.
            NotFound: no such domain.
            Conflict: `etag` is not empty and not the etag now.
        """
        fqdn = parse_domain_resource(name, field="name")
        if len(etag) > _MAX_ETAG:
            raise InvalidArgument(FieldViolation("etag", f"is longer than {_MAX_ETAG} characters"))
        await self._store.delete(fqdn, etag)
        _log.info("domain deleted", domain=fqdn.value)

    async def renew(self, name: str, not_before: datetime | None = None) -> Domain:
        """Asks for a new certificate, now or at a time; a worker carries it out. A later request replaces an earlier one.

        Raises:
            InvalidArgument: `name` is not a resource name.
            NotFound: no such domain.
        """
        fqdn = parse_domain_resource(name, field="name")
        now = self._clock()
        domain = await self._store.request_renewal(fqdn, now, not_before if not_before is not None and not_before > now else None)
        _log.info("renewal requested", domain=fqdn.value)
        return domain

    async def watch(self, names: Sequence[str], resume_token: str, deliver: Deliver) -> None:
        """Delivers a snapshot and then each change, until the caller cancels; see `controlplane.usecases.domain_watch`.

        Args:
            names: resource names to watch only; empty watches all. A name need not exist yet.
            resume_token: of an earlier watch of the same names: goes on with the changes since, without a snapshot.
            deliver: awaited for each event, one at a time; while it waits, changes of the same domain become one.

        Raises:
            InvalidArgument: a bad name, too many of them, or a token from elsewhere.
        """
        if len(names) > MAX_WATCHED_NAMES:
            raise InvalidArgument(
                FieldViolation("names", f"has {len(names)} names, at most {MAX_WATCHED_NAMES} are allowed; watch all instead")
            )
        watched = frozenset(parse_domain_resource(name, field=f"names[{index}]") for index, name in enumerate(names))
        binding = " ".join(sorted(name.value for name in watched))
        position = ""
        if resume_token:
            position = decode_token(resume_token, "watch", binding, field="resume_token", bound_to="set of names")
        await DomainWatch(self._store, self._feed, watched, deliver, lambda at: encode_token("watch", binding, at)).run(position)


def _is_repeat(existing: DomainSpec, asked: DomainSpec) -> bool:
    if asked.create_request_id and existing.create_request_id == asked.create_request_id:
        return True
    return (existing.tenant, frozenset(existing.additional_names), dict(existing.labels)) == (
        asked.tenant,
        frozenset(asked.additional_names),
        dict(asked.labels),
    )
