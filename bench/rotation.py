"""The leaf key rotated under traffic: generate, activate, reseal and retire by the commands, while clients shake hands without a pause.

`python -m bench.rotation --domains 2000` prints a table. `serve`, `worker`, Envoy, Valkey and Pebble are processes of their own.

Every secret that `serve` sends in the meantime is accounted for: one for each name that Envoy is asked for the first time, and one for a
renewal in the midst of it. What is sent beyond that was pushed by the rotation.
"""

import argparse
import asyncio
import contextlib
import logging
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

import structlog

from bench.fill_store import fill
from bench.handshakes import handshake, trusting
from bench.machine import machine
from bench.private_ca import PrivateCa
from bench.tables import table
from controlplane.adapters.key_files import load_key_directory
from controlplane.api.certplane.v1 import domain_service_pb2
from controlplane.core.sealing import KeyClass, KeyPhase
from tests.e2e.installation import Installation, installation
from tests.e2e.key_commands import KeyCommands, Resealed

NEW = "opened-meanwhile.example.com"
"""A domain that is created, and issued by a worker, while everything is sealed anew."""

_LATE_SHARE = 4
"""One name of so many is touched for the first time while everything is sealed anew."""

_LEAST_RESEAL_SECONDS = 3.0
"""A few domains are sealed anew in no time: slowed down to this, so that something can happen meanwhile."""

_VISITORS = 2


@dataclass(slots=True)
class Found:
    """What a rotation was like. `pushed` counts secrets that were sent and that nobody had asked for; all of them must be opened after."""

    domains: int
    handshakes: int = 0
    failures: list[str] = field(default_factory=list)
    pushed: int = 0
    resealed: int = 0
    reseal_seconds: float = 0.0
    left: int = 0
    cycle_seconds: float = 0.0
    old_files: list[str] = field(default_factory=list)
    opened_after: int = 0

    def markdown(self) -> str:
        """Returns a table with one row."""
        head = ("domains", "handshakes", "failed", "pushes", "sealed anew", "seconds", "a second", "left", "whole cycle", "opened after")
        row = (
            *(f"{number:,}" for number in (self.domains, self.handshakes, len(self.failures), self.pushed, self.resealed)),
            *(f"{self.reseal_seconds:.1f}", f"{self.resealed / self.reseal_seconds:,.0f}", f"{self.left:,}"),
            *(f"{self.cycle_seconds:.0f} s", f"{self.opened_after:,}"),
        )
        return table("Rotation of the leaf key under traffic", head, [row])


class Visitors:
    """Threads that shake hands with Envoy for one name after the other, each verified, until they are stopped."""

    def __init__(self, made: Installation, names: Sequence[str], found: Found) -> None:
        self._context, self._port, self._names, self._found = trusting(made.roots), made.https_port, names, found
        self._stop = threading.Event()
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def going(self) -> Iterator[None]:
        """They go on meanwhile."""
        threads = [threading.Thread(target=self._visit, args=(number,)) for number in range(_VISITORS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    def touch(self, names: Sequence[str], seconds: float = 0.0) -> int:
        """Shakes hands for each name once, spread over so many seconds; returns how often that went well."""
        well = 0
        for name in names:
            well += self._shake(name)
            time.sleep(seconds / len(names))
        return well

    def _visit(self, number: int) -> None:
        for name in cycle(self._names[number::_VISITORS]):
            if self._stop.is_set():
                return
            self._shake(name)

    def _shake(self, name: str) -> bool:
        try:
            handshake(self._context, self._port, name)
        except OSError as error:
            with self._lock:
                self._found.handshakes += 1
                self._found.failures.append(f"{name}: {error!r}")
            return False
        with self._lock:
            self._found.handshakes += 1
        return True


async def rotate(directory: Path, domains: int, rate: float) -> Found:
    """Rotates the leaf key of a new installation with so many domains; `rate` is what the reseal is given, in records a second."""
    names, found = [f"shop{index}.example.com" for index in range(domains)], Found(domains)
    early, late = names[domains // _LATE_SHARE :], names[: domains // _LATE_SHARE]
    async with _filled(directory, names) as made:
        commands, visitors = KeyCommands(made), Visitors(made, early, found)
        await asyncio.to_thread(visitors.touch, early)
        sent = await _sent(made)
        with visitors.going():
            begun = time.monotonic()
            old = _active_leaf_key(made)
            await commands.activate(await commands.generate(KeyClass.LEAF))
            rate = min(rate, domains / _LEAST_RESEAL_SECONDS)
            resealed, _, _ = await asyncio.gather(
                commands.reseal(rate), _issue(made, early[0]), asyncio.to_thread(visitors.touch, late, domains / rate)
            )
            found.resealed, found.reseal_seconds, found.left = await _retire(commands, old, resealed)
            found.cycle_seconds = time.monotonic() - begun
            found.pushed = await _sent(made) - sent - len(late) - 1
        found.old_files = [str(path) for place in (made.serve_keys, made.worker_keys) for path in place.glob(f"*{old}*")]
        await _start_anew(made)
        found.opened_after = await asyncio.to_thread(visitors.touch, [*names, NEW])
    return found


@contextlib.asynccontextmanager
async def _filled(directory: Path, names: Sequence[str]) -> AsyncIterator[Installation]:
    """An installation with these domains in its store; its clients trust both CAs."""
    authority = PrivateCa()
    async with installation(directory, worker=False) as made:
        made.roots.write_bytes(made.roots.read_bytes() + authority.root_pem)
        await fill(made.valkey.url, made.worker_keys, authority, names)
        await made.start_worker()
        try:
            yield made
        finally:
            await made.worker.terminate()


async def _issue(made: Installation, renewed: str) -> None:
    """Has a new domain issued, and one renewed that Envoy holds."""
    before = (await made.get(renewed)).serial_number
    await made.stub.RenewDomain(domain_service_pb2.RenewDomainRequest(name=f"domains/{renewed}"))
    await made.issued(NEW)
    async with asyncio.timeout(60):
        while (await made.get(renewed)).serial_number == before:
            await asyncio.sleep(0.05)


async def _retire(commands: KeyCommands, old: str, resealed: Resealed) -> tuple[int, float, int]:
    """Retires the old key; what a worker sealed to it at the last moment is sealed anew first. Returns what was sealed anew in all."""
    total, seconds = resealed.resealed, resealed.seconds
    while not await commands.retire(old):
        resealed = await commands.reseal(1e6)
        total, seconds = total + resealed.resealed, seconds + resealed.seconds
    return total, seconds, resealed.left


async def _start_anew(made: Installation) -> None:
    """Another `serve`, which has only the keys that are there now, and an Envoy that holds nothing."""
    await made.serve.terminate()
    await made.start_serve()
    await made.envoy.terminate()
    await made.start_edge(made.upstream)


async def _sent(made: Installation) -> int:
    """How many secrets `serve` has sent in its life."""
    samples = await made.metrics(made.serve_metrics)
    return int(sum(value for name, value in samples.items() if name.startswith("certplane_xds_secrets_sent_total")))


def _active_leaf_key(made: Installation) -> str:
    (key,) = [key for key in load_key_directory(made.serve_keys).inventory.private if key.phase is KeyPhase.ACTIVE]
    return key.key_id


def main() -> None:
    """Runs it from the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.rotation", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--domains", type=int, default=2000, help="domains in the store (2,000)")
    parser.add_argument("--rate", type=float, default=500.0, help="records a second that the reseal may write (500)")
    arguments = parser.parse_args()
    # Standard output is for the table.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    print(f"{machine()}\n", flush=True)
    with tempfile.TemporaryDirectory(prefix="certplane-rotation-") as directory:
        found = asyncio.run(rotate(Path(directory), arguments.domains, arguments.rate))
    print(found.markdown())
    for failure in found.failures[:10]:
        print(failure, file=sys.stderr)
    whole = found.opened_after == found.domains + 1 and not found.old_files
    if found.failures or found.pushed or found.left or not whole:
        sys.exit("the rotation was noticed")


if __name__ == "__main__":
    main()
