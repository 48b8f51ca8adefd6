"""Of what the control plane's share of a first touch is made: measured inside `serve`, and with a server that only answers."""

import contextlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.load.stand import started
from bench.million.edge import Store, edge, envoy
from bench.million.touches import touch
from bench.peers.clients import Clients

_TIMED_SERVE = ("-m", "bench.million.timed_serve")


@dataclass(frozen=True, slots=True)
class Shares:
    """CPU seconds of one first touch, one connection at a time.

    `whole`: of `serve` under a clock of its own, and of that the `lookup` in the store and the `opening` of the leaf key. `bare`: of a
    server for which every answer is ready.
    """

    whole: float
    lookup: float
    opening: float
    bare: float


@dataclass(frozen=True, slots=True)
class _Bare:
    port: int
    pids: Mapping[str, int]


async def measure(clients: Clients, store: Store, names: Sequence[str], directory: Path) -> Shares:
    """Touches names with `serve` under a clock, and with the bare server; `directory` is for the files of both."""
    path = directory / "split.json"
    async with edge(store, (*_TIMED_SERVE, str(path))) as timed:
        # What is done once, at the first handshake, is not what a touch costs.
        await clients.until_served(timed.port, names[0])
        whole = (await touch(clients, {"": timed}, {"": names[1:]}))[""].cpu_each("serve")
    parts = json.loads(path.read_text())
    seconds = {part: timed["seconds"] / len(names) for part, timed in parts.items()}
    if any(parts[part]["calls"] != len(names) for part in ("lookup", "open")):
        raise AssertionError(f"{len(names)} first touches were {parts['lookup']['calls']} look-ups, {parts['open']['calls']} keys opened")
    async with _bare(store, names, directory) as bare:
        await clients.until_served(bare.port, names[0])
        floor = (await touch(clients, {"": bare}, {"": names[1:]}))[""].cpu_each("bare")
    return Shares(whole, seconds["lookup"] + seconds["receive"], seconds["open"], floor)


@contextlib.asynccontextmanager
async def _bare(store: Store, names: Sequence[str], directory: Path) -> AsyncIterator[_Bare]:
    names_path = directory / "names"
    names_path.write_text("\n".join(names))
    arguments = (store.valkey.url, str(store.dump.serve_keys), str(names_path))
    process, address = await started("bench.million.bare_ads", arguments, directory / "bare.log")
    async with process, envoy(address) as (_, port):
        yield _Bare(port, {"bare": process.pid})
