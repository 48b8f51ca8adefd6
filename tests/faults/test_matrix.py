"""Whatever happens to a request on its way to the CA and back, at whichever step, the domain ends ACTIVE and nothing is done twice."""

from collections import Counter
from dataclasses import dataclass

import pytest

from controlplane.core.managed_domain import Actor
from controlplane.core.names import DomainName
from controlplane.core.ports import AcmeError, AcmeUnreachable
from tests.fakes.issuer import Issuer
from tests.faults.ending import add, attempts_until_issued, check_issued
from tests.faults.endpoints import Endpoint
from tests.faults.faults import BreakTls, Cut, Delay, Drip, Drop, Duplicate, Fault, Garbage, Hang, LoseReply, Page, Refuse
from tests.faults.proxy import FaultProxy
from tests.faults.rules import EVERY, nth

pytestmark = pytest.mark.asyncio(loop_scope="module")

_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Step:
    """A step of an issuance: which request it is, and after which one has been accepted."""

    endpoint: Endpoint
    after: Endpoint | None = None


STEPS = {
    "directory": Step(Endpoint.DIRECTORY),
    "newNonce": Step(Endpoint.NEW_NONCE),
    "newAccount": Step(Endpoint.NEW_ACCOUNT),
    "newOrder": Step(Endpoint.NEW_ORDER),
    "authorization": Step(Endpoint.AUTHORIZATION),
    "challenge": Step(Endpoint.CHALLENGE),
    "order": Step(Endpoint.ORDER),
    "finalize": Step(Endpoint.FINALIZE),
    "order-after-finalize": Step(Endpoint.ORDER, Endpoint.FINALIZE),
    "certificate": Step(Endpoint.CERTIFICATE),
}

FAULTS: dict[str, Fault] = {
    "drop": Drop(),
    "lost-reply": LoseReply(),
    "delay": Delay(0.1),
    "hang": Hang(),
    "hang-after-effect": Hang(after_effect=True),
    "duplicate": Duplicate(),
    "duplicate-second-answer": Duplicate(second=True),
    "cut": Cut(),
    "garbage": Garbage(),
    "tls": BreakTls(),
    "page-503": Page(503),
    "page-502-after-effect": Page(502, after_effect=True),
    "server-internal": Refuse("serverInternal", 500),
    "server-internal-after-effect": Refuse("serverInternal", 500, after_effect=True),
    "bad-nonce": Refuse("badNonce", 400),
}

# The order is there, but nobody can know it: RFC 8555 has no way to find it again, so a second one is right (Let's Encrypt returns the
# first one then, Pebble makes another).
_HIDES_THE_ORDER = {
    "lost-reply",
    "hang-after-effect",
    "duplicate-second-answer",
    "cut",
    "page-502-after-effect",
    "server-internal-after-effect",
}
_BEFORE_THE_ORDER = {"directory", "newNonce", "newAccount"}
# What may be said when an attempt ends before the certificate is there: the CA is to blame, and nobody else.
_SAID = {("authorityUnreachable", Actor.CA), ("serverInternal", Actor.CA), ("badNonce", Actor.CA)}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_at_a_step(issuer: Issuer, proxy: FaultProxy, step: str, fault: str) -> None:
    """One fault at one step: ACTIVE soon, with one order (two where the first is hidden), finalized once, and the CA to blame."""
    where = STEPS[step]
    rule = proxy.fault(where.endpoint, FAULTS[fault], after=where.after)
    name = await add(issuer)
    # What breaks the connection and then the handshake is two faults, and the account is not part of an order, which would repeat it.
    ending = await attempts_until_issued(issuer, name, 3 if fault == "tls" and step in _BEFORE_THE_ORDER else 2)
    assert 1 == rule.played
    assert _SAID >= set(ending.problems)
    check_issued(issuer, proxy, name, ending, orders=2 if step == "newOrder" and fault in _HIDES_THE_ORDER else 1)
    if step != "newOrder":
        # A challenge is answered once. When that answer is what is lost, and validation is still under way, the challenge is still
        # pending: to answer it again changes nothing (section 7.5.1).
        assert (2 if step == "challenge" else 1) >= proxy.log.accepted(Endpoint.CHALLENGE)


@pytest.mark.parametrize("step", STEPS)
async def test_a_balancer_that_asks_for_a_pause(issuer: Issuer, proxy: FaultProxy, step: str) -> None:
    """A 503 page with Retry-After at any step: the attempt ends, nothing is asked before that time, and the same order goes on."""
    where = STEPS[step]
    rule = proxy.fault(where.endpoint, Page(503, {"Retry-After": "3600"}), EVERY, after=where.after)
    name = await add(issuer)
    first = await attempts_until_issued(issuer, name, 1)
    assert [("authorityUnreachable", Actor.CA)] == first.problems
    assert _HOUR - 1 <= first.waited()
    assert 1 == rule.played
    proxy.rules.clear()
    check_issued(issuer, proxy, name, await attempts_until_issued(issuer, name, 1))


@pytest.mark.parametrize("step", STEPS)
async def test_a_reply_that_drips(issuer: Issuer, proxy: FaultProxy, step: str) -> None:
    """A reply of which a byte comes now and then is a lost one when the time for a request is over."""
    issuer.clients[0]._transport._requests._watch._seconds = 1.0
    where = STEPS[step]
    rule = proxy.fault(where.endpoint, Drip(), after=where.after)
    name = await add(issuer)
    ending = await attempts_until_issued(issuer, name, 2)
    assert 1 == rule.played
    assert _SAID >= set(ending.problems)
    check_issued(issuer, proxy, name, ending, orders=2 if step == "newOrder" else 1)


@pytest.mark.parametrize("step", ["newOrder", "order-after-finalize"])
async def test_a_ca_that_goes_away(issuer: Issuer, proxy: FaultProxy, step: str) -> None:
    """Whatever is sent is lost: the attempt ends within seconds with the CA to act, and the next one goes on where it was."""
    where = STEPS[step]
    rule = proxy.fault(where.endpoint, Drop(), EVERY, after=where.after)
    name = await add(issuer)
    first = await attempts_until_issued(issuer, name, 1)
    assert [("authorityUnreachable", Actor.CA)] == first.problems
    assert 1 < rule.played <= 10
    proxy.rules.clear()
    check_issued(issuer, proxy, name, await attempts_until_issued(issuer, name, 1))


@pytest.mark.parametrize("step", ["newAccount", "newOrder", "finalize", "certificate"])
async def test_nonces_refused_five_times(issuer: Issuer, proxy: FaultProxy, step: str) -> None:
    """A nonce that is refused five times in a row is no failure (RFC 8555 section 6.5): the attempt goes on, without a wait."""
    rule = proxy.fault(STEPS[step].endpoint, Refuse("badNonce", 400), nth(1, 2, 3, 4, 5))
    name = await add(issuer)
    check_issued(issuer, proxy, name, await attempts_until_issued(issuer, name, 1))
    assert 5 == rule.played


@pytest.mark.parametrize("endpoint", [Endpoint.AUTHORIZATION, Endpoint.CHALLENGE])
@pytest.mark.parametrize("fault", ["drop", "lost-reply", "cut", "page-502-after-effect", "server-internal", "bad-nonce"])
async def test_a_fault_at_the_second_of_three_names(issuer: Issuer, proxy: FaultProxy, endpoint: Endpoint, fault: str) -> None:
    """A fault at one name of several: all names are on the certificate, by one order, finalized once."""
    rule = proxy.fault(endpoint, FAULTS[fault], nth(2))
    name = await add(issuer, "www", "shop")
    ending = await attempts_until_issued(issuer, name, 2)
    assert 1 == rule.played
    check_issued(issuer, proxy, name, ending)
    certificate = issuer.work.certificate_of(DomainName(name))
    assert certificate is not None
    assert (name, f"www.{name}", f"shop.{name}") == certificate.names
    answers = _accepted_by_path(proxy, Endpoint.CHALLENGE)
    # As above: after a lost answer all challenges that are still pending are answered again.
    assert 3 == len(answers)
    assert (2 if endpoint is Endpoint.CHALLENGE else 1) >= max(answers.values())


def _accepted_by_path(proxy: FaultProxy, endpoint: Endpoint) -> Counter[str]:
    """How often each such resource took a request."""
    return Counter(each.path for each in proxy.log.of(endpoint) for status in each.ca_statuses if 200 <= status < 300)


@pytest.mark.parametrize("fault", ["lost-reply", "garbage", "page-502-after-effect", "server-internal-after-effect"])
async def test_a_revocation_that_was_done_already(issuer: Issuer, proxy: FaultProxy, fault: str) -> None:
    """A revocation whose answer is lost is asked for again, and that it was done already counts as done."""
    name = await add(issuer)
    check_issued(issuer, proxy, name, await attempts_until_issued(issuer, name, 1))
    certificate = issuer.work.certificate_of(DomainName(name))
    assert certificate is not None
    proxy.fault(Endpoint.REVOKE_CERT, FAULTS[fault])
    with pytest.raises((AcmeUnreachable, AcmeError)):
        await issuer.authority.revoke(certificate.leaf, 4)
    await issuer.authority.revoke(certificate.leaf, 4)
    reached = [each.ca_statuses for each in proxy.log.of(Endpoint.REVOKE_CERT)]
    assert ([[], [200]] if fault == "garbage" else [[200], [400]]) == reached


async def test_two_faults_at_once(issuer: Issuer, proxy: FaultProxy) -> None:
    """A lost finalize reply, then a CA that cuts what it is asked for: still one order, finalized once."""
    proxy.fault(Endpoint.FINALIZE, LoseReply())
    proxy.fault(Endpoint.ORDER, Cut(), nth(1), after=Endpoint.FINALIZE)
    proxy.fault(Endpoint.CERTIFICATE, BreakTls(2))
    name = await add(issuer)
    check_issued(issuer, proxy, name, await attempts_until_issued(issuer, name, 2))
    assert 1 == len(proxy.log.of(Endpoint.FINALIZE))
