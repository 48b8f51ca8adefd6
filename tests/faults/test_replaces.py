"""Orders that replace a certificate (RFC 9773 section 5) at a CA that checks it as Let's Encrypt does."""

from dataclasses import dataclass

import pytest

from controlplane.adapters.leaf_key import make_leaf_key
from controlplane.core.certificate import leaf_seal_context
from controlplane.core.names import DomainName
from controlplane.core.order import OrderRecord, Phase
from controlplane.usecases.issuance_metrics import Outcome
from tests.fakes.issuer import LEASE, Issuer
from tests.faults.ending import attempts_until_issued, check_issued, check_nothing_left
from tests.faults.endpoints import Endpoint
from tests.faults.faults import Drop, Fault, LoseReply, Page, Refuse
from tests.faults.issued_before import issued_before
from tests.faults.proxy import FaultProxy
from tests.faults.rules import nth

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def prepare(issuer: Issuer, name: str, replaces: str) -> None:
    """Persists an order that is about to be placed, as one that replaces a certificate."""
    key = make_leaf_key((name,))
    lease = await issuer.work.acquire(DomainName(name), "worker", LEASE)
    assert lease is not None
    order = OrderRecord(
        phase=Phase.PREPARED,
        names=(name,),
        csr=key.csr,
        sealed_leaf_key=issuer.sealer.seal(key.private_key, leaf_seal_context(key.spki_digest, (name,))),
        directory_url=issuer.directory_url,
        start_time=issuer.clock(),
        replaces=replaces,
    )
    await issuer.work.save_order(lease, order)
    await issuer.work.release(lease)


def asked_to_replace(proxy: FaultProxy) -> list[str]:
    """What each newOrder after the first named, in order."""
    return [each.payload.get("replaces", "") for each in proxy.log.of(Endpoint.NEW_ORDER)[1:]]


async def test_a_replacement_names_what_it_replaces(issuer: Issuer, proxy: FaultProxy) -> None:
    """The order of a renewal names the certificate that it replaces, and the CA takes it as a replacement."""
    name, identifier = await issued_before(issuer, proxy)
    await prepare(issuer, name, identifier)
    check_issued(issuer, proxy, name, await attempts_until_issued(issuer, name, 1), orders=2, finalized=2)
    assert ["", identifier] == [order.replaces for order in proxy.log.orders]


@dataclass(frozen=True, slots=True)
class Case:
    """A fault at the replacement's newOrder; `placed` are the orders that the CA takes then, `plain` whether the last names nothing."""

    fault: Fault
    placed: int
    plain: bool


CASES = {
    "drop": Case(Drop(), 1, plain=False),
    "lost-reply": Case(LoseReply(), 2, plain=True),
    "page-after-effect": Case(Page(502, after_effect=True), 2, plain=True),
    "already-replaced": Case(Refuse("alreadyReplaced", 409), 1, plain=True),
    "conflict-of-another-type": Case(Refuse("conflict", 409), 1, plain=True),
    "unknown-certificate": Case(Refuse("malformed", 404), 1, plain=True),
    "another-account": Case(Refuse("unauthorized", 403), 1, plain=True),
    "other-names": Case(Refuse("malformed", 400), 1, plain=True),
    "server-internal": Case(Refuse("serverInternal", 500), 1, plain=False),
}


@pytest.mark.parametrize("case", CASES)
async def test_a_fault_at_the_order_of_a_replacement(issuer: Issuer, proxy: FaultProxy, case: str) -> None:
    """A refusal that may be about `replaces` leads to one more newOrder without it; nothing else gives up the exemption."""
    expected = CASES[case]
    name, identifier = await issued_before(issuer, proxy)
    await prepare(issuer, name, identifier)
    proxy.fault(Endpoint.NEW_ORDER, expected.fault, nth(1))
    ending = await attempts_until_issued(issuer, name, 2)
    check_issued(issuer, proxy, name, ending, orders=1 + expected.placed, finalized=2)
    asked = asked_to_replace(proxy)
    assert ("" if expected.plain else identifier) == asked[-1]
    assert int(expected.plain) == asked.count("")


async def test_a_certificate_that_the_ca_does_not_know(issuer: Issuer, proxy: FaultProxy) -> None:
    """A certificate of a former account or CA cannot be replaced: the order is placed without."""
    name, _ = await issued_before(issuer, proxy)
    await prepare(issuer, name, "AAAA.BBBB")
    check_issued(issuer, proxy, name, await attempts_until_issued(issuer, name, 1), orders=2, finalized=2)
    assert ["AAAA.BBBB", ""] == asked_to_replace(proxy)


async def test_a_rate_limit_does_not_give_the_exemption_up(issuer: Issuer, proxy: FaultProxy) -> None:
    """The order that follows one that is limited all the same says what it replaces too, when the wait is over."""
    name, identifier = await issued_before(issuer, proxy)
    await issuer.work.request_renewal(DomainName(name))
    await prepare(issuer, name, identifier)
    proxy.fault(Endpoint.NEW_ORDER, Refuse("rateLimited", 429, headers={"Retry-After": "600"}))
    ending = await attempts_until_issued(issuer, name, 2)
    assert Outcome.ISSUED is ending.outcomes[-1]
    assert [identifier, identifier] == asked_to_replace(proxy)
    check_nothing_left(issuer, name)
