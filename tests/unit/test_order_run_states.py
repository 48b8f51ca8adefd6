"""A run of an order from every state that a CA may show: what is sent, what is persisted, how it ends."""

from dataclasses import replace
from datetime import timedelta

import pytest

from controlplane.core.order import Phase
from controlplane.core.order_steps import LOOK_AGAIN, UNCERTAIN_LIFE
from controlplane.core.ports import AcmeProblem
from controlplane.usecases.order_endings import FinishedOrder, OrderAbandoned, OrderFailed, OrderSlow
from controlplane.usecases.order_run import LONGEST_WAIT, RUN_LIMIT
from tests.fakes.order_runs import SHOP, START, Runs, prepared
from tests.fakes.scripted_authority import ACME

WWW = f"www.{SHOP}"


@pytest.fixture
def runs() -> Runs:
    """A worker with an empty store, and a CA."""
    return Runs()


async def test_the_transcript_of_an_issuance(runs: Runs) -> None:
    """Every step is persisted before it is taken, and no request is sent that is not needed."""
    runs.authority.signing_reads = 1
    assert isinstance(await runs.run(prepared()), FinishedOrder)
    assert [
        f"new_order {SHOP}",
        "save PLACED",
        f"authorization https://ca.example/a/1/{SHOP}",
        "save PLACED",
        f"answer https://ca.example/c/{SHOP}",
        "order https://ca.example/o/1",
        "save FINALIZING",
        "finalize https://ca.example/f/1",
        "order https://ca.example/o/1",
        "download https://ca.example/o/1/certificate",
    ] == runs.authority.calls


async def test_what_is_asked_for_and_by_whom_is_recorded(runs: Runs) -> None:
    """Profile and replaced certificate of the record reach the CA, and the account that placed the order is recorded with its URL."""
    ending = await runs.run(prepared(replaces="aki.serial", profile="shortlived"))
    assert isinstance(ending, FinishedOrder)
    assert f"new_order {SHOP} profile=shortlived replaces=aki.serial" == runs.authority.calls[0]
    placed = next(order for order in runs.saved if order.phase is Phase.PLACED)
    assert ("https://ca.example/acct/1", "https://ca.example/o/1", "aki.serial", "shortlived") == (
        placed.account_url,
        placed.order_url,
        placed.replaces,
        placed.profile,
    )


async def test_authorizations_that_are_valid_already(runs: Runs) -> None:
    """An order whose names are all authorized is ready at once: no authorization is read, nothing is planted or answered."""
    runs.authority.authorized = {SHOP, WWW}
    assert isinstance(await runs.run(prepared(SHOP, WWW)), FinishedOrder)
    assert 0 == runs.authority.counted["authorization"] + runs.authority.counted["answer"]
    assert [] == runs.tokens.planted


async def test_a_pending_order_whose_authorizations_are_valid(runs: Runs) -> None:
    """A CA that shows such an order as pending for a while: no challenge is answered, no token planted, and it goes on."""
    runs.authority.authorized = {SHOP}
    runs.authority.shown = lambda order: replace(order, status="pending") if runs.authority.counted["order"] < 2 else order
    assert isinstance(await runs.run(prepared()), FinishedOrder)
    assert (1, 0) == (runs.authority.counted["authorization"], runs.authority.counted["answer"])
    assert [] == runs.tokens.planted


async def test_only_the_names_that_need_it_are_answered(runs: Runs) -> None:
    """With one name authorized already only the other's token is planted and its challenge answered."""
    runs.authority.authorized = {SHOP}
    assert isinstance(await runs.run(prepared(SHOP, WWW)), FinishedOrder)
    assert [f"answer https://ca.example/c/{WWW}"] == [call for call in runs.authority.calls if call.startswith("answer")]
    assert 1 == len(runs.tokens.planted)


@pytest.mark.parametrize("status", ["deactivated", "expired", "revoked"])
async def test_a_dead_authorization_ends_the_order(runs: Runs, status: str) -> None:
    """An authorization that will not become valid means a new order: nothing is answered in this one."""
    runs.authority.dead = {WWW: status}
    assert isinstance(await runs.run(prepared(SHOP, WWW)), OrderAbandoned)
    assert 0 == runs.authority.counted["answer"] + runs.authority.counted["finalize"]


async def test_an_invalid_authorization_of_a_pending_order(runs: Runs) -> None:
    """An authorization that failed fails the order with its reason, also before the CA shows the order as invalid."""
    order = await runs.placed()
    runs.authority.failing[SHOP] = AcmeProblem(f"{ACME}connection", "refused")
    await runs.authority.answer(f"https://ca.example/c/{SHOP}")
    runs.authority.shown = lambda order: replace(order, status="pending")
    ending = await runs.run(order)
    assert isinstance(ending, OrderFailed)
    assert (f"{ACME}connection", "refused", SHOP) == (
        ending.failure.problem.type,
        ending.failure.problem.detail,
        ending.failure.problem.failed_name,
    )


async def test_an_order_that_is_processing_for_minutes(runs: Runs) -> None:
    """A CA that takes long to sign does not hold the worker: the order is left, read later by its URL, and downloaded when it is valid."""
    runs.authority.signing_reads = 60
    runs.saved.append(prepared())
    attempts = []
    for _ in range(20):
        begun = runs.now
        attempts.append(await runs.run_again())
        assert runs.now - begun <= RUN_LIMIT + timedelta(seconds=LONGEST_WAIT)
        if not isinstance(attempts[-1], OrderSlow):
            break
        runs.now += timedelta(seconds=attempts[-1].retry_after)
    assert isinstance(attempts[-1], FinishedOrder)
    assert {OrderSlow} == {type(attempt) for attempt in attempts[:-1]}
    assert (1, 1) == (runs.authority.counted["new_order"], runs.authority.counted["finalize"])
    assert "download" in runs.steps


async def test_an_order_that_is_processing_until_it_expires(runs: Runs) -> None:
    """Past its expiry an order is not waited for any more."""
    runs.authority.signing_reads = 10**9
    runs.saved.append(prepared())
    assert isinstance(await runs.run_again(), OrderSlow)
    runs.now = START + timedelta(hours=8)
    assert isinstance(await runs.run_again(), OrderAbandoned)
    assert 1 == runs.authority.counted["finalize"]


async def test_a_valid_order_without_a_certificate_is_given_up_when_it_expires(runs: Runs) -> None:
    """A valid order that never shows its certificate's URL is read now and then, and abandoned at its expiry."""
    runs.authority.shown = lambda order: replace(order, certificate_url="")
    runs.saved.append(prepared())
    assert isinstance(await runs.run_again(), OrderSlow)
    runs.now = START + timedelta(hours=8)
    assert isinstance(await runs.run_again(), OrderAbandoned)
    assert 0 == runs.authority.counted["download"]


async def test_an_accepted_csr_is_not_sent_twice(runs: Runs) -> None:
    """An order that is shown as ready for a while after the CSR was accepted is polled, not finalized again."""
    runs.authority.shown = lambda order: (
        replace(order, status="ready", certificate_url="")
        if order.status in ("processing", "valid") and runs.authority.counted["order"] < 6
        else order
    )
    assert isinstance(await runs.run(prepared()), FinishedOrder)
    assert 1 == runs.authority.counted["finalize"]


@pytest.mark.parametrize("asked", [3.0, LONGEST_WAIT])
async def test_a_retry_after_of_a_poll_is_obeyed(runs: Runs, asked: float) -> None:
    """A Retry-After with an order is waited for before the next read, also the one that came with the reply to finalize."""
    runs.authority.signing_reads = 3
    runs.authority.shown = lambda order: replace(order, retry_after=asked if order.status == "processing" else None)
    assert isinstance(await runs.run(prepared()), FinishedOrder)
    assert 3 == runs.slept.count(asked)


@pytest.mark.parametrize(("asked", "expected"), [(16.0, LOOK_AGAIN), (3600.0, 3600.0), (7 * 86400.0, 8 * 3600.0)])
async def test_a_long_retry_after_is_for_the_schedule(runs: Runs, asked: float, expected: float) -> None:
    """A longer one ends the run at once; the order is read again after that time, or when it expires if that is sooner."""
    runs.authority.signing_reads = 10**9
    runs.authority.shown = lambda order: replace(order, retry_after=asked if order.status == "processing" else None)
    ending = await runs.run(prepared())
    assert isinstance(ending, OrderSlow)
    assert abs(expected - ending.retry_after) < 1
    assert runs.now - START < timedelta(seconds=1)


@pytest.mark.parametrize("wrong", [timedelta(days=400), timedelta(days=-400)])
async def test_a_wrong_clock_does_not_abandon_an_order(runs: Runs, wrong: timedelta) -> None:
    """Our clock may be a year ahead or behind: an order that the CA has just given out is carried to its end, with tokens that live."""
    runs.authority.clock = lambda: runs.now - wrong
    runs.authority.signing_reads = 5
    assert isinstance(await runs.run(prepared()), FinishedOrder)
    assert 1 == runs.authority.counted["new_order"]
    assert all(record.expire_time > START for record in runs.tokens.planted)


async def test_an_expiry_in_the_past_is_an_hour_by_our_clock(runs: Runs) -> None:
    """An order that comes with an expiry behind us gets one by our own clock, which bounds how long it is waited for."""
    runs.authority.lifetime = timedelta(days=-1)
    runs.authority.signing_reads = 10**9
    assert isinstance(await runs.run(prepared()), OrderSlow)
    assert START + UNCERTAIN_LIFE == runs.saved[-1].expire_time
    runs.now = START + UNCERTAIN_LIFE
    assert isinstance(await runs.run_again(), OrderAbandoned)


async def test_an_order_without_expiry_is_not_waited_for_for_ever(runs: Runs) -> None:
    """A CA need not say when an order expires: a week is enough."""
    runs.authority.lifetime = None
    runs.authority.signing_reads = 10**9
    assert isinstance(await runs.run(prepared()), OrderSlow)
    runs.now = START + timedelta(days=6)
    assert isinstance(await runs.run_again(), OrderSlow)
    runs.now = START + timedelta(days=7)
    assert isinstance(await runs.run_again(), OrderAbandoned)


async def test_a_clock_that_is_set_back_does_not_hold_the_worker(runs: Runs) -> None:
    """A run ends after the time that it has waited, whatever the clock says."""
    runs.authority.signing_reads = 10**9
    runs.set_back = timedelta(hours=1)
    assert isinstance(await runs.run(prepared()), OrderSlow)
    assert sum(runs.slept) <= RUN_LIMIT.total_seconds() + LONGEST_WAIT


@pytest.mark.parametrize(("status", "finalized"), [("pending", 1), ("ready", 1), ("processing", 0), ("valid", 0)])
async def test_a_successor_goes_on_with_the_same_order(runs: Runs, status: str, finalized: int) -> None:
    """Whoever takes over reads the order by its URL, and does only what its state still needs."""
    order = await runs.placed()
    if status != "pending":
        await runs.authority.answer(f"https://ca.example/c/{SHOP}")
    if status in ("processing", "valid"):
        runs.authority.signing_reads = 2 if status == "processing" else 1
        await runs.authority.finalize(order.finalize_url, order.csr)
    runs.authority.calls.clear()
    assert isinstance(await runs.run(replace(order, phase=Phase.FINALIZING)), FinishedOrder)
    assert f"order {order.order_url}" == runs.authority.calls[0]
    assert (0, finalized) == (runs.authority.counted["new_order"], runs.authority.counted["finalize"])


async def test_an_invalid_order_tells_name_by_name(runs: Runs) -> None:
    """A failed order tells each failed name's own error, and names no name that was good."""
    bad = f"bad.{SHOP}"
    runs.authority.failing = {WWW: AcmeProblem(f"{ACME}dns", "NXDOMAIN"), bad: AcmeProblem(f"{ACME}caa", "issue ';'")}
    ending = await runs.run(prepared(SHOP, WWW, bad))
    assert isinstance(ending, OrderFailed)
    assert {WWW: "NXDOMAIN", bad: "issue ';'"} == {name: problem.detail for name, problem in ending.failure.names}
    assert 0 == runs.authority.counted["finalize"]


async def test_a_ca_without_http_01_is_for_the_operator(runs: Runs) -> None:
    """A name for which no HTTP-01 challenge is offered fails the order by name."""
    order = await runs.placed()
    real = runs.authority

    class Without:
        def __getattr__(self, name: str) -> object:
            return getattr(real, name)

        async def authorization(self, url: str) -> object:
            return replace(await real.authorization(url), token="", challenge_url="", challenge_status="")

    runs.authority = Without()  # type: ignore[assignment]
    ending = await runs.run(order)
    assert isinstance(ending, OrderFailed)
    assert f"the CA offers no HTTP-01 challenge for {SHOP}" == ending.failure.problem.detail
