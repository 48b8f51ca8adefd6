"""What both variants share: the interface that a stream drives.

A stream drives a subscription in three steps. `receive` takes a request. `take` hands out names that an answer is due for, with their
canonical names. After a look-up of these, `answers` makes the messages to send; names that the look-up says nothing about become due
again. Requests and changes may come in between, and names that became due meanwhile may be handed out and answered in the same way before
the earlier ones are: nothing is lost as long as `known` says nothing of a name that is still to be answered by an earlier look-up.

Everything goes by batch, since a process serves a hundred thousand names a second and more: names, canonical names, versions and contents
are parallel sequences, never an object for each name.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Protocol, TypeVar

from controlplane.xds.messages import RequestOutcome, Response


class Versioned(Protocol):
    """A resource that exists."""

    @property
    def version(self) -> str:
        """Its version, never empty. An attribute is read much faster than a property."""
        ...


class Absence(Enum):
    """Why there is no resource for a name."""

    GONE = auto()
    """It was taken away on purpose: whoever holds a version must drop it."""
    UNCERTAIN = auto()
    """Nothing can be sent, and nothing says that this is meant: whoever holds a version keeps it, whoever asks is not left to wait."""


R_contra = TypeVar("R_contra", contravariant=True)
V = TypeVar("V", bound=Versioned)

Fields = Callable[[Sequence[bytes], Sequence[V]], Sequence[bytes | None]]
"""Serialises resources for spelled names, both parallel: each as a complete `resources` field of an answer of the variant.

None stands for a resource that cannot be made, which counts as `Absence.UNCERTAIN`. It is called for what is sent only, with as many as
go into one answer at most.
"""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a client is given at most if strangers decide what it asks for (`NodeMetadata.on_demand`). None: as many as it asks for.

    `max_resources` counts resources, without pinned ones; `max_spellings` those among them whose name is not spelled as the canonical one.
    """

    max_resources: int | None = None
    max_spellings: int | None = None

    def __post_init__(self) -> None:
        """Raises ValueError for a limit below 1."""
        for limit in (self.max_resources, self.max_spellings):
            if limit is not None and limit < 1:
                raise ValueError("a limit is less than 1")


@dataclass(frozen=True, slots=True)
class Claims:
    """Names that an answer is due for: `names` as spelled and `keys`, their canonical names, parallel.

    `told` are versions that the client was told, by canonical name, of names that are only to be compared: it is enough to look up whether
    that version is still the newest. Names that wait, or that are held in several spellings, are not in it.
    `refused` are versions that this client refused, by canonical name: when one of them is the newest, the name is answered with the
    previous resource (see `needs_previous`). `removed` are to be answered as removed, whatever is known.
    `attempt` is 0, or counts the answers that the client refused with these names among others: all of them go into one answer then, with
    nothing else. The client may remember what it refused and take the same bytes for nothing new, so `Fields` must make other bytes of a
    resource for another attempt.
    """

    names: tuple[bytes, ...] = ()
    keys: tuple[str, ...] = ()
    told: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, Sequence[str]] = field(default_factory=dict)
    removed: Sequence[bytes] = ()
    attempt: int = 0
    stage: int = -1
    """Of use to the subscription that handed them out."""

    def __len__(self) -> int:
        return len(self.names)

    @property
    def alone(self) -> bool:
        """Whether all of them go into one answer, with nothing else."""
        return self.attempt > 0

    def needs_previous(self, known: Mapping[str, V | Absence]) -> Sequence[str]:
        """Returns the canonical names whose previous resource `answers` needs besides what is known; nearly always none."""
        if not self.refused:
            return ()
        found = ((key, versions, known.get(key)) for key, versions in self.refused.items())
        return [key for key, versions, value in found if value is not None and not isinstance(value, Absence) and value.version in versions]


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

    @property
    def is_behind(self) -> bool:
        """Whether so much waits to be said that no request should be received before some of it was handed out by `take`."""
        ...

    def take(self, limit: int) -> Claims:
        """Hands out up to about `limit` names that an answer is due for. They are not due any more.

        There may be no names to look up although there is work: the answers are made all the same.
        """
        ...

    def answers(
        self, claims: Claims, known: Mapping[str, V | Absence], fields: Fields[V], previous: Mapping[str, V | Absence] | None = None
    ) -> Iterator[Response]:
        """Makes the answers for claims, one after the other: read them all, send each before the next is made.

        `known` maps canonical names to what exists, or says why it does not; names without an entry become due again. `previous` says
        the same of the resource before it, for the names that `Claims.needs_previous` told.
        """
        ...

    def holds(self, key: str) -> bool:
        """Returns whether the client holds this canonical name, in any spelling."""
        ...

    @property
    def held_count(self) -> int:
        """How many names `held` returns."""
        ...

    def held(self) -> Iterable[tuple[bytes, str]]:
        """Returns the names that the client has, as spelled, with the version told, those first that were asked for longest ago."""
        ...

    def refetched(self) -> Mapping[bytes, int]:
        """Returns how often names were asked for again on this stream, for a bounded number of names."""
        ...

    def refused(self) -> Mapping[bytes, str]:
        """Returns the names whose version is marked bad, as spelled, with that version."""
        ...

    def end(self) -> Sequence[str]:
        """Forgets everything at the end of the stream; returns the canonical names that were held and not reported as released yet."""
        ...
