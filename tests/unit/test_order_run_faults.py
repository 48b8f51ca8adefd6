"""A run of an order when something goes wrong: what is sent, what is persisted, how it ends."""

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from itertools import product

import pytest

from controlplane.core.backoff import FailureKind
from controlplane.core.managed_domain import Actor
from controlplane.core.order import Phase
from controlplane.core.order_faults import ORDER_FAULTS, PAUSES, Fault, Reaction
from controlplane.core.order_steps import Step
from controlplane.core.ports import AcmeError, AcmeProblem, AcmeUnreachable, RemoteOrder
from controlplane.usecases.order_endings import AccountStopped, FinishedOrder, OrderAbandoned, OrderFailed, OrderInterrupted
from controlplane.usecases.order_run import RUN_LIMIT
from tests.fakes.order_runs import SHOP, START, Runs, prepared
from tests.fakes.scripted_authority import ACME, CHAIN, Play, lost, refused

# One way for each fault to come about.
PLAYS: dict[Fault, Callable[[], Play]] = {
    Fault.BAD_NONCE: lambda: refused("badNonce"),
    Fault.NOT_SENT: lambda: Play(AcmeUnreachable("refused", sent=False)),
    Fault.REPLY_LOST: lambda: lost(after=False),
    Fault.NOT_ACME: lambda: Play(AcmeUnreachable("a page", sent=True, status=502)),
    Fault.SERVER_INTERNAL: lambda: refused("serverInternal", 500),
    Fault.SERVER_ERROR: lambda: Play(AcmeError(AcmeProblem("about:blank", "bad gateway", 502))),
    Fault.NONSENSE: lambda: Play(AcmeUnreachable("nonsense", sent=True, status=200)),
    Fault.UNAVAILABLE: lambda: Play(AcmeUnreachable("busy", sent=True, status=503, retry_after=60.0)),
    Fault.RATE_LIMITED: lambda: refused("rateLimited", 429, 3600.0),
    Fault.NAME_PAUSED: lambda: refused("rateLimited", 429),
    Fault.USER_ACTION_REQUIRED: lambda: refused("userActionRequired", 403),
    Fault.ACCOUNT_DOES_NOT_EXIST: lambda: refused("accountDoesNotExist"),
    Fault.ACCOUNT_UNUSABLE: lambda: refused("externalAccountRequired", 403),
    Fault.ALREADY_REPLACED: lambda: refused("alreadyReplaced", 409),
    Fault.ORDER_NOT_READY: lambda: refused("orderNotReady", 403),
    Fault.BAD_CSR: lambda: refused("badCSR"),
    Fault.INVALID_PROFILE: lambda: refused("invalidProfile"),
    Fault.REJECTED_IDENTIFIER: lambda: refused("rejectedIdentifier"),
    Fault.CAA: lambda: refused("caa", 403),
    Fault.DNS: lambda: refused("dns"),
    Fault.CONNECTION: lambda: refused("connection"),
    Fault.TLS: lambda: refused("tls"),
    Fault.INCORRECT_RESPONSE: lambda: refused("incorrectResponse", 403),
    Fault.UNAUTHORIZED: lambda: refused("unauthorized", 403),
    Fault.GONE: lambda: refused("malformed", 404),
    Fault.MALFORMED: lambda: refused("malformed"),
    Fault.OTHER: lambda: refused("neverHeardOf", 403),
}

# The request of a step that meets the fault.
METHODS = {
    Step.PLACE_ORDER: "new_order",
    Step.ANSWER_CHALLENGES: "answer",
    Step.POLL: "order",
    Step.FINALIZE: "finalize",
    Step.DOWNLOAD: "download",
    Step.FAIL: "authorization",
}
ENDINGS = {
    Reaction.ABANDON: OrderAbandoned,
    Reaction.FAIL: OrderFailed,
    Reaction.INTERRUPT: OrderInterrupted,
    Reaction.STOP_ACCOUNT: AccountStopped,
}
EVERY_CELL = [(step, fault) for step, fault in product([step for step in METHODS if step is not Step.FAIL], Fault)]
KEPT = [cell for cell in EVERY_CELL if ORDER_FAULTS[cell][1] in (Reaction.INTERRUPT, Reaction.STOP_ACCOUNT)]


@pytest.fixture
def runs() -> Runs:
    """A worker with an empty store, and a CA."""
    return Runs()


def test_every_fault_is_played() -> None:
    """The tests below leave no fault out."""
    assert set(Fault) == set(PLAYS)


@pytest.mark.parametrize(("step", "fault"), EVERY_CELL, ids=lambda value: value.name)
async def test_one_fault_at_one_step(runs: Runs, step: Step, fault: Fault) -> None:
    """After one fault a run either gets the certificate with one order and one CSR, or ends as the table says at that very request."""
    runs.authority.script[METHODS[step]] = [PLAYS[fault]()]
    ending = await runs.run(prepared())
    first, then = ORDER_FAULTS[step, fault]
    expected = then if first is Reaction.REPLACE_NOTHING else first
    if expected in ENDINGS:
        assert ENDINGS[expected] is type(ending)
        assert METHODS[step] == runs.authority.calls[-1].split()[0]
        assert PAUSES[0] not in runs.slept
    else:
        assert isinstance(ending, FinishedOrder)
        assert CHAIN == ending.chain
        assert 1 == len(runs.authority.csrs)
        assert 1 == len({order.order_url for order in runs.saved if order.order_url})
        assert PAUSES[0] in runs.slept
    assert (2 if step is Step.PLACE_ORDER and expected is Reaction.REPEAT else 1) == runs.authority.counted["new_order"]


@pytest.mark.parametrize(("step", "fault"), EVERY_CELL, ids=lambda value: value.name)
async def test_a_fault_that_stays(runs: Runs, step: Step, fault: Fault) -> None:
    """A fault that comes again each time ends the run after few requests, as the table says."""
    runs.authority.script[METHODS[step]] = [PLAYS[fault]() for _ in range(50)]
    ending = await runs.run(prepared())
    first, then = ORDER_FAULTS[step, fault]
    assert ENDINGS[then] is type(ending)
    repeated = first in (Reaction.REPEAT, Reaction.READ_AGAIN)
    assert (1 + len(PAUSES) if repeated else 1) == runs.authority.counted[METHODS[step]]
    assert runs.now - START < timedelta(seconds=15)


@pytest.mark.parametrize(("step", "fault"), KEPT, ids=lambda value: value.name)
async def test_an_interrupted_order_goes_on(runs: Runs, step: Step, fault: Fault) -> None:
    """What was interrupted goes on from what is persisted, once the fault is over: the same order, the CSR accepted once."""
    runs.authority.script[METHODS[step]] = [PLAYS[fault]() for _ in range(1 + len(PAUSES))]
    runs.saved.append(prepared())
    assert isinstance(await runs.run(runs.saved[-1]), OrderInterrupted)
    runs.authority.script.clear()
    assert isinstance(await runs.run_again(), FinishedOrder)
    assert 1 == len(runs.authority.csrs)
    assert 1 == len({order.order_url for order in runs.saved if order.order_url})


@pytest.mark.parametrize("fault", Fault)
async def test_the_reason_of_an_invalid_order(runs: Runs, fault: Fault) -> None:
    """A fault while the reason of an invalid order is read: the failure comes all the same, or the order is kept until it can be told."""
    runs.authority.failing[SHOP] = AcmeProblem(f"{ACME}connection", "refused")
    runs.authority.script["authorization"] = [None, PLAYS[fault]()]
    ending = await runs.run(prepared())
    first, _ = ORDER_FAULTS[Step.FAIL, fault]
    if first is Reaction.REPEAT:
        assert isinstance(ending, OrderFailed)
        assert (f"{ACME}connection", SHOP) == (ending.failure.problem.type, ending.failure.problem.failed_name)
    elif first is Reaction.FAIL:
        assert isinstance(ending, OrderFailed)
        assert "urn:certplane:error:orderInvalid" == ending.failure.problem.type
    else:
        assert isinstance(ending, OrderInterrupted)
        again = await runs.run_again()
        assert isinstance(again, OrderFailed)
        assert f"{ACME}connection" == again.failure.problem.type
    assert 1 == runs.authority.counted["new_order"]


async def test_what_is_known_of_a_reason_is_told(runs: Runs) -> None:
    """When the authorization of one name is gone, the error of the other is still the reason."""
    www = f"www.{SHOP}"
    runs.authority.failing[www] = AcmeProblem(f"{ACME}dns", "NXDOMAIN")
    runs.authority.script["authorization"] = [None, None, PLAYS[Fault.GONE]()]
    ending = await runs.run(prepared(SHOP, www))
    assert isinstance(ending, OrderFailed)
    assert [(www, f"{ACME}dns")] == [(name, problem.type) for name, problem in ending.failure.names]


@pytest.mark.parametrize("state", ["pending", "ready", "processing", "valid", "invalid"])
async def test_not_ready_in_every_state(runs: Runs, state: str) -> None:
    """After orderNotReady the order is read, and its state decides; the CSR is not sent again unless the order waits for it."""
    told: list[str] = []

    def shown(order: RemoteOrder) -> RemoteOrder:
        if told or not runs.authority.counted["finalize"]:
            return order
        # What the CA says once, after the refusal.
        told.append(state)
        return replace(order, status=state, certificate_url=f"{order.url}/certificate" if state == "valid" else "")

    runs.authority.shown = shown
    runs.authority.script["finalize"] = [refused("orderNotReady", 403)]
    ending = await runs.run(prepared())
    assert (OrderFailed if state == "invalid" else FinishedOrder) is type(ending)
    assert (1 if state in ("valid", "invalid") else 2) == runs.authority.counted["finalize"]
    assert 1 == runs.authority.counted["new_order"]


async def test_a_lost_finalize_reply_is_not_sent_again(runs: Runs) -> None:
    """When the answer to finalize is lost the order is read, and its certificate downloaded: the CSR is sent once."""
    runs.authority.script["finalize"] = [lost()]
    assert isinstance(await runs.run(prepared()), FinishedOrder)
    assert 1 == runs.authority.counted["finalize"]


async def test_a_refused_csr_is_not_sent_again(runs: Runs) -> None:
    """A refused CSR leaves the order ready at the CA, but the same CSR would be refused again: the order is over, for the operator."""
    runs.authority.script["finalize"] = [refused("badCSR")]
    ending = await runs.run(prepared())
    assert isinstance(ending, OrderFailed)
    assert (f"{ACME}badCSR", Actor.OPERATOR) == (ending.failure.problem.type, ending.failure.problem.must_act)
    assert Phase.FINALIZING is ending.order.phase
    assert 1 == runs.authority.counted["finalize"]


async def test_a_lost_order_that_replaces_is_posted_without(runs: Runs) -> None:
    """The repeat of a lost newOrder meets our own order as a conflict: `replaces` is dropped, persisted, and only then posted again."""
    runs.authority.script["new_order"] = [lost(), refused("alreadyReplaced", 409)]
    ending = await runs.run(prepared(replaces="aki.serial"))
    assert isinstance(ending, FinishedOrder)
    with_it = f"new_order {SHOP} replaces=aki.serial"
    assert [with_it, with_it, "save PREPARED", f"new_order {SHOP}", "save PLACED"] == [
        call for call in runs.authority.calls if call.startswith(("new_order", "save P"))
    ][:5]
    assert "" == ending.order.replaces


@pytest.mark.parametrize("fault", [Fault.MALFORMED, Fault.UNAUTHORIZED, Fault.GONE, Fault.OTHER])
async def test_what_cannot_be_replaced_is_renewed_all_the_same(runs: Runs, fault: Fault) -> None:
    """A CA that refuses the certificate to be replaced, of a former account for example, does not stop the renewal."""
    runs.authority.script["new_order"] = [PLAYS[fault]()]
    assert isinstance(await runs.run(prepared(replaces="aki.serial")), FinishedOrder)
    assert 2 == runs.authority.counted["new_order"]


@pytest.mark.parametrize("fault", [Fault.CAA, Fault.REJECTED_IDENTIFIER, Fault.INVALID_PROFILE, Fault.NAME_PAUSED])
async def test_what_is_not_about_the_replaced_certificate_is_not_posted_again(runs: Runs, fault: Fault) -> None:
    """A refusal of names is final, also for an order that replaces a certificate."""
    runs.authority.script["new_order"] = [PLAYS[fault]()]
    assert isinstance(await runs.run(prepared(replaces="aki.serial")), OrderFailed)
    assert 1 == runs.authority.counted["new_order"]


async def test_an_account_that_may_not_order_keeps_the_order(runs: Runs) -> None:
    """`unauthorized` to newOrder is about the account: the operator must act, and the names are not put off for a day."""
    runs.authority.script["new_order"] = [refused("unauthorized", 403)]
    ending = await runs.run(prepared())
    assert isinstance(ending, OrderInterrupted)
    assert (Actor.OPERATOR, FailureKind.AUTHORITY) == (ending.failure.problem.must_act, ending.failure.kind)


async def test_a_short_retry_after_is_waited_for(runs: Runs) -> None:
    """A refusal with a Retry-After of seconds is repeated after that time, not sooner."""
    runs.authority.script["finalize"] = [refused("orderNotReady", 403, 7.0)]
    assert isinstance(await runs.run(prepared()), FinishedOrder)
    assert 7.0 in runs.slept


async def test_subproblems_are_told_name_by_name(runs: Runs) -> None:
    """A newOrder that is refused for several names fails with each name's own reason."""
    www = f"www.{SHOP}"
    subs = ((SHOP, AcmeProblem(f"{ACME}rejectedIdentifier", "forbidden")), (www, AcmeProblem(f"{ACME}caa", "issue ';'")))
    runs.authority.script["new_order"] = [refused("malformed", 400, None, *subs)]
    ending = await runs.run(prepared(SHOP, www, replaces="aki.serial"))
    assert isinstance(ending, OrderFailed)
    assert [(SHOP, "forbidden"), (www, "issue ';'")] == [(name, problem.detail) for name, problem in ending.failure.names]
    assert Actor.CUSTOMER is ending.failure.problem.must_act
    assert 1 == runs.authority.counted["new_order"]


async def test_every_challenge_is_answered_although_one_answer_fails(runs: Runs) -> None:
    """When one answer is refused the others are sent all the same, and nothing is answered twice."""
    names = (SHOP, f"a.{SHOP}", f"b.{SHOP}")
    runs.authority.script["answer"] = [lost(), None, None]
    assert isinstance(await runs.run(prepared(*names)), FinishedOrder)
    assert 3 == runs.authority.counted["answer"]


async def test_nonces_that_are_refused_at_every_step(runs: Runs) -> None:
    """Each step has repetitions of its own: a CA that refuses many nonces at every step still gives a certificate."""
    for method in ("new_order", "answer", "order", "finalize", "download"):
        runs.authority.script[method] = [refused("badNonce") for _ in PAUSES]
    assert isinstance(await runs.run(prepared()), FinishedOrder)
    assert 1 == len(runs.authority.csrs)


async def test_an_expired_order_is_not_kept_for_a_ca_that_fails(runs: Runs) -> None:
    """An order that cannot be read, and has expired by then, is abandoned instead of kept for ever."""
    order = await runs.placed()
    runs.now += timedelta(hours=9)
    runs.authority.script["order"] = [refused("serverInternal", 500) for _ in range(10)]
    assert isinstance(await runs.run(order), OrderAbandoned)


@pytest.mark.parametrize(("age", "expected"), [(timedelta(hours=23), OrderInterrupted), (timedelta(hours=25), OrderAbandoned)])
async def test_a_chain_that_is_nonsense_for_a_day_is_given_up(runs: Runs, age: timedelta, expected: type[Exception]) -> None:
    """A certificate that cannot be downloaded is tried for a day, then another is ordered."""
    runs.authority.lifetime = timedelta(days=7)
    runs.authority.script["download"] = [PLAYS[Fault.NONSENSE]() for _ in range(10)]
    assert isinstance(await runs.run(prepared()), OrderInterrupted)
    runs.now = START + age
    assert expected is type(await runs.run_again())


async def test_a_ca_that_hangs_at_every_step(runs: Runs) -> None:
    """Each request that hangs costs its time; once a run has lasted its limit nothing is repeated any more, and the order is kept."""
    hang = replace(PLAYS[Fault.REPLY_LOST](), seconds=45.0)
    for method in ("new_order", "answer", "order", "finalize", "download"):
        runs.authority.script[method] = [hang, hang]
    assert isinstance(await runs.run(prepared()), OrderInterrupted)
    assert runs.now - START < RUN_LIMIT + timedelta(minutes=1)
    runs.authority.script.clear()
    assert isinstance(await runs.run_again(), FinishedOrder)
    assert 1 == len({order.order_url for order in runs.saved if order.order_url})


@pytest.mark.parametrize("seed", range(100))
async def test_whatever_comes_together(runs: Runs, seed: int) -> None:
    """Any mixture of faults, before and after they took effect: each attempt ends soon, and no step is taken that was not persisted."""
    chance = random.Random(seed)
    for method in METHODS.values():
        plays = [PLAYS[fault]() for fault in Fault]
        mixture = [replace(chance.choice(plays), after=chance.random() < 0.5) if chance.random() < 0.6 else None for _ in range(12)]
        runs.authority.script[method] = mixture
    runs.authority.signing_reads = chance.randrange(4)
    order = prepared(SHOP, f"www.{SHOP}", replaces=chance.choice(["", "aki.serial"]))
    runs.saved.append(order)
    for _ in range(60):
        sent, begun = len(runs.authority.calls), runs.now
        ending = await runs.run_again()
        assert len(runs.authority.calls) - sent < 100
        assert runs.now - begun < timedelta(minutes=3)
        if isinstance(ending, OrderFailed | OrderAbandoned):
            # A new order with a new key, as the attempt goes on.
            runs.saved.append(order)
        elif isinstance(ending, FinishedOrder):
            break
        runs.now += timedelta(minutes=1)
    assert isinstance(ending, FinishedOrder)
    calls = runs.authority.calls
    for number, call in enumerate(calls):
        method = call.split()[0]
        saved = {each.split()[1] for each in calls[:number] if each.startswith("save")}
        if method in ("answer", "order", "finalize", "download"):
            assert "PLACED" in saved
        if method == "finalize":
            assert "FINALIZING" in saved
