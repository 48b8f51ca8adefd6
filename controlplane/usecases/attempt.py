"""What one attempt at a domain knows."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from controlplane.core.issuance_plan import Need
from controlplane.core.lanes import PATIENCE
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

    @property
    def token_names(self) -> Sequence[str]:
        """Every name of the domain record, its own first: a token answers for all of them."""
        return tuple(name.value for name in self.work.domain.spec.all_names)

    @property
    def patience(self) -> timedelta:
        """How long a pre-flight may take in the lane that the domain came from."""
        return PATIENCE[self.lease.lane]
