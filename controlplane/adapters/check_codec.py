"""Checks and their results to and from the protobuf messages of certplane.store.v1."""

from google.protobuf.message import DecodeError

from controlplane.adapters.stored_times import get_time, stored_time
from controlplane.api.certplane.store.v1 import check_pb2, domain_pb2
from controlplane.core.errors import RecordRejected
from controlplane.core.managed_domain import Actor, Problem
from controlplane.core.names import DomainName
from controlplane.core.ports.checks import CheckRequest, CheckResult
from controlplane.core.ports.preflight import CaaAnswer, CaaObservation, Observation, PreflightVerdict


def encode_request(request: CheckRequest) -> bytes:
    """Serialises a request."""
    return check_pb2.CheckRequest(names=[name.value for name in request.names], tenant=request.tenant).SerializeToString()


def decode_request(data: bytes) -> CheckRequest:
    """Reads a request.

    Raises:
        RecordRejected: it is damaged, or names nothing.
    """
    try:
        message = check_pb2.CheckRequest.FromString(data)
    except DecodeError:
        raise RecordRejected("a stored check is damaged") from None
    if not message.names:
        raise RecordRejected("a stored check has no name")
    return CheckRequest(tuple(DomainName(name) for name in message.names), message.tenant)


def encode_result(result: CheckResult) -> bytes:
    """Serialises a result."""
    return check_pb2.CheckResult(
        verdicts=[_encode_verdict(verdict) for verdict in result.verdicts], check_time=stored_time(result.check_time)
    ).SerializeToString()


def decode_result(data: bytes) -> CheckResult:
    """Reads a result.

    Raises:
        RecordRejected: it is damaged.
    """
    try:
        message = check_pb2.CheckResult.FromString(data)
        return CheckResult(tuple(_decode_verdict(verdict) for verdict in message.verdicts), get_time(message.check_time))
    except (DecodeError, ValueError, OverflowError):
        raise RecordRejected("the stored result of a check is damaged") from None


def _encode_verdict(verdict: PreflightVerdict) -> check_pb2.NameVerdict:
    problem, caa = verdict.problem, verdict.caa
    return check_pb2.NameVerdict(
        name=verdict.name.value,
        problem=None
        if problem is None
        else domain_pb2.Problem(
            type=problem.type,
            detail=problem.detail,
            must_act=problem.must_act,
            time=stored_time(problem.time),
            failed_name=problem.failed_name,
        ),
        conclusive=verdict.conclusive,
        observations=[
            check_pb2.Observation(address=seen.address, kind=seen.kind, seen=seen.seen, expected=seen.expected)
            for seen in verdict.observations
        ],
        caa=None if caa is None else check_pb2.CaaObservation(answer=caa.answer, owner=caa.owner, records=caa.records, detail=caa.detail),
    )


def _decode_verdict(message: check_pb2.NameVerdict) -> PreflightVerdict:
    problem, caa = message.problem, message.caa
    return PreflightVerdict(
        DomainName(message.name),
        Problem(problem.type, problem.detail, Actor(problem.must_act), get_time(problem.time), problem.failed_name)
        if message.HasField("problem")
        else None,
        message.conclusive,
        tuple(Observation(seen.address, seen.kind, seen.seen, seen.expected) for seen in message.observations),
        CaaObservation(CaaAnswer(caa.answer), caa.owner, tuple(caa.records), caa.detail) if message.HasField("caa") else None,
    )
