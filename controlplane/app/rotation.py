"""What the commands that rotate keys are made of."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from redis.asyncio import Redis

from controlplane.adapters.key_files import LoadedKeys, load_key_directory
from controlplane.adapters.key_phases import apply_phases
from controlplane.adapters.live_keys import check_sealing_scheme
from controlplane.adapters.redis_client import connect
from controlplane.adapters.redis_envelopes import RedisEnvelopeStore, RedisReplicaReports
from controlplane.adapters.redis_work_under_way import RedisWorkUnderWay
from controlplane.core.errors import ConfigurationError
from controlplane.core.exposure import check_redis_url
from controlplane.core.key_protection import NOTHING, Unlock
from controlplane.core.keyring import sealing_key
from controlplane.core.rotation import RECORD, PhaseChange, activation_changes, check_retirement, find_key, plan_activation
from controlplane.core.sealing import KeyClass, KeyPhase
from controlplane.usecases.reseal import Census, Reseal, Tally, Target, take_census
from controlplane.usecases.retirement import until_work_is_over

_MOST_RUNS = 5
_BETWEEN_RUNS_SECONDS = 2.0
"""For an issuance that was in the way to come to its end."""


@dataclass(frozen=True, slots=True)
class RotationSettings:
    """Where keys and store are. `directories` are key directories of one or both roles."""

    directories: Sequence[Path]
    redis_url: str = field(repr=False)
    redis_insecure: bool = False
    redis_ca: Path | None = None
    unlock: Unlock = NOTHING


async def activate(settings: RotationSettings, key_id: str, *, without_replicas: bool) -> Sequence[Path]:
    """Makes a key ACTIVE in all directories given, and the one before it RETIRING; returns the files changed.

    Raises:
        FailedPrecondition: a live replica could not open or believe what would be written; see `plan_activation`.
        ConfigurationError: a directory cannot be read or written.
    """
    loaded = _load(settings)
    inventories = [keys.inventory for keys in loaded]
    if without_replicas:
        changes = activation_changes(inventories, key_id)
    else:
        async with _store(settings) as client:
            replicas = await RedisReplicaReports(client, loaded[0].authenticator()).live()
        changes = plan_activation(inventories, key_id, replicas)
    return [path for keys in loaded for path in apply_phases(keys, changes)]


async def retire(settings: RotationSettings, key_id: str, *, delete: bool) -> Sequence[Path]:
    """Makes a key RETIRED in all directories given, or deletes its files; returns them.

    Raises:
        FailedPrecondition: something stored refers to the key, or somebody writes with it.
        ConfigurationError: a directory cannot be read or written.
    """
    loaded = _load(settings)
    inventories = [keys.inventory for keys in loaded]
    kind, _ = find_key(inventories, key_id)
    async with _store(settings) as client:
        authenticator = loaded[0].authenticator()
        reports, under_way = RedisReplicaReports(client, authenticator), RedisWorkUnderWay(client, authenticator)
        # In this order: nobody writes with the key from here on; then what was begun before is stored; then all that is stored is read.
        check_retirement(inventories, key_id, 0, await reports.live())
        if kind == KeyClass.LEAF:
            await until_work_is_over(under_way)
        census = await take_census(RedisEnvelopeStore(client, authenticator))
        references = census.references(key_id) + ((await under_way.tokens()).get(key_id, 0) if kind == RECORD else 0)
        check_retirement(inventories, key_id, references, await reports.live(), unreadable=census.unreadable)
    changed = [path for keys in loaded for path in apply_phases(keys, [PhaseChange(key_id, KeyPhase.RETIRED)])]
    if not delete:
        return changed
    files = [path for keys in loaded for path, file in keys.files if file.about.key_id == key_id]
    for path in files:
        path.unlink()
    return files


async def reseal(
    settings: RotationSettings,
    key_class: KeyClass,
    per_second: float,
    progress: Callable[[Tally], None],
    *,
    seal_with_legacy: bool = False,
) -> tuple[Tally, Census, Target]:
    """Seals everything of a class anew to its ACTIVE key; returns what was done, and what everything refers to now.

    What a worker was at meanwhile is looked at again, a few times. `seal_with_legacy`: whether that key may be for a scheme that only
    older systems used.

    Raises:
        ConfigurationError: the directory has no ACTIVE key of the class, or not its private half, or it is for such a scheme.
        Unavailable: the store does not answer.
    """
    (keys,) = _load(settings)
    if key_class not in keys.private_classes():
        owner = "serve" if key_class is KeyClass.LEAF else "worker"
        raise ConfigurationError(f"{keys.directory} has no private `{key_class}` key to open with: give the key directory of `{owner}`")
    target = Target.of(keys.inventory, key_class)
    if not seal_with_legacy:
        check_sealing_scheme(sealing_key(keys.inventory, key_class), str(keys.directory))
    async with _store(settings) as client:
        store = RedisEnvelopeStore(client, keys.authenticator())
        job = Reseal(store, keys.opener(), keys.sealer(), target, per_second=per_second)
        resealed = 0
        for run in range(1, _MOST_RUNS + 1):
            tally = await job.run(progress)
            resealed += tally.resealed
            census = await take_census(store, key_class)
            if census.left(target) <= tally.failures or run == _MOST_RUNS:
                break
            await asyncio.sleep(_BETWEEN_RUNS_SECONDS)
        return replace(tally, resealed=resealed), census, target


async def count_domains(settings: RotationSettings) -> int:
    """Returns how many domains there are, for a progress bar."""
    async with _store(settings) as client:
        return await RedisEnvelopeStore(client, _load(settings)[0].authenticator()).count()


def _load(settings: RotationSettings) -> list[LoadedKeys]:
    if not settings.directories:
        raise ConfigurationError("name a key directory: --serve-dir, --worker-dir or both")
    return [load_key_directory(directory, settings.unlock) for directory in settings.directories]


@asynccontextmanager
async def _store(settings: RotationSettings) -> AsyncIterator[Redis]:
    check_redis_url(settings.redis_url, settings.redis_insecure)
    client = connect(settings.redis_url, ca_file=str(settings.redis_ca) if settings.redis_ca else None)
    try:
        yield client
    finally:
        await client.aclose()
