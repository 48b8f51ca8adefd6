"""What a CA refuses, at each step: the problem is shown with who must act, the wait is right, no order is spent for nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from email.utils import format_datetime

import pytest

from controlplane.core.managed_domain import Actor, DomainState
from controlplane.usecases.issuance_metrics import Outcome
from tests.fakes.issuer import Issuer
from tests.fakes.work import utc_now
from tests.faults.ending import add, attempts_until_issued, check_issued, check_nothing_left
from tests.faults.endpoints import Endpoint
from tests.faults.faults import Refuse
from tests.faults.proxy import FaultProxy
from tests.faults.rules import EVERY

pytestmark = pytest.mark.asyncio(loop_scope="module")

_IN_AN_HOUR = {"Retry-After": "3600"}


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refusal at a step, every time until it is mended, and what is right.

    `actor` is who must act. `orders` are those that the CA has taken when the domain is ACTIVE in the end: one when the order goes on after
    the refusal, or when there was none before; two when the refusal ends it.
    """

    endpoint: Endpoint
    type: str
    status: int
    actor: Actor
    orders: int = 1
    headers: Mapping[str, str] = field(default_factory=dict)
    detail: str = "the fault proxy refuses"


_ACCOUNT, _NEW_ORDER, _ORDER = Endpoint.NEW_ACCOUNT, Endpoint.NEW_ORDER, Endpoint.ORDER
_AUTHORIZATION, _CHALLENGE = Endpoint.AUTHORIZATION, Endpoint.CHALLENGE
_FINALIZE, _CERTIFICATE = Endpoint.FINALIZE, Endpoint.CERTIFICATE

REFUSALS = {
    "newAccount-externalAccountRequired": Refusal(_ACCOUNT, "externalAccountRequired", 403, Actor.OPERATOR),
    "newAccount-userActionRequired": Refusal(_ACCOUNT, "userActionRequired", 403, Actor.OPERATOR),
    "newAccount-invalidContact": Refusal(_ACCOUNT, "invalidContact", 400, Actor.OPERATOR),
    "newAccount-unsupportedContact": Refusal(_ACCOUNT, "unsupportedContact", 400, Actor.OPERATOR),
    "newAccount-rateLimited": Refusal(_ACCOUNT, "rateLimited", 429, Actor.NOBODY, headers=_IN_AN_HOUR),
    "newAccount-serverInternal": Refusal(_ACCOUNT, "serverInternal", 500, Actor.CA),
    "newOrder-rateLimited": Refusal(_NEW_ORDER, "rateLimited", 429, Actor.NOBODY, headers=_IN_AN_HOUR),
    "newOrder-rateLimited-503": Refusal(_NEW_ORDER, "rateLimited", 503, Actor.CA, headers=_IN_AN_HOUR),
    "newOrder-paused": Refusal(_NEW_ORDER, "rateLimited", 429, Actor.OPERATOR, detail="paused: see https://ca.example/unpause?jwt=x"),
    "newOrder-rejectedIdentifier": Refusal(_NEW_ORDER, "rejectedIdentifier", 403, Actor.CUSTOMER),
    "newOrder-unsupportedIdentifier": Refusal(_NEW_ORDER, "unsupportedIdentifier", 400, Actor.OPERATOR),
    "newOrder-malformed": Refusal(_NEW_ORDER, "malformed", 400, Actor.OPERATOR),
    "newOrder-invalidProfile": Refusal(_NEW_ORDER, "invalidProfile", 400, Actor.OPERATOR),
    "newOrder-userActionRequired": Refusal(_NEW_ORDER, "userActionRequired", 403, Actor.OPERATOR),
    "newOrder-unauthorized": Refusal(_NEW_ORDER, "unauthorized", 403, Actor.OPERATOR),
    "newOrder-caa": Refusal(_NEW_ORDER, "caa", 403, Actor.CUSTOMER),
    "newOrder-dns": Refusal(_NEW_ORDER, "dns", 400, Actor.CUSTOMER),
    "newOrder-serverInternal": Refusal(_NEW_ORDER, "serverInternal", 500, Actor.CA),
    "newOrder-badNonce": Refusal(_NEW_ORDER, "badNonce", 400, Actor.CA),
    "authorization-rateLimited": Refusal(_AUTHORIZATION, "rateLimited", 429, Actor.NOBODY, headers=_IN_AN_HOUR),
    "authorization-serverInternal": Refusal(_AUTHORIZATION, "serverInternal", 500, Actor.CA),
    "challenge-rateLimited": Refusal(_CHALLENGE, "rateLimited", 429, Actor.NOBODY, headers=_IN_AN_HOUR),
    "challenge-serverInternal": Refusal(_CHALLENGE, "serverInternal", 500, Actor.CA),
    "challenge-userActionRequired": Refusal(_CHALLENGE, "userActionRequired", 403, Actor.OPERATOR),
    "order-rateLimited": Refusal(_ORDER, "rateLimited", 429, Actor.NOBODY, headers=_IN_AN_HOUR),
    "order-serverInternal": Refusal(_ORDER, "serverInternal", 500, Actor.CA),
    "finalize-rateLimited": Refusal(_FINALIZE, "rateLimited", 429, Actor.NOBODY, headers=_IN_AN_HOUR),
    "finalize-serverInternal": Refusal(_FINALIZE, "serverInternal", 500, Actor.CA),
    "finalize-userActionRequired": Refusal(_FINALIZE, "userActionRequired", 403, Actor.OPERATOR),
    "finalize-badNonce": Refusal(_FINALIZE, "badNonce", 400, Actor.CA),
    "finalize-orderNotReady": Refusal(_FINALIZE, "orderNotReady", 403, Actor.CA),
    "finalize-badCSR": Refusal(_FINALIZE, "badCSR", 400, Actor.OPERATOR, orders=2),
    "finalize-malformed": Refusal(_FINALIZE, "malformed", 400, Actor.OPERATOR, orders=2),
    "finalize-caa": Refusal(_FINALIZE, "caa", 403, Actor.CUSTOMER, orders=2),
    "finalize-dns": Refusal(_FINALIZE, "dns", 400, Actor.CUSTOMER, orders=2),
    "finalize-rejectedIdentifier": Refusal(_FINALIZE, "rejectedIdentifier", 403, Actor.CUSTOMER, orders=2),
    "certificate-rateLimited": Refusal(_CERTIFICATE, "rateLimited", 429, Actor.NOBODY, headers=_IN_AN_HOUR),
    "certificate-serverInternal": Refusal(_CERTIFICATE, "serverInternal", 500, Actor.CA),
}


@pytest.mark.parametrize("case", REFUSALS)
async def test_a_refusal_is_told_and_got_over(issuer: Issuer, proxy: FaultProxy, case: str) -> None:
    """A refusal that lasts ends the attempt with its type and who must act; once it is mended the next attempt ends ACTIVE."""
    refusal = REFUSALS[case]
    proxy.fault(refusal.endpoint, Refuse(refusal.type, refusal.status, refusal.detail, refusal.headers), EVERY)
    name = await add(issuer)
    first = await attempts_until_issued(issuer, name, 1)
    assert [(refusal.type, refusal.actor)] == first.problems
    assert refusal.detail in first.shown
    assert DomainState.FAILED is first.statuses[0].state
    if refusal.headers:
        assert 3599 <= first.waited()
    proxy.rules.clear()
    ending = await attempts_until_issued(issuer, name, 1)
    check_issued(issuer, proxy, name, ending, orders=refusal.orders)


async def test_a_registration_that_fails_although_the_account_is_there(issuer: Issuer, proxy: FaultProxy) -> None:
    """The CA fails at a key that another process registers at that moment: the account is looked for, and the attempt goes on."""
    proxy.fault(_ACCOUNT, Refuse("serverInternal", 500, "Error saving account", after_effect=True))
    name = await add(issuer)
    check_issued(issuer, proxy, name, await attempts_until_issued(issuer, name, 1))
    assert [[201], [200]] == [each.ca_statuses for each in proxy.log.of(_ACCOUNT)]


@pytest.mark.parametrize("endpoint", [_NEW_ORDER, _ORDER, _FINALIZE, _CERTIFICATE])
async def test_a_retry_after_that_is_a_date(issuer: Issuer, proxy: FaultProxy, endpoint: Endpoint) -> None:
    """A Retry-After as an HTTP date is obeyed as one in seconds is."""
    date = format_datetime(utc_now() + timedelta(hours=2), usegmt=True)
    proxy.fault(endpoint, Refuse("rateLimited", 429, headers={"Retry-After": date}))
    name = await add(issuer)
    ending = await attempts_until_issued(issuer, name, 2)
    assert [("rateLimited", Actor.NOBODY)] == ending.problems
    assert 7190 <= ending.waited()
    check_issued(issuer, proxy, name, ending)


@pytest.mark.parametrize("endpoint", [_NEW_ORDER, _AUTHORIZATION, _CHALLENGE, _ORDER, _FINALIZE, _CERTIFICATE])
async def test_an_unknown_account_is_not_registered_again(issuer: Issuer, proxy: FaultProxy, endpoint: Endpoint) -> None:
    """An account that the CA does not know at any step is for the operator, who alone may have it made again."""
    proxy.fault(endpoint, Refuse("accountDoesNotExist", 400), EVERY)
    name = await add(issuer)
    ending = await attempts_until_issued(issuer, name, 2)
    assert [("accountDoesNotExist", Actor.OPERATOR)] * 2 == ending.problems
    # An order that the CA has not taken is asked for anew, after the minutes for which the CA is left alone.
    asked = 2 if endpoint is _NEW_ORDER else 1
    assert (1, asked) == (len(proxy.log.of(Endpoint.NEW_ACCOUNT)), len(proxy.log.of(endpoint)))
    proxy.rules.clear()
    await issuer.accounts.forget(issuer.directory_url)
    ending = await attempts_until_issued(issuer, name, 2)
    assert (Outcome.ISSUED, 2) == (ending.outcomes[-1], proxy.log.accepted(Endpoint.NEW_ACCOUNT))
    # What the old account has ordered is lost to the new one.
    assert (1 if endpoint is _NEW_ORDER else 2) == proxy.log.accepted(_NEW_ORDER)
    check_nothing_left(issuer, name)


@pytest.mark.parametrize(
    ("endpoint", "type_", "status"),
    [
        (_CHALLENGE, "malformed", 400),
        (_CHALLENGE, "unauthorized", 403),
        (_CHALLENGE, "dns", 400),
        (_FINALIZE, "orderNotReady", 403),
    ],
    ids=["challenge-malformed", "challenge-unauthorized", "challenge-dns", "finalize-orderNotReady"],
)
async def test_a_refusal_of_what_was_done_already(issuer: Issuer, proxy: FaultProxy, endpoint: Endpoint, type_: str, status: int) -> None:
    """A step that took effect and is refused all the same: the order is read, and tells that it goes well."""
    proxy.fault(endpoint, Refuse(type_, status, after_effect=True))
    name = await add(issuer)
    check_issued(issuer, proxy, name, await attempts_until_issued(issuer, name, 1))
    assert 1 == len(proxy.log.of(Endpoint.FINALIZE))


@pytest.mark.parametrize("times", [1, 2, 3])
async def test_finalize_too_early(issuer: Issuer, proxy: FaultProxy, times: int) -> None:
    """OrderNotReady leads to another look at the order, and then to finalize again: in the same attempt, with the same order."""
    proxy.fault(_FINALIZE, Refuse("orderNotReady", 403), frozenset(range(1, times + 1)))
    name = await add(issuer)
    check_issued(issuer, proxy, name, await attempts_until_issued(issuer, name, 1))


@pytest.mark.parametrize(
    ("endpoint", "type_", "status"),
    [
        (_AUTHORIZATION, "malformed", 404),
        (_AUTHORIZATION, "malformed", 410),
        (_ORDER, "malformed", 404),
        (_ORDER, "malformed", 410),
        (_ORDER, "unauthorized", 403),
    ],
    ids=["authorization-404", "authorization-410", "order-404", "order-410", "order-unauthorized"],
)
async def test_what_is_gone_at_the_ca(issuer: Issuer, proxy: FaultProxy, endpoint: Endpoint, type_: str, status: int) -> None:
    """An order, or an authorization of it, that is not there (any more) is abandoned for a new order, in the same attempt."""
    proxy.fault(endpoint, Refuse(type_, status), EVERY, of_order=1)
    name = await add(issuer)
    ending = await attempts_until_issued(issuer, name, 1)
    check_issued(issuer, proxy, name, ending, orders=2)
    assert 1 == len(proxy.log.of(Endpoint.CERTIFICATE))


async def test_an_authorization_that_is_not_ours(issuer: Issuer, proxy: FaultProxy) -> None:
    """An authorization that the account may not read says so to the operator; the order is over, and the next attempt orders anew."""
    proxy.fault(_AUTHORIZATION, Refuse("unauthorized", 403), EVERY, of_order=1)
    name = await add(issuer)
    ending = await attempts_until_issued(issuer, name, 2)
    assert {("unauthorized", Actor.OPERATOR)} >= set(ending.problems)
    check_issued(issuer, proxy, name, ending, orders=2)


async def test_an_order_that_is_gone_after_finalize(issuer: Issuer, proxy: FaultProxy) -> None:
    """An order that the CA forgets after it was finalized is abandoned for a new one with a new key."""
    proxy.fault(_ORDER, Refuse("malformed", 404), EVERY, after=_FINALIZE, of_order=1)
    name = await add(issuer)
    check_issued(issuer, proxy, name, await attempts_until_issued(issuer, name, 1), orders=2, finalized=2)
    first, second = (each.payload["csr"] for each in proxy.log.of(_FINALIZE))
    assert first != second


async def test_a_certificate_that_a_lagging_replica_does_not_have_yet(issuer: Issuer, proxy: FaultProxy) -> None:
    """One 404 to a download is not believed: the certificate is there a moment later, and no order is wasted."""
    proxy.fault(_CERTIFICATE, Refuse("malformed", 404))
    name = await add(issuer)
    check_issued(issuer, proxy, name, await attempts_until_issued(issuer, name, 1))


async def test_subproblems_are_shown_name_by_name(issuer: Issuer, proxy: FaultProxy) -> None:
    """A refusal of several names tells each name's own problem (RFC 8555 section 6.7.1)."""
    name = await add(issuer, "www")
    blamed = ((name, "rejectedIdentifier", "is on a list"), (f"www.{name}", "caa", "says no"))
    proxy.fault(_NEW_ORDER, Refuse("malformed", 403, "2 names are refused", subproblems=blamed))
    first = await attempts_until_issued(issuer, name, 1)
    assert f"{name}: is on a list; www.{name}: says no" in first.shown
    check_issued(issuer, proxy, name, await attempts_until_issued(issuer, name, 1))


@pytest.mark.parametrize(("endpoint", "orders"), [(_NEW_ORDER, 1), (_FINALIZE, 2)])
async def test_a_refused_additional_name_is_left_out(issuer: Issuer, proxy: FaultProxy, endpoint: Endpoint, orders: int) -> None:
    """When only an additional name is refused, the own name is issued without it in the same attempt, and people see why."""
    name = await add(issuer, "www")
    proxy.fault(endpoint, Refuse("malformed", 403, "refused", subproblems=((f"www.{name}", "caa", "says no"),)))
    await attempts_until_issued(issuer, name, 1)
    status = issuer.status(name)
    assert (DomainState.DEGRADED, [f"www.{name}"]) == (status.state, [each.value for each in status.omitted_names])
    assert status.last_error is not None
    assert ("urn:ietf:params:acme:error:caa", Actor.CUSTOMER) == (status.last_error.type, status.last_error.must_act)
    assert orders == proxy.log.accepted(_NEW_ORDER)
