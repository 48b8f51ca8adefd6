"""One repeat: every server is started anew, touched, renewed and ended."""

import asyncio
import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.peers.clients import AT_A_TIME, Clients, Touches
from bench.peers.material import Material
from bench.peers.peer import READY_SECONDS, Peer, Renewal, Running
from bench.processes import memory_bytes, tree_cpu_seconds

_WARM_UP = 50
_BLOCK = 50
_BLOCK_OF_EIGHT = 400
# A server that is not lazy does the same at every handshake: it takes part in every third round only.
_EAGER_ROUNDS = 3


@dataclass(slots=True)
class Stage:
    """Handshakes of one kind: each one's duration, and the sums of elapsed time and of CPU time, by part of the server; in seconds."""

    seconds: list[float] = field(default_factory=list)
    failed: int = 0
    elapsed: float = 0.0
    client_cpu: float = 0.0
    cpu: dict[str, float] = field(default_factory=dict)

    def add(self, touches: Touches, cpu: dict[str, float]) -> None:
        """Adds some more."""
        self.seconds += touches.seconds
        self.failed += touches.failed
        self.elapsed += touches.elapsed
        self.client_cpu += touches.client_cpu
        for part, seconds in cpu.items():
            self.cpu[part] = self.cpu.get(part, 0.0) + seconds

    @property
    def rate(self) -> float:
        """Handshakes a second."""
        return len(self.seconds) / self.elapsed

    def cpu_each(self, part: str) -> float:
        """CPU seconds of a part for one handshake."""
        return self.cpu.get(part, 0.0) / len(self.seconds)


@dataclass(slots=True)
class Pass:
    """What one repeat measured of one server, in seconds and bytes.

    `start` is from the start of the proxy to the first verified handshake, `settled` to when it has everything that it loads before it
    is asked. `first` and `warm` are one at a time, `first_eight` and `warm_eight` eight at a time; `static` and `static_eight` the same
    proxy's handshakes with one static certificate. `memory` is by part, `renewals` by way.
    """

    start: float = 0.0
    settled: float = 0.0
    control_plane_start: float = 0.0
    first: Stage = field(default_factory=Stage)
    warm: Stage = field(default_factory=Stage)
    static: Stage = field(default_factory=Stage)
    first_eight: Stage = field(default_factory=Stage)
    warm_eight: Stage = field(default_factory=Stage)
    static_eight: Stage = field(default_factory=Stage)
    memory: dict[str, int] = field(default_factory=dict)
    renewals: dict[str, list[float]] = field(default_factory=dict)

    @property
    def failed(self) -> int:
        """Handshakes that failed."""
        stages = (self.first, self.warm, self.static, self.first_eight, self.warm_eight, self.static_eight)
        return sum(stage.failed for stage in stages)


@dataclass(slots=True)
class _Turn:
    """A server in one repeat."""

    peer: Peer
    running: Running
    found: Pass


async def one_repeat(peers: Sequence[Peer], material: Material, clients: Clients, directory: Path) -> dict[str, Pass]:
    """Measures each of `peers` once, by name: starts them one after the other, and lets them take turns while all are up.

    Turns are short: whatever else this machine does meets all of them. `directory` is made.
    """
    directory.mkdir()
    names = material.names
    one, eight = names[1 + _WARM_UP : len(names) // 3], names[len(names) // 3 :]
    async with contextlib.AsyncExitStack() as stack:
        turns = []
        for index, peer in enumerate(peers):
            own = directory / str(index)
            own.mkdir()
            running = await stack.enter_async_context(peer.running(material, own))
            turns.append(_Turn(peer, running, await _started(running, clients, names)))
        for turn, block in _rounds(turns, one, _BLOCK):
            await _touch(turn.running, clients, block, [turn.found.first, turn.found.warm], turn.found.static)
        for turn, block in _rounds(turns, eight, _BLOCK_OF_EIGHT):
            stages = [turn.found.first_eight, turn.found.warm_eight]
            await _touch(turn.running, clients, block, stages, turn.found.static_eight, AT_A_TIME)
        for turn in turns:
            turn.found.memory = {part: memory_bytes(pid) for part, pid in turn.running.parts.items()}
        for turn in turns:
            await _renew(turn.running, clients, one, turn.found)
    return {turn.peer.name: turn.found for turn in turns}


def _rounds(turns: Sequence[_Turn], names: Sequence[str], size: int) -> Iterator[tuple[_Turn, Sequence[str]]]:
    """Yields who touches what: all turns for each block, another one first each time."""
    for number, start in enumerate(range(0, len(names), size)):
        for index in range(len(turns)):
            turn = turns[(number + index) % len(turns)]
            if turn.peer.lazy or number % _EAGER_ROUNDS == 0:
                yield turn, names[start : start + size]


async def _started(running: Running, clients: Clients, names: Sequence[str]) -> Pass:
    found = Pass(control_plane_start=running.control_plane_seconds)
    found.start = await _first_handshake(running, clients, names[0]) - running.begun
    if running.settled is not None:
        await running.settled()
        found.settled = time.perf_counter() - running.begun
    await _touch(running, clients, names[1 : 1 + _WARM_UP], [Stage()], Stage())
    return found


async def _first_handshake(running: Running, clients: Clients, name: str) -> float:
    served = asyncio.create_task(clients.until_served(running.port, name, seconds=READY_SECONDS))
    ended = asyncio.create_task(running.proxy.wait())
    try:
        await asyncio.wait((served, ended), return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            raise running.proxy.failure("ended before it served")
        return await served
    except TimeoutError as error:
        raise running.proxy.failure(str(error)) from error
    finally:
        served.cancel()
        ended.cancel()


async def _touch(
    running: Running, clients: Clients, names: Sequence[str], stages: Sequence[Stage], static: Stage | None = None, at_a_time: int = 1
) -> None:
    """Touches all `names` once for each stage, one stage after the other, and then as often the static certificate, if there is one."""
    for stage in stages:
        await _staged(running, clients, running.port, names, stage, at_a_time)
    if static is not None and running.static_port is not None:
        await _staged(running, clients, running.static_port, [running.static_name] * len(names), static, at_a_time)


async def _staged(running: Running, clients: Clients, port: int, names: Sequence[str], stage: Stage, at_a_time: int) -> None:
    before = {part: tree_cpu_seconds(pid) for part, pid in running.parts.items()}
    touches = await clients.touch(port, names, at_a_time)
    stage.add(touches, {part: tree_cpu_seconds(pid) - before[part] for part, pid in running.parts.items()})


async def _renew(running: Running, clients: Clients, names: Sequence[str], found: Pass) -> None:
    """Replaces certificates of names that were touched, in each way, another name each time."""
    waiting = iter(names)
    for renewal in running.renewals:
        found.renewals[renewal.way] = [await _renewed(renewal, running, clients, next(waiting)) for _ in range(renewal.times)]


async def _renewed(renewal: Renewal, running: Running, clients: Clients, name: str) -> float:
    replacement = await renewal.prepare(name)
    begun = time.perf_counter()
    await replacement.write()
    return await clients.until_served(running.port, name, replacement.serial_number, READY_SECONDS) - begun
