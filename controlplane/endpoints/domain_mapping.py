"""Between the messages of certplane.v1 and the values of the core."""

from datetime import UTC, datetime
from typing import Final, cast

from controlplane.api.certplane.v1 import domain_pb2, domain_service_pb2
from controlplane.core.errors import FieldViolation, InvalidArgument
from controlplane.core.managed_domain import Actor, Domain, DomainState, PauseReason, Problem, RenewalWindow
from controlplane.core.names import domain_resource_name
from controlplane.endpoints.timestamps import timestamp
from controlplane.usecases.domain_validation import NewDomain
from controlplane.usecases.domain_watch import DomainGone, DomainSeen, WatchEvent

_STATES: Final = {state: cast("domain_pb2.Domain.State", domain_pb2.Domain.State.Value(f"STATE_{state.name}")) for state in DomainState}
_ACTORS: Final = {actor: cast("domain_pb2.DomainError.Actor", domain_pb2.DomainError.Actor.Value(f"ACTOR_{actor.name}")) for actor in Actor}

_PAUSE_REASONS: Final = {
    reason: cast("domain_pb2.Domain.PauseReason", domain_pb2.Domain.PauseReason.Value(f"PAUSE_REASON_{reason.name}"))
    for reason in PauseReason
}


def new_domain(request: domain_service_pb2.CreateDomainRequest) -> NewDomain:
    """Returns what the request asks for.

    Output-only fields are ignored whatever they hold (AIP-203), `domain.name` among them: the name follows from `domain_id`.
    """
    return NewDomain(
        domain_id=request.domain_id,
        tenant=request.domain.tenant,
        additional_names=tuple(request.domain.additional_names),
        labels=dict(request.domain.labels),
        request_id=request.request_id,
    )


def not_before(request: domain_service_pb2.RenewDomainRequest) -> datetime | None:
    """Returns when a renewal may begin, None: now.

    Raises:
        InvalidArgument: it is no time.
    """
    if not request.HasField("not_before"):
        return None
    try:
        return request.not_before.ToDatetime(UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidArgument(FieldViolation("not_before", "is not a time between the years 1 and 9999")) from error


def domain_message(domain: Domain) -> domain_pb2.Domain:
    """Returns the resource as clients see it."""
    spec, status = domain.spec, domain.status
    return domain_pb2.Domain(
        name=domain_resource_name(spec.fqdn),
        tenant=spec.tenant,
        additional_names=[name.value for name in spec.additional_names],
        labels=dict(spec.labels),
        state=_STATES[status.state],
        reconciling=status.reconciling,
        certificate=status.certificate_id and f"certificates/{status.certificate_id}",
        serial_number=status.serial_number,
        issue_time=timestamp(status.issue_time),
        expire_time=timestamp(status.expire_time),
        renew_time=timestamp(status.renew_time),
        next_attempt_time=timestamp(status.next_attempt_time),
        attempt_count=status.attempt_count,
        last_error=None if status.last_error is None else error_message(status.last_error),
        omitted_names=[name.value for name in status.omitted_names],
        current_step=status.current_step,
        create_time=timestamp(spec.create_time),
        etag=domain.etag,
        sealing_scheme=domain.scheme.name if domain.scheme is not None else "",
        serving_error=None if domain.serving_problem is None else error_message(domain.serving_problem),
        requested_renewal_time=timestamp(domain.requested_renewal_time),
        certificate_authority=status.certificate_authority,
        renewal_window=_window_message(status.renewal_window),
        pause_reason=_PAUSE_REASONS[status.pause_reason] if status.pause_reason is not None else None,
        departed_time=timestamp(status.departed_time),
    )


def watch_message(event: WatchEvent) -> domain_service_pb2.WatchDomainsResponse:
    """Returns the response for an event. The end of a snapshot belongs to it, and carries the first resume token."""
    match event:
        case DomainSeen(domain, snapshot, resume_token):
            return domain_service_pb2.WatchDomainsResponse(domain=domain_message(domain), snapshot=snapshot, resume_token=resume_token)
        case DomainGone(fqdn, resume_token):
            return domain_service_pb2.WatchDomainsResponse(deleted=f"domains/{fqdn}", resume_token=resume_token)
        case _:
            return domain_service_pb2.WatchDomainsResponse(
                snapshot_complete=domain_service_pb2.SnapshotComplete(), snapshot=True, resume_token=event.resume_token
            )


def _window_message(window: RenewalWindow | None) -> domain_pb2.RenewalWindow | None:
    if window is None or window.start >= window.end:
        # Without a length it only says when to ask the CA again.
        return None
    return domain_pb2.RenewalWindow(
        start=timestamp(window.start),
        end=timestamp(window.end),
        selected_time=timestamp(window.selected_time),
        explanation_url=window.explanation_url,
    )


def error_message(problem: Problem) -> domain_pb2.DomainError:
    """Returns a problem as clients see it."""
    return domain_pb2.DomainError(
        type=problem.type,
        detail=problem.detail,
        must_act=_ACTORS[problem.must_act],
        time=timestamp(problem.time),
        failed_name=problem.failed_name,
    )
