"""`certplane serve` with a clock around two of its parts: the look-up in the store, and the opening of a leaf key.

Run as `python -m bench.million.timed_serve FILE serve OPTION...`; FILE gets a line of JSON when it ends. What is timed is the CPU time of
the thread that runs the event loop, so the clock stands still while it waits. Two readings of that clock take about half a microsecond.
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator
from pathlib import Path
from typing import Any

from controlplane.adapters.hpke_sealer import HpkeOpener
from controlplane.adapters.redis_certificates import RedisCertificateStore

LOOKUP, OPEN, RECEIVE = "lookup", "open", "receive"
_seconds = {LOOKUP: 0.0, OPEN: 0.0, RECEIVE: 0.0}
_calls = dict.fromkeys(_seconds, 0)


class _Stepped:
    """A coroutine of which each step is timed."""

    def __init__(self, part: str, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._part = part
        self._coroutine = coroutine

    def __await__(self) -> Generator[Any, Any, Any]:
        go_on: Callable[[Any], Any] = self._coroutine.send
        argument: Any = None
        while True:
            begun = time.thread_time()
            try:
                awaited = go_on(argument)
            except StopIteration as returned:
                return returned.value
            finally:
                _seconds[self._part] += time.thread_time() - begun
            try:
                go_on, argument = self._coroutine.send, (yield awaited)
            except BaseException as error:
                go_on, argument = self._coroutine.throw, error


def _timed(part: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any, **named: Any) -> Any:
        begun = time.thread_time()
        try:
            return function(*arguments, **named)
        finally:
            _seconds[part] += time.thread_time() - begun
            _calls[part] += 1

    return call


def _timed_steps(part: str, function: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Awaitable[Any]]:
    async def call(*arguments: Any, **named: Any) -> Any:
        _calls[part] += 1
        return await _Stepped(part, function(*arguments, **named))

    return call


def main() -> None:
    """Runs it."""
    path = Path(sys.argv.pop(1))
    # Set by name: what a class calls itself is replaced for this process alone.
    setattr(RedisCertificateStore, "lookup", _timed_steps(LOOKUP, RedisCertificateStore.lookup))  # noqa: B010
    setattr(HpkeOpener, "open", _timed(OPEN, HpkeOpener.open))  # noqa: B010
    # Bytes from the store on their way to who waits for them: no other part of `serve` reads much through such streams.
    received = asyncio.StreamReaderProtocol.data_received
    setattr(asyncio.StreamReaderProtocol, "data_received", _timed(RECEIVE, received))  # noqa: B010
    from controlplane.cli.main import main as certplane

    try:
        certplane()
    finally:
        path.write_text(json.dumps({"seconds": _seconds, "calls": _calls}) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
