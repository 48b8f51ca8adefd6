"""From the scheme of older systems to the one of today: served all the while, moved in place, and every step of it visible."""

import asyncio
from pathlib import Path

import pytest

from controlplane.adapters.key_files import load_key_directory
from controlplane.api.certplane.v1 import domain_service_pb2
from controlplane.core.keyring import KeyInventory
from controlplane.core.sealing import KeyClass, KeyPhase, Scheme
from controlplane.embedded.child_process import ChildFailed
from tests.e2e.installation import Installation, installation
from tests.e2e.key_commands import KeyCommands

OLD = ("one.example.com", "two.example.com", "three.example.com")
LATER = "later.example.com"
DEADLINE = 15.0


async def sealed_by(made: Installation, scheme: Scheme) -> set[str]:
    """The domains whose leaf key is sealed by a scheme, as the API lists them."""
    found = await made.stub.ListDomains(domain_service_pb2.ListDomainsRequest(filter=f"scheme = {scheme.name}"))
    return {domain.name.removeprefix("domains/") for domain in found.domains}


async def until_counted(made: Installation, expected: dict[Scheme, int]) -> None:
    """Waits until the worker's metric counts this; a worker counts when it starts, and every five minutes."""
    async with asyncio.timeout(DEADLINE):
        while True:
            samples = await made.metrics(made.worker_metrics)
            counted = {scheme: samples.get(f'certplane_sealed_certificates{{scheme="{scheme.name}"}}') for scheme in expected}
            if counted == expected:
                return
            await asyncio.sleep(0.1)


async def restart_worker(made: Installation) -> None:
    """Another worker, with the options that `made` has now."""
    await made.worker.terminate()
    await made.start_worker()


async def check_all_served(made: Installation, *names: str) -> None:
    """A `serve` and an Envoy that have just been started serve all these names."""
    await made.serve.terminate()
    await made.start_serve()
    await made.envoy.terminate()
    await made.start_edge(made.upstream)
    for name in names:
        assert "HTTP/1.1 200 OK" == (await made.fetch(name)).status_line


def active(inventory: KeyInventory, key_class: KeyClass) -> str:
    """The ACTIVE private key of a class."""
    (key,) = [key for key in inventory.private if (key.key_class, key.phase) == (key_class, KeyPhase.ACTIVE)]
    return key.key_id


async def test_a_store_that_was_sealed_by_rsa_moves_on(tmp_path: Path) -> None:
    """A worker seals by RSA only when it is told to; what is sealed so is served, and then moved to HPKE in place, key by key."""
    async with installation(tmp_path, worker=False, scheme=Scheme.RSA_OAEP_AES256GCM) as made:
        with pytest.raises(ChildFailed, match=r"keys generate --add leaf` and activate it, or say --seal-with-legacy-scheme"):
            await made.start_worker()
        made.worker_options = ["--seal-with-legacy-scheme"]
        await made.start_worker()
        try:
            await asyncio.gather(*(made.issued(name) for name in OLD))
            assert set(OLD) == await sealed_by(made, Scheme.RSA_OAEP_AES256GCM)
            await check_all_served(made, *OLD)
            old_leaf = active(load_key_directory(made.serve_keys).inventory, KeyClass.LEAF)
            old_account = active(load_key_directory(made.worker_keys).inventory, KeyClass.ACCOUNT)

            commands = KeyCommands(made)
            for key_class in (KeyClass.LEAF, KeyClass.ACCOUNT):
                await commands.activate(await commands.generate(key_class))
            made.worker_options = []
            await restart_worker(made)
            await until_counted(made, {Scheme.RSA_OAEP_AES256GCM: 3, Scheme.HPKE_X25519: 0})
            await made.issued(LATER)
            assert ({LATER}, set(OLD)) == (await sealed_by(made, Scheme.HPKE_X25519), await sealed_by(made, Scheme.RSA_OAEP_AES256GCM))

            assert (3, 0) == ((leaf := await commands.reseal(1e6)).resealed, leaf.left)
            assert (1, 0) == ((account := await commands.reseal(1e6, "account")).resealed, account.left)
            assert ({*OLD, LATER}, set()) == (
                await sealed_by(made, Scheme.HPKE_X25519),
                await sealed_by(made, Scheme.RSA_OAEP_AES256GCM),
            )
            assert (True, True) == (await commands.retire(old_leaf), await commands.retire(old_account))
            await restart_worker(made)
            await until_counted(made, {Scheme.RSA_OAEP_AES256GCM: 0, Scheme.HPKE_X25519: 4})
            await check_all_served(made, *OLD, LATER)
            # And the account, whose key was sealed anew too, is still the account.
            await made.issued("last.example.com")
        finally:
            await made.worker.terminate()
