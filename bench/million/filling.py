"""Fills an empty store with all cores: each process makes the domains of some shards and writes them.

Sealing and signing are the work; the store itself is busy for a small part of the time. A process has whole shards, so that their counters
are its own. Processes are spawned: nothing of the parent is copied into them.
"""

import multiprocessing
import os
import time
from array import array
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from itertools import islice
from pathlib import Path

from bench.million.authority import LeafTemplate, LifelikeCa
from bench.million.commands import ShardWriter, write_intermediates
from bench.million.maker import Maker
from bench.million.valkey import blocking_client
from controlplane.adapters import redis_keys as keys
from controlplane.adapters.key_files import load_key_directory

_SHARDS_AT_A_TIME = 8
_DOMAINS_AT_A_TIME = 256


MOST_DOMAINS = 10_000_000


def name_of(index: int) -> str:
    """Returns the name of a domain by its number, less than `MOST_DOMAINS`; all are equally long."""
    return f"shop{index:07d}.bench.example.net"


@dataclass(frozen=True, slots=True)
class Filled:
    """How it went: `seconds` by the clock, `cpu_seconds` of all processes that made domains, with how many `processes`."""

    domains: int
    seconds: float
    cpu_seconds: float
    processes: int


@dataclass(frozen=True, slots=True)
class _Part:
    """Some shards of a store with `domains` domains."""

    socket_path: Path
    worker_keys: Path
    template: LeafTemplate
    domains: int
    shards: tuple[int, ...]


def fill_fast(socket_path: Path, worker_keys: Path, authority: LifelikeCa, domains: int) -> Filled:
    """Fills the store at a Unix socket with `domains` domains; no worker may run."""
    begun = time.monotonic()
    template = authority.leaf_template(name_of(0))
    with blocking_client(socket_path) as client:
        write_intermediates(client, [template.intermediate])
    groups = [tuple(range(first, first + _SHARDS_AT_A_TIME)) for first in range(0, keys.SHARDS, _SHARDS_AT_A_TIME)]
    parts = [_Part(socket_path, worker_keys, template, domains, group) for group in groups]
    processes = os.cpu_count() or 1
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        cpu_seconds = sum(done.result() for done in as_completed([pool.submit(_fill_part, part) for part in parts]))
    return Filled(domains, time.monotonic() - begun, cpu_seconds, processes)


def _fill_part(part: _Part) -> float:
    """Fills some shards; returns the CPU seconds that it took."""
    begun = time.process_time()
    loaded = load_key_directory(part.worker_keys)
    maker, authenticator = Maker(part.template, loaded.sealer()), loaded.authenticator()
    with blocking_client(part.socket_path) as client:
        for shard in part.shards:
            writer = ShardWriter(authenticator, shard)
            made = maker.make(name_of(index) for index in _indexes_by_shard(part.domains)[shard])
            while some := list(islice(made, _DOMAINS_AT_A_TIME)):
                writer.write(client, some, datetime.now(UTC))
    return time.process_time() - begun


@cache
def _indexes_by_shard(domains: int) -> Sequence[Sequence[int]]:
    """Returns the numbers of the domains of each shard; made once a process."""
    found = [array("I") for _ in range(keys.SHARDS)]
    for index in range(domains):
        found[keys.shard_of(name_of(index))].append(index)
    return found
