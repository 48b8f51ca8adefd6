"""TLS handshakes at names that a proxy has not met, and again at the same names: one connection at a time, and several."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from bench.load.process_time import cpu_seconds
from bench.peers.clients import Clients

_BLOCK = 50
"""Handshakes of one proxy until it is another's turn: few enough that whatever else this machine does meets all alike."""


class Target(Protocol):
    """A proxy. `port` is on 127.0.0.1; `pids` are the processes that a handshake concerns, by name."""

    @property
    def port(self) -> int:
        """Where it is."""
        ...

    @property
    def pids(self) -> Mapping[str, int]:
        """What it consists of."""
        ...


@dataclass(slots=True)
class Touched:
    """Verified handshakes of one proxy.

    `durations` of each, TCP connection included, and `elapsed` for all, in seconds; `cpu` is the CPU time in seconds that all of them
    took, by process, the client's among them.
    """

    durations: list[float] = field(default_factory=list)
    elapsed: float = 0.0
    cpu: dict[str, float] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Handshakes a second."""
        return len(self.durations) / self.elapsed

    def cpu_each(self, process: str) -> float:
        """Returns the CPU seconds of a process for one handshake."""
        return self.cpu[process] / len(self.durations)


async def touch(
    clients: Clients, targets: Mapping[str, Target], names: Mapping[str, Sequence[str]], at_a_time: int = 1
) -> dict[str, Touched]:
    """Touches the names of each target in order, `at_a_time` connections at once, the targets in turns.

    Raises:
        AssertionError: a handshake failed.
    """
    found = {label: Touched() for label in targets}
    block = _BLOCK * at_a_time
    for number, start in enumerate(range(0, max(map(len, names.values())), block)):
        # Taking turns at being first: whatever one leaves behind in a cache helps the other as often.
        for label in list(targets)[:: 1 if number % 2 else -1]:
            some = names[label][start : start + block]
            with _cpu_measured(targets[label].pids, found[label].cpu):
                done = await clients.touch(targets[label].port, some, at_a_time)
            if done.failed:
                raise AssertionError(f"{done.failed} of {len(some)} handshakes failed ({label})")
            found[label].durations += done.seconds
            found[label].elapsed += done.elapsed
            found[label].cpu["client"] = found[label].cpu.get("client", 0.0) + done.client_cpu
    return found


@contextmanager
def _cpu_measured(pids: Mapping[str, int], total: dict[str, float]) -> Iterator[None]:
    before = {name: cpu_seconds(pid) for name, pid in pids.items()}
    yield
    for name, pid in pids.items():
        total[name] = total.get(name, 0.0) + cpu_seconds(pid) - before[name]
