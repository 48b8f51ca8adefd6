"""What GetDomain says of a domain whose certificate cannot be served, on a real Valkey with real keys."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from controlplane.adapters import redis_keys as keys
from controlplane.adapters.key_generation import KeyKind, generate_role_directories
from controlplane.adapters.redis_certificates import RedisCertificateStore
from controlplane.adapters.redis_client import connect
from controlplane.adapters.redis_work import RedisWorkStore
from controlplane.core.certificate import CertificateRecord
from controlplane.core.managed_domain import Actor, Domain, DomainState, DomainStatus, Problem
from controlplane.core.names import DomainName
from controlplane.usecases import serving_check
from controlplane.usecases.serving_check import ServingCheck
from tests.fakes import samples
from tests.fakes.certificates import issue
from tests.integration.test_reseal import World

SHOP = "shop.example.com"


class Checked:
    """A domain with a certificate in force, and the check of a `serve`."""

    def __init__(self, world: World, record: CertificateRecord) -> None:
        self.world = world
        self.record = record
        self.now = datetime.now(UTC)

    async def problem(self) -> Problem | None:
        """What the check says now."""
        loaded = self.world.serve()
        check = ServingCheck(RedisCertificateStore(self.world.client, loaded.authenticator()), loaded.opener(), lambda: self.now)
        status = DomainStatus(DomainState.ACTIVE, certificate_id=self.record.id)
        return await check.problem(Domain(samples.spec(SHOP), status, 1))

    async def stored(self) -> dict[bytes, bytes]:
        """The domain's hash."""
        fields: dict[bytes, bytes] = await self.world.client.hgetall(keys.domain(SHOP))
        return fields


@pytest.fixture
async def checked(valkey_url: str, tmp_path: Path) -> Checked:
    """A domain that can be served."""
    generate_role_directories(tmp_path / "serve", tmp_path / "worker", KeyKind(), samples.now())
    world = World(connect(valkey_url), tmp_path / "serve", tmp_path / "worker")
    return Checked(world, await world.add(SHOP))


async def test_a_domain_that_is_served_has_no_problem(checked: Checked) -> None:
    """A certificate whose record is authentic and whose key opens and fits is served, and nothing is told."""
    world, name = checked.world, DomainName(SHOP)
    work = RedisWorkStore(world.client, world.worker().authenticator())
    lease = await work.acquire(name, "test", timedelta(seconds=30))
    assert lease is not None
    await work.load(lease)
    record, leaf_key = issue(SHOP)
    sealed = replace(record, sealed_leaf_key=world.worker().sealer().seal(leaf_key, record.seal_context))
    checked.record = await work.save_certificate(lease, sealed, DomainStatus(DomainState.ACTIVE), None)
    assert await checked.problem() is None


async def test_a_record_that_is_not_authentic_is_told(checked: Checked) -> None:
    """A bit that somebody flipped in the store is a problem of the operator, and says that somebody else writes there."""
    data = bytearray((await checked.stored())[b"certificate"])
    data[len(data) // 2] ^= 1
    await checked.world.client.hset(keys.domain(SHOP), "certificate", bytes(data))
    found = await checked.problem()
    assert found is not None
    assert (serving_check.RECORD_REJECTED, Actor.OPERATOR) == (found.type, found.must_act)


async def test_a_record_that_is_gone_is_told(checked: Checked) -> None:
    """A certificate that was removed beside its status is told, not passed over."""
    await checked.world.client.hdel(keys.domain(SHOP), "certificate", "head")
    found = await checked.problem()
    assert found is not None
    assert serving_check.RECORD_MISSING == found.type


async def test_an_older_record_that_was_put_back_is_told(checked: Checked) -> None:
    """The certificate before, authentic as it is, is not the one in force."""
    before = await checked.stored()
    checked.record = await checked.world.renew(SHOP)
    await checked.world.client.hset(keys.domain(SHOP), mapping={"certificate": before[b"certificate"], "head": before[b"head"]})
    found = await checked.problem()
    assert found is not None
    assert serving_check.RECORD_REPLACED == found.type


async def test_a_key_that_does_not_open_is_told(checked: Checked) -> None:
    """A domain that is sealed to a recipient key that this replica lacks says so, with the id of the key."""
    (path,) = checked.world.serve_dir.glob("leaf-*.private.pem")
    other = checked.world.serve_dir.parent / "other"
    generate_role_directories(other / "serve", other / "worker", KeyKind(), samples.now())
    (replacement,) = (other / "serve").glob("leaf-*.private.pem")
    path.unlink()
    replacement.rename(checked.world.serve_dir / replacement.name)
    found = await checked.problem()
    assert found is not None
    assert (serving_check.KEY_NOT_OPENED, True) == (found.type, checked.record.sealed_leaf_key.recipient_key_id in found.detail)


async def test_an_expired_certificate_is_told(checked: Checked) -> None:
    """A certificate past its end is told as that."""
    checked.now += timedelta(days=400)
    found = await checked.problem()
    assert found is not None
    assert serving_check.EXPIRED == found.type


async def test_a_domain_without_a_certificate_has_no_such_problem(checked: Checked) -> None:
    """Before the first certificate there is nothing that could fail to be served."""
    checked.record = replace(checked.record, id="")
    assert await checked.problem() is None
