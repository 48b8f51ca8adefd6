"""One page of a filtered listing, made from pages of the store.

The store can only start a page where one of its own pages ended. So a page of ours ends where a page of the store ends: when a
page of the store holds more than fits, the part that fits is read once more, which gives the token that belongs behind it.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from controlplane.core.domain_filter import DomainFilter, parse_domain_filter
from controlplane.core.errors import FieldViolation, InvalidArgument
from controlplane.core.managed_domain import Domain
from controlplane.core.ports import DomainStore, Page
from controlplane.usecases.bound_tokens import decode_token, encode_token

SCAN_LIMIT: Final = 5_000
"""Domains looked at for one page at most, so that a rare filter costs many short calls instead of one long one."""

READ_LIMIT: Final = 64
"""Pages of the store read for one page at most; it may give short or empty ones."""

CHUNK: Final = 500
"""Domains asked of the store at once when a filter lets some through."""

PAGE_WEIGHT: Final = 3_000_000
"""Bytes, estimated: a gRPC client refuses messages above 4 MiB unless told otherwise."""


@dataclass(frozen=True, slots=True)
class Listing:
    """A kind of listing whose pages are those of a filtered walk over the domains.

    `kind` is part of its tokens, so that those of one listing are none of another; a page has `usual` domains unless asked otherwise, and
    `most` at most.
    """

    kind: str
    usual: int
    most: int

    async def page(
        self,
        read: Callable[[DomainFilter, int, str], Awaitable[Page]],
        page_size: int,
        page_token: str,
        filter_text: str,
    ) -> Page:
        """Returns one page of the domains that meet a filter; `Page.next_token` is the token for clients.

        A page may hold fewer than asked for, even none, while there is a next token.

        Args:
            read: reads a page of so many domains at most that meet a condition, after a token of the store.
            page_size: 0 means `usual`, more than `most` means `most` (AIP-158).
            page_token: of the page before, with the same filter; empty for the first.
            filter_text: see `controlplane.core.domain_filter`.

        Raises:
            InvalidArgument: a negative size, a bad filter, or a token from elsewhere.
        """
        if page_size < 0:
            raise InvalidArgument(FieldViolation("page_size", "must not be negative"))
        condition = parse_domain_filter(filter_text)
        store_token = ""
        if page_token:
            store_token = decode_token(page_token, self.kind, condition.canonical, field="page_token", bound_to="filter")
        try:
            page = await read(condition, min(page_size or self.usual, self.most), store_token)
        except InvalidArgument as error:
            raise InvalidArgument(FieldViolation("page_token", "is not valid any more; leave it empty to start again")) from error
        return Page(page.domains, page.next_token and encode_token(self.kind, condition.canonical, page.next_token))


async def list_matching(store: DomainStore, condition: DomainFilter, page_size: int, store_token: str) -> Page:
    """Returns up to `page_size` domains that meet `condition`, and the store's token to go on from.

    A page may hold fewer, or none, while `next_token` is set: the limits above were met first.

    Raises:
        InvalidArgument: the store did not make `store_token`.
    """
    found: list[Domain] = []
    weight, scanned = 0, 0
    for _ in range(READ_LIMIT):
        remaining = page_size - len(found)
        page = await store.list_page(max(remaining, CHUNK) if condition.terms else remaining, store_token)
        while (fitting := _fitting(page.domains, condition, remaining, PAGE_WEIGHT - weight if found else None)) < len(page.domains):
            if fitting == 0:
                return Page(tuple(found), store_token)
            page = await store.list_page(fitting, store_token)
        matching = [domain for domain in page.domains if condition.matches(domain)]
        found += matching
        weight += sum(map(_weight, matching))
        scanned += len(page.domains)
        store_token = page.next_token
        if not store_token or len(found) >= page_size or scanned >= SCAN_LIMIT:
            break
    return Page(tuple(found), store_token)


def _fitting(domains: tuple[Domain, ...], condition: DomainFilter, remaining: int, budget: int | None) -> int:
    """Returns how many of `domains`, from the first, can be taken. `budget` None: the page is empty, so the first match always fits."""
    taken = 0
    left = PAGE_WEIGHT if budget is None else budget
    for index, domain in enumerate(domains):
        if not condition.matches(domain):
            continue
        left -= _weight(domain)
        if taken == remaining or (left < 0 and (taken > 0 or budget is not None)):
            return index
        taken += 1
    return len(domains)


def _weight(domain: Domain) -> int:
    """Returns about how many bytes the domain takes in a response."""
    problem = domain.status.last_error
    names = (*domain.spec.all_names, *domain.status.omitted_names)
    labels = domain.spec.labels
    return (
        400
        + sum(len(name.value) + 3 for name in names)
        + sum(len(key) + 4 * len(value) + 6 for key, value in labels.items())
        + (4 * len(problem.detail) if problem is not None else 0)
    )
