"""Verdicts of `domains check` in words."""

import pytest

from controlplane.api.certplane.v1 import check_pb2, domain_pb2, domain_service_pb2
from controlplane.cli.check_text import describe_check, is_conclusive_problem

ANSWER, ACTOR = check_pb2.CaaObservation.Answer, domain_pb2.DomainError.Actor


def shown(verdict: check_pb2.NameVerdict) -> list[str]:
    """The lines on one name."""
    response = domain_service_pb2.CheckDomainResponse(verdicts=[verdict])
    response.check_time.FromJsonString("2026-11-24T12:00:00Z")
    *lines, empty, last = describe_check(response).splitlines()
    assert ("", "checked at 2026-11-24 12:00:00 UTC") == (empty, last)
    return lines


@pytest.mark.parametrize(
    ("caa", "expected"),
    [
        (check_pb2.CaaObservation(answer=ANSWER.ANSWER_ABSENT), "no record: every CA may issue"),
        (
            check_pb2.CaaObservation(answer=ANSWER.ANSWER_ALLOWS, owner="b.com", records=['0 issue "ca"', '0 iodef "x"']),
            'the CA may issue, by the record at b.com (0 issue "ca", 0 iodef "x")',
        ),
        (
            check_pb2.CaaObservation(answer=ANSWER.ANSWER_FORBIDS, owner="b.com", records=['0 issue ";"'], detail="allows no CA at all"),
            'the CA may not issue: the record at b.com allows no CA at all (0 issue ";")',
        ),
        (
            check_pb2.CaaObservation(answer=ANSWER.ANSWER_UNKNOWN, owner="b.com", detail="SERVFAIL"),
            "not known: the lookup at b.com failed (SERVFAIL)",
        ),
    ],
)
def test_caa(caa: check_pb2.CaaObservation, expected: str) -> None:
    """What CAA says is told with where it stands and why."""
    assert ["a.b.com: good", f"  CAA           {expected}"] == shown(check_pb2.NameVerdict(dns_name="a.b.com", conclusive=True, caa=caa))


def test_strangers_text_is_harmless() -> None:
    """Nothing that a host or a zone says reaches the terminal as a command."""
    verdict = check_pb2.NameVerdict(
        dns_name="a.b.com",
        problem=domain_pb2.DomainError(type="t", detail="evil\x1b[2J", must_act=ACTOR.ACTOR_CUSTOMER),
        conclusive=True,
        observations=[check_pb2.AddressObservation(address="8.8.8.8", kind="wrong-answer", seen="says\r\n\x1b[31m", expected="this")],
        caa=check_pb2.CaaObservation(answer=ANSWER.ANSWER_ALLOWS, owner="b.com", records=["0 issue \x07"]),
    )
    lines = shown(verdict)
    assert all(line.isprintable() for line in lines)
    assert (
        "  address       8.8.8.8 says\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}[31m; expected: this"
        in lines
    )


@pytest.mark.parametrize(
    ("problem", "conclusive", "expected"), [(True, True, True), (True, False, False), (False, True, False), (False, False, False)]
)
def test_conclusive_problem(problem: bool, conclusive: bool, expected: bool) -> None:
    """Only a problem that a CA would meet too counts."""
    error = domain_pb2.DomainError(type="t") if problem else None
    assert expected is is_conclusive_problem(check_pb2.NameVerdict(problem=error, conclusive=conclusive))
