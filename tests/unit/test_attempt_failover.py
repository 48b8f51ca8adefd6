"""Another CA in place of the first: what CAA says is always about the one that issues."""

from datetime import timedelta

import pytest

from controlplane.core.breaker import Breaker, BreakerState
from controlplane.core.errors import Unavailable
from controlplane.core.failure import AUTHORITY_AWAY
from controlplane.core.managed_domain import DomainState
from controlplane.core.names import DomainName
from controlplane.core.order import Phase
from controlplane.core.preflight import CAA_FORBIDS, PROBLEM_TYPE
from controlplane.usecases.issuance_metrics import Outcome
from tests.fakes import samples
from tests.fakes.attempts import Attempts, SigningAuthority
from tests.fakes.preflight import failing
from tests.fakes.scripted_authority import refused
from tests.fakes.work import Write

SHOP, WWW = "shop.example.com", "www.shop.example.com"
FORBIDDEN = PROBLEM_TYPE + CAA_FORBIDS


@pytest.fixture
def world() -> Attempts:
    """Two CAs, and no domain."""
    world = Attempts()
    world.with_ca()
    world.with_ca()
    return world


def away(world: Attempts, ca: SigningAuthority) -> None:
    """The CA is out of order for an hour."""
    world.breakers.breakers[ca.directory_url] = Breaker(BreakerState.OPEN, 5, 1, world.now + timedelta(hours=1))


def asked(world: Attempts) -> list[str]:
    """For which CA each check was, by its account URL."""
    return [issuer.account_url.removeprefix("https://").partition(".")[0] for _, issuer in world.preflight.asked if issuer is not None]


async def test_a_ca_that_is_out_of_order_at_first_is_not_checked_for(world: Attempts) -> None:
    """The check is about the CA that is chosen, so what CAA says to the other one does not matter."""
    first, second = world.configured
    away(world, first)
    world.preflight.caa = {SHOP: {second.account_url}}
    await world.work.add(samples.spec(SHOP))
    assert Outcome.ISSUED is await world.attempt(SHOP)
    assert ["ca-2"] == asked(world)


@pytest.mark.parametrize("refusal", [("rejectedIdentifier", 400, None), ("serverInternal", 503, 7200.0)])
async def test_a_ca_in_place_of_another_is_checked_for(world: Attempts, refusal: tuple[str, int, float | None]) -> None:
    """When the first refuses by policy, or turns out to be away, CAA decides about the second before anything is ordered there."""
    first, second = world.configured
    first.script["new_order"] = [refused(*refusal)]
    world.preflight.caa = {SHOP: {first.account_url}}
    await world.work.add(samples.spec(SHOP))
    await world.attempt(SHOP)
    assert ["ca-1", "ca-2"] == asked(world)
    assert 0 == second.counted["new_order"]
    assert None is world.work.order_of(DomainName(SHOP))


async def test_additional_name_that_the_second_ca_may_not_issue_for(world: Attempts) -> None:
    """It is left out of the second's order, though the first might have issued for it."""
    first, _ = world.configured
    world.preflight.caa = {WWW: {first.account_url}}
    await world.work.add(samples.spec(SHOP, WWW))
    first.script["new_order"] = [refused("serverInternal", 503, 7200.0)]
    assert Outcome.ISSUED_IN_PART is await world.attempt(SHOP)
    assert ((SHOP,), "ca-2") == (world.certificate(SHOP).names, world.status(SHOP).certificate_authority)
    error = world.status(SHOP).last_error
    assert error is not None
    assert (FORBIDDEN, WWW) == (error.type, error.failed_name)


async def test_names_that_only_the_first_ca_refused_are_ordered_at_the_second(world: Attempts) -> None:
    """What the first left out by CAA is no reason to leave it out elsewhere."""
    first, second = world.configured
    world.preflight.caa = {WWW: {second.account_url}}
    first.script["new_order"] = [refused("rejectedIdentifier")]
    await world.work.add(samples.spec(SHOP, WWW))
    assert Outcome.ISSUED is await world.attempt(SHOP)
    assert (SHOP, WWW) == world.certificate(SHOP).names
    assert None is world.status(SHOP).last_error


async def test_the_order_of_a_worker_before_goes_elsewhere_after_a_check(world: Attempts) -> None:
    """An order that was prepared and that its CA does not take is placed elsewhere only when CAA allows it there."""
    first, second = world.configured
    await world.work.add(samples.spec(SHOP))

    def die(write: Write) -> None:
        if write.order is not None and write.order.phase is Phase.PREPARED:
            raise Unavailable("the worker is killed")

    world.work.after_write = die
    with pytest.raises(Unavailable):
        await world.attempt(SHOP)
    world.work.after_write = lambda _: None
    world.work.expire_lease(DomainName(SHOP))
    world.preflight.caa = {SHOP: {first.account_url}}
    first.script["new_order"] = [refused("serverInternal", 503, 7200.0)]
    assert Outcome.HELD is await world.attempt(SHOP)
    assert (["ca-1", "ca-2"], 0) == (asked(world), second.counted["new_order"])


async def test_caa_that_allows_another_ca_only(world: Attempts) -> None:
    """A name whose CAA forbids the preferred CA gets its certificate from the one that it allows, and stays there."""
    first, second = world.configured
    world.preflight.caa = {SHOP: {second.account_url}}
    await world.work.add(samples.spec(SHOP))
    assert Outcome.ISSUED is await world.attempt(SHOP)
    assert (0, 1) == (first.counted["new_order"], second.counted["new_order"])
    assert "ca-2" == world.status(SHOP).certificate_authority
    # CAA is looked at anew each time: nothing is kept that would pass the first over.
    assert () == world.status(SHOP).refusing_authorities


async def test_caa_that_allows_none(world: Attempts) -> None:
    """The customer hears what the preferred CA needs; no order is placed."""
    first, second = world.configured
    world.preflight.caa = {SHOP: set()}
    await world.work.add(samples.spec(SHOP))
    assert Outcome.FAILED_CUSTOMER is await world.attempt(SHOP)
    error = world.status(SHOP).last_error
    assert error is not None
    assert (FORBIDDEN, True) == (error.type, error.detail.endswith(first.account_url))
    assert ["ca-1", "ca-2"] == asked(world)
    assert (0, 0) == (first.counted["new_order"], second.counted["new_order"])


async def test_caa_that_allows_a_ca_that_is_away(world: Attempts) -> None:
    """When the one that is left is out of order, it is waited for: the customer need not act."""
    _, second = world.configured
    away(world, second)
    world.preflight.caa = {SHOP: {second.account_url}}
    await world.work.add(samples.spec(SHOP))
    assert Outcome.HELD is await world.attempt(SHOP)
    error = world.status(SHOP).last_error
    assert error is not None
    assert AUTHORITY_AWAY == error.type
    again = world.status(SHOP).next_attempt_time
    assert again is not None
    world.now = again
    assert Outcome.ISSUED is await world.attempt(SHOP)


async def test_renewal_leaves_a_ca_that_caa_forbids_by_now(world: Attempts) -> None:
    """The certificate in force keeps its CA as long as CAA does."""
    _, second = world.configured
    await world.work.add(samples.spec(SHOP))
    await world.attempt(SHOP)
    world.preflight.caa = {SHOP: {second.account_url}}
    renewal = world.status(SHOP).renew_time
    assert renewal is not None
    world.now = renewal
    assert Outcome.ISSUED is await world.attempt(SHOP)
    assert ("ca-2", DomainState.ACTIVE) == (world.status(SHOP).certificate_authority, world.status(SHOP).state)


async def test_other_problems_are_the_same_for_every_ca(world: Attempts) -> None:
    """A host that does not answer is checked once: no CA would reach it."""
    world.preflight.verdicts = {SHOP: failing(SHOP)}
    await world.work.add(samples.spec(SHOP))
    assert Outcome.FAILED_CUSTOMER is await world.attempt(SHOP)
    assert ["ca-1"] == asked(world)


async def test_cas_that_all_fail_are_each_tried_once(world: Attempts) -> None:
    """An attempt ends when none is left, whatever their breakers say."""
    for ca in world.configured:
        ca.script["new_order"] = [refused("serverInternal", 503, 7200.0)] * 9
    await world.work.add(samples.spec(SHOP))
    await world.attempt(SHOP)
    assert ["ca-1", "ca-2"] == asked(world)
