"""What the API writes into a domain's spec for a worker to carry out, and which intent gives way to which."""

from dataclasses import replace
from datetime import datetime, timedelta

from controlplane.core.errors import FailedPrecondition
from controlplane.core.managed_domain import Domain, DomainSpec, Revocation

_LATER = timedelta(microseconds=1)


def with_renewal(domain: Domain, at: datetime, not_before: datetime | None, replacement: str) -> DomainSpec:
    """Returns the spec with the intent to renew; the spec as it is when the intent gives way to what is written already.

    A request by hand (`replacement` empty) takes the place of any other. That of a replacement gives way to one by hand that is not
    satisfied yet, so that stopping the replacement takes away nothing that somebody asked for; and a replacement asks a domain only once,
    however often its job begins again.
    """
    spec = domain.spec
    if replacement and (spec.renewal_replacement == replacement or (domain.renewal_requested and not spec.renewal_replacement)):
        return spec
    # Another replica's clock may be ahead: a later request is later whatever the clocks say.
    before = spec.renewal_request_time
    asked = at if before is None else max(at, before + _LATER)
    return replace(spec, renewal_request_time=asked, renewal_not_before=not_before, renewal_replacement=replacement)


def with_revocation(domain: Domain, revocation: Revocation) -> DomainSpec:
    """Returns the spec with the intent to revoke; the spec as it is when the same was asked for before.

    Raises:
        FailedPrecondition: another certificate of the domain is being revoked.
    """
    before, pending = domain.spec.revocation, domain.pending_revocation
    if before is None:
        return replace(domain.spec, revocation=revocation)
    if before.certificate_id == revocation.certificate_id and before.reason == revocation.reason:
        return domain.spec
    if pending is not None and pending.certificate_id != revocation.certificate_id:
        raise FailedPrecondition(
            f"certificates/{pending.certificate_id} of domains/{domain.spec.fqdn} is being revoked; "
            "ask again when that is done (`done` of its revocation)"
        )
    asked = max(revocation.request_time, before.request_time + _LATER)
    return replace(domain.spec, revocation=replace(revocation, request_time=asked))
