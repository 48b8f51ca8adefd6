"""What `certplane.v1.FleetService` does about mass replacements.

Nothing here talks to a CA: renewals are asked for, workers carry them out.
"""

import hashlib
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic
from typing import Final

import structlog

from controlplane.core.domain_filter import parse_domain_filter
from controlplane.core.errors import AlreadyExists, FieldViolation, InvalidArgument, NotFound
from controlplane.core.ports import Clock
from controlplane.core.ports.replacements import ReplacementStore
from controlplane.core.replacement import (
    LONGEST_SPREAD,
    Replacement,
    ReplacementState,
    parse_replacement_resource,
    replacement_resource_name,
)
from controlplane.usecases.bound_tokens import decode_token, encode_token
from controlplane.usecases.replacement_steps import ReplacementSteps

DEFAULT_PAGE_SIZE: Final = 100
MAX_PAGE_SIZE: Final = 200
MAX_REASON: Final = 500
MAX_REQUEST_ID: Final = 64
COUNTING_SECONDS: Final = 5.0
"""How long a call counts before it leaves the rest to the background; clients wait for 30 seconds."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class NewReplacement:
    """What a client asks for."""

    filter_text: str = ""
    dry_run: bool = False
    over: timedelta = timedelta()
    reason: str = ""
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class ReplacementPage:
    """A page of replacements. `next_token` is empty at the end."""

    replacements: tuple[Replacement, ...]
    next_token: str


class Replacements:
    """The use cases. Every method raises `Unavailable` when the store does not answer."""

    def __init__(
        self, store: ReplacementStore, steps: ReplacementSteps, clock: Clock, counting_time: Callable[[], float] = monotonic
    ) -> None:
        """Takes its ports; `counting_time` is the clock, in seconds, by which a call stops counting."""
        self._store = store
        self._steps = steps
        self._clock = clock
        self._counting_time = counting_time

    async def create(self, request: NewReplacement) -> tuple[Replacement, bool]:
        """Begins a replacement; returns it, counted as far as some seconds allow, and whether it is kept.

        A dry run that is counted within the call is not kept. A repeat with the same `request_id` returns what the first call made.

        Raises:
            InvalidArgument: something in the request is wrong.
            AlreadyExists: the `request_id` has made another replacement.
        """
        _check(request)
        identifier = _identifier(request.request_id)
        existing = await self._store.get(identifier) if request.request_id else None
        if existing is not None:
            return _repeat(existing, request), True
        replacement = Replacement(
            id=identifier,
            filter_text=request.filter_text,
            create_time=self._clock(),
            reason=request.reason,
            dry_run=request.dry_run,
            over=request.over,
        )
        until = self._counting_time() + COUNTING_SECONDS
        while replacement.state is ReplacementState.COUNTING and self._counting_time() < until:
            replacement = await self._steps.step(replacement, frozenset())
        if replacement.dry_run and replacement.state is ReplacementState.DONE:
            return replacement, False
        created = _repeat(await self._store.create(replacement), request)
        _log.info("replacement created", replacement=created.id, filter=created.filter_text, matched=created.matched, reason=created.reason)
        return created, True

    async def get(self, name: str) -> Replacement:
        """Returns a replacement.

        Raises:
            InvalidArgument: `name` is not a resource name.
            NotFound: no such replacement.
        """
        found = await self._store.get(parse_replacement_resource(name, field="name"))
        if found is None:
            raise NotFound(name)
        return found

    async def list_page(self, page_size: int, page_token: str) -> ReplacementPage:
        """Returns replacements, the newest first.

        Args:
            page_size: 0 means 100, more than 200 means 200 (AIP-158).
            page_token: of the page before; empty for the first.

        Raises:
            InvalidArgument: a negative size, or a token from elsewhere.
        """
        if page_size < 0:
            raise InvalidArgument(FieldViolation("page_size", "must not be negative"))
        size = min(page_size or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)
        last = decode_token(page_token, "replacements", "", field="page_token", bound_to="list") if page_token else ""
        rest = [each for each in await self._store.list_all() if not last or _place(each) < last]
        page = tuple(rest[:size])
        return ReplacementPage(page, encode_token("replacements", "", _place(page[-1])) if len(rest) > size else "")

    async def stop(self, name: str) -> Replacement:
        """Stops a replacement; stopping it again changes nothing, nor does stopping one of which nothing is left to do.

        Raises:
            InvalidArgument: `name` is not a resource name.
            NotFound: no such replacement.
        """
        found = await self.get(name)
        if found.stop_time is not None or (found.state is ReplacementState.DONE and not found.pending):
            return found
        await self._store.stop(found.id, self._clock())
        _log.warning("replacement stopped", replacement=found.id, asked=found.asked, pending=found.pending)
        return await self.get(name)


def _check(request: NewReplacement) -> None:
    violations = []
    parse_domain_filter(request.filter_text)
    if not timedelta() <= request.over <= LONGEST_SPREAD:
        violations.append(FieldViolation("over", f"must be between 0 and {LONGEST_SPREAD.days} days"))
    if len(request.reason) > MAX_REASON:
        violations.append(FieldViolation("reason", f"is longer than {MAX_REASON} characters"))
    if len(request.request_id) > MAX_REQUEST_ID:
        violations.append(FieldViolation("request_id", f"is longer than {MAX_REQUEST_ID} characters"))
    if violations:
        raise InvalidArgument(*violations)


def _identifier(request_id: str) -> str:
    """Returns an identifier; the same for the same request, so that the store keeps one of two that come together."""
    return (hashlib.sha256(b"replacement\0" + request_id.encode()).hexdigest() if request_id else uuid.uuid4().hex)[:12]


def _repeat(existing: Replacement, request: NewReplacement) -> Replacement:
    asked = (request.filter_text, request.dry_run, request.over, request.reason)
    if asked != (existing.filter_text, existing.dry_run, existing.over, existing.reason):
        name = replacement_resource_name(existing.id)
        raise AlreadyExists(name, f"the request_id has made {name} with other content already")
    return existing


def _place(replacement: Replacement) -> str:
    return f"{replacement.create_time.isoformat(timespec='microseconds')} {replacement.id}"
