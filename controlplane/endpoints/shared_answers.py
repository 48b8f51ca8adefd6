"""What several streams are sent: put together once, and one copy of the bytes for all of them.

Envoys of a fleet that start together ask for the same names in the same order (see `pages`), and are sent the same answers with the same
nonces, since a nonce is the number of an answer on its stream. A quarter of a megabyte for each stream that is being written to is saved,
and the time to put it together.

An answer is kept when it is made for the second time: those that nobody else is sent are freed while they are in the processor's cache.
Answers hold leaf keys, so none is kept for longer than the burst that it is made for.
"""

import asyncio
from collections.abc import Callable

from controlplane.usecases.known_secrets import KnownSecret
from controlplane.xds.messages import Response
from controlplane.xds.pages import LEAST_NAMES, MOST_BYTES, Pages
from controlplane.xds.second_time import SecondTime

KEPT_SECONDS = 1.0
"""So long at most."""

_Key = tuple[Callable[[Response], bytes], str, str, tuple[bytes, ...]]


class SharedAnswers:
    """The answers of the last moments, by what is in them. Belongs to one event loop.

    `pages` are for the subscriptions of incremental xDS, whose answers must be encoded here: they are forgotten with the bytes.
    """

    def __init__(self, most_bytes: int = MOST_BYTES, seconds: float = KEPT_SECONDS) -> None:
        """Keeps so many bytes at most, for so many seconds."""
        self.pages: Pages[KnownSecret] = Pages(most_bytes)
        self._most_bytes = most_bytes
        self._seconds = seconds
        self._answers: dict[_Key, bytes] = {}
        self._made_before = SecondTime()
        self._bytes = 0
        self._end: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"SharedAnswers({len(self._answers)})"

    def __len__(self) -> int:
        return len(self._answers)

    def encode(self, encode: Callable[[Response], bytes], response: Response) -> bytes:
        """Returns what `encode` makes of an answer: the same object from the second time on, if it is long and brings resources only."""
        if len(response.fields) < LEAST_NAMES:
            return encode(response)
        if self._end is None:
            self._end = asyncio.get_running_loop().call_later(self._seconds, self._forget_all)
        if response.removed:
            return encode(response)
        # Fields are objects that streams share, and their hashes are known: to find an answer is to compare pointers.
        key = encode, response.nonce, response.version_info, response.fields
        data = self._answers.get(key)
        if data is None:
            data = encode(response)
            if self._made_before.is_it(hash(key)):
                self._keep(key, data)
        return data

    def _keep(self, key: _Key, data: bytes) -> None:
        self._answers[key] = data
        self._bytes += len(data)
        while self._bytes > self._most_bytes:
            self._bytes -= len(self._answers.pop(next(iter(self._answers))))

    def _forget_all(self) -> None:
        self.pages.clear()
        self._answers.clear()
        self._made_before.clear()
        self._bytes = 0
        self._end = None
