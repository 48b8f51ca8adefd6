"""`certplane serve` with a clock around two of its parts: the look-up in the store, and the opening of a leaf key.

Run as `python -m bench.million.timed_serve FILE serve OPTION...`; FILE gets a line of JSON when it ends. What is timed is the CPU time of
the thread that runs the event loop, so the clock stands still while it waits. Two readings of that clock take about half a microsecond.
"""

import json
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator
from pathlib import Path
from typing import Any

from controlplane.adapters.envelope_sealer import EnvelopeOpener
from controlplane.adapters.multiplexed_reads import Line
from controlplane.adapters.redis_certificates import RedisCertificateStore


class Clock:
    """Counts calls, and the CPU seconds of their thread."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.calls = 0

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Returns the function, timed."""

        def call(*arguments: Any, **named: Any) -> Any:
            self.calls += 1
            begun = time.thread_time()
            try:
                return function(*arguments, **named)
            finally:
                self.seconds += time.thread_time() - begun

        return call

    def steps(self, function: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Coroutine[Any, Any, Any]]:
        """Returns the coroutine function, with each step of its coroutines timed."""

        async def call(*arguments: Any, **named: Any) -> Any:
            self.calls += 1
            return await _Stepped(self, function(*arguments, **named))

        return call


class _Stepped(Awaitable[Any]):
    """Does what the coroutine does: what is sent or thrown goes in, what is awaited comes out."""

    def __init__(self, clock: Clock, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._clock = clock
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
                self._clock.seconds += time.thread_time() - begun
            try:
                go_on, argument = self._coroutine.send, (yield awaited)
            except BaseException as error:
                go_on, argument = self._coroutine.throw, error


def main() -> None:
    """Runs it."""
    path = Path(sys.argv.pop(1))
    clocks = {"lookup": Clock(), "receive": Clock(), "open": Clock()}
    # Replaced for this process alone.
    _replace(RedisCertificateStore, "servable", clocks["lookup"].steps)
    # Bytes from the store on their way to who waits for them.
    _replace(Line, "data_received", clocks["receive"].around)
    _replace(EnvelopeOpener, "open", clocks["open"].around)
    from controlplane.cli.main import main as certplane

    try:
        certplane()
    finally:
        path.write_text(
            json.dumps({part: {"seconds": clock.seconds, "calls": clock.calls} for part, clock in clocks.items()}) + "\n", encoding="utf-8"
        )


def _replace(owner: type, name: str, timed: Callable[[Any], Any]) -> None:
    setattr(owner, name, timed(getattr(owner, name)))


if __name__ == "__main__":
    main()
