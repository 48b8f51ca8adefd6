"""What went into an answer, kept for a moment for the next stream that is told the same.

Envoys of a fleet start together with the same names in their configuration, and Envoy sorts them: the answers to all of them bring the same
resources in the same order. What is told is found out and serialised for the first of them; the others are told the same page.

A page is the same whoever is told it: it follows from names and resources, and from nothing else. It holds resources, which may be secret,
so whoever owns the table clears it when the burst is over.
"""

from collections.abc import Mapping
from typing import Final, Generic

from controlplane.xds.second_time import SecondTime
from controlplane.xds.subscription import V

LEAST_NAMES = 16
"""What is shorter is made faster than it is found."""

MOST_BYTES = 8 * 1024 * 1024
"""Thirty answers of 128 secrets with P-256 keys: those to a request for nearly four thousand."""


class Page(Generic[V]):
    """Resources and their names, versions and `resources` fields, all parallel. Nothing of it is ever changed."""

    __slots__ = ("_told", "fields", "names", "size", "values", "versions")

    def __init__(self, names: tuple[bytes, ...], values: list[V], versions: tuple[str, ...], fields: tuple[bytes, ...], size: int) -> None:
        """Makes a page; `size` is that of the fields, in bytes."""
        self.names: Final = names
        self.values: Final = values
        self.versions: Final = versions
        self.fields: Final = fields
        self.size: Final = size
        self._told: dict[bytes, str] | None = None

    def __repr__(self) -> str:
        return f"Page({len(self.names)} names)"

    @property
    def told(self) -> Mapping[bytes, str]:
        """Each name with its version."""
        if self._told is None:
            self._told = dict(zip(self.names, self.versions, strict=True))
        return self._told


class Pages(Generic[V]):
    """The pages of the last moments. All subscriptions that use a table serialise in the same way."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        """Makes an empty table for so many bytes of fields; beyond it the oldest page goes."""
        self._most_bytes = most_bytes
        self._pages: dict[tuple[bytes, ...], Page[V]] = {}
        self._bytes = 0
        self._told_before = SecondTime()

    def __len__(self) -> int:
        return len(self._pages)

    def find(self, names: tuple[bytes, ...], values: list[V]) -> Page[V] | None:
        """Returns the page that brings exactly these resources under these names."""
        page = self._pages.get(names)
        return page if page is not None and page.values == values else None

    def wants(self, names: tuple[bytes, ...]) -> bool:
        """Returns whether a page of these names is worth keeping: it is the second time that they are told together."""
        return self._told_before.is_it(hash(names))

    def add(self, page: Page[V]) -> None:
        """Keeps a page, if it is worth it."""
        if len(page.names) < LEAST_NAMES or page.size > self._most_bytes:
            return
        before = self._pages.pop(page.names, None)
        self._bytes += page.size - (before.size if before is not None else 0)
        self._pages[page.names] = page
        while self._bytes > self._most_bytes:
            self._bytes -= self._pages.pop(next(iter(self._pages))).size

    def clear(self) -> None:
        """Forgets all."""
        self._pages.clear()
        self._bytes = 0
