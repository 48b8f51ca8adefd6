"""Issuing against a real Pebble, with faults in between: nothing is lost, and nothing is done twice."""

from dataclasses import replace
from datetime import timedelta

import pytest

from controlplane.core.certificate import CertificateRecord
from controlplane.core.errors import DomainGone, LeaseLost, Unavailable
from controlplane.core.managed_domain import Actor, DomainState
from controlplane.core.names import DomainName
from controlplane.core.order import Phase
from controlplane.core.ports import AcmeProblem
from controlplane.usecases.issuance_metrics import Outcome
from tests.fakes import samples
from tests.fakes.issuer import LEASE, Issuer
from tests.fakes.work import Write, utc_now

ACME = "urn:ietf:params:acme:error:"
SHOP, WWW = "shop.example.com", "www.shop.example.com"


class Killed(BaseException):
    """The worker's process ends here."""


def stored(issuer: Issuer, name: str = SHOP) -> CertificateRecord:
    certificate = issuer.work.certificate_of(DomainName(name))
    assert certificate is not None
    return certificate


WRITES = 6


@pytest.mark.parametrize("deaths_after", range(WRITES))
async def test_a_killed_workers_successor_finishes(issuer: Issuer, deaths_after: int) -> None:
    """A worker that dies after any write is succeeded by another process, which goes on with the same order if there was one."""
    name = DomainName(SHOP)
    await issuer.work.add(samples.spec(SHOP))
    writes = 0

    def die(_: Write) -> None:
        nonlocal writes
        writes += 1
        if writes == deaths_after + 1:
            raise Killed

    issuer.work.after_write = die
    lease = await issuer.work.acquire(name, "first", LEASE)
    assert lease is not None
    with pytest.raises(Killed):
        await issuer.issuance().carry_out(lease)
    left = issuer.work.order_of(name)
    already_issued = issuer.work.certificate_of(name) is not None
    issuer.work.after_write = lambda _: None
    issuer.work.expire_lease(name)

    successor = issuer.another_client()
    outcome = await issuer.attempt(SHOP, successor)

    assert (Outcome.NOTHING_TO_DO if already_issued else Outcome.ISSUED) == outcome
    assert DomainState.ACTIVE is issuer.status(SHOP).state
    assert 1 == issuer.accounts.created
    if left is not None and left.phase is not Phase.PREPARED:
        assert [] == successor.ordered
        assert left.sealed_leaf_key == stored(issuer).sealed_leaf_key
    with pytest.raises(LeaseLost):
        await issuer.work.save_order(lease, None)


async def test_there_are_as_many_writes_as_deaths_are_tried_after(issuer: Issuer) -> None:
    """The test above covers every write of an issuance."""
    await issuer.work.add(samples.spec(SHOP))
    await issuer.attempt(SHOP)
    assert WRITES == len(issuer.work.history)


@pytest.mark.parametrize("method", ["new_order", "order", "authorization", "answer", "finalize", "download"])
async def test_a_lost_reply_is_got_over(issuer: Issuer, method: str) -> None:
    """Whichever reply of the CA is lost after the request took effect, the attempt still ends with the certificate."""
    issuer.authority.lost[method] = 1
    await issuer.work.add(samples.spec(SHOP))
    assert await issuer.attempt(SHOP) is Outcome.ISSUED


async def test_a_lost_new_order_reply_is_posted_again(issuer: Issuer) -> None:
    """After a lost newOrder reply there is no URL to read, so the same names are ordered again with the same key."""
    issuer.authority.lost["new_order"] = 1
    await issuer.work.add(samples.spec(SHOP))
    await issuer.attempt(SHOP)
    assert [(SHOP,), (SHOP,)] == issuer.authority.ordered
    keys = {write.order.sealed_leaf_key.ciphertext for write in issuer.work.history if write.order}
    assert 1 == len(keys)


async def test_a_refusal_beside_the_write_does_not_lose_the_order(issuer: Issuer) -> None:
    """An authorization that cannot be read while the placed order is being written leaves the order written, for the next attempt."""
    issuer.authority.refused["authorization"] = AcmeProblem(f"{ACME}serverInternal", "try again later", 500, 60.0)
    await issuer.work.add(samples.spec(SHOP))
    assert await issuer.attempt(SHOP) is Outcome.FAILED_CA
    order = issuer.work.order_of(DomainName(SHOP))
    assert order is not None
    assert issuer.authority.order_urls == [order.order_url]
    assert await issuer.attempt(SHOP) is Outcome.ISSUED
    assert 1 == len(issuer.authority.ordered)


async def test_an_order_that_is_not_ready_is_read_again(issuer: Issuer) -> None:
    """A finalize that is refused with orderNotReady leads to another look at the order, and then to the certificate."""
    issuer.authority.refused["finalize"] = AcmeProblem(f"{ACME}orderNotReady", "not yet", 403)
    await issuer.work.add(samples.spec(SHOP))
    assert await issuer.attempt(SHOP) is Outcome.ISSUED


async def test_an_absent_ca_interrupts_and_the_order_goes_on_later(issuer: Issuer) -> None:
    """A CA that goes away in the middle leaves the order in place, FAILED with the CA to act; the next attempt takes the same order up."""
    await issuer.work.add(samples.spec(SHOP))

    def go_away(write: Write) -> None:
        issuer.authority.unreachable |= write.order is not None and write.order.phase is Phase.PLACED

    issuer.work.after_write = go_away
    assert await issuer.attempt(SHOP) is Outcome.FAILED_CA
    status, order = issuer.status(SHOP), issuer.work.order_of(DomainName(SHOP))
    assert status.last_error is not None
    assert (DomainState.FAILED, Actor.CA, 1) == (status.state, status.last_error.must_act, status.attempt_count)
    assert order is not None
    issuer.work.after_write = lambda _: None
    issuer.authority.unreachable = False
    assert await issuer.attempt(SHOP) is Outcome.ISSUED
    assert [order.order_url] == issuer.authority.order_urls


async def test_an_order_that_is_gone_is_replaced(issuer: Issuer) -> None:
    """An order that the CA does not know is abandoned, and a new one with a new key is placed in the same attempt."""
    await issuer.work.add(samples.spec(SHOP))
    lease = await issuer.work.acquire(DomainName(SHOP), "first", LEASE)
    assert lease is not None
    gone = replace(
        samples.order(SHOP),
        directory_url=issuer.pebble.directory_url,
        order_url=f"{issuer.pebble.directory_url.removesuffix('/dir')}/my-order/nobody-knows",
        expire_time=utc_now() + timedelta(hours=1),
        tokens=("t" * 43,),
    )
    await issuer.work.save_order(lease, gone)
    await issuer.work.release(lease)
    assert await issuer.attempt(SHOP) is Outcome.ISSUED
    assert gone.sealed_leaf_key != stored(issuer).sealed_leaf_key


async def test_an_order_of_another_ca_is_dropped(issuer: Issuer) -> None:
    """An order in progress at a CA that is no longer configured is dropped and placed anew."""
    await issuer.work.add(samples.spec(SHOP))
    lease = await issuer.work.acquire(DomainName(SHOP), "first", LEASE)
    assert lease is not None
    await issuer.work.save_order(lease, samples.order(SHOP))
    await issuer.work.release(lease)
    assert await issuer.attempt(SHOP) is Outcome.ISSUED


async def test_wrong_dns_fails_for_the_customer(issuer: Issuer) -> None:
    """An order that becomes invalid ends FAILED: the challenge's error with its name, a minute's wait, no order and no token left."""
    await issuer.pebble.add_a(SHOP, "127.0.0.2")
    await issuer.work.add(samples.spec(SHOP))
    before = utc_now()
    assert await issuer.attempt(SHOP) is Outcome.FAILED_CUSTOMER
    status = issuer.status(SHOP)
    assert status.last_error is not None
    assert (f"{ACME}connection", Actor.CUSTOMER, SHOP) == (
        status.last_error.type,
        status.last_error.must_act,
        status.last_error.failed_name,
    )
    assert (DomainState.FAILED, "", 1) == (status.state, status.current_step, status.attempt_count)
    assert status.next_attempt_time is not None
    assert timedelta(minutes=1) <= status.next_attempt_time - before
    assert status.next_attempt_time == issuer.work.due_of(DomainName(SHOP))
    assert issuer.work.order_of(DomainName(SHOP)) is None
    assert {} == issuer.tokens.records


async def test_a_rejected_chain_is_not_stored(issuer: Issuer) -> None:
    """A chain for another key is not stored: the CA must act, and the order is over."""
    await issuer.work.add(samples.spec(SHOP))
    issuer.authority.foreign_chain = (samples.certificate(SHOP).leaf,)
    assert await issuer.attempt(SHOP) is Outcome.FAILED_CA
    status = issuer.status(SHOP)
    assert status.last_error is not None
    assert ("urn:certplane:error:chainRejected", DomainState.FAILED) == (status.last_error.type, status.state)
    assert issuer.work.certificate_of(DomainName(SHOP)) is None
    assert issuer.work.order_of(DomainName(SHOP)) is None


async def test_a_rate_limit_is_respected_and_blames_nobody(issuer: Issuer) -> None:
    """A rateLimited newOrder waits as long as the CA asked; the order that was not taken is dropped, for the gate to decide again."""
    issuer.authority.refused["new_order"] = AcmeProblem(f"{ACME}rateLimited", "too many", 429, 7200.0)
    await issuer.work.add(samples.spec(SHOP))
    before = utc_now()
    assert await issuer.attempt(SHOP) is Outcome.FAILED_NOBODY
    status = issuer.status(SHOP)
    assert status.next_attempt_time is not None
    assert status.next_attempt_time - before >= timedelta(hours=2)
    assert issuer.work.order_of(DomainName(SHOP)) is None
    # Whatever makes it due before, nobody's order goes to the CA until then.
    assert await issuer.attempt(SHOP) is Outcome.HELD
    assert 1 == len(issuer.authority.ordered)


async def test_a_lost_lease_stops_everything(issuer: Issuer) -> None:
    """A worker whose lease was taken raises LeaseLost and writes nothing more, and leaves its successor's tokens alone."""
    name = DomainName(SHOP)
    await issuer.work.add(samples.spec(SHOP))

    def steal(write: Write) -> None:
        if write.order is not None and write.order.tokens:
            issuer.work.steal(name)

    issuer.work.after_write = steal
    lease = await issuer.work.acquire(name, "first", LEASE)
    assert lease is not None
    with pytest.raises(LeaseLost):
        await issuer.issuance().carry_out(lease)
    assert "challenge" == issuer.status(SHOP).current_step
    assert issuer.work.certificate_of(name) is None
    assert 1 == len(issuer.tokens.records)


async def test_an_absent_store_stops_the_attempt(issuer: Issuer) -> None:
    """A store that goes away in the middle raises Unavailable; once it is back the next attempt finishes."""
    await issuer.work.add(samples.spec(SHOP))

    def go_away(write: Write) -> None:
        issuer.work.away = write.order is not None and write.order.phase is Phase.FINALIZING

    issuer.work.after_write = go_away
    lease = await issuer.work.acquire(DomainName(SHOP), "first", LEASE)
    assert lease is not None
    with pytest.raises(Unavailable):
        await issuer.issuance().carry_out(lease)
    issuer.work.away, issuer.work.after_write = False, lambda _: None
    issuer.work.expire_lease(DomainName(SHOP))
    assert await issuer.attempt(SHOP) is Outcome.ISSUED
    assert 1 == len(issuer.authority.ordered)


async def test_an_unexpected_error_is_written_and_put_off(issuer: Issuer) -> None:
    """A defect of ours fails the one domain with no detail to the outside, and it is not taken up again at once."""
    await issuer.work.add(samples.spec(SHOP))
    issuer.preflight.broken = RuntimeError("internal detail")
    assert await issuer.attempt(SHOP) is Outcome.FAILED_OPERATOR
    error = issuer.status(SHOP).last_error
    assert error is not None
    assert ("urn:certplane:error:internal", False) == (error.type, "internal detail" in error.detail)


@pytest.mark.parametrize("deleted_after", range(2, WRITES - 1))
async def test_a_domain_deleted_amid_an_issuance_leaves_no_token(issuer: Issuer, deleted_after: int) -> None:
    """When the domain goes while its order is under way, the work stops and no token answers any more."""
    name = DomainName(SHOP)
    await issuer.work.add(samples.spec(SHOP))
    writes = 0

    def count(_: Write) -> None:
        nonlocal writes
        writes += 1
        if writes == deleted_after + 1:
            issuer.work.vanish(name)

    issuer.work.after_write = count
    lease = await issuer.work.acquire(name, "first", LEASE)
    assert lease is not None
    with pytest.raises(DomainGone):
        await issuer.issuance().carry_out(lease)
    assert {} == issuer.tokens.records
