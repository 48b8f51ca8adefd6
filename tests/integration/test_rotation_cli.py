"""A rotation as an operator does it: the commands, on a real Valkey, with processes that report their keys."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from controlplane.adapters.key_files import load_key_directory
from controlplane.adapters.key_generation import KeyKind
from controlplane.adapters.live_keys import LiveKeys
from controlplane.adapters.redis_client import connect
from controlplane.adapters.redis_envelopes import RedisReplicaReports
from controlplane.app.key_watch import watch_keys
from controlplane.core.keyring import Role
from controlplane.core.sealing import KeyPhase, Scheme
from tests.integration.test_reseal import World


@dataclass
class Operator:
    """Runs commands, and processes that hold the keys of both roles."""

    world: World
    url: str
    serve: LiveKeys
    worker: LiveKeys

    async def run(self, *arguments: str) -> tuple[int, str]:
        """Runs `certplane keys`; returns exit status and all output."""
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "controlplane.cli.main", "keys", *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    async def report(self) -> None:
        """Has both processes look at their directories and report."""
        reports = RedisReplicaReports(self.world.client, self.serve)
        for name, keys in (("serve-1", self.serve), ("worker-1", self.worker)):
            keys.refresh()
            await reports.report(keys.report(name, datetime.now(UTC)))

    @property
    def both(self) -> list[str]:
        """The options that name both directories and the store."""
        return [f"--serve-dir={self.world.serve_dir}", f"--worker-dir={self.world.worker_dir}", f"--redis-url={self.url}"]

    async def add_key(self) -> str:
        """Adds a PREPARED leaf key."""
        before = {key.key_id for key in self.world.serve().inventory.private}
        status, text = await self.run("generate", "--add", "leaf", *self.both[:2])
        assert 0 == status, text
        (new,) = {key.key_id for key in self.world.serve().inventory.private} - before
        return new


@pytest.fixture
async def operator(valkey_url: str, tmp_path: Path) -> AsyncIterator[Operator]:
    """An installation made by `keys generate`."""
    serve, worker = tmp_path / "serve", tmp_path / "worker"
    subprocess.run(
        [sys.executable, "-m", "controlplane.cli.main", "keys", "generate", f"--serve-dir={serve}", f"--worker-dir={worker}"],
        check=True,
        capture_output=True,
    )
    client = connect(valkey_url)
    yield Operator(World(client, serve, worker), valkey_url, LiveKeys(serve, Role.SERVE), LiveKeys(worker, Role.WORKER))
    await client.aclose()


async def test_a_full_rotation(operator: Operator) -> None:
    """generate, activate, reseal, retire: everything opens at every step, nothing is left, and the old key's files are gone."""
    names = [f"shop{number}.example.com" for number in range(5)]
    for name in names:
        await operator.world.add(name)
    (old,) = [key.key_id for key in operator.serve._loaded.inventory.private]
    new = await operator.add_key()
    await operator.report()
    status, text = await operator.run("activate", new, *operator.both)
    assert (0, True) == (status, f"{new} is ACTIVE" in text), text
    await operator.report()
    await operator.world.add("late.example.com")
    assert all([await operator.world.opened(name) for name in [*names, "late.example.com"]])
    status, text = await operator.run("retire", old, *operator.both)
    assert (1, True) == (status, "5 stored records still refer" in text), text
    status, text = await operator.run("reseal", "--rate=10000", operator.both[0], operator.both[2])
    assert (0, True, True) == (status, "sealed anew: 5;" in text, "left: 0" in text), text
    status, text = await operator.run("retire", old, "--delete", *operator.both)
    assert 0 == status, text
    assert [] == [path for directory in (operator.world.serve_dir, operator.world.worker_dir) for path in directory.glob(f"*{old}*")]
    assert all([await operator.world.opened(name) for name in [*names, "late.example.com"]])


async def test_a_replica_without_the_key_stops_the_activation(operator: Operator) -> None:
    """While one live `serve` does not have the new key, `activate` names it and changes no file."""
    new = await operator.add_key()
    reports = RedisReplicaReports(operator.world.client, operator.serve)
    await reports.report(operator.serve.report("serve-without", datetime.now(UTC)))
    status, text = await operator.run("activate", new, *operator.both)
    assert (1, True) == (status, f"the key {new} is not known to serve-without" in text), text
    phases = {key.key_id: key.phase for key in load_key_directory(operator.world.worker_dir).inventory.public}
    assert KeyPhase.PREPARED is phases[new]


async def test_a_running_process_takes_up_new_keys(operator: Operator) -> None:
    """A process that holds keys opens with a key that was added after its start, and writes with it once it is ACTIVE."""
    new = await operator.add_key()
    assert (True, False) == (operator.serve.refresh(), operator.serve.refresh())
    assert new in operator.serve.report("x", datetime.now(UTC)).opens
    await operator.run("activate", new, "--without-replicas", *operator.both)
    operator.worker.refresh()
    assert new in operator.worker.report("x", datetime.now(UTC)).writes


async def test_a_process_that_ends_is_not_waited_for(operator: Operator) -> None:
    """The report of a process that is stopped in order goes with it, so a rotation asks those who are left."""
    reports = RedisReplicaReports(operator.world.client, operator.serve)
    watching = asyncio.create_task(watch_keys(operator.serve, reports, "serve-1", lambda: datetime.now(UTC)))
    async with asyncio.timeout(10):
        while not await reports.live():
            await asyncio.sleep(0.01)
    assert ["serve-1"] == [report.replica for report in await reports.live()]
    watching.cancel()
    await asyncio.wait([watching])
    assert [] == list(await reports.live())


async def test_an_unsound_directory_changes_nothing(operator: Operator) -> None:
    """A file that is no key file leaves the keys before in use; once it is gone, all is well again."""
    stray = operator.world.serve_dir / "notes.txt"
    stray.write_text("remember the milk")
    before = operator.serve.report("x", datetime.fromtimestamp(0, UTC))
    assert not operator.serve.refresh()
    assert before == operator.serve.report("x", datetime.fromtimestamp(0, UTC))
    stray.unlink()
    assert not operator.serve.refresh()


async def test_a_forged_report_counts_for_nothing(operator: Operator) -> None:
    """A report that somebody without a record key put into the store is no consent."""
    new = await operator.add_key()
    await operator.world.client.set("cp:key-report:forged", b"\x0a\x06forged\x12\x05serve")
    status, text = await operator.run("activate", new, *operator.both)
    assert (1, True) == (status, "no live `serve` reports" in text), text


async def test_reseal_wants_the_private_key(operator: Operator) -> None:
    """The worker's directory cannot reseal leaf keys, and the text says whose can."""
    status, text = await operator.run("reseal", operator.both[1], operator.both[2])
    assert (1, True) == (status, "give the key directory of `serve`" in text), text


async def test_reseal_does_not_go_back_to_the_scheme_of_older_systems(operator: Operator) -> None:
    """With an ACTIVE key for RSA nothing is sealed anew until the operator says that this is meant."""
    await operator.world.add("shop.example.com")
    operator.world.rotate(KeyKind(Scheme.RSA_OAEP_AES256GCM, 2048))
    status, text = await operator.run("reseal", operator.both[0], operator.both[2])
    assert (1, True) == (status, "or say --seal-with-legacy-scheme" in text), text
    status, text = await operator.run("reseal", "--seal-with-legacy-scheme", operator.both[0], operator.both[2])
    assert (0, True) == (status, "sealed anew: 1;" in text), text
