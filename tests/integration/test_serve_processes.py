"""`certplane serve --processes N`: one port, several processes, one face."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import grpc
import pytest
from envoy.service.discovery.v3 import discovery_pb2
from envoy.service.secret.v3 import sds_pb2_grpc

from controlplane.embedded.free_ports import free_ports
from controlplane.embedded.valkey import start_valkey
from controlplane.xds.type_urls import SECRET
from tests.e2e.command import Command, running
from tests.fakes.serving import DEADLINE, SecretWatch, Site, connection, metrics, page, ready

NAME = "shop.example.com"
CONNECTIONS = 24
"""The kernel deals connections out by a hash: that one of two processes gets none of so many happens once in eight million times."""
FETCHES = 'certplane_grpc_requests_total{code="OK",method="/envoy.service.secret.v3.SecretDiscoveryService/FetchSecrets"}'
STREAMS = 'certplane_grpc_open_streams{method="/envoy.service.secret.v3.SecretDiscoveryService/DeltaSecrets"}'


@pytest.fixture
def site(tmp_path: Path, valkey_url: str) -> Site:
    """Keys and a store."""
    return Site(tmp_path, valkey_url)


@contextlib.asynccontextmanager
async def watches(address: str) -> AsyncIterator[Sequence[SecretWatch]]:
    """Streams for the name, each on a connection of its own."""
    async with contextlib.AsyncExitStack() as stack:
        channels = [await stack.enter_async_context(connection(address)) for _ in range(CONNECTIONS)]
        yield [SecretWatch(channel, NAME) for channel in channels]


async def next_versions(streams: Sequence[SecretWatch]) -> set[str]:
    """What all of them are told next."""
    return set(await asyncio.gather(*(stream.next_version() for stream in streams)))


async def fetch(address: str) -> int:
    """Fetches the secret on a new connection; returns how many resources came."""
    async with connection(address) as channel:
        request = discovery_pb2.DiscoveryRequest(type_url=SECRET, resource_names=[NAME])
        return len((await sds_pb2_grpc.SecretDiscoveryServiceStub(channel).FetchSecrets(request, timeout=DEADLINE)).resources)


def serving(command: Command) -> dict[str, int]:
    """Process ids of the serving processes, by their number."""
    return {line.rpartition("--process=")[2].strip(): pid for pid, line in command.family().items() if "--process=" in line}


async def wait_for(address: str, name: str, value: float) -> None:
    """Waits until a metric has a value."""
    async with asyncio.timeout(DEADLINE):
        while (await metrics(address)).get(name) != value:
            await asyncio.sleep(0.05)


async def test_both_serve_and_one_that_is_killed_comes_back(site: Site) -> None:
    """Streams live on both; a change reaches all; with one killed the other serves on, and the one comes back; SIGTERM ends all with 0."""
    await site.put(NAME)
    async with await site.start("--processes=2") as command:
        addresses = await ready(command)
        before = serving(command)
        assert ["1", "2"] == sorted(before)
        async with watches(addresses["xds"]) as streams:
            first = set(await asyncio.gather(*(stream.subscribe() for stream in streams)))
            await site.put(NAME)
            second = await next_versions(streams)
            assert (1, 1, False) == (len(first), len(second), first == second)

            os.kill(before["1"], signal.SIGKILL)
            ends = {stream: asyncio.create_task(stream.ended()) for stream in streams}
            await wait_for(addresses["metrics"], "certplane_serve_processes", 1)
            assert [1] * CONNECTIONS == await asyncio.gather(*(fetch(addresses["xds"]) for _ in range(CONNECTIONS)))
            await wait_for(addresses["metrics"], "certplane_serve_processes", 2)
            left = [stream for stream, end in ends.items() if not end.done()]
            gone = {end.result() for end in ends.values() if end.done()}
            assert 0 < len(left) < CONNECTIONS
            assert {grpc.StatusCode.UNAVAILABLE} == gone
            await site.put(NAME)
            assert 1 == len(await next_versions(left))
            for end in ends.values():
                end.cancel()

        after = serving(command)
        assert (before["2"], False) == (after["2"], before["1"] == after["1"])
        assert 1 == (await metrics(addresses["metrics"]))["certplane_serve_process_ends_total"]
        assert 0 == await command.stop()
    assert [] == running(list(after.values()))
    assert 1 == command.output.count("\n")
    assert "Traceback" not in command.errors


async def test_metrics_are_those_of_all(site: Site) -> None:
    """Counters and gauges are sums over the processes; what a process has counted does not go with it, what it had does."""
    await site.put(NAME)
    async with await site.start("--processes=2") as command:
        addresses = await ready(command)
        assert [1] * CONNECTIONS == await asyncio.gather(*(fetch(addresses["xds"]) for _ in range(CONNECTIONS)))
        assert float(CONNECTIONS) == (await metrics(addresses["metrics"]))[FETCHES]
        async with watches(addresses["xds"]) as streams:
            await asyncio.gather(*(stream.subscribe() for stream in streams))
            assert float(CONNECTIONS) == (await metrics(addresses["metrics"]))[STREAMS]
            os.kill(serving(command)["2"], signal.SIGKILL)
            await wait_for(addresses["metrics"], "certplane_serve_processes", 1)
            found = await metrics(addresses["metrics"])
        assert float(CONNECTIONS) == found[FETCHES]
        assert 0 < found[STREAMS] < CONNECTIONS


async def test_readiness_and_liveness_of_all(tmp_path: Path) -> None:
    """A silent process makes the group neither ready nor alive; one that is gone does neither; without the store it is not ready."""
    store = await start_valkey(tmp_path)
    async with await Site(tmp_path, store.url).start("--processes=2") as command:
        address = (await ready(command))["metrics"]
        assert [(200, "ready\n"), (200, "ok\n")] == [await page(address, path) for path in ("/readyz", "/healthz")]
        stopped = serving(command)["2"]
        os.kill(stopped, signal.SIGSTOP)
        answers = await asyncio.gather(page(address, "/readyz"), page(address, "/healthz"))
        assert [(503, "not ready: serve-2\n"), (503, "not alive: serve-2\n")] == answers
        os.kill(stopped, signal.SIGKILL)
        await wait_for(address, "certplane_serve_processes", 1)
        assert [(200, "ready\n"), (200, "ok\n")] == [await page(address, path) for path in ("/readyz", "/healthz")]
        await store.stop()
        assert [(503, "not ready: store\n"), (200, "ok\n")] == [await page(address, path) for path in ("/readyz", "/healthz")]


async def test_a_second_installation_is_refused(site: Site) -> None:
    """A port that one process serves is not shared by a group; a port that a group serves is shared by nobody else, group or not."""
    port = free_ports(1)[0]
    for first in ("--processes=1", "--processes=2"):
        async with await site.start(first, xds=f"127.0.0.1:{port}") as command:
            await ready(command)
            for second in ("--processes=1", "--processes=2"):
                async with await site.start(second, xds=f"127.0.0.1:{port}") as refused:
                    assert 1 == await refused.finished()
                assert f"Error: cannot listen on 127.0.0.1:{port}: it is taken by another process" in refused.errors
                assert "Traceback" not in refused.errors
            assert 0 == await command.stop()


async def test_a_unix_socket_is_not_shared(site: Site, tmp_path: Path) -> None:
    """Several processes on a unix socket are refused with a sentence."""
    async with await site.start("--processes=2", api=f"unix:{tmp_path}/api") as command:
        assert 1 == await command.finished()
    assert f"Error: several processes cannot share unix:{tmp_path}/api" in command.errors


async def test_why_a_process_cannot_start_is_said_once(site: Site) -> None:
    """What keeps the processes from starting is said as by one process: one line, status 1; no process is left."""
    async with await site.start("--processes=3", f"--keys-dir={site.worker_keys}") as command:
        assert 1 == await command.finished()
        assert {} == command.family()
    assert 1 == command.errors.count("Error: ")
    assert "Traceback" not in command.errors
    assert "" == command.output


async def test_the_url_of_the_store_is_on_no_command_line(site: Site) -> None:
    """The store's URL, which may hold a password, is handed on by the environment."""
    async with await site.start("--processes=2") as command:
        await ready(command)
        lines = list(command.family().values())
    assert 2 == len(lines)
    assert [] == [line for line in lines if site.redis_url in line]


async def test_no_process_outlives_the_first(site: Site) -> None:
    """Killed by SIGKILL, the process in front takes the others with it, and its ports are free."""
    async with await site.start("--processes=2") as command:
        addresses = await ready(command)
        pids = list(serving(command).values())
        (front,) = {parent_of(pid) for pid in pids}
        os.kill(front, signal.SIGKILL)
        assert -signal.SIGKILL == await command.finished()
        async with asyncio.timeout(DEADLINE):
            while running(pids):
                await asyncio.sleep(0.01)
    async with await site.start("--processes=2", xds=addresses["xds"], api=addresses["api"]) as again:
        assert addresses["xds"] == (await ready(again))["xds"]


async def test_one_process_is_one_process(site: Site) -> None:
    """By default nothing is started besides."""
    async with await site.start() as command:
        await ready(command)
        assert {} == command.family()


async def test_up_with_several(site: Site, tmp_path: Path) -> None:
    """`up --serve-processes 2` runs two, and ends them."""
    options = (f"--state-dir={tmp_path / 'state'}", "--acme-directory=https://127.0.0.1:1/dir", "--serve-processes=2")
    async with await site.start(*options, command="up") as command:
        await ready(command)
        pids = serving(command)
        assert ["1", "2"] == sorted(pids)
        assert 0 == await command.stop()
    assert [] == running(list(pids.values()))


def test_the_first_process_has_nothing_that_opens_keys() -> None:
    """The process in front loads no code that reads a key directory, opens an envelope, or speaks gRPC or to the store."""
    code = (
        "import sys, controlplane.cli.serve, controlplane.app.lifecycle, controlplane.app.serve_group\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('grpc', 'redis', 'cryptography') or '.adapters' in name])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=DEADLINE)
    assert b"[]\n" == said.stdout


def parent_of(pid: int) -> int:
    """The parent's process id."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
