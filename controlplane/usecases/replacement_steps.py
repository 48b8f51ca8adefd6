"""One step of a replacement: a page of the fleet counted, asked or looked at. See `controlplane.core.replacement`."""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from controlplane.core.domain_filter import parse_domain_filter
from controlplane.core.errors import Conflict, NotFound
from controlplane.core.managed_domain import Domain
from controlplane.core.ports import Clock, DomainStore
from controlplane.core.replacement import (
    Answer,
    Ranking,
    Replacement,
    ReplacementState,
    answer_for,
    in_window,
    is_left,
    slot,
    urgency,
)
from controlplane.usecases.concurrently import all_of

PAGE: Final = 200
"""Domains read at once: some milliseconds in which a replica of `serve` answers no handshake."""

AT_ONCE: Final = 8
"""Domains asked at once."""

Estimate = Callable[[int, int], Awaitable[timedelta]]
"""Says how long the limits of the CA make so many orders take from now, and so many more that are placed within renewal windows."""


class ReplacementSteps:
    """Takes steps. Writes nothing of the replacement itself: a step that is taken twice asks no domain twice."""

    def __init__(self, domains: DomainStore, estimate: Estimate, clock: Clock) -> None:
        self._domains = domains
        self._estimate = estimate
        self._clock = clock

    async def step(self, replacement: Replacement, stopped: frozenset[str]) -> Replacement:
        """Takes the next step; returns the replacement as it is after it.

        `stopped` are the identifiers of replacements that were stopped.

        Raises:
            Unavailable: the store does not answer; nothing is lost, and the step is to be taken again.
        """
        match replacement.state:
            case ReplacementState.COUNTING:
                return await self._count(replacement)
            case ReplacementState.ASKING:
                return await self._ask(replacement, stopped)
            case ReplacementState.REPLACING:
                return await self._look(replacement)
            case _:
                return replacement

    async def _count(self, replacement: Replacement) -> Replacement:
        condition = parse_domain_filter(replacement.filter_text)
        page = await self._domains.list_page(PAGE, replacement.cursor)
        meant = [(domain, hour) for domain in page.domains if condition.matches(domain) and (hour := urgency(domain)) is not None]
        hours = Counter(hour for _, hour in meant)
        counted = replacement.counted(hours, self._in_window(domain for domain, _ in meant), page.next_token)
        if page.next_token:
            return counted
        return counted.all_counted(await self._estimate(counted.matched - counted.in_window, counted.in_window), self._clock())

    async def _ask(self, replacement: Replacement, stopped: frozenset[str]) -> Replacement:
        condition, ranking = parse_domain_filter(replacement.filter_text), Ranking(replacement)
        page = await self._domains.list_page(PAGE, replacement.cursor)
        answers: Counter[Answer] = Counter()
        wanted: list[tuple[Domain, datetime]] = []
        for domain in page.domains:
            if not condition.matches(domain) and domain.spec.renewal_replacement != replacement.id:
                continue
            begin = slot(replacement, ranking, domain)
            answer = answer_for(domain, replacement, begin, stopped)
            answers[answer] += 1
            if answer is Answer.ASK:
                wanted.append((domain, begin))
        for start in range(0, len(wanted), AT_ONCE):
            asked = await all_of(*(self._request(replacement, *each) for each in wanted[start : start + AT_ONCE]))
            answers[Answer.LEAVE] += asked.count(False)
            answers[Answer.ASK] -= asked.count(False)
        return replacement.page_asked(answers[Answer.ASK] + answers[Answer.ASKED], answers[Answer.LEAVE], page.next_token, self._clock())

    async def _request(self, replacement: Replacement, domain: Domain, begin: datetime) -> bool:
        """Asks a domain; returns false when it is gone, changes all the time, or was asked by hand meanwhile."""
        try:
            asked = await self._domains.request_renewal(domain.spec.fqdn, self._clock(), begin, replacement=replacement.id)
        except (NotFound, Conflict):
            return False
        return asked.spec.renewal_replacement == replacement.id

    async def _look(self, replacement: Replacement) -> Replacement:
        page = await self._domains.list_page(PAGE, replacement.cursor)
        left = list(filter(partial(is_left, replacement=replacement), page.domains))
        failing = sum(domain.status.last_error is not None for domain in left)
        seen = replacement.page_looked_at(len(left), failing, self._in_window(left), page.next_token)
        if page.next_token:
            return seen
        estimate = await self._estimate(seen.seen_pending - seen.seen_in_window, seen.seen_in_window)
        return seen.all_looked_at(estimate, self._clock())

    def _in_window(self, domains: Iterable[Domain]) -> int:
        now = self._clock()
        return sum(in_window(domain, now) for domain in domains)
