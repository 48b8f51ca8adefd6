"""The main job: from an API call to verified HTTPS, for many domains at once, and a renewal that nobody notices."""

import asyncio
import ssl
from pathlib import Path

from controlplane.api.certplane.v1 import domain_pb2, domain_service_pb2
from controlplane.core.sealing import Scheme
from tests.e2e.installation import installation

MANY = 50


async def test_many_domains_at_once_are_served_and_one_is_renewed_under_traffic(tmp_path: Path) -> None:
    """Fifty domains with `www.` become ACTIVE and are served, verified; a renewal then fails no handshake and restarts no Envoy."""
    async with installation(tmp_path) as made:
        names = [f"shop{index}.example.com" for index in range(MANY)]
        await asyncio.gather(*(made.create(name, f"www.{name}") for name in names))
        domains = await made.wait_until_active(*names, seconds=120)
        for name in names:
            for host in (name, f"www.{name}"):
                page = await made.fetch(host)
                assert page.status_line == "HTTP/1.1 200 OK"
                assert host in page.body
                assert int(domains[name].serial_number, 16) == int(page.serial_number, 16)
        assert made.orders_at_pebble() == MANY

        renewed, pid = names[7], made.envoy.pid
        serials, failures = [], []
        finished = asyncio.Event()

        async def traffic() -> None:
            while not finished.is_set():
                try:
                    serials.append(int((await made.fetch(renewed)).serial_number, 16))
                except (OSError, ssl.SSLError, TimeoutError) as error:
                    failures.append(repr(error))

        async with asyncio.TaskGroup() as tasks:
            clients = [tasks.create_task(traffic()) for _ in range(4)]
            before = int(domains[renewed].serial_number, 16)
            async with asyncio.timeout(60):
                while not serials:
                    await asyncio.sleep(0.02)
            await made.stub.RenewDomain(domain_service_pb2.RenewDomainRequest(name=f"domains/{renewed}"))
            async with asyncio.timeout(60):
                while not serials or serials[-1] == before:
                    await asyncio.sleep(0.02)
            finished.set()
            await asyncio.gather(*clients)
        after = await made.get(renewed)
        assert failures == []
        assert {before, int(after.serial_number, 16)} == set(serials)
        assert after.state == domain_pb2.Domain.STATE_ACTIVE
        assert (pid, None) == (made.envoy.pid, made.envoy.returncode)
        assert (await made.envoy_stats("server.hot_restart_epoch"))["server.hot_restart_epoch"] == 0


async def test_deleted_domain_is_taken_from_envoy(tmp_path: Path) -> None:
    """After a deletion the next handshake fails, though Envoy held the certificate."""
    async with installation(tmp_path) as made:
        await made.issued("shop.example.com")
        await made.fetch("shop.example.com")
        await made.stub.DeleteDomain(domain_service_pb2.DeleteDomainRequest(name="domains/shop.example.com"))
        async with asyncio.timeout(10):
            while True:
                try:
                    await made.fetch("shop.example.com")
                except ssl.SSLError:
                    break
                await asyncio.sleep(0.02)


async def test_post_quantum_sealing_carries_the_path_too(tmp_path: Path) -> None:
    """With `HPKE_MLKEM768_X25519` recipient keys a domain is issued and served all the same."""
    async with installation(tmp_path, scheme=Scheme.HPKE_MLKEM768_X25519) as made:
        domain = await made.issued("shop.example.com")
        assert int(domain.serial_number, 16) == int((await made.fetch("shop.example.com")).serial_number, 16)
