"""Who must act after a failure, and what another attempt costs."""

from datetime import timedelta

import pytest

from controlplane.core import failure as failures
from controlplane.core.backoff import FailureKind
from controlplane.core.managed_domain import Actor
from controlplane.core.ports import AcmeProblem, AcmeUnreachable, RemoteAuthorization, RemoteOrder
from tests.fakes import samples

NOW = samples.now()
ACME = "urn:ietf:params:acme:error:"


def authorization(name: str, error: AcmeProblem | None) -> RemoteAuthorization:
    return RemoteAuthorization(f"https://ca/a/{name}", name, "invalid" if error else "valid", "", "", "", error)


def invalid_order(error: AcmeProblem | None = None) -> RemoteOrder:
    return RemoteOrder("https://ca/o/1", "invalid", "https://ca/f/1", (), "", None, error)


@pytest.mark.parametrize("code", ["dns", "connection", "tls", "unauthorized", "incorrectResponse", "caa"])
def test_errors_of_challenges_are_the_customers(code: str) -> None:
    """What the CA met at the customer's host or in its DNS is for the customer, and each attempt costs an order."""
    failure = failures.refused(AcmeProblem(ACME + code, "no"), NOW, "shop.example.com")
    assert (failure.problem.must_act, failure.kind, failure.problem.failed_name) == (Actor.CUSTOMER, FailureKind.ORDER, "shop.example.com")


@pytest.mark.parametrize(
    ("problem", "actor", "kind"),
    [
        (AcmeProblem(ACME + "unauthorized", "account is deactivated", 403), Actor.OPERATOR, FailureKind.ORDER),
        (AcmeProblem(ACME + "rejectedIdentifier", "policy", 400), Actor.CUSTOMER, FailureKind.ORDER),
        (AcmeProblem(ACME + "malformed", "no", 400), Actor.OPERATOR, FailureKind.ORDER),
        (AcmeProblem(ACME + "badCSR", "no", 400), Actor.OPERATOR, FailureKind.ORDER),
        (AcmeProblem(ACME + "rateLimited", "slow down", 429, 60.0), Actor.NOBODY, FailureKind.AUTHORITY),
        (AcmeProblem(ACME + "rateLimited", "Service busy; retry later.", 503, 30.0), Actor.CA, FailureKind.AUTHORITY),
        (AcmeProblem(ACME + "rateLimited", "Service busy; retry later.", 503), Actor.CA, FailureKind.AUTHORITY),
        (AcmeProblem(ACME + "userActionRequired", "new terms", 403), Actor.OPERATOR, FailureKind.AUTHORITY),
        (AcmeProblem(ACME + "accountDoesNotExist", "who?", 400), Actor.OPERATOR, FailureKind.AUTHORITY),
        (AcmeProblem(ACME + "serverInternal", "oops", 500), Actor.CA, FailureKind.AUTHORITY),
        (AcmeProblem(ACME + "badNonce", "stale", 400), Actor.CA, FailureKind.AUTHORITY),
        (AcmeProblem(ACME + "malformed", "not implemented", 501), Actor.CA, FailureKind.AUTHORITY),
        (AcmeProblem(ACME + "accountDoesNotExist", "who?", 500), Actor.OPERATOR, FailureKind.AUTHORITY),
        (AcmeProblem("about:blank", "bad gateway", 502), Actor.CA, FailureKind.AUTHORITY),
        (AcmeProblem(ACME + "neverHeardOf", "no", 400), Actor.OPERATOR, FailureKind.ORDER),
    ],
)
def test_who_acts_after_a_refused_request(problem: AcmeProblem, actor: Actor, kind: FailureKind) -> None:
    """A refused request names who must act; what lies with the CA or the account is never charged to the names."""
    failure = failures.refused(problem, NOW)
    assert (actor, kind) == (failure.problem.must_act, failure.kind)


def test_a_paused_name_needs_a_person() -> None:
    """A rateLimited without Retry-After is a paused name: for the operator, with the CA's page in the detail, at the slow pace."""
    told = "Your account is temporarily prevented from requesting certificates for a.example. Please visit: https://ca/sfe/v1/unpause?jwt=x"
    failure = failures.refused(AcmeProblem(ACME + "rateLimited", told, 429), NOW)
    assert (Actor.OPERATOR, FailureKind.ORDER) == (failure.problem.must_act, failure.kind)
    assert "https://ca/sfe/v1/unpause?jwt=x" in failure.problem.detail
    assert failures.alerts(failure)


def test_the_page_for_people_is_shown() -> None:
    """What the CA wants the operator to read and agree to is in the text."""
    problem = AcmeProblem(ACME + "userActionRequired", "Terms of service have changed", 403, instance="https://ca/terms/v2")
    assert "see https://ca/terms/v2" in failures.refused(problem, NOW).problem.detail


def test_retry_after_is_kept() -> None:
    """What the CA asked for reaches the schedule."""
    assert failures.refused(AcmeProblem(ACME + "rateLimited", "", 429, 129600.0), NOW).retry_after == 129600.0
    assert failures.unreachable(AcmeUnreachable("503", sent=True, retry_after=30.0), NOW).retry_after == 30.0


def test_a_lost_account_names_the_command() -> None:
    """An account that the CA does not know is never registered again by itself: the text says what to run."""
    assert "`certplane account forget`" in failures.refused(AcmeProblem(ACME + "accountDoesNotExist", "", 400), NOW).problem.detail


def test_an_absent_ca_is_the_cas() -> None:
    """A CA that does not answer must act itself."""
    failure = failures.unreachable(AcmeUnreachable("connection refused", sent=False), NOW)
    assert (failure.problem.must_act, failure.kind) == (Actor.CA, FailureKind.AUTHORITY)


def test_subproblems_are_told_name_by_name() -> None:
    """A refusal with subproblems names each identifier, in the text and for the caller."""
    subs = (("a.example", AcmeProblem(ACME + "rejectedIdentifier", "forbidden")), ("b.example", AcmeProblem(ACME + "caa", "issue ';'")))
    failure = failures.refused(AcmeProblem(ACME + "malformed", "several", 400, subproblems=subs), NOW)
    assert failure.problem.detail == "several; a.example: forbidden; b.example: issue ';'"
    assert [(name, p.must_act) for name, p in failure.names] == [("a.example", Actor.CUSTOMER), ("b.example", Actor.CUSTOMER)]


@pytest.mark.parametrize("outside", ["malformed", "rejectedIdentifier"])
def test_a_refusal_of_names_is_for_whoever_the_names_say(outside: str) -> None:
    """With subproblems it is they who say who must act, and a single one which name failed."""
    subs = (("a.example", AcmeProblem(ACME + "rejectedIdentifier", "forbidden")),)
    problem = failures.refused(AcmeProblem(ACME + outside, "refused", 400, subproblems=subs), NOW).problem
    assert (Actor.CUSTOMER, "a.example") == (problem.must_act, problem.failed_name)


def test_subproblems_without_a_name_are_told() -> None:
    """A subproblem that names no identifier is part of the text, and blames no name."""
    failure = failures.refused(
        AcmeProblem(ACME + "badCSR", "no", 400, subproblems=(("", AcmeProblem(ACME + "badCSR", "key too short")),)), NOW
    )
    assert ("no; key too short", ()) == (failure.problem.detail, failure.names)


def ca_says(code: str, status: int = 400, retry_after: float | None = None) -> failures.Failure:
    return failures.refused(AcmeProblem(ACME + code, "no", status, retry_after), NOW)


@pytest.mark.parametrize(
    ("failure", "authority", "account", "alert", "policy"),
    [
        (ca_says("serverInternal", 500), True, False, False, False),
        (ca_says("badNonce"), True, False, False, False),
        (ca_says("rateLimited", 503, 30.0), True, False, False, False),
        (failures.unreachable(AcmeUnreachable("503", sent=True, retry_after=30.0), NOW), True, False, False, False),
        (ca_says("orderNotReady", 403), False, False, False, False),
        (ca_says("rateLimited", 429, 60.0), False, False, False, False),
        (ca_says("rateLimited", 429), False, False, True, False),
        (ca_says("userActionRequired", 403), False, True, True, False),
        (ca_says("accountDoesNotExist"), False, True, True, False),
        (ca_says("externalAccountRequired", 403), False, True, True, False),
        (failures.refused(AcmeProblem(failures.ACCOUNT_UNUSABLE, "no key"), NOW), False, True, True, False),
        (ca_says("badCSR"), False, False, True, False),
        (ca_says("rejectedIdentifier"), False, False, False, True),
        (ca_says("unsupportedIdentifier"), False, False, True, True),
        (ca_says("caa", 403), False, False, False, False),
        (failures.refused(AcmeProblem(ACME + "dns", "NXDOMAIN"), NOW), False, False, False, False),
        (failures.own(failures.CHAIN_REJECTED, "", Actor.CA, NOW), False, False, False, False),
    ],
)
def test_what_else_a_failure_stops(failure: failures.Failure, authority: bool, account: bool, alert: bool, policy: bool) -> None:
    """A failure says whether it is the whole CA's, the account's, for the operator at once, and whether another CA is worth a try."""
    assert (authority, account, alert, policy) == (
        failures.is_authority_fault(failure),
        failures.stops_account(failure),
        failures.alerts(failure),
        failures.refused_by_policy(failure),
    )


def test_a_policy_against_one_of_the_names_is_found() -> None:
    """A refusal of several names by policy is one, though the type outside does not say so."""
    subs = (("a.example", AcmeProblem(ACME + "rejectedIdentifier", "forbidden")),)
    assert failures.refused_by_policy(failures.refused(AcmeProblem(ACME + "malformed", "several", 400, subproblems=subs), NOW))


@pytest.mark.parametrize(
    ("failure", "least"),
    [
        (ca_says("caa", 403), timedelta(days=1)),
        (ca_says("serverInternal", 500), timedelta(minutes=30)),
        (ca_says("serverInternal", 500, 7200.0), timedelta(hours=2)),
        (
            failures.Failure(failures.own("urn:certplane:error:preflight:x", "", Actor.CUSTOMER, NOW).problem, FailureKind.PREFLIGHT),
            timedelta(days=1),
        ),
        (
            failures.Failure(failures.own("urn:certplane:error:preflight:x", "", Actor.OPERATOR, NOW).problem, FailureKind.PREFLIGHT),
            timedelta(hours=1),
        ),
    ],
)
def test_how_long_a_domain_waits_in_the_end(failure: failures.Failure, least: timedelta) -> None:
    """After many failures the customer's are put off for a day, the CA's for minutes or as it asks, the operator's checks for an hour."""
    assert least <= failures.wait(failure, 1000, "a.example") <= least * 1.2


def test_an_invalid_order_tells_the_own_name_first() -> None:
    """The authorizations' errors are collected name by name, the domain's own name leading; good names are not mentioned."""
    failure = failures.order_invalid(
        invalid_order(),
        [
            authorization("a.shop.example.com", AcmeProblem(ACME + "dns", "NXDOMAIN")),
            authorization("good.example.com", None),
            authorization("shop.example.com", AcmeProblem(ACME + "connection", "refused")),
        ],
        "shop.example.com",
        NOW,
    )
    assert (failure.problem.type, failure.problem.failed_name) == (ACME + "connection", "shop.example.com")
    assert failure.problem.detail == "shop.example.com: refused; a.shop.example.com: NXDOMAIN"
    assert [name for name, _ in failure.names] == ["shop.example.com", "a.shop.example.com"]


def test_an_invalid_order_without_failed_authorizations_tells_its_own_error() -> None:
    """When finalize failed the order's own error is the reason; without any, the text says so."""
    caa = failures.order_invalid(
        invalid_order(AcmeProblem(ACME + "caa", "rechecked")), [authorization("a.example", None)], "a.example", NOW
    )
    assert (caa.problem.type, caa.problem.detail) == (ACME + "caa", "rechecked")
    assert failures.order_invalid(invalid_order(), [], "a.example", NOW).problem.type == failures.ORDER_INVALID


def test_strangers_text_is_cut_and_kept_on_one_line() -> None:
    """What a CA quotes from a customer's host cannot break lines of a log nor fill a record."""
    detail = failures.refused(AcmeProblem(ACME + "unauthorized", "got \x1b[31m<html>\n" + "x" * 5000), NOW).problem.detail
    assert detail.startswith("got  [31m<html> xxx")
    assert len(detail) == 1000


@pytest.mark.parametrize(
    ("type_", "kind"),
    [
        (ACME + "dns", FailureKind.ORDER),
        (ACME + "rateLimited", FailureKind.AUTHORITY),
        (failures.AUTHORITY_UNREACHABLE, FailureKind.AUTHORITY),
        (failures.ACCOUNT_UNUSABLE, FailureKind.AUTHORITY),
        (failures.CHAIN_REJECTED, FailureKind.ORDER),
        ("urn:certplane:error:preflight:timeout", FailureKind.PREFLIGHT),
    ],
)
def test_a_stored_problem_tells_its_kind(type_: str, kind: FailureKind) -> None:
    """The kind of the last failure is found again from the stored problem's type."""
    problem = failures.own(type_, "", Actor.CA, NOW).problem
    assert failures.kind_of(problem) is kind
