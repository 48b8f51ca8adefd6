"""Verdicts of a pre-flight as messages of certplane.v1."""

from typing import Final, cast

from controlplane.api.certplane.v1 import check_pb2, domain_service_pb2
from controlplane.core.ports import PreflightVerdict
from controlplane.core.ports.checks import CheckResult
from controlplane.core.ports.preflight import CaaAnswer
from controlplane.endpoints.domain_mapping import error_message
from controlplane.endpoints.timestamps import timestamp

_ANSWERS: Final = {
    answer: cast("check_pb2.CaaObservation.Answer", check_pb2.CaaObservation.Answer.Value(f"ANSWER_{answer.name}")) for answer in CaaAnswer
}


def check_response(result: CheckResult) -> domain_service_pb2.CheckDomainResponse:
    """Returns the response of CheckDomain."""
    return domain_service_pb2.CheckDomainResponse(verdicts=map(_verdict_message, result.verdicts), check_time=timestamp(result.check_time))


def _verdict_message(verdict: PreflightVerdict) -> check_pb2.NameVerdict:
    caa = verdict.caa
    return check_pb2.NameVerdict(
        dns_name=verdict.name.value,
        problem=None if verdict.problem is None else error_message(verdict.problem),
        conclusive=verdict.conclusive,
        observations=[
            check_pb2.AddressObservation(address=seen.address, kind=seen.kind, seen=seen.seen, expected=seen.expected)
            for seen in verdict.observations
        ],
        caa=None
        if caa is None
        else check_pb2.CaaObservation(answer=_ANSWERS[caa.answer], owner=caa.owner, records=caa.records, detail=caa.detail),
    )
