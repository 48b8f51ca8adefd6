"""The client of a stream, as the registry of nodes sees it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from controlplane.endpoints.stream_reports import StreamReports
from controlplane.xds.messages import DeltaRequest, Node, SotwRequest
from controlplane.xds.subscription import Subscription


@dataclass(slots=True, eq=False)
class StreamNode:
    """See `usecases.nodes.NodeStream`."""

    node: Node
    variant: str
    identities: tuple[str, ...]
    connect_time: datetime
    subscription: Subscription[DeltaRequest] | Subscription[SotwRequest]
    reports: StreamReports
    resumed: bool = False

    @property
    def secrets_held(self) -> int:
        """How many names `held` returns."""
        return self.subscription.held_count

    @property
    def acks(self) -> int:
        """Answers that the client accepted."""
        return self.reports.acks

    @property
    def nacks(self) -> int:
        """Answers that it refused."""
        return self.reports.nacks

    @property
    def refused(self) -> Mapping[str, tuple[str, str]]:
        """Single secrets that it refused: name to version and its words."""
        return self.reports.refused(self.subscription.refused())

    def held(self) -> Iterable[tuple[bytes, str]]:
        """Returns the names that it has with the version told, the one fetched longest ago first."""
        return self.subscription.held()

    def refetched(self) -> Mapping[bytes, int]:
        """Returns how often a name was fetched, for names fetched more than once."""
        return self.subscription.refetched()
