"""A domain under management: what was asked for (its spec) and where it stands (its status).

The spec is written by the API and guarded by the revision; the status is written by the worker and guarded by the fencing
token of its lease. So the two never overwrite each other. All times are aware datetimes in UTC.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum

from controlplane.core.names import DomainName
from controlplane.core.sealing import Scheme


class DomainState(IntEnum):
    """Values of `certplane.v1.Domain.State`."""

    PENDING = 1
    ACTIVE = 2
    DEGRADED = 3
    FAILED = 4
    PAUSED = 5


class Actor(IntEnum):
    """Who must act before the next attempt can succeed: values of `certplane.v1.DomainError.Actor`."""

    CUSTOMER = 1
    OPERATOR = 2
    CA = 3
    NOBODY = 4


class PauseReason(IntEnum):
    """Values of `certplane.v1.Domain.PauseReason`."""

    DEPARTED = 1
    """Its DNS points elsewhere; it comes back by itself."""
    REQUESTED = 2


@dataclass(frozen=True, slots=True)
class RenewalWindow:
    """When a CA suggests to renew a certificate (RFC 9773 section 4.2).

    `selected_time` is a random moment in the window, chosen once and kept while the window stays the same; `poll_time` is when the CA is
    to be asked again.
    """

    certificate_id: str
    start: datetime
    end: datetime
    selected_time: datetime
    poll_time: datetime
    explanation_url: str = ""


@dataclass(frozen=True, slots=True)
class Revocation:
    """A certificate that somebody wants revoked, for a reason of RFC 5280 section 5.3.1."""

    certificate_id: str
    reason: int
    request_time: datetime


@dataclass(frozen=True, slots=True)
class Problem:
    """Why an attempt failed.

    `type` is a problem URN (RFC 8555 section 6.7) or `urn:certplane:error:...`; `detail` is a sentence for people, without
    any secret; `failed_name` is the DNS name that failed where it is one of several, else empty.
    """

    type: str
    detail: str
    must_act: Actor
    time: datetime
    failed_name: str = ""


@dataclass(frozen=True, slots=True)
class DomainSpec:
    """What was asked for.

    `renewal_replacement` is the replacement that asked for the renewal, empty when it was asked for by itself.
    """

    fqdn: DomainName
    uid: str
    create_time: datetime
    tenant: str = ""
    additional_names: tuple[DomainName, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    create_request_id: str = ""
    renewal_request_time: datetime | None = None
    renewal_not_before: datetime | None = None
    renewal_replacement: str = ""
    revocation: Revocation | None = None

    @property
    def all_names(self) -> tuple[DomainName, ...]:
        """The domain's own name first, then the additional names as stated."""
        return (self.fqdn, *self.additional_names)


@dataclass(frozen=True, slots=True)
class DomainStatus:
    """Where the domain stands.

    `current_step` is empty at rest, else `preflight`, `order`, `challenge`, `finalize`, or `download` while the CA takes its time to sign.
    `certificate_authority` names the CA that issued the certificate in force, `refusing_authorities` those that refuse the domain by
    policy. `departed_time` is since when checks find that the domain points elsewhere, `checked_time` when it was last checked.
    """

    state: DomainState = DomainState.PENDING
    reconciling: bool = False
    current_step: str = ""
    certificate_id: str = ""
    serial_number: str = ""
    issue_time: datetime | None = None
    expire_time: datetime | None = None
    renew_time: datetime | None = None
    next_attempt_time: datetime | None = None
    attempt_count: int = 0
    last_error: Problem | None = None
    omitted_names: tuple[DomainName, ...] = ()
    renewal_done_time: datetime | None = None
    renewal_window: RenewalWindow | None = None
    certificate_authority: str = ""
    refusing_authorities: tuple[str, ...] = ()
    departed_time: datetime | None = None
    checked_time: datetime | None = None
    pause_reason: PauseReason | None = None
    revocation_done_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class Domain:
    """A domain as stored.

    `revision` grows with every write of the spec, and of the status as far as it is seen by others than workers. `scheme` is how its leaf
    key is sealed, None without one. `serving_problem` is why its certificate cannot be served, if that was checked and it cannot.
    """

    spec: DomainSpec
    status: DomainStatus
    revision: int
    scheme: Scheme | None = None
    serving_problem: Problem | None = None

    @property
    def etag(self) -> str:
        """Opaque to clients; differs between two lives of the same name."""
        return f"{self.spec.uid[:12]}-{self.revision}"

    @property
    def renewal_requested(self) -> bool:
        """Whether somebody asked for a renewal that no certificate has satisfied yet."""
        asked, done = self.spec.renewal_request_time, self.status.renewal_done_time
        return asked is not None and (done is None or done < asked)

    @property
    def pending_revocation(self) -> Revocation | None:
        """The revocation that was asked for and not carried out yet."""
        asked, done = self.spec.revocation, self.status.revocation_done_time
        return asked if asked is not None and (done is None or done < asked.request_time) else None

    @property
    def requested_renewal_time(self) -> datetime | None:
        """When that renewal may begin; None when none is asked for."""
        return (self.spec.renewal_not_before or self.spec.renewal_request_time) if self.renewal_requested else None

    def renewal_is_for_later(self, now: datetime) -> bool:
        """Whether a renewal was asked for with a time that has not come yet. One without a time is for now, whichever clock is ahead."""
        return self.renewal_requested and self.spec.renewal_not_before is not None and self.spec.renewal_not_before > now
