"""What follows from an ACK or a NACK, in both variants (xDS page, "ACK and NACK semantics summary").

A client that refuses one resource refuses the whole answer, keeps what it had of every name in it, and does not say which it was. So a NACK
of an answer with several condemns none of them:

    the refused answer brought      then
    several resources               each name goes back to what the client was told before; the names are sent again in two halves,
                                    each half an answer of its own; a refused half is halved again
    resources and removals          the resources as above, even a single one; the removals go into one answer of their own
    removals only                   they count as told: some Envoys before 2024 refuse any answer without resources
    a single resource               this version is marked bad for this client

What goes again goes in other bytes at each attempt (see `Claims`): Envoy 1.40 remembers the hash of a secret before it refuses it, and
accepts the same bytes from then on without looking at them.

A version that is marked bad is not sent to this client again. The previous resource takes its place, if there is one and it was not refused
too; nearly always the client has that already and keeps it. Else a client that has any version keeps it, and one that waits is answered as
for a resource that does not exist. The mark goes when the client accepts a newer version. It does not go when the client gives the name up:
an Envoy that is answered by removal unsubscribes, and asks again at the next handshake. The marks of some such names are remembered.

A name that was sent again in a later answer is left to the ACK or NACK of that answer.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from controlplane.xds.held_names import REMOVED, HeldNames
from controlplane.xds.messages import Acknowledgement, ErrorDetail
from controlplane.xds.sent_answers import SentAnswer, SentAnswers

_SHOWN_VERSIONS = 8
_NAMES_GIVEN_UP = 64
"""Names that are not held any more, and whose marks are remembered."""

_MARKED_VERSIONS = 4
"""Versions of one name that are remembered as bad: the newest and the previous one, and some that they replaced."""


@dataclass(frozen=True, slots=True)
class Isolated:
    """Names that are to be answered with nothing else. `removed` are answered as removed, unless they are held by then.

    `attempt` counts the answers with them that were refused.
    """

    names: Sequence[bytes]
    removed: Sequence[bytes]
    attempt: int


class Refusals:
    """The answers of a subscription on their way, and what their refusal leads to. See the table above."""

    __slots__ = ("_given_up", "_groups", "_names", "_others_turn", "isolated", "marks", "sent")

    def __init__(self, names: HeldNames) -> None:
        self._names = names
        self.sent = SentAnswers()
        self.marks: dict[bytes, tuple[str, ...]] = {}
        """Versions that are marked bad, by held name, the newest mark first."""
        self._given_up: dict[bytes, tuple[str, ...]] = {}
        """The same for names that are not held any more, those first that were given up longest ago."""
        self.isolated: set[bytes] = set()
        """Names that wait to be answered alone. Whatever is known of them, no other answer tells it."""
        self._groups: deque[Isolated] = deque()
        self._others_turn = False

    @property
    def has_work(self) -> bool:
        """Whether `take` has something to give."""
        return bool(self._groups)

    def isolate(self, names: Sequence[bytes], removed: Sequence[bytes] = (), *, attempt: int) -> None:
        """Has names answered with nothing else."""
        if names or removed:
            self._groups.append(Isolated(names, removed, attempt))
            self.isolated.update(names)

    def take(self, *, others: bool) -> Isolated | None:
        """Hands out what goes into the next answer of its own, or None.

        If `others` are due too, every second turn is theirs: they do not wait for what the store does not answer.
        """
        if others and self._others_turn:
            self._others_turn = False
            return None
        while self._groups:
            group = self._groups.popleft()
            names = [name for name in group.names if name in self.isolated]
            self.isolated.difference_update(names)
            if names or group.removed:
                self._others_turn = True
                return Isolated(names, group.removed, group.attempt)
        return None

    def forget(self, names: Iterable[bytes]) -> None:
        """Takes note of names that are not held any more: they are not sent again; their marks are kept for when they are held again."""
        if not self.marks and not self.isolated:
            return
        for name in names:
            self.isolated.discard(name)
            if (versions := self.marks.pop(name, None)) is not None:
                self._given_up[name] = versions
        while len(self._given_up) > _NAMES_GIVEN_UP:
            del self._given_up[next(iter(self._given_up))]

    def remember(self, names: AbstractSet[bytes]) -> None:
        """Takes note of names that are held, perhaps again."""
        if self._given_up:
            for name in self._given_up.keys() & names:
                self.marks[name] = self._given_up.pop(name)

    def marked(self, names: Iterable[bytes]) -> Mapping[str, Sequence[str]]:
        """Returns the versions that are marked bad for any of these names, by canonical name."""
        if not self.marks:
            return {}
        marked: dict[str, Sequence[str]] = {}
        for name in self.marks.keys() & names:
            key = self._names.key(name)
            marked[key] = (*marked.get(key, ()), *self.marks[name])
        return marked

    def shown(self) -> Mapping[bytes, str]:
        """Returns the names whose version is marked bad, with the version that was marked last."""
        return {name: versions[0] for name, versions in (self._given_up | self.marks).items()}

    def acknowledge(self, nonce: str, error: ErrorDetail | None) -> Acknowledgement | None:
        """Reads the ACK or NACK in a request, if there is one, and makes due again what is to be sent in another way."""
        if not nonce and error is None:
            return None
        answer = self.sent.pop(nonce)
        if answer is None:
            return Acknowledgement(nonce, (), error, ours=False)
        if error is None:
            if self.marks:
                self._accept(answer)
            return Acknowledgement(nonce, answer.versions[:_SHOWN_VERSIONS])
        return Acknowledgement(nonce, answer.versions[:_SHOWN_VERSIONS], error, self._refuse(nonce, answer))

    def _accept(self, answer: SentAnswer) -> None:
        for name, version in zip(answer.names, answer.versions, strict=True):
            if name not in answer.substituted and version not in self.marks.get(name, (version,)):
                del self.marks[name]

    def _refuse(self, nonce: str, answer: SentAnswer) -> tuple[tuple[bytes, str], ...]:
        if not answer.names:
            return ()
        later = self.sent.after(nonce)
        overtaken = {name for other in later for name in (*other.names, *other.removed)}
        undone = [
            *zip(answer.names, answer.versions, answer.befores, strict=True),
            *((name, REMOVED, before) for name, before in answer.removed_befores.items()),
        ]
        if overtaken:
            _correct(later, {name: (told, before) for name, told, before in undone if name in overtaken})
        suspects = [name for name, told, before in undone if name not in overtaken and self._undo(name, told, before)]
        if len(answer.names) == 1 and not answer.removed:
            return self._mark(answer.names[0], answer.versions[0])
        brought = set(answer.names)
        resources = [name for name in suspects if name in brought]
        half, attempt = (len(resources) + 1) // 2, answer.attempt + 1
        self.isolate(resources[:half], attempt=attempt)
        self.isolate(resources[half:], attempt=attempt)
        self.isolate([name for name in suspects if name not in brought], answer.removed, attempt=attempt)
        return ()

    def _undo(self, name: bytes, told: str, before: str | None) -> bool:
        """Goes back to what the client was told before, unless something happened since; returns whether it did."""
        if self._names.told.get(name) != told:
            return False
        self._names.set_back(name, before)
        return True

    def _mark(self, name: bytes, version: str) -> tuple[tuple[bytes, str], ...]:
        if name not in self._names.told:
            return ()
        self.marks[name] = (version, *self.marks.get(name, ()))[:_MARKED_VERSIONS]
        self._names.put_back(name, self._names.key(name))
        return ((name, version),)


def _correct(later: Iterable[SentAnswer], undone: Mapping[bytes, tuple[str, str | None]]) -> None:
    """Notes in later answers that the client never had what it was told before them."""
    for answer in later:
        for index, name in enumerate(answer.names):
            if name in undone and answer.befores[index] == undone[name][0]:
                answer.befores[index] = undone[name][1]
        for name in answer.removed_befores.keys() & undone:
            if answer.removed_befores[name] == undone[name][0]:
                answer.removed_befores[name] = undone[name][1]
