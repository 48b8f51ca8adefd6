"""The names that one client holds on one stream, what it was told of them, and for which of them an answer is due.

`told` maps each held name, as spelled, to what the client was told of it last:

    None       nothing, or it asked again: it waits for an answer
    REMOVED    that the resource does not exist
    other      the version of the resource

Besides, a name may be due. OWED: it waits, and nobody looks it up yet. CHECK: it may have changed, and the client is told if what it was
told is not true any more. A name that is handed out is not due; it becomes due again if it changes before it is answered.

At rest a name costs its entry in `told` and nothing else: names and versions are objects that all streams share. The canonical name of a
name that is spelled so is made when it is needed; only other spellings are noted.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from controlplane.xds.spellings import Parsed

REMOVED = ""
"""What a client was told of a name that does not exist. No version is empty."""


@dataclass(frozen=True, slots=True)
class Due:
    """Names that are handed out and their canonical names, parallel, and what the client was told of those that do not wait.

    `told` is by canonical name, and says nothing of names that are held in another spelling than the canonical one. `stage` is that of the
    names at this time, if all of them wait; else -1.
    """

    names: tuple[bytes, ...]
    keys: tuple[str, ...]
    told: Mapping[str, str]
    stage: int


class HeldNames:
    """See above. The parts of a subscription read the attributes; they are changed by the methods only."""

    __slots__ = ("_by_key", "_first", "_first_taken", "_owed", "_released", "check", "count", "respelled", "stage", "told")

    def __init__(self) -> None:
        self.told: dict[bytes, str | None] = {}
        """In the order in which names were asked for last."""
        self.count = 0
        """How many names the client has a version of."""
        self.stage = 0
        """It is another one as soon as a name that was handed out may not wait for its answer as it did."""
        self._owed: dict[bytes, str] = {}
        self._first: Parsed | None = None
        """While nothing but the first request was asked for: `_owed` is empty, and what is owed are its names from `_first_taken` on."""
        self._first_taken = 0
        self.check: dict[bytes, str] = {}
        self.respelled: dict[bytes, str] = {}
        """Held names that are not spelled as the canonical one, with the canonical one, in the order in which they were asked for last."""
        self._by_key: dict[str, dict[bytes, None]] = {}
        self._released: dict[str, None] = {}

    @property
    def owed(self) -> dict[bytes, str]:
        """The names that are OWED, with their canonical names."""
        if self._first is not None:
            first, self._first = self._first, None
            self._owed = dict(islice(first.possible.items(), self._first_taken, None)) if self._first_taken else first.possible.copy()
        return self._owed

    @property
    def owed_count(self) -> int:
        """How many these are."""
        return len(self._owed) if self._first is None else len(self._first.names) - self._first_taken

    def key(self, name: bytes) -> str:
        """Returns the canonical name of a held name."""
        return self.respelled.get(name) or name.decode("ascii")

    def holds(self, key: str) -> bool:
        """Returns whether a canonical name is held, in any spelling."""
        return key.encode() in self.told or key in self._by_key

    def subscribe(self, parsed: Parsed, isolated: Collection[bytes] = ()) -> tuple[tuple[str, ...], Sequence[bytes]]:
        """Holds names, which wait from now on. All of them are due, but for `isolated` names, which are looked up later in any case.

        Returns the canonical names that are held since now, and the names that the client had a version of.
        """
        names, told = parsed.possible, self.told
        if not told and not parsed.respelled and not self._released:
            # Most of what a process does when many clients connect.
            self.told, self._first, self._first_taken = parsed.waiting.copy(), parsed, 0
            return parsed.keys, ()
        again = [name for name in names if name in told]
        self.stage += bool(again)
        known_again = set(again)
        new = names if not again else {name: key for name, key in names.items() if name not in known_again}
        held = self._newly_held(new, parsed.respelled)
        fetched_again = [name for name in again if told[name]]
        self.count -= len(fetched_again)
        for name in again:
            del told[name]
            self.check.pop(name, None)
        told.update(dict.fromkeys(names))
        self.owed.update(names)
        for name in isolated:
            self.owed.pop(name, None)
        return held, fetched_again

    def _newly_held(self, new: Mapping[bytes, str], respelled: Iterable[bytes]) -> tuple[str, ...]:
        if not respelled and not self._by_key:
            keys = list(new.values())
        else:
            keys = [key for key in dict.fromkeys(new.values()) if not self.holds(key)]
        for name in respelled:
            key = self.respelled.pop(name, None) or new[name]
            self.respelled[name] = key
            self._by_key.setdefault(key, {})[name] = None
        if self._released:
            keys = [key for key in keys if self._released.pop(key, self) is self]
        return tuple(keys)

    def resume(self, versions: Mapping[bytes, str]) -> tuple[str, ...]:
        """Notes which versions the client has from an earlier stream of names that wait; these are compared instead.

        Returns their canonical names.
        """
        owed = self.owed
        found = list(map(versions.get, owed))
        if all(found):
            resumed, self._owed = owed, {}
        else:
            resumed = {name: owed[name] for name, version in zip(tuple(owed), found, strict=True) if version}
            for name in resumed:
                del owed[name]
        self.told.update(zip(resumed, filter(None, found), strict=True))
        self.check.update(resumed)
        self.count += len(resumed)
        return tuple(dict.fromkeys(resumed.values()))

    def forget(self, names: Iterable[bytes]) -> Sequence[bytes]:
        """Gives names up, those that are held; returns them."""
        forgotten = [name for name in dict.fromkeys(names) if name in self.told]
        if not forgotten:
            return ()
        self.stage += 1
        owed = self.owed
        for name in forgotten:
            self.count -= bool(self.told.pop(name))
            owed.pop(name, None)
            self.check.pop(name, None)
            key = self.respelled.pop(name, None)
            if key is None:
                key = name.decode("ascii")
            else:
                spellings = self._by_key[key]
                del spellings[name]
                if not spellings:
                    del self._by_key[key]
            if not self.holds(key):
                self._released[key] = None
        return forgotten

    def take_released(self) -> tuple[str, ...]:
        """Returns the canonical names that were given up since the last call and are not held again."""
        if not self._released:
            return ()
        released, self._released = tuple(self._released), {}
        return released

    def end(self) -> tuple[str, ...]:
        """Gives everything up; returns the canonical names that were held and those that `take_released` has not told yet."""
        if self.respelled or self._released:
            keys = tuple(dict.fromkeys(map(self.key, self.told)) | self._released)
        else:
            keys = tuple(map(bytes.decode, self.told))
        self.count = 0
        self._first = None
        for table in (self.told, self._owed, self.check, self.respelled, self._by_key, self._released):
            table.clear()
        return keys

    def versions(self) -> Iterable[tuple[bytes, str]]:
        """Returns the names that the client has a version of, with that version."""
        return ((name, told) for name, told in self.told.items() if told)

    def changed(self, keys: Iterable[str]) -> None:
        """Notes that what is behind canonical names may have changed."""
        for key in keys:
            for name in (key.encode(), *self._by_key.get(key, ())):
                if name in self.told and name not in self.owed:
                    self.check[name] = key

    def take(self, limit: int) -> Due:
        """Hands out up to `limit` names that are due, those that wait first."""
        names, keys = self._take_owed(limit)
        if not self.check or len(names) >= limit:
            return Due(names, keys, {}, self.stage)
        compared, compared_keys = _take(self.check, limit - len(names))
        versions = map(self.told.__getitem__, compared)
        told = {key: version for key, version in zip(compared_keys, versions, strict=True) if version}
        if self._by_key:
            for key in self._by_key.keys() & told:
                del told[key]
        return Due(names + compared, keys + compared_keys, told, -1)

    def _take_owed(self, limit: int) -> tuple[tuple[bytes, ...], tuple[str, ...]]:
        """Takes up to `limit` names out of those that are owed."""
        first = self._first
        if first is None:
            return _take(self._owed, limit) if self._owed else ((), ())
        start, self._first_taken = self._first_taken, self._first_taken + limit
        if self._first_taken >= len(first.names):
            self._first = None
        return first.names[start : start + limit], first.keys[start : start + limit]

    def tell(self, names: Sequence[bytes], versions: Sequence[str], befores: Sequence[str | None]) -> None:
        """Notes that the client is told versions of held names; `befores` is what it was told before."""
        self.told.update(zip(names, versions, strict=True))
        waited = befores.count(None)
        self.count += waited if waited == len(befores) else sum(not before for before in befores)

    def tell_first(self, told: Mapping[bytes, str]) -> None:
        """Notes that the client is told versions of held names of which it was told nothing before."""
        self.told.update(told)
        self.count += len(told)

    def tell_removed(self, names: Sequence[bytes], befores: Sequence[str | None]) -> None:
        """Notes that the client is told that the resources of held names do not exist; `befores` is what it was told before."""
        self.told.update(dict.fromkeys(names, REMOVED))
        self.count -= sum(bool(before) for before in befores)

    def share(self, names: Iterable[bytes], versions: Iterable[str]) -> None:
        """Keeps versions that are equal to what is noted instead of it: from here on these are the objects that all streams share."""
        self.told.update(zip(names, versions, strict=True))

    def set_back(self, name: bytes, before: str | None) -> None:
        """Notes that the client has what it was told before, since it refused what it was told then."""
        self.count += bool(before) - bool(self.told[name])
        self.told[name] = before

    def put_back(self, name: bytes, key: str) -> None:
        """Makes a name due again that was handed out and is not answered."""
        self.stage += 1
        if self.told[name] is None:
            self.check.pop(name, None)
            self.owed[name] = key
        elif name not in self.owed:
            self.check[name] = key


def _take(due: dict[bytes, str], limit: int) -> tuple[tuple[bytes, ...], tuple[str, ...]]:
    if len(due) <= limit:
        names, keys = tuple(due), tuple(due.values())
        due.clear()
        return names, keys
    names = tuple(islice(due, limit))
    return names, tuple(map(due.pop, names))
