"""Verdicts of `domains check` as text for people: what was seen at each address, what was expected, and who must act."""

from collections.abc import Iterator
from datetime import UTC
from typing import Final

from controlplane.api.certplane.v1 import check_pb2, domain_pb2, domain_service_pb2
from controlplane.cli.domain_text import printable

_Answer: Final = check_pb2.CaaObservation.Answer
_Actor: Final = domain_pb2.DomainError.Actor

_GOOD: Final = "good"
_ACTORS: Final = {
    _Actor.Value("ACTOR_CUSTOMER"): "the owner of the domain (DNS, CAA or a firewall)",
    _Actor.Value("ACTOR_OPERATOR"): "you, the operator of Certplane",
    _Actor.Value("ACTOR_CA"): "the certificate authority",
    _Actor.Value("ACTOR_NOBODY"): "nobody",
}


def is_conclusive_problem(verdict: check_pb2.NameVerdict) -> bool:
    """Returns whether a CA would not issue for the name as it is."""
    return bool(verdict.HasField("problem") and verdict.conclusive)


def describe_check(response: domain_service_pb2.CheckDomainResponse) -> str:
    """Returns all verdicts, one paragraph a name, and when they were found."""
    paragraphs = ["\n".join(map(printable, _lines(verdict))) for verdict in response.verdicts]
    return "\n\n".join((*paragraphs, f"checked at {response.check_time.ToDatetime(UTC):%Y-%m-%d %H:%M:%S} UTC"))


def _lines(verdict: check_pb2.NameVerdict) -> Iterator[str]:
    if not verdict.HasField("problem"):
        yield f"{verdict.dns_name}: good"
    elif verdict.conclusive:
        yield f"{verdict.dns_name}: a CA would not issue"
    else:
        yield f"{verdict.dns_name}: not conclusive, this may be the view from here only"
    if verdict.HasField("problem"):
        yield f"  problem       {verdict.problem.detail}"
        yield f"  type          {verdict.problem.type}"
        yield f"  who must act  {_ACTORS.get(verdict.problem.must_act, 'it is not known who')}"
    for seen in verdict.observations:
        expected = "" if seen.kind == _GOOD else f"; expected: {seen.expected}"
        yield f"  address       {seen.address} {seen.seen}{expected}"
    if verdict.HasField("caa"):
        yield f"  CAA           {_caa(verdict.caa)}"


def _caa(caa: check_pb2.CaaObservation) -> str:
    records = f" ({', '.join(caa.records)})" if caa.records else ""
    match _Answer.Name(caa.answer):
        case "ANSWER_ABSENT":
            return "no record: every CA may issue"
        case "ANSWER_ALLOWS":
            return f"the CA may issue, by the record at {caa.owner}{records}"
        case "ANSWER_FORBIDS":
            return f"the CA may not issue: the record at {caa.owner} {caa.detail}{records}"
        case _:
            return f"not known: the lookup at {caa.owner} failed ({caa.detail})"
