"""Every error that crosses a layer: one base, and children that say what the caller can do about it."""

from dataclasses import dataclass


class CertplaneError(Exception):
    """Base of all errors that Certplane raises on purpose. The text is plain English and never holds a secret."""


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One thing that is wrong with a request: `field` is a path such as `domain.additional_names[0]`."""

    field: str
    description: str


class InvalidArgument(CertplaneError):
    """The request is wrong whatever the state of the system; each violation says what to change."""

    def __init__(self, *violations: FieldViolation) -> None:
        super().__init__("; ".join(f"{v.field}: {v.description}" for v in violations))
        self.violations = violations


class NotFound(CertplaneError):
    """No such resource."""

    def __init__(self, resource: str) -> None:
        super().__init__(f"{resource} does not exist")
        self.resource = resource


class AlreadyExists(CertplaneError):
    """The name is taken; `resource` is the resource that has it."""

    def __init__(self, resource: str, detail: str) -> None:
        super().__init__(detail)
        self.resource = resource


class Conflict(CertplaneError):
    """The resource changed since the caller read it (a stale etag). Read it again and retry."""


class PermissionDenied(CertplaneError):
    """Who asks is known, and may not do this."""


class FailedPrecondition(CertplaneError):
    """The system is not in a state that the request needs."""


class Unavailable(CertplaneError):
    """Something that the request needs does not answer (the store, most often); retry after `retry_after` seconds."""

    def __init__(self, detail: str, retry_after: float = 1.0) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class NoWorker(Unavailable):
    """The request needs a worker, and none is there to take it; the text was written for who asks."""


class ResourceExhausted(CertplaneError):
    """Too much is asked for at once; retry after `retry_after` seconds."""

    def __init__(self, detail: str, retry_after: float = 1.0) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class LeaseLost(CertplaneError):
    """A fenced write was refused: another worker holds the domain now, or it was deleted. Stop at once, write nothing."""


class DomainGone(LeaseLost):
    """The lease was lost because the domain was deleted: nobody succeeds, so what was made for it outside its record is cleared away."""


class SealingError(CertplaneError):
    """An envelope does not open or cannot be made: unknown recipient key, forbidden scheme, other context, or damage."""


class RecordRejected(CertplaneError):
    """A stored record is not authentic, or is older than one already seen, or uses what policy forbids; it is not served."""


class ConfigurationError(CertplaneError):
    """The process cannot start as configured; the text says what to change."""
