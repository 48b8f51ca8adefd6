"""Which canonical names are held by whom, and what was last seen of each."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Protocol

from prometheus_client import Gauge

from controlplane.core.certificate import CertificateRecord
from controlplane.usecases.generations import Generation
from controlplane.xds.subscription import Absence

_HELD = Gauge("certplane_secret_names_held", "Names that some stream holds a subscription to.")


class Holder(Protocol):
    """Somebody who holds names and is told when what is behind them changed: a stream."""

    def changed(self, keys: Iterable[str]) -> None:
        """Called on the event loop with canonical names; must return at once and not raise."""
        ...


class Seen(Enum):
    """What a look-up brought, against what was seen before."""

    FIRST = auto()
    """Nothing is known about the name from before."""
    SAME = auto()
    CHANGED = auto()
    KEPT = auto()
    """Nothing that can be served, and nothing that says so for certain: holders keep the version that they have."""


@dataclass(slots=True)
class _Held:
    """`served`: some holder may have a version. `deleted`: the domain was deleted, and nothing came after it."""

    holders: set[Holder] = field(default_factory=set)
    resolved: bool = False
    version: str | None = None
    unservable: str | None = None
    served: bool = False
    deleted: bool = False
    generation: Generation | None = None


class HeldNames:
    """The registry of held names. It forgets a name with the last holder."""

    def __init__(self) -> None:
        self._held: dict[str, _Held] = {}

    def __contains__(self, key: object) -> bool:
        return key in self._held

    def keys(self) -> Sequence[str]:
        """Returns the names held now."""
        return tuple(self._held)

    def hold(self, key: str, holder: Holder, *, has_version: bool = False) -> None:
        """Notes that `holder` is to be told of changes of `key`. `has_version`: it has a version from an earlier stream."""
        held = self._held.get(key)
        if held is None:
            held = self._held[key] = _Held()
            _HELD.inc()
        held.holders.add(holder)
        held.served |= has_version

    def release(self, key: str, holder: Holder) -> None:
        """Takes that back; ignored when it does not hold the name."""
        held = self._held.get(key)
        if held is None:
            return
        held.holders.discard(holder)
        if not held.holders:
            del self._held[key]
            _HELD.dec()

    def keep(self, key: str, generation: Generation) -> None:
        """Keeps the generation of the domain behind `key` while the name is held."""
        held = self._held.get(key)
        if held is not None:
            held.generation = generation

    def note_deleted(self, keys: Iterable[str]) -> None:
        """Notes that the domain behind these names was deleted: until a certificate is seen, they are missing because of that."""
        for key in keys:
            held = self._held.get(key)
            if held is not None:
                held.deleted = True

    def is_deleted(self, key: str) -> bool:
        """Returns whether that was noted."""
        held = self._held.get(key)
        return held is not None and held.deleted

    def see(self, key: str, found: CertificateRecord | Absence, *, retry: bool) -> Seen:
        """Notes what a look-up brought for `key`.

        `retry`: a certificate that could not be served counts as changed, so that its holders try it again.
        """
        held = self._held.get(key)
        if held is None:
            return Seen.FIRST
        if isinstance(found, Absence):
            return _see_absence(held, found)
        if found.version == held.unservable and not retry:
            return Seen.SAME
        seen = Seen.FIRST if not held.resolved else Seen.SAME if held.version == found.version else Seen.CHANGED
        held.resolved, held.version, held.unservable = True, found.version, None
        held.served, held.deleted = True, False
        return seen

    def mark_unservable(self, key: str, version: str) -> None:
        """Notes that this version of what is behind `key` cannot be served: see `retry` above."""
        held = self._held.get(key)
        if held is not None and held.version == version:
            held.version, held.unservable = None, version

    def notify(self, keys: Collection[str]) -> None:
        """Tells each holder once which of `keys` changed that it holds."""
        told: dict[Holder, list[str]] = {}
        for key in keys:
            held = self._held.get(key)
            for holder in held.holders if held else ():
                told.setdefault(holder, []).append(key)
        for holder, changed in told.items():
            holder.changed(changed)


def _see_absence(held: _Held, absence: Absence) -> Seen:
    before = Seen.SAME if held.resolved else Seen.FIRST
    # Whatever version comes next is another one than this: holders that were answered by removal meanwhile must be told.
    held.resolved, held.version, held.unservable = True, None, None
    if not held.served:
        return before
    if absence is Absence.UNCERTAIN:
        return Seen.KEPT
    held.served = False
    return Seen.CHANGED if before is Seen.SAME else before
