"""The table of an order's faults."""

from dataclasses import replace
from datetime import timedelta
from itertools import product

import pytest

from controlplane.core.order import OrderRecord, Phase
from controlplane.core.order_faults import (
    GIVE_UP_AFTER,
    LONGEST_PAUSE,
    ORDER_FAULTS,
    PAUSES,
    STEPS,
    Fault,
    Reaction,
    fault_of,
    pause,
    react,
)
from controlplane.core.order_steps import Step
from controlplane.core.ports import AcmeError, AcmeProblem, AcmeUnreachable
from tests.fakes import samples

NOW = samples.now()
ACME = "urn:ietf:params:acme:error:"

_WORDS = {
    "abandon": Reaction.ABANDON,
    "fail": Reaction.FAIL,
    "keep": Reaction.INTERRUPT,
    "stop": Reaction.STOP_ACCOUNT,
    "read": Reaction.READ_AGAIN,
    "repeat": Reaction.REPEAT,
    "without": Reaction.REPLACE_NOTHING,
}

# What is right, reasoned from RFC 8555, not from the code. "a>b": a, and b when that is used up. "keep": the order is kept for later.
# A request that certainly had no effect is repeated. One that may have had is repeated where that is idempotent (reading; newOrder,
# whose order nobody can find again), else the order is read. What refuses names or the CSR ends the order where it was asked for them
# (newOrder, finalize); where it makes no sense the order's state decides. A certificate that exists is never dropped for what may pass.
EXPECTED = """
fault                   place           answer        poll          finalize    download      fail
BAD_NONCE               repeat>keep     repeat>keep   repeat>keep   repeat>keep repeat>keep   repeat>keep
NOT_SENT                repeat>keep     repeat>keep   repeat>keep   repeat>keep repeat>keep   repeat>keep
REPLY_LOST              repeat>keep     read>keep     repeat>keep   read>keep   repeat>keep   repeat>keep
NOT_ACME                repeat>keep     read>keep     repeat>keep   read>keep   repeat>keep   repeat>keep
SERVER_INTERNAL         repeat>keep     read>keep     repeat>keep   read>keep   repeat>keep   repeat>keep
SERVER_ERROR            repeat>keep     read>keep     repeat>keep   read>keep   repeat>keep   repeat>keep
NONSENSE                repeat>keep     read>keep     repeat>keep   read>keep   read>keep     repeat>fail
UNAVAILABLE             keep            keep          keep          keep        keep          keep
RATE_LIMITED            keep            keep          keep          keep        keep          keep
NAME_PAUSED             fail            keep          keep          keep        keep          keep
USER_ACTION_REQUIRED    stop            stop          stop          stop        stop          stop
ACCOUNT_DOES_NOT_EXIST  stop            stop          stop          stop        stop          stop
ACCOUNT_UNUSABLE        stop            stop          stop          stop        stop          stop
ALREADY_REPLACED        without>fail    read>keep     repeat>keep   read>keep   read>keep     repeat>fail
ORDER_NOT_READY         repeat>keep     read>keep     repeat>keep   read>keep   read>keep     repeat>fail
BAD_CSR                 fail            read>keep     repeat>keep   fail        read>keep     repeat>fail
INVALID_PROFILE         fail            read>keep     repeat>keep   fail        read>keep     repeat>fail
REJECTED_IDENTIFIER     fail            read>fail     repeat>keep   fail        read>keep     repeat>fail
CAA                     fail            read>fail     repeat>keep   fail        read>keep     repeat>fail
DNS                     fail            read>fail     repeat>keep   fail        read>keep     repeat>fail
CONNECTION              fail            read>fail     repeat>keep   fail        read>keep     repeat>fail
TLS                     fail            read>fail     repeat>keep   fail        read>keep     repeat>fail
INCORRECT_RESPONSE      fail            read>fail     repeat>keep   fail        read>keep     repeat>fail
UNAUTHORIZED            without>keep    read>fail     abandon       fail        read>abandon  fail
GONE                    without>keep    abandon       abandon       abandon     read>abandon  fail
MALFORMED               without>fail    read>fail     abandon       fail        read>abandon  fail
OTHER                   without>fail    read>fail     repeat>keep   fail        read>keep     repeat>fail
"""


def expected_table() -> dict[tuple[Step, Fault], tuple[Reaction, Reaction]]:
    columns = (Step.PLACE_ORDER, Step.ANSWER_CHALLENGES, Step.POLL, Step.FINALIZE, Step.DOWNLOAD, Step.FAIL)
    table = {}
    for line in EXPECTED.strip().splitlines()[1:]:
        name, *cells = line.split()
        for step, cell in zip(columns, cells, strict=True):
            first, _, then = cell.partition(">")
            table[step, Fault[name]] = (_WORDS[first], _WORDS[then or first])
    return table


def an_order(*, replaces: str = "", left: timedelta = timedelta(hours=1), age: timedelta = timedelta()) -> OrderRecord:
    order = samples.order("shop.example.com")
    return replace(order, phase=Phase.PLACED, replaces=replaces, expire_time=NOW + left, start_time=NOW - age)


def reaction(step: Step, fault: Fault, order: OrderRecord | None = None, *, repetitions: int = 0, retry_after: float | None = None):
    return react(step, fault, order or an_order(), repetitions=repetitions, retry_after=retry_after, now=NOW)


def refusal(type_: str, status: int = 400, retry_after: float | None = None, *subproblems: tuple[str, AcmeProblem]) -> AcmeError:
    return AcmeError(AcmeProblem(type_, "no", status, retry_after, subproblems))


@pytest.mark.parametrize(("step", "fault"), list(product(STEPS, Fault)), ids=lambda value: value.name)
def test_every_cell_is_deliberate(step: Step, fault: Fault) -> None:
    """Each fault at each step has the reaction that the RFC and the CA's limits ask for, first and after the last repetition."""
    assert expected_table()[step, fault] == ORDER_FAULTS[step, fault]


def test_every_step_that_sends_a_request_has_every_fault() -> None:
    """The table is the whole cross product: all steps but abandoning, which asks the CA for nothing."""
    assert set(product(set(Step) - {Step.ABANDON}, Fault)) == set(ORDER_FAULTS) == set(expected_table())


@pytest.mark.parametrize(("step", "fault"), list(product(STEPS, Fault)), ids=lambda value: value.name)
def test_nothing_is_repeated_for_ever(step: Step, fault: Fault) -> None:
    """Whatever the fault, after as many repetitions as there are pauses the run ends, once nothing is left to leave out."""
    ends = {Reaction.ABANDON, Reaction.FAIL, Reaction.INTERRUPT, Reaction.STOP_ACCOUNT}
    assert reaction(step, fault, repetitions=len(PAUSES)) in ends


def test_a_csr_is_only_sent_again_when_nothing_was_done() -> None:
    """A CSR is sent again without a look at the order only where the first certainly had no effect."""
    repeated = {fault for fault in Fault if ORDER_FAULTS[Step.FINALIZE, fault][0] is Reaction.REPEAT}
    assert {Fault.BAD_NONCE, Fault.NOT_SENT} == repeated


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (refusal(f"{ACME}badNonce"), Fault.BAD_NONCE),
        (refusal(f"{ACME}alreadyReplaced", 409), Fault.ALREADY_REPLACED),
        (refusal("about:blank", 409), Fault.ALREADY_REPLACED),
        (refusal(f"{ACME}badCSR"), Fault.BAD_CSR),
        (refusal(f"{ACME}badPublicKey"), Fault.BAD_CSR),
        (refusal(f"{ACME}badSignatureAlgorithm"), Fault.BAD_CSR),
        (refusal(f"{ACME}caa", 403), Fault.CAA),
        (refusal(f"{ACME}dns"), Fault.DNS),
        (refusal(f"{ACME}connection"), Fault.CONNECTION),
        (refusal(f"{ACME}tls"), Fault.TLS),
        (refusal(f"{ACME}incorrectResponse", 403), Fault.INCORRECT_RESPONSE),
        (refusal(f"{ACME}unauthorized", 403), Fault.UNAUTHORIZED),
        (refusal(f"{ACME}rejectedIdentifier"), Fault.REJECTED_IDENTIFIER),
        (refusal(f"{ACME}unsupportedIdentifier"), Fault.REJECTED_IDENTIFIER),
        (refusal(f"{ACME}invalidProfile"), Fault.INVALID_PROFILE),
        (refusal(f"{ACME}rateLimited", 429, 60.0), Fault.RATE_LIMITED),
        (refusal(f"{ACME}rateLimited", 429, 0.0), Fault.RATE_LIMITED),
        (refusal(f"{ACME}rateLimited", 429), Fault.NAME_PAUSED),
        (refusal(f"{ACME}rateLimited", 503, 60.0), Fault.UNAVAILABLE),
        (refusal(f"{ACME}rateLimited", 503), Fault.SERVER_ERROR),
        (refusal(f"{ACME}userActionRequired", 403), Fault.USER_ACTION_REQUIRED),
        (refusal(f"{ACME}accountDoesNotExist"), Fault.ACCOUNT_DOES_NOT_EXIST),
        (refusal(f"{ACME}accountDoesNotExist", 404), Fault.ACCOUNT_DOES_NOT_EXIST),
        (refusal(f"{ACME}externalAccountRequired", 403), Fault.ACCOUNT_UNUSABLE),
        (refusal(f"{ACME}invalidContact"), Fault.ACCOUNT_UNUSABLE),
        (refusal(f"{ACME}unsupportedContact"), Fault.ACCOUNT_UNUSABLE),
        (refusal("urn:certplane:error:accountUnusable", 0), Fault.ACCOUNT_UNUSABLE),
        (refusal(f"{ACME}orderNotReady", 403), Fault.ORDER_NOT_READY),
        (refusal(f"{ACME}serverInternal", 500), Fault.SERVER_INTERNAL),
        (refusal(f"{ACME}serverInternal", 400), Fault.SERVER_INTERNAL),
        (refusal(f"{ACME}serverInternal", 500, 60.0), Fault.UNAVAILABLE),
        (refusal("about:blank", 502), Fault.SERVER_ERROR),
        (refusal(f"{ACME}malformed", 501), Fault.SERVER_ERROR),
        (refusal(f"{ACME}malformed"), Fault.MALFORMED),
        (refusal(f"{ACME}malformed", 404), Fault.GONE),
        (refusal(f"{ACME}unauthorized", 404), Fault.GONE),
        (refusal("about:blank", 410), Fault.GONE),
        (refusal(f"{ACME}neverHeardOf", 403), Fault.OTHER),
        (refusal(f"{ACME}malformed", 400, None, ("a.example", AcmeProblem(f"{ACME}caa", "issue ';'"))), Fault.CAA),
        (AcmeUnreachable("refused", sent=False), Fault.NOT_SENT),
        (AcmeUnreachable("cut", sent=True), Fault.REPLY_LOST),
        (AcmeUnreachable("a page", sent=True, status=502), Fault.NOT_ACME),
        (AcmeUnreachable("a redirect", sent=True, status=302), Fault.NOT_ACME),
        (AcmeUnreachable("busy", sent=True, status=503, retry_after=7.0), Fault.UNAVAILABLE),
        (AcmeUnreachable("busy for no time", sent=True, status=503, retry_after=0.0), Fault.NOT_ACME),
        (AcmeUnreachable("not PEM", sent=True, status=200), Fault.NONSENSE),
    ],
    ids=str,
)
def test_what_came_is_classified(error: AcmeError | AcmeUnreachable, fault: Fault) -> None:
    """Type, HTTP status, Retry-After and how far the request came decide which fault it is."""
    assert fault is fault_of(error)


@pytest.mark.parametrize("fault", [Fault.ALREADY_REPLACED, Fault.MALFORMED, Fault.UNAUTHORIZED, Fault.GONE, Fault.OTHER])
def test_a_replacement_is_posted_without_once(fault: Fault) -> None:
    """A refusal that may be about the certificate that is replaced leads to one more newOrder without it, and no second."""
    assert Reaction.REPLACE_NOTHING is reaction(Step.PLACE_ORDER, fault, an_order(replaces="aki.serial"))
    assert reaction(Step.PLACE_ORDER, fault, an_order()) in (Reaction.FAIL, Reaction.INTERRUPT)


@pytest.mark.parametrize("repetitions", range(len(PAUSES) + 1))
def test_repetitions_are_counted(repetitions: int) -> None:
    """A step is repeated as often as there are pauses."""
    expected = Reaction.REPEAT if repetitions < len(PAUSES) else Reaction.INTERRUPT
    assert expected is reaction(Step.POLL, Fault.REPLY_LOST, repetitions=repetitions)


@pytest.mark.parametrize(("retry_after", "expected"), [(LONGEST_PAUSE, Reaction.READ_AGAIN), (LONGEST_PAUSE + 1, Reaction.INTERRUPT)])
def test_a_long_retry_after_is_for_the_schedule(retry_after: float, expected: Reaction) -> None:
    """A run waits for a short Retry-After and hands a long one on, whatever would come after the last repetition."""
    assert expected is reaction(Step.ANSWER_CHALLENGES, Fault.ORDER_NOT_READY, retry_after=retry_after)
    assert expected is reaction(Step.ANSWER_CHALLENGES, Fault.DNS, retry_after=retry_after)


@pytest.mark.parametrize("step", [Step.ANSWER_CHALLENGES, Step.POLL, Step.FINALIZE, Step.DOWNLOAD])
def test_an_order_past_its_expiry_is_not_kept(step: Step) -> None:
    """What would be kept for later is abandoned when the order has expired: nothing is stuck for ever."""
    assert Reaction.INTERRUPT is reaction(step, Fault.RATE_LIMITED)
    assert Reaction.ABANDON is reaction(step, Fault.RATE_LIMITED, an_order(left=timedelta()))


def test_the_reason_of_an_expired_failure_is_not_waited_for() -> None:
    """An order that is known to be invalid fails without its reason once it has expired."""
    assert Reaction.FAIL is reaction(Step.FAIL, Fault.RATE_LIMITED, an_order(left=timedelta()))


@pytest.mark.parametrize(
    ("step", "expected"), [(Step.DOWNLOAD, Reaction.ABANDON), (Step.FAIL, Reaction.FAIL), (Step.POLL, Reaction.INTERRUPT)]
)
def test_what_cannot_be_downloaded_for_a_day_is_given_up(step: Step, expected: Reaction) -> None:
    """A certificate that exists is tried for a day, though the order lives for a week; an order that is not finished lives on."""
    young, old = an_order(left=timedelta(days=6)), an_order(left=timedelta(days=6), age=GIVE_UP_AFTER)
    spent = len(PAUSES)
    assert Reaction.INTERRUPT is reaction(step, Fault.SERVER_INTERNAL, young, repetitions=spent)
    assert expected is reaction(step, Fault.SERVER_INTERNAL, old, repetitions=spent)


@pytest.mark.parametrize("fault", [Fault.USER_ACTION_REQUIRED, Fault.ACCOUNT_DOES_NOT_EXIST])
def test_a_stopped_account_is_stopped_however_old_the_order(fault: Fault) -> None:
    """Trouble with the account is never answered with another order."""
    assert Reaction.STOP_ACCOUNT is reaction(Step.POLL, fault, an_order(left=timedelta(days=-1)))


def test_a_prepared_order_is_never_abandoned_for_its_age() -> None:
    """An order that was never placed has no expiry at the CA."""
    assert Reaction.INTERRUPT is reaction(Step.PLACE_ORDER, Fault.RATE_LIMITED, an_order(left=timedelta(days=-1), age=GIVE_UP_AFTER))


def test_pauses_grow_and_obey_the_ca() -> None:
    """Each repetition waits longer than the one before it, and never less than the CA asks for."""
    assert [*PAUSES, PAUSES[-1]] == [pause(number, None) for number in range(len(PAUSES) + 1)]
    assert sorted(PAUSES) == list(PAUSES)
    assert [5.0, PAUSES[0]] == [pause(0, 5.0), pause(0, 0.0)]
