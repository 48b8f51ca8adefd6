"""What of the names that were looked up is to be told to a client, and how much of it goes into one answer.

    before, what the client was told      known now
                                          another version  the same version  gone             uncertain
    nothing: it waits                     the resource     the resource      removed          removed
    REMOVED                               the resource     -                 -                -
    a version                             the resource     nothing           removed          nothing

    Nothing known: the name becomes due again. A version that this client refused: the previous resource is taken instead, as if it were the
    newest; it is uncertain if there is none, or if it was refused too. A resource that cannot be made counts as uncertain: the version that
    the client has may well be good, and only what is gone for certain is taken away.

Nothing is decided for a name that was given up since it was handed out, for one that was asked for again, which is handed out once more,
nor for one that waits to be answered alone (see `refusals`).
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from itertools import repeat
from typing import Generic, cast

from controlplane.xds.held_names import HeldNames
from controlplane.xds.messages import MAX_RESPONSE_BYTES, MAX_RESPONSE_RESOURCES
from controlplane.xds.pages import Page, Pages
from controlplane.xds.refusals import Refusals
from controlplane.xds.subscription import Absence, Claims, Fields, V

_MAX_REMOVED = 1024
_FORGOTTEN = cast("None", object())
_ENOUGH = 0.75
"""An answer that is so full is not filled up by looking for single names."""


@dataclass(slots=True)
class Selection(Generic[V]):
    """What goes into one answer, before it is serialised: parallel lists of resources, and parallel lists of removed names.

    `befores` and `removed_befores` are what the client was told before. Claims from the index `stop` on were not looked at. `attempt` is
    that of the claims.
    """

    stop: int
    names: list[bytes] = field(default_factory=list)
    values: list[V] = field(default_factory=list)
    versions: list[str] = field(default_factory=list)
    befores: list[str | None] = field(default_factory=list)
    removed: list[bytes] = field(default_factory=list)
    removed_befores: list[str | None] = field(default_factory=list)
    substituted: list[bytes] = field(default_factory=list)
    plain: bool = False
    """It has nothing but resources, and the client was told nothing of any of them before."""
    attempt: int = 0

    def add(self, name: bytes, value: V, before: str | None) -> None:
        """Adds a resource."""
        self.names.append(name)
        self.values.append(value)
        self.versions.append(value.version)
        self.befores.append(before)

    def remove(self, name: bytes, before: str | None) -> None:
        """Adds a name that is gone."""
        self.removed.append(name)
        self.removed_befores.append(before)

    def drop(self, index: int) -> None:
        """Drops the resources from an index on."""
        self.names, self.values = self.names[:index], self.values[:index]
        self.versions, self.befores = self.versions[:index], self.befores[:index]


class Selector(Generic[V]):
    """Goes through claims after a look-up, an answer at a time. Between two answers the client's state may change."""

    def __init__(
        self,
        held: HeldNames,
        refusals: Refusals,
        claims: Claims,
        *,
        known: Mapping[str, V | Absence],
        previous: Mapping[str, V | Absence] | None,
        most: int = MAX_RESPONSE_RESOURCES,
        pages: Pages[V] | None = None,
    ) -> None:
        """Starts at the first claim; an answer has `most` resources at most."""
        self._held = held
        self._refusals = refusals
        self._claims = claims
        self._known = known
        self._previous = previous or {}
        self._most = most
        self._pages = pages
        self._values: list[V] | None = None
        self._start = 0
        self._unknown: list[bytes] = []

    def has_more(self) -> bool:
        """Returns whether there are claims that were not looked at."""
        return self._start < len(self._claims)

    def take_page(self, reserved: int) -> Page[V] | None:
        """Returns the page that is all of the next answer, if there is one of what would be selected; it counts as selected then.

        `reserved` bytes are left free for what is not known yet.
        """
        if self._pages is None or not self._all_wait:
            return None
        page = self._pages.find(*self._next_plain())
        if page is None or page.size > ROOM_BYTES - reserved:
            return None
        self._start += self._most
        return page

    @property
    def _all_wait(self) -> bool:
        """Whether the client was told nothing of any of these names before, as it was when they were handed out."""
        return self._held.stage == self._claims.stage and not self._refusals.marks

    def select(self) -> Selection[V]:
        """Returns what goes into the next answer; it is empty when there is nothing more to tell."""
        if self._all_wait and (plain := self._select_plain()):
            return plain
        names, keys, most = self._claims.names, self._claims.keys, self._most
        selection: Selection[V] = Selection(self._start, attempt=self._claims.attempt)
        while selection.stop < len(names) and len(selection.names) <= _ENOUGH * (most - 1) and len(selection.removed) < _MAX_REMOVED:
            start = selection.stop
            selection.stop = start + most - len(selection.names)
            self._select(selection, names[start : selection.stop], keys[start : selection.stop])
        self._start = selection.stop
        if self._unknown and not self.has_more():
            self._refusals.isolate(self._unknown, attempt=self._claims.attempt)
            self._unknown = []
        return selection

    def _select_plain(self) -> Selection[V] | None:
        """Selects a full answer of names that wait as they did when they were handed out, if all of them exist; nearly always so."""
        names, values = self._next_plain()
        try:
            versions = [value.version for value in values]
        except AttributeError:  # what is absent, or not known, has none: cheaper than to ask each
            return None
        self._start += self._most
        return Selection(self._start, list(names), values, versions, [None] * len(versions), plain=True)

    def _next_plain(self) -> tuple[tuple[bytes, ...], list[V]]:
        """Returns the names that fill the next answer if all of them are told, and what is known of each."""
        if self._values is None:
            self._values = self._all_values()
        next_ones = slice(self._start, self._start + self._most)
        return self._claims.names[next_ones], self._values[next_ones]

    def _all_values(self) -> list[V]:
        """Returns what is known of each claim, in their order; where nothing is known, or nothing exists, it is no resource."""
        known, keys = self._known, self._claims.keys
        if len(known) == len(keys) and tuple(known) == keys:
            return cast("list[V]", list(known.values()))
        return cast("list[V]", list(map(known.get, keys)))

    def _select(self, selection: Selection[V], names: Sequence[bytes], keys: Sequence[str]) -> None:
        befores = list(map(self._held.told.get, names, repeat(_FORGOTTEN)))
        values = list(map(self._known.get, keys))
        versions = [getattr(value, "version", None) for value in values]
        if befores == versions and all(versions):
            self._held.share(names, cast("list[str]", versions))
            return
        elsewhere = self._answered_elsewhere
        for name, key, value, before in zip(names, keys, values, befores, strict=True):
            if before is not _FORGOTTEN and not any(name in due for due in elsewhere):
                self._decide(selection, name, key, value, before)

    @property
    def _answered_elsewhere(self) -> tuple[AbstractSet[bytes], AbstractSet[bytes]]:
        """Names of which these claims may not speak: those that are to go alone, and those that were asked for again meanwhile."""
        return self._refusals.isolated, self._held.owed.keys()

    def _decide(self, selection: Selection[V], name: bytes, key: str, value: V | Absence | None, before: str | None) -> None:
        if not (value is None or isinstance(value, Absence)) and value.version in self._refusals.marks.get(name, ()):
            value = self._previous.get(key)
            if value is not None:
                if isinstance(value, Absence) or value.version in self._refusals.marks[name]:
                    value = Absence.UNCERTAIN
                else:
                    selection.substituted.append(name)
        if value is None:
            self._put_back(name, key)
        elif not isinstance(value, Absence):
            if value.version != before:
                selection.add(name, value, before)
        elif before is None or (before and value is Absence.GONE):
            selection.remove(name, before)

    def _put_back(self, name: bytes, key: str) -> None:
        if self._claims.alone:
            self._unknown.append(name)
        else:
            self._held.put_back(name, key)

    def serialise(self, selection: Selection[V], fields: Fields[V], *, beside: Sequence[bytes] = (), reserved: int = 0) -> Sequence[bytes]:
        """Returns the `resources` fields of what was selected, to be sent in one answer together with other removed names, `beside`.

        `reserved` bytes are left free for what is not known yet.

        What cannot be made is dropped from the selection, or removed if the client waits for it. What does not fit is dropped, and
        selected again next time; a resource that is larger than an answer has one for itself.
        """
        contents = make(selection, fields)
        size = sum(map(len, contents))
        room = ROOM_BYTES - reserved - _size(selection.removed) - _size(beside)
        if size > room:
            count = max(count_fitting(contents, room), 0 if beside else 1)
            if count < len(contents):
                self._start = self._claims.names.index(selection.names[count])
                selection.drop(count)
                return contents[:count]
        if self._pages is not None and selection.plain and not selection.removed and self._pages.wants(names := tuple(selection.names)):
            self._pages.add(Page(names, selection.values, tuple(selection.versions), tuple(contents), size))
        return contents


ROOM_BYTES = MAX_RESPONSE_BYTES - 1024
"""What an answer has for resources and names, in bytes: its type, version and nonce take the rest."""

NAME_OVERHEAD_BYTES = 8
"""More than the tag and the length of a removed name take."""


def make(selection: Selection[V], fields: Fields[V]) -> Sequence[bytes]:
    """Returns the `resources` fields of what was selected. What cannot be made is dropped, or removed if the client waits for it."""
    contents = fields(selection.names, selection.values) if selection.names else ()
    if all(contents):
        return cast("Sequence[bytes]", contents)
    made = [index for index, content in enumerate(contents) if content]
    for name, before, content in zip(selection.names, selection.befores, contents, strict=True):
        if not content and before is None:
            selection.remove(name, before)
    selection.names = [selection.names[index] for index in made]
    selection.values = [selection.values[index] for index in made]
    selection.versions = [selection.versions[index] for index in made]
    selection.befores = [selection.befores[index] for index in made]
    return [content for content in contents if content]


def count_fitting(contents: Sequence[bytes], room: int) -> int:
    """Returns how many of the contents, from the first on, are `room` bytes or less together."""
    for index, content in enumerate(contents):
        room -= len(content)
        if room < 0:
            return index
    return len(contents)


def _size(names: Sequence[bytes]) -> int:
    return sum(map(len, names)) + NAME_OVERHEAD_BYTES * len(names)
