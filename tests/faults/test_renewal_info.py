"""Renewal information (RFC 9773) and what goes wrong with it: a renewal happens when the CA says, once, and never for a fault."""

from datetime import timedelta

import pytest

from controlplane.core.managed_domain import DomainState
from controlplane.usecases.issuance_metrics import Outcome
from tests.fakes.issuer import Issuer
from tests.faults.ari import Window
from tests.faults.ending import attempts_until_issued, check_issued
from tests.faults.endpoints import Endpoint
from tests.faults.faults import BreakTls, Cut, Drop, Fault, Garbage, Hang, Page, Refuse, Rewrite
from tests.faults.issued_before import issued_before
from tests.faults.proxy import FaultProxy
from tests.faults.rules import EVERY

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_window_that_is_past_means_now(issuer: Issuer, proxy: FaultProxy) -> None:
    """A window in the past renews at the next look, as a replacement; the explanation is kept for operators, and nothing follows."""
    name, identifier = await issued_before(issuer, proxy)
    now = issuer.clock()
    window = Window(now - timedelta(hours=2), now - timedelta(hours=1), "https://ca.example/why")
    proxy.authority.renewals.windows[identifier] = window
    ending = await attempts_until_issued(issuer, name, 2)
    check_issued(issuer, proxy, name, ending, orders=2, finalized=2)
    assert ["", identifier] == [order.replaces for order in proxy.log.orders]
    shown = issuer.status(name).renewal_window
    assert shown is not None
    assert "https://ca.example/why" == shown.explanation_url
    # A window of a certificate that is replaced says nothing of the one that has replaced it.
    later = await attempts_until_issued(issuer, name, 3)
    assert [Outcome.NOTHING_TO_DO] * 3 == later.outcomes
    assert 2 == proxy.log.accepted(Endpoint.NEW_ORDER)


FAULTS: dict[str, Fault] = {
    "drop": Drop(),
    "hang": Hang(),
    "cut": Cut(),
    "garbage": Garbage(),
    "tls": BreakTls(),
    "page-503": Page(503, {"Retry-After": "3600"}),
    "unknown": Refuse("malformed", 404),
    "server-internal": Refuse("serverInternal", 500),
    "rate-limited": Refuse("rateLimited", 429, headers={"Retry-After": "3600"}),
    "no-window": Rewrite(lambda document: document.pop("suggestedWindow")),
    "inverted": Rewrite(lambda document: document.update(suggestedWindow={"start": "2020-01-02T00:00:00Z", "end": "2020-01-01T00:00:00Z"})),
    "not-a-time": Rewrite(lambda document: document.update(suggestedWindow={"start": "soon", "end": "later"})),
    "not-json": Rewrite(body=b"<html>"),
    "retry-after-too-long": Rewrite(headers={"Retry-After": "99999999999"}),
    "retry-after-nothing": Rewrite(headers={"Retry-After": "0"}),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_of_renewal_information(issuer: Issuer, proxy: FaultProxy, fault: str) -> None:
    """Whatever comes in place of a window, the domain stays ACTIVE, spends no order, and is asked about again, not too soon."""
    name, _ = await issued_before(issuer, proxy)
    rule = proxy.fault(Endpoint.RENEWAL_INFO, FAULTS[fault], EVERY)
    begun = issuer.clock()
    ending = await attempts_until_issued(issuer, name, 3)
    assert [Outcome.NOTHING_TO_DO] * 3 == ending.outcomes
    status = issuer.status(name)
    assert (DomainState.ACTIVE, None) == (status.state, status.last_error)
    assert 1 == proxy.log.accepted(Endpoint.NEW_ORDER)
    assert 1 <= rule.played <= 6
    assert timedelta(minutes=1) <= issuer.clock() - begun


async def test_a_certificate_with_a_fault_is_renewed_in_the_end(issuer: Issuer, proxy: FaultProxy) -> None:
    """A CA whose renewal information never answers does not keep a certificate from being renewed by its lifetime."""
    name, _ = await issued_before(issuer, proxy)
    proxy.fault(Endpoint.RENEWAL_INFO, Page(503), EVERY)
    renewal = issuer.status(name).renew_time
    assert renewal is not None
    issuer.clock.wait_until(renewal)  # type: ignore[attr-defined]
    check_issued(issuer, proxy, name, await attempts_until_issued(issuer, name, 2), orders=2, finalized=2)
