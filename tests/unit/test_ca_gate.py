"""The gate before a CA."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
import structlog
from prometheus_client import REGISTRY

from controlplane.adapters.ca_profiles import load_profile, profile_for
from controlplane.core.breaker import CLOSED, FAULTS_IN_A_ROW, OPEN_FOR, PROBE_LASTS, Breaker, BreakerState
from controlplane.core.ca_profile import CaProfile, Scope
from controlplane.core.errors import FailedPrecondition, Unavailable
from controlplane.core.failure import LIMIT
from controlplane.core.ports import AcmeError, AcmeProblem
from controlplane.core.token_bucket import SECOND
from controlplane.usecases.ca_gate import Admitted, CaGate, Held
from tests.fakes.limits import InMemoryBreakers, InMemoryRateLimits

CA, ACCOUNT = "https://acme-v02.api.letsencrypt.org/directory", "https://ca.example/acct/1"
START = datetime(2026, 11, 26, 12, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
NAME = ["www.example.com"]


@dataclass
class World:
    """A CA's gate, with what is behind it."""

    profile: CaProfile = field(default_factory=lambda: load_profile("letsencrypt"))
    now: datetime = START

    def __post_init__(self) -> None:
        self.limits = InMemoryRateLimits(now=lambda: round(self.now.timestamp() * SECOND))
        self.breakers = InMemoryBreakers()
        self.gate = self.another()

    def another(self) -> CaGate:
        """The gate of another process."""
        return CaGate(
            self.profile, CA, limits=self.limits, breakers=self.breakers, clock=lambda: self.now, account_url=lambda: ACCOUNT
        )  # fmt: skip

    async def admit(self, *names: str, replacing: bool = False, profile: str = "", account_url: str = ACCOUNT) -> Admitted | Held:
        """Asks for an order."""
        return await self.gate.admit(names or NAME, profile=profile, replacing=replacing, account_url=account_url)

    async def held(self, *names: str, replacing: bool = False) -> Held:
        """Asks for an order that has to wait."""
        held = await self.admit(*names, replacing=replacing)
        assert isinstance(held, Held)
        return held

    async def break_down(self) -> None:
        """Lets the CA fail until the breaker opens."""
        for _ in range(FAULTS_IN_A_ROW):
            await self.gate.faulty()


@pytest.fixture
def world() -> World:
    """Let's Encrypt at noon."""
    return World()


def refused(detail: str, retry_after: float | None) -> AcmeProblem:
    """A refusal for a limit."""
    return AcmeProblem("urn:ietf:params:acme:error:rateLimited", detail, 429, retry_after)


async def test_admitted_order_takes_all_its_tokens(world: World) -> None:
    """One order uses up one of each limit that it counts in."""
    assert Admitted() == await world.admit()
    expected = {
        "new-orders-per-account": 299,
        "certificates-per-registered-domain": 49,
        "certificates-per-name-set": 4,
        "failed-authorizations-per-name": 5,
        "consecutive-failures-per-name": 1152,
        "registrations-per-address": 10,
        "registrations-per-ipv6-range": 500,
    }
    assert expected == {each.limit: each.available for each in (await world.gate.levels(NAME)).limits}


async def test_sixth_order_for_a_set_waits(world: World) -> None:
    """An order that one limit does not allow is held until that does, says which it is, and takes nothing of the others."""
    for _ in range(5):
        assert Admitted() == await world.admit("b.example.com", "a.example.com")
    reason = "Let's Encrypt's limit of 5 certificates for exactly these names in 7 days"
    assert Held(START + timedelta(seconds=120_960), Scope.NAME_SET, reason) == await world.admit("a.example.com", "b.example.com")
    assert 295 == await world.gate.room()
    assert Admitted() == await world.admit("a.example.com")
    world.now += timedelta(seconds=120_960)
    assert Admitted() == await world.admit("a.example.com", "b.example.com")


async def test_registered_domain_waits_and_others_do_not(world: World) -> None:
    """When a registered domain has its fifty certificates, only names below it wait."""
    for number in range(50):
        assert Admitted() == await world.admit(f"{number}.example.com")
    held = await world.held("next.example.com", "other.example.org")
    reason = "Let's Encrypt's limit of 50 certificates for example.com in 7 days"
    assert Held(START + timedelta(seconds=12_096), Scope.REGISTERED_DOMAIN, reason, "example.com") == held
    assert Admitted() == await world.admit("other.example.org")


async def test_account_waits(world: World) -> None:
    """After three hundred orders at once the account gets one each 36 seconds; another account is not held."""
    for number in range(300):
        assert Admitted() == await world.admit(f"d{number}.example")
    held = await world.held("d300.example")
    assert (START + timedelta(seconds=36), Scope.ACCOUNT) == (held.until, held.scope)
    assert 0 == await world.gate.room()
    assert isinstance(await world.admit("d300.example", account_url="https://ca.example/acct/2"), Admitted)
    world.now += timedelta(seconds=36)
    assert Admitted() == await world.admit("d301.example")


async def test_replacements_are_exempt(world: World) -> None:
    """Orders that replace a certificate in time go through whatever is used up, and use nothing up."""
    for _ in range(20):
        assert Admitted() == await world.admit(replacing=True)
    assert 300 == await world.gate.room()


async def test_all_processes_count_together(world: World) -> None:
    """What one process used another does not have."""
    other = world.another()
    await world.admit()
    assert 299 == await other.room()


async def test_failed_authorizations_hold_their_name(world: World) -> None:
    """Five failures in an hour hold the name until one more would be allowed, and no other name."""
    for _ in range(5):
        assert Admitted() == await world.admit(*NAME, "ok.example.org")
        await world.gate.authorization_failed(NAME, ACCOUNT)
        await world.gate.ended_without_certificate([*NAME, "ok.example.org"], replacing=False, account_url=ACCOUNT)
    held = await world.held(*NAME, "ok.example.org")
    assert (START + 12 * MINUTE, Scope.NAME, "www.example.com") == (held.until, held.scope, held.subject)
    assert "Let's Encrypt's limit of 5 failed authorizations for www.example.com in 1 hour" == held.reason
    assert Admitted() == await world.admit("ok.example.org")


async def test_success_ends_a_row_of_failures(world: World) -> None:
    """A name whose authorization succeeds starts anew with failures in a row; those of the hour still count."""
    await world.gate.authorization_failed(NAME, ACCOUNT)
    await world.gate.authorization_succeeded(NAME, ACCOUNT)
    levels = {each.limit: each.available for each in (await world.gate.levels(NAME)).limits}
    assert (1152, 4) == (levels["consecutive-failures-per-name"], levels["failed-authorizations-per-name"])


async def test_row_of_failures_holds_replacements_too(world: World) -> None:
    """The row of failures that pauses a name is exempt for nobody."""
    for _ in range(1152):
        await world.gate.authorization_failed(NAME, ACCOUNT)
    held = await world.held(replacing=True)
    assert (START + DAY, Scope.NAME) == (held.until, held.scope)


async def test_order_without_a_certificate_gives_back_what_it_did_not_use(world: World) -> None:
    """Orders that fail use up orders, never certificates: hopeless names do not hold the certificate of the day they are cured."""
    for _ in range(60):
        assert isinstance(await world.admit(), Admitted)
        await world.gate.ended_without_certificate(NAME, replacing=False, account_url=ACCOUNT)
    levels = {each.limit: each.available for each in (await world.gate.levels(NAME)).limits}
    assert (240, 50, 5) == tuple(
        levels[limit] for limit in ("new-orders-per-account", "certificates-per-registered-domain", "certificates-per-name-set")
    )


async def test_refusal_teaches_a_bucket(world: World) -> None:
    """A limit that was used up elsewhere is learned from the CA's refusal: no order is sent before its time, and then one by one."""
    detail = 'too many certificates (50) already issued for "example.com" in the last 168h0m0s, retry after 2026-11-26 13:00:00 UTC'
    with structlog.testing.capture_logs() as logs:
        await world.gate.learn(refused(detail, 3600.0), NAME, ACCOUNT)
    assert [("the certificate authority refused for a limit", "certificates-per-registered-domain", "example.com", 3600.0)] == [
        (line["event"], line["limit"], line["subject"], line["seconds"]) for line in logs
    ]
    held = await world.held("another.example.com")
    assert (START + HOUR, Scope.REGISTERED_DOMAIN, "example.com") == (held.until, held.scope, held.subject)
    assert Admitted() == await world.admit(replacing=True)
    world.now += HOUR
    assert Admitted() == await world.admit("another.example.com")
    assert START + HOUR + timedelta(seconds=12_096) == (await world.held("third.example.com")).until


async def test_refused_exemption_is_not_tried_again(world: World) -> None:
    """A replacement that is refused for a limit holds replacements as well until the CA's time."""
    await world.gate.learn(refused('too many certificates (50) already issued for "example.com"', 600.0), NAME, ACCOUNT, replacing=True)
    assert START + 10 * MINUTE == (await world.held(replacing=True)).until
    world.now += 10 * MINUTE
    assert Admitted() == await world.admit(replacing=True)


async def test_unknown_refusal_holds_the_account(world: World) -> None:
    """A limit that is not known holds everything of the account, which is untouched when the time is over."""
    await world.gate.learn(refused("too much of something new", 600.0), NAME, ACCOUNT)
    held = await world.held("any.example", replacing=True)
    assert (START + 10 * MINUTE, Scope.ACCOUNT) == (held.until, held.scope)
    (account, *_) = (await world.gate.levels()).limits
    assert (0, START + 10 * MINUTE) == (account.available, account.blocked_until)
    world.now += 10 * MINUTE
    assert 300 == await world.gate.room()


async def test_other_problems_teach_nothing(world: World) -> None:
    """A refusal for another reason leaves the limits alone."""
    await world.gate.learn(AcmeProblem("urn:ietf:params:acme:error:caa", "too many new orders", 403), NAME, ACCOUNT)
    assert Admitted() == await world.admit()
    assert 299 == await world.gate.room()


async def test_unknown_ca_is_held_by_its_refusals_alone() -> None:
    """A CA whose limits are not known gets any number of orders, until it refuses."""
    world = World(profile_for("https://ca.example/directory"))
    for _ in range(1000):
        assert Admitted() == await world.admit()
    assert None is await world.gate.room()
    await world.gate.learn(refused("too many failed authorizations recently", 60.0), NAME, ACCOUNT)
    held = await world.held()
    assert (START + MINUTE, "ca.example refused an order for www.example.com, and it is not time yet to ask again") == (
        held.until,
        held.reason,
    )
    assert Admitted() == await world.admit("other.example")


@pytest.mark.parametrize(
    ("profile", "count", "allowed"), [("", 100, True), ("", 101, False), ("shortlived", 25, True), ("shortlived", 26, False)]
)
async def test_too_many_names(world: World, profile: str, count: int, allowed: bool) -> None:
    """More names than the CA puts on a certificate are refused: no waiting would help. Nothing is taken."""
    names = [f"n{number}.example.com" for number in range(count)]
    if allowed:
        assert Admitted() == await world.admit(*names, profile=profile)
        return
    with pytest.raises(FailedPrecondition, match=f"Let's Encrypt puts at most {count - 1} names on a certificate"):
        await world.admit(*names, profile=profile)
    assert 300 == await world.gate.room()


async def test_registrations_are_limited(world: World) -> None:
    """Accounts are registered ten at once, then one each 18 minutes."""
    for _ in range(10):
        await world.gate.allow_registration()
    with pytest.raises(AcmeError) as caught:
        await world.gate.allow_registration()
    problem = caught.value.problem
    assert (LIMIT, 18 * 60.0) == (problem.type, problem.retry_after)
    assert "Let's Encrypt's limit of 10 new accounts for our address in 3 hours" == problem.detail
    assert Admitted() == await world.admit()


async def test_breaker_holds_everybody(world: World) -> None:
    """After several faults in a row nobody's order is sent, of any process, and no token is taken."""
    with structlog.testing.capture_logs() as logs:
        await world.break_down()
    assert ["circuit breaker opened"] == [line["event"] for line in logs]
    held = await world.held(replacing=True)
    assert (Scope.AUTHORITY, "") == (held.scope, held.subject)
    assert START + OPEN_FOR[0] <= held.until <= START + 1.2 * OPEN_FOR[0]
    assert "Let's Encrypt does not answer as it should; all orders wait, then one will try it again" == held.reason
    assert 300 == await world.gate.room()
    assert 2.0 == REGISTRY.get_sample_value("certplane_ca_breaker_state", {"authority": "acme-v02.api.letsencrypt.org"})
    levels = await world.gate.levels()
    assert (BreakerState.OPEN, held.until) == (levels.breaker, levels.breaker_until)


async def test_success_between_faults_keeps_it_closed(world: World) -> None:
    """Faults that are not in a row open nothing."""
    for _ in range(3):
        for _ in range(FAULTS_IN_A_ROW - 1):
            await world.gate.faulty()
        await world.gate.healthy()
    assert Admitted() == await world.admit()


async def test_balancer_opens_it_at_once(world: World) -> None:
    """One fault with a Retry-After is enough, and that is obeyed."""
    await world.gate.faulty(1800.0)
    assert (await world.held()).until >= START + 30 * MINUTE


async def test_one_probe_and_then_everybody(world: World) -> None:
    """When its time has come one order tries the CA, the others wait for it; its success lets all of them through."""
    await world.break_down()
    world.now = (await world.held()).until
    assert Admitted(probe=True) == await world.admit()
    held = await world.held()
    assert (world.now + PROBE_LASTS, Scope.AUTHORITY) == (held.until, held.scope)
    assert "Let's Encrypt did not answer as it should; one order is trying it now, and the others wait" == held.reason
    assert 299 == await world.gate.room()
    with structlog.testing.capture_logs() as logs:
        await world.gate.healthy()
    assert ["circuit breaker closed"] == [line["event"] for line in logs]
    assert Admitted() == await world.admit()
    assert 0.0 == REGISTRY.get_sample_value("certplane_ca_breaker_state", {"authority": "acme-v02.api.letsencrypt.org"})


async def test_failed_probe_waits_longer(world: World) -> None:
    """A probe that fails opens the breaker for longer."""
    await world.break_down()
    world.now = (await world.held()).until
    await world.admit()
    await world.gate.faulty()
    assert (await world.held()).until >= world.now + OPEN_FOR[1]


async def test_lost_probe_is_replaced(world: World) -> None:
    """A probe whose worker died is given up after a while, and another order is the probe."""
    await world.break_down()
    world.now = (await world.held()).until
    await world.admit()
    world.now += PROBE_LASTS
    assert Admitted(probe=True) == await world.admit()


async def test_order_that_a_limit_holds_is_no_probe(world: World) -> None:
    """An order that may not be sent for another reason does not become the probe that all others wait for."""
    for _ in range(5):
        await world.admit()
    await world.break_down()
    world.now = (await world.held()).until
    assert Scope.NAME_SET == (await world.held()).scope
    assert Admitted(probe=True) == await world.admit("other.example")


async def test_of_two_who_would_be_the_probe_one_waits(world: World) -> None:
    """Who comes second to the probe is held, with its tokens given back."""
    await world.break_down()
    world.now = (await world.held()).until
    quicker, load = world.another(), world.breakers.load

    async def overtaken(authority: str) -> object:
        world.breakers.load = load
        stored = await load(authority)
        assert Admitted(probe=True) == await quicker.admit(["quick.example"], profile="", replacing=False, account_url=ACCOUNT)
        return stored

    world.breakers.load = overtaken
    assert Scope.AUTHORITY == (await world.held("slow.example")).scope
    assert 299 == await world.gate.room()


async def test_probe_that_comes_when_the_ca_is_well_again_is_none(world: World) -> None:
    """Who wants to probe while the CA turned out well in the meantime just goes through."""
    await world.break_down()
    world.now = (await world.held()).until
    load = world.breakers.load

    async def cured(authority: str) -> object:
        world.breakers.load = load
        stored = await load(authority)
        world.breakers.breakers[authority] = CLOSED
        return stored

    world.breakers.load = cured
    assert Admitted() == await world.admit()
    assert 299 == await world.gate.room()


async def test_faults_of_many_at_once_all_count(world: World) -> None:
    """A change that somebody else came before is made again on what that one wrote."""
    world.breakers.lost = 3
    await world.gate.faulty()
    assert Breaker(faults=1) == world.breakers.breakers[CA]
    world.breakers.lost = 1000
    with pytest.raises(Unavailable, match="changes faster"):
        await world.gate.faulty()


async def test_health_of_a_healthy_ca_is_not_written(world: World) -> None:
    """Success after success writes nothing."""
    world.breakers.lost = 1000
    await world.gate.healthy()
    assert {} == world.breakers.breakers


async def test_levels_say_when_limits_are_full(world: World) -> None:
    """A status page shows what is there, when all of it will be, and that a healthy CA has no wait."""
    await world.admit()
    levels = await world.gate.levels(NAME)
    assert (BreakerState.CLOSED, None) == (levels.breaker, levels.breaker_until)
    by_name = {each.limit: each for each in levels.limits}
    account, untouched = by_name["new-orders-per-account"], by_name["registrations-per-address"]
    assert (300, 299, START + timedelta(seconds=36), None) == (
        account.capacity,
        account.available,
        account.full_time,
        account.blocked_until,
    )
    assert (10, START) == (untouched.available, untouched.full_time)


async def test_pace_keeps_the_rate_of_the_profile(world: World) -> None:
    """A gate paces requests by its profile."""
    before = world.limits.calls
    await world.gate.pace("new_order")
    assert before + 1 == world.limits.calls
    assert {(CA, "requests:new_order")} == set(world.limits.states)


@pytest.mark.parametrize("part", ["limits", "breakers"])
async def test_store_that_is_away_is_told(world: World, part: str) -> None:
    """Without the store nothing is sent: nobody would know what is used up."""
    getattr(world, part).away = True
    with pytest.raises(Unavailable):
        await world.admit()


async def test_held_orders_are_counted(world: World) -> None:
    """The metric of held orders tells what they wait for."""

    def count() -> float:
        labels = {"authority": "acme-v02.api.letsencrypt.org", "scope": "AUTHORITY"}
        return REGISTRY.get_sample_value("certplane_ca_orders_held_total", labels) or 0.0

    await world.gate.faulty(60.0)
    before = count()
    await world.held()
    assert before + 1 == count()
