"""How long a start takes, what it reads from the store, and how much memory `serve` has before anybody asks."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bench.load.process_time import cpu_seconds
from bench.million.edge import Store, edge, serving
from bench.peers.clients import Clients
from bench.processes import resident_bytes

_IDLE_SECONDS = 0.5
_IDLE_CPU = 0.02
_MOST_WAITS = 40


@dataclass(slots=True)
class Starts:
    """One value a start. Durations in seconds, memory in bytes.

    `ready`: `serve` until it says so, `ready_cpu` its CPU time by then, of all threads. `resident`: its memory when it has come to rest.
    `commands` and `received_bytes`: what it had asked the store for by then, and what it had been sent. `served`: `serve`, then Envoy,
    until the first verified handshake.
    """

    ready: list[float] = field(default_factory=list)
    ready_cpu: list[float] = field(default_factory=list)
    resident: list[int] = field(default_factory=list)
    commands: list[int] = field(default_factory=list)
    received_bytes: list[int] = field(default_factory=list)
    served: list[float] = field(default_factory=list)


async def measure(clients: Clients, stores: Mapping[str, Store], names: Mapping[str, Sequence[str]], rounds: int) -> dict[str, Starts]:
    """Starts everything on each store in turn; `names` has a name for each round, which nobody has asked for."""
    found = {label: Starts() for label in stores}
    for number in range(rounds):
        # Taking turns at being first.
        for label in list(stores)[:: 1 if number % 2 else -1]:
            await _start_serve(stores[label], found[label])
        for label in list(stores)[:: 1 if number % 2 else -1]:
            await _start_both(clients, stores[label], names[label][number], found[label])
    return found


async def _start_serve(store: Store, found: Starts) -> None:
    with store.valkey.client() as client:
        before = client.info("stats")
        async with serving(store) as served:
            found.ready.append(served.ready_seconds)
            found.ready_cpu.append(cpu_seconds(served.process.pid))
            await _at_rest(served.process.pid)
            found.resident.append(resident_bytes(served.process.pid))
            after = client.info("stats")
    found.commands.append(after["total_commands_processed"] - before["total_commands_processed"])
    found.received_bytes.append(after["total_net_output_bytes"] - before["total_net_output_bytes"])


async def _start_both(clients: Clients, store: Store, name: str, found: Starts) -> None:
    async with edge(store) as running:
        found.served.append(await clients.until_served(running.port, name) - running.serving.begun)


async def _at_rest(pid: int) -> None:
    """Waits until a process takes next to no CPU time any more: what it does after it said `ready` belongs to its start."""
    used = cpu_seconds(pid)
    for _ in range(_MOST_WAITS):
        await asyncio.sleep(_IDLE_SECONDS)
        used, before = cpu_seconds(pid), used
        if used - before < _IDLE_CPU:
            return
    raise AssertionError("`serve` does not come to rest")
