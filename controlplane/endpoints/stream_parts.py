"""What a stream is made of besides its subscription: the services that it uses, and the client on the other side."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime

from controlplane.core.access import AccessPolicy
from controlplane.endpoints.shared_answers import SharedAnswers
from controlplane.endpoints.stream_reports import ProcessReports
from controlplane.endpoints.write_slots import WriteTurns
from controlplane.usecases.nodes import NodeObserver
from controlplane.usecases.secrets import SecretDirectory
from controlplane.xds.subscription import Limits


@dataclass(frozen=True, slots=True)
class StreamServices:
    """What all streams of a process share."""

    directory: SecretDirectory
    limits: Limits
    access: AccessPolicy
    nodes: NodeObserver | None
    reports: ProcessReports
    answers: SharedAnswers = field(default_factory=SharedAnswers)
    turns: WriteTurns = field(default_factory=WriteTurns)


@dataclass(frozen=True, slots=True)
class Client:
    """The other side: how to read from it and write to it, and who its certificate says it is.

    `read` returns a request, or `grpc.aio.EOF`; `write` waits while the client does not read. `identities` are the subject alternative
    names that mutual TLS verified, none without TLS.
    """

    read: Callable[[], Awaitable[object]]
    write: Callable[[bytes], Awaitable[None]]
    identities: tuple[str, ...]
    connect_time: datetime
