"""The embedded Valkey: what it keeps, who may reach it, and how it ends."""

import asyncio
import os
import shutil
import signal
import stat
import sys
from pathlib import Path

import pytest
import redis.asyncio

from controlplane.core.errors import ConfigurationError
from controlplane.embedded.child_process import ChildFailed
from controlplane.embedded.valkey import EmbeddedValkey, start_valkey, valkey_binary

DEADLINE = 30.0
# Starts a Valkey, writes a key, says so, and waits to be killed.
WRITER = """
import asyncio, pathlib, sys
import redis.asyncio
from controlplane.embedded.valkey import start_valkey

async def main():
    valkey = await start_valkey(pathlib.Path(sys.argv[1]))
    async with redis.asyncio.from_url(valkey.url) as client:
        await client.set("key", "value")
    print(valkey.process.pid, file=sys.stderr, flush=True)
    await asyncio.sleep(3600)

asyncio.run(main())
"""


async def read_and_write(valkey: EmbeddedValkey, value: str) -> str | None:
    """Returns the old value of a key and sets a new one."""
    async with redis.asyncio.from_url(valkey.url, decode_responses=True) as client:
        return await client.set("key", value, get=True)


def servers() -> list[Path]:
    found = {valkey_binary(), *(Path(path).absolute() for name in ("valkey-server", "redis-server") if (path := shutil.which(name)))}
    return sorted(found)


@pytest.mark.parametrize("binary", servers(), ids=lambda path: path.name)
async def test_data_survive_an_orderly_restart(tmp_path: Path, binary: Path) -> None:
    """What was written is there after SIGTERM and a new start, for every server that may be found on a machine."""
    first = await start_valkey(tmp_path, binary=binary)
    before = await read_and_write(first, "1")
    await first.stop()
    second = await start_valkey(tmp_path, binary=binary)
    after = await read_and_write(second, "2")
    await second.stop()

    assert before is None
    assert after == "1"
    assert [first.process.returncode, second.process.returncode] == [0, 0]


def alive(pid: int) -> bool:
    """Returns whether the process runs; one that only waits to be collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_data_survive_the_death_of_every_process(tmp_path: Path) -> None:
    """What was answered is there after SIGKILL of parent and server, and the server does not outlive its parent."""
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", WRITER, tmp_path, stderr=asyncio.subprocess.PIPE)
    assert parent.stderr is not None
    async with asyncio.timeout(DEADLINE):
        server = int(await parent.stderr.readline())
        was_alive = alive(server)
        parent.kill()
        await parent.wait()
        while alive(server):
            await asyncio.sleep(0.01)
    valkey = await start_valkey(tmp_path)
    found = await read_and_write(valkey, "2")
    await valkey.stop()

    assert was_alive
    assert found == "value"


async def test_server_killed_alone_keeps_its_data(tmp_path: Path) -> None:
    """The caller sees that the server ended; after a new start the data are there."""
    valkey = await start_valkey(tmp_path)
    await read_and_write(valkey, "1")
    os.kill(valkey.process.pid, signal.SIGKILL)
    async with asyncio.timeout(DEADLINE):
        status = await valkey.process.wait()
    await valkey.stop()
    again = await start_valkey(tmp_path)
    found = await read_and_write(again, "2")
    await again.stop()

    assert status == -signal.SIGKILL
    assert found == "1"


async def test_nobody_else_can_reach_it(tmp_path: Path) -> None:
    """The folder and the socket are for the owner only, and there is no TCP port."""
    (tmp_path / "valkey").mkdir(mode=0o755)
    valkey = await start_valkey(tmp_path)
    try:
        modes = [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "valkey", valkey.socket_path)]
        async with redis.asyncio.from_url(valkey.url, decode_responses=True) as client:
            settings = await client.config_get("port", "appendonly", "appendfsync", "save", "maxmemory-policy")
    finally:
        await valkey.stop()

    assert modes == [0o700, 0o700]
    assert settings == {"port": "0", "appendonly": "yes", "appendfsync": "everysec", "save": "", "maxmemory-policy": "noeviction"}


async def test_second_server_on_the_same_state_is_refused(tmp_path: Path) -> None:
    """Two servers would spoil each other's file: the second is refused while the first runs, and only then."""
    first = await start_valkey(tmp_path)
    with pytest.raises(ConfigurationError, match="another process"):
        await start_valkey(tmp_path)
    await first.stop()
    second = await start_valkey(tmp_path)
    await second.stop()

    assert second.process.returncode == 0


async def test_long_state_path_gets_a_socket_elsewhere(tmp_path: Path) -> None:
    """A path that does not fit into a socket's address works, quotes included; a restarted server is at the same place."""
    deep = tmp_path / ("it's a long name " * 6) / ('and "one" more ' * 6)
    valkey = await start_valkey(deep)
    await read_and_write(valkey, "1")
    folder = valkey.socket_path.parent
    was_private = stat.S_IMODE(folder.stat().st_mode) == 0o700
    await valkey.stop()
    again = await start_valkey(deep)
    found = await read_and_write(again, "2")
    await again.stop()

    assert found == "1"
    assert was_private
    assert folder == again.socket_path.parent


async def test_failure_to_start_is_explained_and_leaves_no_lock(tmp_path: Path) -> None:
    """A server that ends at once is an error with its log; the state is free again afterwards."""
    impostor = tmp_path / "impostor"
    impostor.write_text("#!/bin/sh\necho out of paper >&2\nexit 3\n")
    impostor.chmod(0o755)
    with pytest.raises(ChildFailed, match="out of paper"):
        await start_valkey(tmp_path, binary=impostor)
    valkey = await start_valkey(tmp_path)
    await valkey.stop()

    assert valkey.process.returncode == 0
