"""What both variants share: the interface that a stream drives, the names that a client holds, and the answers on their way.

A stream drives a subscription in three steps. `receive` takes a request. `take` hands out names that an answer is due for, with their
canonical names. After a look-up of these, `answers` makes the messages to send; names that the look-up says nothing about become due
again. Requests and changes may come in between: nothing is lost, since names that become due meanwhile are handed out once more.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol, TypeVar

from controlplane.xds.messages import Acknowledgement, ErrorDetail, RequestOutcome, Response

_REMEMBERED_ANSWERS = 1024
_REMEMBERED_VERSIONS = 8


class Versioned(Protocol):
    """A resource that exists."""

    @property
    def version(self) -> str:
        """Its version, never empty."""
        ...


class Absence(Enum):
    """Why there is no resource for a name."""

    GONE = auto()
    """It was taken away on purpose: whoever holds a version must drop it."""
    UNCERTAIN = auto()
    """Nothing can be sent, and nothing says that this is meant: whoever holds a version keeps it, whoever asks is not left to wait."""


R_contra = TypeVar("R_contra", contravariant=True)
V = TypeVar("V", bound=Versioned)


@dataclass(frozen=True, slots=True)
class Claim:
    """A name that an answer is due for. `owed`: the client asked, so it is answered even when it has the newest version."""

    name: bytes
    key: str
    owed: bool


class Subscription(Protocol[R_contra]):
    """One client's subscription to one type of resource on one stream."""

    def receive(self, request: R_contra) -> RequestOutcome:
        """Takes a request."""
        ...

    def changed(self, keys: Iterable[str]) -> None:
        """Notes that the resources behind these canonical names may have changed; those that the client does not hold are ignored."""
        ...

    @property
    def has_work(self) -> bool:
        """Whether `take` or `answers` has something to give."""
        ...

    def take(self, limit: int) -> Sequence[Claim]:
        """Hands out up to about `limit` names that an answer is due for. They are not due any more."""
        ...

    def answers(self, claims: Sequence[Claim], known: Mapping[str, V | Absence], body: Callable[[V], bytes | None]) -> Iterator[Response]:
        """Makes the answers for claims, one after the other: read them all, send each before the next is made.

        `known` maps canonical names to what exists, or says why it does not; names without an entry become due again.
        `body` returns the serialised resource, or None when it cannot be made, which counts as `UNCERTAIN`. It is called only for
        what is sent.
        """
        ...


@dataclass(slots=True)
class HeldName:
    """A name that the client holds: its canonical name, and what the client was told last.

    `told` is a version, `REMOVED`, or None when it was told nothing yet.
    """

    key: str
    told: str | None = None


REMOVED = ""
"""What a client was told of a name that does not exist. No version is empty."""


class NameTable:
    """The names that one client holds, by spelling and by canonical name."""

    def __init__(self) -> None:
        self._names: dict[bytes, HeldName] = {}
        self._spellings: dict[str, dict[bytes, None]] = {}
        self._touched: dict[str, bool] = {}

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._names)

    def get(self, name: bytes) -> HeldName | None:
        """Returns the entry of a spelled name, or None."""
        return self._names.get(name)

    def items(self) -> Iterable[tuple[bytes, HeldName]]:
        """Returns spelled names with their entries."""
        return self._names.items()

    def hold(self, name: bytes, key: str) -> HeldName:
        """Adds a spelled name, unless it is held already; returns its entry."""
        entry = self._names.get(name)
        if entry is None:
            entry = self._names[name] = HeldName(key)
            self._touched.setdefault(key, key in self._spellings)
            self._spellings.setdefault(key, {})[name] = None
        return entry

    def release(self, name: bytes) -> None:
        """Forgets a spelled name; one that is not held is ignored."""
        entry = self._names.pop(name, None)
        if entry is None:
            return
        self._touched.setdefault(entry.key, True)
        spellings = self._spellings[entry.key]
        del spellings[name]
        if not spellings:
            del self._spellings[entry.key]

    def spellings(self, key: str) -> Iterable[bytes]:
        """Returns the spellings that the client holds of a canonical name."""
        return self._spellings.get(key, ())

    def net_changes(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Returns the canonical names held since the last call, and those released: a name that came and went is in neither."""
        touched, self._touched = self._touched, {}
        held = tuple(key for key, was_held in touched.items() if not was_held and key in self._spellings)
        released = tuple(key for key, was_held in touched.items() if was_held and key not in self._spellings)
        return held, released


class SentAnswers:
    """Nonces of one stream, and what the answers brought that no ACK or NACK has come for yet; the oldest are forgotten first."""

    def __init__(self) -> None:
        self._count = 0
        self._unacknowledged: dict[str, tuple[str, ...]] = {}

    @property
    def last_nonce(self) -> str:
        """The nonce of the last answer, or empty."""
        return str(self._count) if self._count else ""

    def next_nonce(self, versions: Iterable[str]) -> str:
        """Returns the nonce for a new answer that brings these versions."""
        self._count += 1
        nonce = str(self._count)
        self._unacknowledged[nonce] = tuple(versions)[:_REMEMBERED_VERSIONS]
        if len(self._unacknowledged) > _REMEMBERED_ANSWERS:
            del self._unacknowledged[next(iter(self._unacknowledged))]
        return nonce

    def acknowledge(self, nonce: str, error: ErrorDetail | None) -> Acknowledgement | None:
        """Reads the ACK or NACK in a request, if there is one (xDS page, "ACK and NACK semantics summary")."""
        if not nonce and error is None:
            return None
        return Acknowledgement(nonce, self._unacknowledged.pop(nonce, ()), error)
