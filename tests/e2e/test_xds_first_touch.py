"""Handshakes that nobody can answer yet: Envoy lets them wait, and they are served as soon as `serve` or its store is back."""

import asyncio
import os
import signal
import ssl
import time
from pathlib import Path

import pytest

from controlplane.embedded.free_ports import free_ports
from controlplane.embedded.valkey import start_valkey
from tests.e2e.client_hello import client_hello
from tests.e2e.test_prefetch import Edge, counted, edge, until
from tests.fakes.serving import DEADLINE, Site, metrics, page, ready

SHOP, OTHER, NOTHING = "shop.example.com", "other.example.com", "nothing.example.com"
SECONDS_AWAY = 2.0
SECONDS_BACK = 6.0
"""Within this an Envoy is served again, however long Certplane was away: its back-off ends at two seconds."""
GRPC_MESSAGE_BYTES = 4 * 1024 * 1024
"""What gRPC takes as one message by default."""


def long_name(number: int) -> bytes:
    """A name of 253 characters, the longest there are."""
    return b".".join([b"a" * 63] * 3 + [b"%061d" % number])


async def refused(envoy: Edge, name: str) -> bool:
    """Whether a handshake fails."""
    try:
        await envoy.served(name)
    except (ssl.SSLError, ConnectionError):
        return True
    return False


async def test_a_first_touch_waits_for_the_store(tmp_path: Path) -> None:
    """A handshake that comes while the store is stopped, or silent, ends well once it is back; so does the refusal of an unknown name."""
    valkey = await start_valkey(tmp_path)
    site = Site(tmp_path, valkey.url)
    for name in (SHOP, OTHER):
        await site.put(name)
    async with await site.start() as serve:
        addresses = await ready(serve)
        async with edge(tmp_path / "edge", addresses["xds"]) as envoy:
            await valkey.stop()
            shop, nothing = asyncio.create_task(envoy.served(SHOP)), asyncio.create_task(refused(envoy, NOTHING))
            await asyncio.sleep(SECONDS_AWAY)
            assert (False, False) == (shop.done(), nothing.done())
            valkey = await start_valkey(tmp_path)
            assert ([SHOP], True) == (await shop, await nothing)

            children = Path(f"/proc/{valkey.process.pid}/task/{valkey.process.pid}/children").read_text().split()
            pids = [valkey.process.pid, *map(int, children)]
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            try:
                other = asyncio.create_task(envoy.served(OTHER))
                # What Envoy holds asks nobody.
                assert [SHOP] == await envoy.served(SHOP)
                await asyncio.sleep(SECONDS_AWAY)
                assert not other.done()
            finally:
                for pid in pids:
                    os.kill(pid, signal.SIGCONT)
            assert [OTHER] == await other
            _, stats = await page(f"127.0.0.1:{envoy.admin_port}", "/stats?filter=cluster.certplane_xds.upstream_rq_total")
            assert "cluster.certplane_xds.upstream_rq_total: 1\n" == stats
    await valkey.stop()


async def test_names_that_strangers_asked_for_meanwhile_are_taken_at_once(tmp_path: Path, valkey_url: str) -> None:
    """Strangers ask for more names while `serve` is away than a usual message takes; a good one is served at its return."""
    count = GRPC_MESSAGE_BYTES // len(long_name(0)) + 1_000
    hello = client_hello(long_name(0))
    site = Site(tmp_path, valkey_url)
    await site.put(SHOP)
    xds = f"127.0.0.1:{free_ports(1)[0]}"
    async with edge(tmp_path / "edge", xds) as envoy:
        room = asyncio.Semaphore(64)

        async def ask(number: int) -> None:
            async with room:
                _, writer = await asyncio.open_connection("127.0.0.1", envoy.https_port)
                writer.write(hello.replace(long_name(0), long_name(number)))
                # Envoy reads it before it learns that the stranger has gone.
                await asyncio.sleep(0.02)
                writer.close()

        async def waiting() -> int:
            _, stats = await page(f"127.0.0.1:{envoy.admin_port}", "/stats?filter=on_demand_secret.cert_requested")
            return int(stats.rpartition(": ")[2])

        number = 0
        async with asyncio.timeout(3 * DEADLINE):
            while await waiting() < count:
                await asyncio.gather(*(ask(number + step) for step in range(1_000)))
                number += 1_000
        async with await site.start(xds=xds) as serve:
            addresses = await ready(serve)
            start = time.monotonic()
            assert [SHOP] == await envoy.served(SHOP)
            assert time.monotonic() - start < SECONDS_BACK
            _, sent = await counted(addresses["metrics"])
            assert 1 == sent

            async def answered() -> bool:
                return await envoy.holds() >= count

            await until(answered, expected=True)
            assert "RESOURCE_EXHAUSTED" not in serve.errors


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGKILL])
async def test_a_first_touch_waits_for_serve(tmp_path: Path, valkey_url: str, stop: signal.Signals) -> None:
    """Whether `serve` drained or was killed: what Envoy holds is served meanwhile, and a handshake for another name ends well after it."""
    site = Site(tmp_path, valkey_url)
    for name in (SHOP, OTHER):
        await site.put(name)
    xds = f"127.0.0.1:{free_ports(1)[0]}"
    async with await site.start(xds=xds) as serve:
        await ready(serve)
        async with edge(tmp_path / "edge", xds) as envoy:
            assert [SHOP] == await envoy.served(SHOP)
            serve._process.send_signal(stop)
            await serve.finished()
            other = asyncio.create_task(envoy.served(OTHER))
            assert [SHOP] == await envoy.served(SHOP)
            await asyncio.sleep(SECONDS_AWAY)
            assert not other.done()
            async with await site.start(xds=xds) as again:
                addresses = await ready(again)
                async with asyncio.timeout(SECONDS_BACK):
                    assert [OTHER] == await other
                # What it held before came without being sent again.
                assert 1 == (await counted(addresses["metrics"]))[1]
                assert [SHOP] == await envoy.served(SHOP)


async def test_an_envoy_outlives_the_process_that_served_it(tmp_path: Path, valkey_url: str) -> None:
    """Each of two processes is killed in its turn: the next first touch is served by the other, and nothing held is sent anew."""
    site = Site(tmp_path, valkey_url)
    names = [f"shop{number}.example.com" for number in range(3)]
    for name in names:
        await site.put(name)
    async with await site.start("--processes=2") as serve:
        addresses = await ready(serve)
        async with edge(tmp_path / "edge", addresses["xds"]) as envoy:
            assert [names[0]] == await envoy.served(names[0])
            for number, name in ((1, names[1]), (2, names[2])):
                (pid,) = [pid for pid, line in serve.family().items() if line.rstrip().endswith(f"--process={number}")]
                os.kill(pid, signal.SIGKILL)
                async with asyncio.timeout(SECONDS_BACK):
                    assert [name] == await envoy.served(name)

                async def again(number: int = number, gone: int = pid) -> bool:
                    lines = {pid for pid, line in serve.family().items() if line.rstrip().endswith(f"--process={number}")}
                    return bool(lines - {gone}) and (await metrics(addresses["metrics"]))["certplane_serve_processes"] == 2

                await until(again, expected=True)
            assert [[name] for name in names] == [await envoy.served(name) for name in names]
            # As many certificates came as there are names.
            assert 3 == await envoy.holds()
