"""The answers of one stream that no ACK or NACK has come for yet (xDS page, "ACK and NACK semantics summary")."""

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field

_REMEMBERED_ANSWERS = 1024
_REMEMBERED_REMOVALS = 65_536
"""Removed names of all answers together: strangers choose them, and how long they are."""


@dataclass(slots=True)
class SentAnswer:
    """What an answer brought. `befores` says what the client was told before of each name, as in `HeldNames.told`.

    `removed_befores` says it of those names among `removed` that are held still. `substituted` are names that were given the previous
    resource, since the client refused the newest. `attempt` is that of the claims (see `Claims`).
    """

    names: tuple[bytes, ...] = ()
    versions: tuple[str, ...] = ()
    befores: list[str | None] = field(default_factory=list)
    removed: tuple[bytes, ...] = ()
    removed_befores: dict[bytes, str | None] = field(default_factory=dict)
    substituted: Container[bytes] = ()
    attempt: int = 0


class SentAnswers:
    """Nonces, and what was sent with them. A client that acknowledges nothing costs so much: the oldest are forgotten."""

    __slots__ = ("_count", "_removals", "_unacknowledged")

    def __init__(self) -> None:
        self._count = 0
        self._removals = 0
        self._unacknowledged: dict[str, SentAnswer] = {}

    @property
    def last_nonce(self) -> str:
        """The nonce of the last answer, or empty."""
        return str(self._count) if self._count else ""

    def add(self, answer: SentAnswer) -> str:
        """Remembers an answer; returns the nonce for it."""
        self._count += 1
        nonce = str(self._count)
        self._unacknowledged[nonce] = answer
        self._removals += len(answer.removed)
        while len(self._unacknowledged) > _REMEMBERED_ANSWERS or (self._removals > _REMEMBERED_REMOVALS and len(self._unacknowledged) > 1):
            self.pop(next(iter(self._unacknowledged)))
        return nonce

    def pop(self, nonce: str) -> SentAnswer | None:
        """Returns the answer with a nonce and forgets it; None when there is none, or not any more."""
        answer = self._unacknowledged.pop(nonce, None)
        if answer is not None:
            self._removals -= len(answer.removed)
        return answer

    def after(self, nonce: str) -> Sequence[SentAnswer]:
        """Returns the answers that were sent after the one with this nonce of ours, the oldest first."""
        return tuple(self._after(int(nonce)))

    def _after(self, number: int) -> Iterator[SentAnswer]:
        for nonce, answer in self._unacknowledged.items():
            if int(nonce) > number:
                yield answer
