"""What becomes of orders beside their own course: limits counted once, CAs that are left alone, failover, and nothing left behind."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from controlplane.adapters.ca_profiles import load_profile
from controlplane.core.breaker import Breaker, BreakerState
from controlplane.core.errors import DomainGone
from controlplane.core.failure import CHAIN_REJECTED
from controlplane.core.managed_domain import DomainState, Revocation
from controlplane.core.names import DomainName
from controlplane.core.order import Phase
from controlplane.core.ports import AcmeError, AcmeProblem, RenewalInfo
from controlplane.core.revocation_plan import RevocationReason
from controlplane.usecases.issuance_metrics import Outcome
from tests.fakes import samples
from tests.fakes.attempts import Attempts
from tests.fakes.chains import ChainMaker, Key, new_key
from tests.fakes.preflight import failing
from tests.fakes.scripted_authority import ACME, Play, refused
from tests.fakes.work import Write

SHOP, WWW, API, CDN = "shop.example.com", "www.shop.example.com", "api.shop.example.com", "cdn.shop.example.com"
NAME = DomainName(SHOP)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
ORDERS, CERTIFICATES = "new-orders-per-account", "certificates-per-registered-domain"


@pytest.fixture
def world() -> Attempts:
    """One CA with Let's Encrypt's limits, and no domain."""
    world = Attempts(profile=load_profile("letsencrypt"))
    world.with_ca()
    return world


async def used(world: Attempts, limit: str, names: Sequence[str] = (SHOP,)) -> int:
    """How many tokens of a limit are used."""
    ca = world.configured[0]
    levels = await world.gate(ca).levels(names, ca.account_url)
    return sum(each.capacity - each.available for each in levels.limits if each.limit == limit)


def slow(seconds: float = 7200.0) -> Play:
    """A CA that answers, and wants to be asked again later."""
    return refused("rateLimited", 429, seconds)


async def test_an_order_that_was_not_taken_goes_elsewhere(world: Attempts) -> None:
    """A CA whose newOrder fails for long is out of order: another one gets the order at once, and what was prepared binds nobody."""
    second = world.with_ca()
    world.configured[0].script["new_order"] = [refused("serverInternal", 503, 7200.0)]
    await world.work.add(samples.spec(SHOP))
    assert Outcome.ISSUED is await world.attempt(SHOP)
    assert (1, 0) == (await used(world, ORDERS), await used(world, CERTIFICATES))
    assert 1 == second.counted["new_order"]
    assert "ca-2" == world.status(SHOP).certificate_authority


@pytest.mark.parametrize(("step", "phase", "left"), [("answer", Phase.PLACED, 0), ("finalize", Phase.FINALIZING, 1)])
async def test_an_order_that_is_dropped_gives_back_what_is_certain(world: Attempts, step: str, phase: Phase, left: int) -> None:
    """A name is removed while the order is open: the certificate's token comes back, unless the CA may have issued already."""
    await world.work.add(samples.spec(SHOP, WWW))
    world.configured[0].script[step] = [slow(), slow()]
    assert Outcome.FAILED_NOBODY is await world.attempt(SHOP)
    order = world.work.order_of(NAME)
    assert order is not None
    assert (phase, 1) == (order.phase, await used(world, CERTIFICATES))
    world.change_spec(SHOP, lambda spec: replace(spec, additional_names=()))
    world.now += 3 * HOUR
    world.preflight.broken = RuntimeError("no further")
    await world.attempt(SHOP)
    assert (None, left) == (world.work.order_of(NAME), await used(world, CERTIFICATES))
    assert not [token for token in world.tokens.records if token.startswith("token-for")]


async def test_a_certificate_that_is_rejected_counts_at_the_ca(world: Attempts) -> None:
    """It was issued, whatever is wrong with it: its token does not come back."""

    def wrong(names: Sequence[str], key: Key) -> tuple[bytes, ...]:
        made = ChainMaker(world.now)
        return made.leaf(names, new_key()), made.intermediate

    world.configured[0].signs = wrong
    await world.work.add(samples.spec(SHOP))
    assert Outcome.FAILED_CA is await world.attempt(SHOP)
    error = world.status(SHOP).last_error
    assert error is not None
    assert (CHAIN_REJECTED, 1) == (error.type, await used(world, CERTIFICATES))


async def renewing(world: Attempts) -> None:
    """Lets the domain have a certificate that the CA wants renewed now."""
    await world.work.add(samples.spec(SHOP))
    assert Outcome.ISSUED is await world.attempt(SHOP)
    world.now += 30 * DAY
    world.configured[0].window = RenewalInfo(world.now - 8 * HOUR, world.now + 8 * HOUR)
    assert (0, 0) == (await used(world, ORDERS), await used(world, CERTIFICATES))


async def test_a_refused_exemption_is_learnt(world: Attempts) -> None:
    """A renewal that counted on its exemption and is refused for a limit: the next one is not sent before its time."""
    await renewing(world)
    text = 'too many certificates (50) already issued for "example.com" in the last 168h0m0s'
    world.configured[0].script["new_order"] = [Play(AcmeError(AcmeProblem(f"{ACME}rateLimited", text, 429, 3600.0)))]
    ca, before = world.configured[0], world.configured[0].counted["new_order"]
    assert Outcome.FAILED_NOBODY is await world.attempt(SHOP)
    world.now += MINUTE
    await world.work.request_renewal(NAME)
    assert Outcome.HELD is await world.attempt(SHOP)
    assert before + 1 == ca.counted["new_order"]


async def test_an_order_that_turns_out_to_replace_nothing_is_counted(world: Attempts) -> None:
    """The CA says that the certificate was replaced already: the order is sent as any other, and counts as any other."""
    await renewing(world)
    ca = world.configured[0]
    ca.script["new_order"] = [refused("alreadyReplaced", 409)]
    assert Outcome.ISSUED is await world.attempt(SHOP)
    assert ["replaces=" in call for call in ca.calls if call.startswith("new_order")] == [False, True, False]
    assert (1, 1) == (await used(world, ORDERS), await used(world, CERTIFICATES))


async def test_a_revoked_certificate_does_not_wait_for_its_ca(world: Attempts) -> None:
    """Its CA is out of order for hours: the certificate in force is worth nothing, so another CA makes the next one."""
    second = world.with_ca()
    await world.work.add(samples.spec(SHOP))
    assert Outcome.ISSUED is await world.attempt(SHOP)
    first = world.certificate(SHOP)
    world.now += 20 * DAY
    world.breakers.breakers[world.configured[0].directory_url] = Breaker(BreakerState.OPEN, 5, 1, world.now + 6 * HOUR)
    revocation = Revocation(first.id, RevocationReason.KEY_COMPROMISE, world.now)
    world.change_spec(SHOP, lambda spec: replace(spec, revocation=revocation))
    assert Outcome.ISSUED is await world.attempt(SHOP)
    assert 1 == second.counted["new_order"]


async def test_a_slow_order_shows_that_the_ca_is_there(world: Attempts) -> None:
    """The probe of a half-open breaker is an order that the CA takes its time for: it answers, so others may follow."""
    ca = world.configured[0]
    world.breakers.breakers[ca.directory_url] = Breaker(BreakerState.OPEN, 5, 1, world.now)
    ca.shown = lambda order: replace(order, status="processing", retry_after=600.0)
    for name in (SHOP, "other.example.com"):
        await world.work.add(samples.spec(name))
        assert Outcome.WAITING is await world.attempt(name)


async def test_an_account_that_is_refused_stops_the_rest(world: Attempts) -> None:
    """The CA wants the operator to act before it registers anybody: it is asked once every few minutes, not for every domain."""
    ca = world.configured[0]
    ca.script["ensure_account"] = [refused("externalAccountRequired", 403)] * 10
    await world.work.add(samples.spec(SHOP))
    assert Outcome.FAILED_OPERATOR is await world.attempt(SHOP)
    await world.work.add(samples.spec("other.example.com"))
    assert Outcome.HELD is await world.attempt("other.example.com")
    assert 1 == ca.counted["ensure_account"]


async def test_names_that_fail_one_after_the_other_are_told(world: Attempts) -> None:
    """When no further order is placed in this attempt, the last refusal is what people see."""
    ca = world.configured[0]
    blamed = (WWW, API, CDN)
    no = AcmeProblem(f"{ACME}rejectedIdentifier", "no")
    ca.script["new_order"] = [refused("rejectedIdentifier", 400, None, (name, no)) for name in blamed]
    await world.work.add(samples.spec(SHOP, *blamed))
    await world.attempt(SHOP)
    error = world.status(SHOP).last_error
    assert error is not None
    assert (f"{ACME}rejectedIdentifier", CDN) == (error.type, error.failed_name)


@pytest.mark.parametrize("write", ["load", "step"])
async def test_tokens_of_a_domain_that_is_gone_answer_no_longer(world: Attempts, write: str) -> None:
    """Deleted while a successor is at an order that another worker has placed: that one's tokens are withdrawn too."""
    await world.work.add(samples.spec(SHOP, WWW))
    world.configured[0].script["answer"] = [slow(), slow()]
    assert Outcome.FAILED_NOBODY is await world.attempt(SHOP)
    assert [token for token in world.tokens.records if token.startswith("token-for")]
    world.now += 3 * HOUR
    if write == "load":
        world.change_spec(SHOP, lambda spec: replace(spec, additional_names=()))
    left = {token: record for token, record in world.tokens.records.items() if token.startswith("token-for")}

    def vanish(_: Write) -> None:
        if NAME in world.work._rows:
            world.work.vanish(NAME)

    world.work.before_write = vanish
    with pytest.raises(DomainGone):
        await world.attempt(SHOP)
    assert not left.keys() & world.tokens.records.keys()


async def test_a_domain_that_leaves_while_its_order_waits_keeps_none(world: Attempts) -> None:
    """A check pauses it: the order is dropped at once, with its tokens and what it has taken from the limits."""
    await world.work.add(samples.spec(SHOP))
    assert Outcome.ISSUED is await world.attempt(SHOP)
    ca, begin = world.configured[0], world.now
    ca.lifetime = None
    world.now += 61 * DAY
    ca.script["answer"] = [slow(86_400.0 * 5)]
    assert Outcome.FAILED_NOBODY is await world.attempt(SHOP)
    assert world.work.order_of(NAME) is not None
    row = world.work._rows[NAME]
    row.domain = replace(row.domain, status=replace(row.domain.status, departed_time=begin + 50 * DAY))
    world.preflight.verdicts[SHOP] = failing(SHOP)
    await world.attempts_until(SHOP, world.now + 2 * DAY)
    assert (DomainState.PAUSED, None) == (world.status(SHOP).state, world.work.order_of(NAME))
    assert 0 == await used(world, CERTIFICATES)
