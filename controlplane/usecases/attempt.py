"""What one attempt at a domain knows."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from controlplane.core.issuance_plan import Need
from controlplane.core.lanes import PATIENCE
from controlplane.core.managed_domain import Problem
from controlplane.core.ports import Lease, Work
from controlplane.usecases.progress import Progress


@dataclass(slots=True)
class Attempt:
    """The work as read under the lease, why it is done, and its writer."""

    lease: Lease
    work: Work
    progress: Progress
    need: Need = Need.NOTHING
    planted: set[str] = field(default_factory=set)
    """Tokens of challenges that this attempt has planted."""
    tried: set[str] = field(default_factory=set)
    """Names of the CAs that this attempt has turned to."""
    caa_problem: Problem | None = None
    """What CAA says to the first CA that it forbids to issue, as this attempt has seen it."""
    caa_forbidden: set[str] = field(default_factory=set)
    """Names of all CAs that CAA forbids to issue, as this attempt has seen it."""

    @property
    def token_names(self) -> Sequence[str]:
        """Every name of the domain record, its own first: a token answers for all of them."""
        return tuple(name.value for name in self.work.domain.spec.all_names)

    @property
    def patience(self) -> timedelta:
        """How long a pre-flight may take in the lane that the domain came from."""
        return PATIENCE[self.lease.lane]
