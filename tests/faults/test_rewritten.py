"""States of orders, authorizations and certificates that only real CAs show: each leads to a certificate, or says precisely why not."""

from datetime import timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from controlplane.core.managed_domain import Actor
from controlplane.core.names import DomainName
from controlplane.core.order import Phase
from controlplane.usecases.issuance_metrics import Outcome
from tests.fakes import samples
from tests.fakes.issuer import Issuer
from tests.fakes.work import utc_now
from tests.faults.conftest import Ca, issuer_behind
from tests.faults.ending import add, attempts_until_issued, check_issued, check_nothing_left
from tests.faults.endpoints import Endpoint
from tests.faults.faults import Rewrite, problem
from tests.faults.proxy import FaultProxy
from tests.faults.rewritten import (
    authorization_invalid,
    authorization_status,
    authorization_without,
    order_invalid,
    order_processing,
    order_status,
    order_without_certificate,
)
from tests.faults.rules import EVERY, first, nth
from tests.faults.shifted_clock import ShiftedClock

pytestmark = pytest.mark.asyncio(loop_scope="module")

ONCE = {
    "processing-three-times": (order_processing(), first(3)),
    "processing-with-retry-after": (order_processing(retry_after="1"), first(1)),
    "valid-without-certificate": (order_without_certificate(), first(2)),
    "ready-again": (order_status("ready"), first(2)),
    "pending-again": (order_status("pending"), first(1)),
    "unknown-status": (order_status("simmering"), first(2)),
    "no-status": (Rewrite(lambda order: order.pop("status")), first(1)),
    "not-json": (Rewrite(body=b"<html>"), first(1)),
    "not-an-object": (Rewrite(body=b"[]"), first(1)),
    "empty": (Rewrite(body=b""), first(1)),
}


@pytest.mark.parametrize("case", ONCE)
async def test_an_order_after_finalize_that_takes_its_time(issuer: Issuer, proxy: FaultProxy, case: str) -> None:
    """What the CA shows for a while after finalize is waited for: the same attempt ends ACTIVE, and the CSR was accepted once."""
    rewrite, hits = ONCE[case]
    rule = proxy.fault(Endpoint.ORDER, rewrite, hits, after=Endpoint.FINALIZE)
    name = await add(issuer)
    check_issued(issuer, proxy, name, await attempts_until_issued(issuer, name, 1))
    assert len(hits) == rule.played


@pytest.mark.parametrize("form", ["seconds", "date"])
async def test_an_order_that_is_processed_for_minutes(issuer: Issuer, proxy: FaultProxy, form: str) -> None:
    """A CA that signs for minutes frees the worker: the domain waits without a failure, and the same order is read when the CA said."""
    asked = "120" if form == "seconds" else format_datetime(utc_now() + timedelta(seconds=122), usegmt=True)
    proxy.fault(Endpoint.ORDER, order_processing(retry_after=asked), EVERY, after=Endpoint.FINALIZE)
    name = await add(issuer)
    waiting = await attempts_until_issued(issuer, name, 2)
    assert ([Outcome.WAITING, Outcome.WAITING], []) == (waiting.outcomes, waiting.problems)
    assert 119 <= waiting.waited()
    proxy.rules.clear()
    check_issued(issuer, proxy, name, await attempts_until_issued(issuer, name, 1))


@pytest.mark.parametrize("status", ["deactivated", "expired", "revoked"])
async def test_an_authorization_that_cannot_become_valid(issuer: Issuer, proxy: FaultProxy, status: str) -> None:
    """A deactivated, expired or revoked authorization ends its order without a failure: a new one is placed in the same attempt."""
    proxy.fault(Endpoint.AUTHORIZATION, authorization_status(status), EVERY, of_order=1)
    name = await add(issuer)
    check_issued(issuer, proxy, name, await attempts_until_issued(issuer, name, 1), orders=2)


@pytest.mark.parametrize("status", ["deactivated", "expired", "revoked"])
async def test_authorizations_that_never_become_valid(issuer: Issuer, proxy: FaultProxy, status: str) -> None:
    """When that goes on, few orders are spent before it is put off, and the CA is to blame."""
    proxy.fault(Endpoint.AUTHORIZATION, authorization_status(status), EVERY)
    name = await add(issuer)
    ending = await attempts_until_issued(issuer, name, 1)
    assert [Actor.CA] == [actor for _, actor in ending.problems]
    assert 3 >= proxy.log.accepted(Endpoint.NEW_ORDER)
    left = issuer.work.order_of(DomainName(name))
    # One that is prepared has not reached the CA.
    assert left is None or left.phase is Phase.PREPARED
    assert {} == issuer.tokens.records


@pytest.mark.parametrize("status", ["expired", "deactivated", "revoked"])
async def test_an_order_with_the_status_of_an_authorization(issuer: Issuer, proxy: FaultProxy, status: str) -> None:
    """An order that is called expired (or the like) is abandoned for a new one, in the same attempt."""
    proxy.fault(Endpoint.ORDER, order_status(status), EVERY, of_order=1)
    name = await add(issuer)
    check_issued(issuer, proxy, name, await attempts_until_issued(issuer, name, 1), orders=2)


VALIDATION = ["dns", "connection", "unauthorized", "tls", "caa", "incorrectResponse"]


@pytest.mark.parametrize("type_", VALIDATION)
async def test_a_failed_validation(issuer: Issuer, proxy: FaultProxy, type_: str) -> None:
    """A validation that fails is the customer's: its type, its text and the name are shown, nothing is finalized, a new order follows."""
    proxy.fault(Endpoint.ORDER, order_status("invalid"), EVERY, of_order=1)
    proxy.fault(Endpoint.AUTHORIZATION, authorization_invalid(type_, "as the CA saw it"), frozenset(range(2, 99)), of_order=1)
    name = await add(issuer)
    ending = await attempts_until_issued(issuer, name, 1)
    assert [(type_, Actor.CUSTOMER)] == ending.problems
    error = ending.statuses[0].last_error
    assert error is not None
    assert ("as the CA saw it", name, 0) == (error.detail, error.failed_name, len(proxy.log.of(Endpoint.FINALIZE)))
    check_nothing_left(issuer, name)
    check_issued(issuer, proxy, name, await attempts_until_issued(issuer, name, 1), orders=2)


async def test_failed_validations_are_shown_name_by_name(issuer: Issuer, proxy: FaultProxy) -> None:
    """When several names of an order fail, each is shown with its own reason, the own name's type first."""
    name = await add(issuer, "www")
    reasons = {name: ("dns", "no such name"), f"www.{name}": ("connection", "nobody answers")}

    def edit(authorization: dict[str, Any]) -> None:
        type_, detail = reasons[authorization["identifier"]["value"]]
        authorization["status"] = "invalid"
        authorization["challenges"][0].update(status="invalid", error=problem(type_, detail))

    proxy.fault(Endpoint.ORDER, order_status("invalid"), EVERY)
    proxy.fault(Endpoint.AUTHORIZATION, Rewrite(edit), frozenset(range(3, 99)))
    ending = await attempts_until_issued(issuer, name, 1)
    assert [("dns", Actor.CUSTOMER)] == ending.problems
    assert f"{name}: no such name; www.{name}: nobody answers" == ending.shown
    check_nothing_left(issuer, name)


@pytest.mark.parametrize(
    ("type_", "actor"),
    [("serverInternal", Actor.CA), ("caa", Actor.CUSTOMER), ("badCSR", Actor.OPERATOR), ("rejectedIdentifier", Actor.CUSTOMER)],
)
async def test_an_order_that_fails_after_finalize(issuer: Issuer, proxy: FaultProxy, type_: str, actor: Actor) -> None:
    """An order that becomes invalid as a whole tells its own error; it is never finalized again, and the next attempt orders anew."""
    proxy.fault(Endpoint.ORDER, order_invalid(type_, "while signing"), EVERY, after=Endpoint.FINALIZE, of_order=1)
    name = await add(issuer)
    ending = await attempts_until_issued(issuer, name, 1)
    assert ([(type_, actor)], "while signing", 1) == (ending.problems, ending.shown, len(proxy.log.of(Endpoint.FINALIZE)))
    check_nothing_left(issuer, name)
    check_issued(issuer, proxy, name, await attempts_until_issued(issuer, name, 1), orders=2, finalized=2)


async def test_a_ca_without_http_01(issuer: Issuer, proxy: FaultProxy) -> None:
    """An authorization that offers no HTTP-01 is the operator's, and spends one order."""
    proxy.fault(Endpoint.AUTHORIZATION, authorization_without("http-01"), EVERY)
    name = await add(issuer)
    ending = await attempts_until_issued(issuer, name, 1)
    assert ([("orderInvalid", Actor.OPERATOR)], 1) == (ending.problems, proxy.log.accepted(Endpoint.NEW_ORDER))
    check_nothing_left(issuer, name)


@pytest.mark.parametrize("body", [b"", b"not PEM", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
async def test_a_chain_that_is_none(issuer: Issuer, proxy: FaultProxy, body: bytes) -> None:
    """A download that is no chain is asked for again, and no order is wasted."""
    proxy.fault(Endpoint.CERTIFICATE, Rewrite(body=body))
    name = await add(issuer)
    check_issued(issuer, proxy, name, await attempts_until_issued(issuer, name, 2))


async def test_a_chain_for_somebody_else(issuer: Issuer, proxy: FaultProxy) -> None:
    """A certificate that is not what was ordered is never stored; the CA is to blame."""
    proxy.fault(Endpoint.CERTIFICATE, Rewrite(body=_pem(samples.certificate("elsewhere.example.com").leaf)))
    name = await add(issuer)
    ending = await attempts_until_issued(issuer, name, 1)
    assert [("chainRejected", Actor.CA)] == ending.problems
    assert issuer.work.certificate_of(DomainName(name)) is None
    check_nothing_left(issuer, name)


@pytest.mark.parametrize("field", ["newOrder", "newNonce", "newAccount"])
async def test_a_directory_that_lacks_a_field(issuer: Issuer, proxy: FaultProxy, field: str) -> None:
    """A directory that was broken for a moment is read again, not kept: the domain ends ACTIVE without a restart."""
    proxy.fault(Endpoint.DIRECTORY, Rewrite(lambda directory: directory.pop(field)))
    name = await add(issuer)
    check_issued(issuer, proxy, name, await attempts_until_issued(issuer, name, 2))


@pytest.mark.parametrize("token", ["../../etc/passwd", "short", "with a space and long enough to be one"])
async def test_a_token_that_is_none(issuer: Issuer, proxy: FaultProxy, token: str) -> None:
    """A token that is not one by RFC 8555 section 8.3 is never planted; the authorization is read again."""

    def edit(authorization: dict[str, Any]) -> None:
        for challenge in authorization["challenges"]:
            challenge["token"] = token

    proxy.fault(Endpoint.AUTHORIZATION, Rewrite(edit), nth(1))
    name = await add(issuer)
    ending = await attempts_until_issued(issuer, name, 2)
    assert token not in {record.token for record in issuer.tokens.planted}
    check_issued(issuer, proxy, name, ending)


@pytest.mark.parametrize("hours", [-240, -26, -2, 2, 26, 240], ids=lambda hours: f"{hours:+}h")
async def test_a_clock_that_is_wrong(ca: Ca, proxy: FaultProxy, hours: int) -> None:
    """With our clock wrong the domain ends ACTIVE, or an operator is told; no more than one order is spent on finding out."""
    async with issuer_behind(proxy, ca, ShiftedClock(timedelta(hours=hours))) as issuer:
        name = await add(issuer)
        ending = await attempts_until_issued(issuer, name, 1)
        check_nothing_left(issuer, name)
    assert 1 == proxy.log.accepted(Endpoint.NEW_ORDER)
    assert ending.outcomes == [Outcome.ISSUED] or [Actor.OPERATOR] == [actor for _, actor in ending.problems]


async def test_an_order_that_expires_while_it_waits(issuer: Issuer, proxy: FaultProxy) -> None:
    """An order that is past its expiry is not waited for: the next attempt begins a new one."""
    soon = (utc_now() + timedelta(seconds=1)).isoformat()
    proxy.fault(Endpoint.NEW_ORDER, Rewrite(lambda order: order.update(expires=soon)))
    proxy.fault(Endpoint.ORDER, order_status("processing", retry_after="3600"), EVERY, of_order=1)
    name = await add(issuer)
    ending = await attempts_until_issued(issuer, name, 1)
    assert [Outcome.WAITING] == ending.outcomes
    check_issued(issuer, proxy, name, await attempts_until_issued(issuer, name, 1), orders=2)


def _pem(der: bytes) -> bytes:
    return x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM)
