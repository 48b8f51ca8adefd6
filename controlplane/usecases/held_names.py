"""Which canonical names are held by whom, and what was last seen of each."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Protocol

from prometheus_client import Gauge

from controlplane.core.certificate import CertificateRecord

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
    OLDER = auto()
    """A certificate of an older generation of the same domain: a replay, or a store that was set back."""


@dataclass(slots=True)
class _Held:
    holders: set[Holder] = field(default_factory=set)
    resolved: bool = False
    version: str | None = None
    unservable: str | None = None
    fqdn: str = ""
    generation: int = 0


class HeldNames:
    """The registry of held names. It forgets a name with the last holder, and with it the generation seen."""

    def __init__(self) -> None:
        self._held: dict[str, _Held] = {}

    def __contains__(self, key: object) -> bool:
        return key in self._held

    def keys(self) -> Sequence[str]:
        """Returns the names held now."""
        return tuple(self._held)

    def hold(self, key: str, holder: Holder) -> None:
        """Notes that `holder` is to be told of changes of `key`."""
        held = self._held.get(key)
        if held is None:
            held = self._held[key] = _Held()
            _HELD.inc()
        held.holders.add(holder)

    def release(self, key: str, holder: Holder) -> None:
        """Takes that back; ignored when it does not hold the name."""
        held = self._held.get(key)
        if held is None:
            return
        held.holders.discard(holder)
        if not held.holders:
            del self._held[key]
            _HELD.dec()

    def see(self, key: str, record: CertificateRecord | None, *, retry: bool) -> Seen:
        """Notes what a look-up brought for `key`, unless it is older than what was seen.

        Generations are compared within one domain only: each shard of the store counts its own. `retry`: a certificate that could
        not be served counts as changed, so that its holders try it again.
        """
        held = self._held.get(key)
        if held is None:
            return Seen.FIRST
        if record is not None and record.fqdn == held.fqdn and record.generation < held.generation:
            return Seen.OLDER
        version = None if record is None else record.version
        if version is not None and version == held.unservable and not retry:
            return Seen.SAME
        seen = Seen.FIRST if not held.resolved else Seen.SAME if held.version == version else Seen.CHANGED
        held.resolved, held.version, held.unservable = True, version, None
        if record is not None:
            held.fqdn, held.generation = record.fqdn, record.generation
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
