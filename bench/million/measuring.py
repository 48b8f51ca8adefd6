"""Everything that is measured on a store with many domains, beside one with few and beside Caddy, in one run."""

import asyncio
import contextlib
import random
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.load.stand import stand
from bench.million import costs, split, startup, store_size
from bench.million.authority import LifelikeCa
from bench.million.dump import Dump, kept_dump
from bench.million.edge import Store, edge
from bench.million.filling import name_of
from bench.million.touches import Target, Touched, touch
from bench.million.valkey import dumped_valkey
from bench.peers.caddy import Caddy
from bench.peers.clients import AT_A_TIME, Clients, clients
from bench.peers.material import Material, RecordingCa, make_material
from bench.processes import resident_bytes
from controlplane.adapters.key_files import load_key_directory

MANY, FEW, CADDY = "many", "few", "Caddy"
FEW_DOMAINS = 3000


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is done. `names`: domains in the large store; `touched`: names in each pass, of which there are `repeats`."""

    names: int
    directory: Path
    repeats: int
    starts: int
    touched: int


@dataclass(slots=True)
class Pass:
    """First touches and the touches after them, by target."""

    cold: dict[str, Touched] = field(default_factory=dict)
    warm: dict[str, Touched] = field(default_factory=dict)


@dataclass(slots=True)
class Found:
    """All results of a run. `one` and `several` are passes with one connection at a time and with several, one for each repeat."""

    plan: Plan
    dump: Dump
    made_now: bool
    starts: dict[str, startup.Starts]
    size: store_size.StoreSize
    costs: dict[str, float]
    one: list[Pass] = field(default_factory=list)
    several: list[Pass] = field(default_factory=list)
    shares: list[split.Shares] = field(default_factory=list)
    resident: dict[str, list[int]] = field(default_factory=dict)
    few: int = FEW_DOMAINS


class _RememberingCa(RecordingCa, LifelikeCa):
    """Makes for Caddy what the stores have: certificates of the same size."""


@dataclass(frozen=True, slots=True)
class _CaddyTarget:
    port: int
    pids: Mapping[str, int]


async def measure(plan: Plan) -> Found:
    """Makes the dumps that are missing, and measures."""
    many, made_now = await kept_dump(plan.directory, plan.names)
    few, _ = await kept_dump(plan.directory, FEW_DOMAINS)
    async with contextlib.AsyncExitStack() as stack:
        stores = {
            label: Store(dump, await stack.enter_async_context(dumped_valkey(dump.directory))) for label, dump in ((MANY, many), (FEW, few))
        }
        caddys = await stack.enter_async_context(stand(_RememberingCa()))
        material = await make_material(caddys, [name_of(index) for index in range(FEW_DOMAINS)])
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="certplane-million-")))
        roots = directory / "roots.pem"
        roots.write_bytes(many.roots.read_bytes() + few.roots.read_bytes() + material.roots.read_bytes())
        shaking = await stack.enter_async_context(clients(roots))
        starting = {label: _some_names(store.dump.domains, plan.starts) for label, store in stores.items()}
        starts = await startup.measure(shaking, stores, starting, plan.starts)
        size = await asyncio.to_thread(store_size.measure, stores[MANY])
        found = Found(plan, many, made_now, starts, size, costs.measure(load_key_directory(many.worker_keys)))
        for number in range(plan.repeats):
            await _passes(found, shaking, stores, material, directory / f"caddy-{number}")
            found.shares.append(await split.measure(shaking, stores[MANY], _some_names(many.domains, plan.touched), directory))
    return found


async def _passes(found: Found, shaking: Clients, stores: Mapping[str, Store], material: Material, directory: Path) -> None:
    """Touches names with everything freshly started: those of one connection at a time first, then others, several at a time."""
    count = found.plan.touched
    async with _running(stores, material, directory) as targets:
        sizes = {label: stores[label].dump.domains if label in stores else FEW_DOMAINS for label in targets}
        names = {label: _some_names(size, 2 * count + 1) for label, size in sizes.items()}
        for label, target in targets.items():
            # Until all of them answer: what is done once, at the first handshake, is not what a touch costs.
            await shaking.until_served(target.port, names[label].pop())
        for passes, some, at_a_time in (
            (found.one, {label: of[:count] for label, of in names.items()}, 1),
            (found.several, {label: of[count:] for label, of in names.items()}, AT_A_TIME),
        ):
            cold = await touch(shaking, targets, some, at_a_time)
            passes.append(Pass(cold, await touch(shaking, targets, some, at_a_time)))
        for label, target in targets.items():
            for process, pid in target.pids.items():
                found.resident.setdefault(f"{label} {process}", []).append(resident_bytes(pid))


@contextlib.asynccontextmanager
async def _running(stores: Mapping[str, Store], material: Material, directory: Path) -> AsyncIterator[dict[str, Target]]:
    async with contextlib.AsyncExitStack() as stack:
        targets: dict[str, Target] = {label: await stack.enter_async_context(edge(store)) for label, store in stores.items()}
        directory.mkdir()
        caddy = await stack.enter_async_context(Caddy(lazy=True).running(material, directory))
        targets[CADDY] = _CaddyTarget(caddy.port, {"Caddy": caddy.proxy.pid})
        yield targets


def _some_names(domains: int, count: int) -> list[str]:
    return [name_of(index) for index in random.sample(range(domains), min(count, domains))]
