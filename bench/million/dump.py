"""Dumps of filled stores, kept between runs: a directory for each number of domains, outside the repository.

A dump is the store's RDB file, the key directories of both roles, and the CA's root. The CA's keys are not kept: a dump is never added to.
It is made anew when it is missing, when its certificates are close to their end, or when the layout of the store has changed since.
"""

import asyncio
import json
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.million.authority import LifelikeCa
from bench.million.commands import layout_fingerprint
from bench.million.filling import Filled, fill_fast
from bench.million.valkey import dumped_valkey
from controlplane.adapters.key_generation import KeyKind, generate_role_directories
from controlplane.core.sealing import Scheme

_LEAST_LEFT = timedelta(days=10)
_MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Dump:
    """A kept store. `filled` tells how it was made, by the run that made it."""

    directory: Path
    domains: int
    filled: Filled

    @property
    def serve_keys(self) -> Path:
        """The key directory of `serve`."""
        return self.directory / "serve-keys"

    @property
    def worker_keys(self) -> Path:
        """The key directory of `worker`."""
        return self.directory / "worker-keys"

    @property
    def roots(self) -> Path:
        """A PEM file of what clients trust."""
        return self.directory / "roots.pem"

    @property
    def file_bytes(self) -> int:
        """The size of the RDB file."""
        return (self.directory / "dump.rdb").stat().st_size


def default_directory() -> Path:
    """Returns where dumps are kept if nobody says otherwise (XDG Base Directory Specification)."""
    cache = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(cache) if cache.startswith("/") else Path.home() / ".cache") / "certplane-bench"


async def kept_dump(directory: Path, domains: int) -> tuple[Dump, bool]:
    """Returns a dump with so many domains, and whether it was made now."""
    place = directory / str(domains)
    found = _read(place, domains)
    if found is not None:
        return found, False
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    making = Path(tempfile.mkdtemp(prefix=f".{domains}-", dir=directory))
    try:
        await _make(making, domains)
        # Only a whole dump gets the name that a later run looks for.
        shutil.rmtree(place, ignore_errors=True)
        making.rename(place)
    except BaseException:
        shutil.rmtree(making, ignore_errors=True)
        raise
    made = _read(place, domains)
    if made is None:
        raise AssertionError(f"the dump in {place} was just made and cannot be used")
    return made, True


async def _make(directory: Path, domains: int) -> None:
    now = datetime.now(UTC)
    authority = LifelikeCa()
    dump = Dump(directory, domains, Filled(0, 0, 0, 0))
    generate_role_directories(dump.serve_keys, dump.worker_keys, KeyKind(Scheme.HPKE_X25519), now)
    dump.roots.write_bytes(authority.root_pem)
    async with dumped_valkey(directory) as valkey:
        filled = await asyncio.to_thread(fill_fast, valkey.socket_path, dump.worker_keys, authority, domains)
        await asyncio.to_thread(valkey.save)
    manifest = {"layout": layout_fingerprint(), "expire_time": authority.expire_time.isoformat(), "filled": asdict(filled)}
    (directory / _MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def _read(directory: Path, domains: int) -> Dump | None:
    """Returns the dump in a directory, or None when there is none that can be used."""
    try:
        manifest = json.loads((directory / _MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    if manifest["layout"] != layout_fingerprint() or datetime.fromisoformat(manifest["expire_time"]) < datetime.now(UTC) + _LEAST_LEFT:
        return None
    return Dump(directory, domains, Filled(**manifest["filled"]))
