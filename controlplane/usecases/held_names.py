"""Which canonical names are held by streams, how often, and what was last seen of each.

Who holds a name is not written down: a thousand streams with a thousand names each would make a million entries. Names are counted, and
when something changes every holder is asked whether it holds the name; a thousand such questions take less than a millisecond.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from enum import Enum, auto
from typing import Protocol

from prometheus_client import Gauge

from controlplane.core.certificate import CertificateHead, ServableCertificate
from controlplane.usecases.known_secrets import KnownVersion
from controlplane.xds.subscription import Absence

_HELD = Gauge("certplane_secret_names_held", "Names that some stream holds a subscription to.")


class Holder(Protocol):
    """Somebody who holds names and is told when what is behind them changed: a stream."""

    def holds(self, key: str) -> bool:
        """Returns whether it holds a canonical name. Called for each name that changed: no more than a look into a dictionary."""
        ...

    def changed(self, keys: Iterable[str]) -> None:
        """Called on the event loop with canonical names that it holds; must return at once and not raise."""
        ...


class Seen(Enum):
    """What a look-up brought, against what was seen before."""

    FIRST = auto()
    """Nothing is known about the name from before."""
    SAME = auto()
    CHANGED = auto()
    KEPT = auto()
    """Nothing that can be served, and nothing that says so for certain: holders keep the version that they have."""


class _Held:
    """A held name, in about 110 bytes with its place in the dictionary.

    `resolved`: something was seen. `version`: the version seen, None for none or for one that cannot be served, which is then
    `unservable`. `served`: some holder may have a version. `deleted`: the domain was deleted, and nothing came after it.
    """

    __slots__ = ("count", "flags", "tenant", "version")

    def __init__(self) -> None:
        self.count = 1
        self.flags = 0
        self.version: str | None = None
        self.tenant = ""


_RESOLVED, _SERVED, _DELETED, _UNSERVABLE = 1, 2, 4, 8
_CURRENT = _RESOLVED | _SERVED
"""The flags of a name whose version in force is known and can be served."""


class HeldNames:
    """The registry of held names. It forgets a name when it was released as often as it was held."""

    def __init__(self, let_go: Callable[[Iterable[str]], None]) -> None:
        """Makes an empty registry; `let_go` is called with domains of which no name is held any more."""
        self._let_go = let_go
        self._held: dict[str, _Held] = {}
        self._unresolved = 0
        self._owners: dict[str, str] = {}
        self._owned: dict[str, int] = {}
        self._holders: dict[Holder, None] = {}

    def __contains__(self, key: object) -> bool:
        return key in self._held

    def __len__(self) -> int:
        return len(self._held)

    def keys(self) -> Sequence[str]:
        """Returns the names held now."""
        return tuple(self._held)

    # ---- who holds what ----

    def attach(self, holder: Holder) -> None:
        """From here on `holder` is told of changes of the names that it holds."""
        self._holders[holder] = None

    def detach(self, holder: Holder) -> None:
        """Takes that back."""
        self._holders.pop(holder, None)

    def hold(self, keys: Iterable[str], resumed: Iterable[str]) -> None:
        """Counts each of `keys` once more. Of those among them that are `resumed`, the holder has a version from an earlier stream."""
        held = self._held
        before = len(held)
        for key in keys:
            entry = held.get(key)
            if entry is None:
                held[key] = _Held()
                self._unresolved += 1
            else:
                entry.count += 1
        for key in resumed:
            entry = held.get(key)
            if entry is not None:
                entry.flags |= _SERVED
        _HELD.inc(len(held) - before)

    def release(self, keys: Iterable[str]) -> None:
        """Counts each of `keys` once less; names that are not held are ignored."""
        held = self._held
        gone = []
        for key in keys:
            entry = held.get(key)
            if entry is None:
                continue
            if entry.count > 1:
                entry.count -= 1
            else:
                del held[key]
                self._unresolved -= not entry.flags & _RESOLVED
                gone.append(key)
        if gone:
            _HELD.dec(len(gone))
            self._forget_owners(gone)

    def _forget_owners(self, gone: Iterable[str]) -> None:
        domains = []
        for key in gone:
            owner = self._owners.pop(key, None)
            if owner is not None:
                self._count_owner(owner, -1)
                if not self.holds_domain(owner):
                    domains.append(owner)
            if key not in self._owned:
                domains.append(key)
        self._let_go(domains)

    def _count_owner(self, owner: str, by: int) -> None:
        count = self._owned.get(owner, 0) + by
        if count:
            self._owned[owner] = count
        else:
            del self._owned[owner]

    def belongs_to(self, key: str, fqdn: str) -> bool:
        """Notes that the domain `fqdn` is behind a name; returns False when that was known, or the name is not held."""
        owner = self._owners.get(key, key)
        if owner == fqdn or key not in self._held:
            return False
        if owner != key:
            del self._owners[key]
            self._count_owner(owner, -1)
            if not self.holds_domain(owner):
                self._let_go((owner,))
        if fqdn != key:
            self._owners[key] = fqdn
            self._count_owner(fqdn, 1)
        return True

    def holds_domain(self, fqdn: str) -> bool:
        """Returns whether some name is held that is the domain's own, or behind which the domain was seen."""
        return fqdn in self._held or fqdn in self._owned

    # ---- what was seen ----

    def current(self, key: str) -> KnownVersion | None:
        """Returns the version in force that was seen of a held name, None when there is none or it cannot be served."""
        held = self._held.get(key)
        if held is None or held.flags != _CURRENT or held.version is None:
            return None
        return KnownVersion(held.version, held.tenant)

    def current_among(self, keys: Iterable[str], told: Mapping[str, str]) -> dict[str, KnownVersion]:
        """Returns what `current` does, of those `keys` whose version is the one that `told` has for them."""
        entry_of, told_of, current = self._held.get, told.get, _CURRENT
        found = {}
        for key in keys:
            entry = entry_of(key)
            if entry is not None and entry.flags == current and entry.version is not None and entry.version == told_of(key):
                found[key] = KnownVersion(entry.version, entry.tenant)
        return found

    def unresolved(self, keys: Iterable[str]) -> list[str]:
        """Returns those of `keys` that are held and of which nothing was seen yet."""
        if not self._unresolved:
            return []
        entry_of = self._held.get
        return [key for key in keys if (entry := entry_of(key)) is not None and not entry.flags & _RESOLVED]

    def is_unresolved(self, key: str) -> bool:
        """Returns whether a name is held and nothing was seen of it yet."""
        entry = self._held.get(key)
        return entry is not None and not entry.flags & _RESOLVED

    def note_deleted(self, keys: Iterable[str]) -> None:
        """Notes that the domain behind these names was deleted: until a certificate is seen, they are missing because of that."""
        for key in keys:
            held = self._held.get(key)
            if held is not None:
                held.flags |= _DELETED

    def is_deleted(self, key: str) -> bool:
        """Returns whether that was noted."""
        held = self._held.get(key)
        return held is not None and bool(held.flags & _DELETED)

    def may_be_served(self, key: str) -> bool:
        """Returns whether some holder may have a version of the name."""
        held = self._held.get(key)
        return held is not None and bool(held.flags & _SERVED)

    def see(self, key: str, found: ServableCertificate | CertificateHead | KnownVersion | Absence, *, retry: bool) -> Seen:
        """Notes what a look-up brought for `key`.

        `retry`: a certificate that could not be served counts as changed, so that its holders try it again.
        """
        held = self._held.get(key)
        if held is None:
            return Seen.FIRST
        self._unresolved -= not held.flags & _RESOLVED
        if isinstance(found, Absence):
            return _see_absence(held, found)
        if held.flags & _UNSERVABLE and found.version == held.version and not retry:
            return Seen.SAME
        if not held.flags & _RESOLVED:
            seen = Seen.FIRST
        else:
            seen = Seen.SAME if held.version == found.version and not held.flags & _UNSERVABLE else Seen.CHANGED
        held.flags, held.tenant = _CURRENT, found.tenant
        if seen is not Seen.SAME:
            held.version = found.version
        return seen

    def mark_unservable(self, key: str, version: str) -> None:
        """Notes that this version of what is behind `key` cannot be served: see `retry` above."""
        held = self._held.get(key)
        if held is not None and held.version == version:
            held.flags |= _UNSERVABLE

    def notify(self, keys: Collection[str]) -> None:
        """Tells each holder once which of `keys` changed that it holds."""
        held = [key for key in keys if key in self._held]
        if not held:
            return
        for holder in tuple(self._holders):
            changed = list(filter(holder.holds, held))
            if changed:
                holder.changed(changed)


def _see_absence(held: _Held, absence: Absence) -> Seen:
    before = Seen.SAME if held.flags & _RESOLVED else Seen.FIRST
    # Whatever version comes next is another one than this: holders that were answered by removal meanwhile must be told.
    held.version = None
    held.flags = (held.flags | _RESOLVED) & ~_UNSERVABLE
    if not held.flags & _SERVED:
        return before
    if absence is Absence.UNCERTAIN:
        return Seen.KEPT
    held.flags &= ~_SERVED
    return Seen.CHANGED if before is Seen.SAME else before
