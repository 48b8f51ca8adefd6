"""What a server must offer to be measured."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from bench.peers.material import Material
from controlplane.embedded.child_process import ChildProcess

READY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Replacement:
    """A renewed certificate that was issued but not yet written. `write` writes it and tells the server, and does not wait for it."""

    serial_number: int
    write: Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Renewal:
    """A way in which a server gets a renewed certificate: what it is called, and how often it is tried in one pass.

    `prepare` takes the name.
    """

    way: str
    times: int
    prepare: Callable[[str], Awaitable[Replacement]]


@dataclass(frozen=True, slots=True)
class Running:
    """A server that was started at the moment `begun` (`time.perf_counter`) and may not be ready yet.

    `others` are pids beside the proxy's, by part. `static_port` is that of a listener of the same proxy with one static certificate, for
    the name `static_name`. `control_plane_seconds` is how long the control plane took to be ready before the proxy was started.
    `settled` returns when the proxy has what it loads without being asked for it.
    """

    port: int
    begun: float
    proxy: ChildProcess
    renewals: Sequence[Renewal]
    others: Mapping[str, int] = field(default_factory=dict)
    static_port: int | None = None
    static_name: str = ""
    control_plane_seconds: float = 0.0
    settled: Callable[[], Awaitable[None]] | None = None

    @property
    def parts(self) -> dict[str, int]:
        """The pids by part."""
        return {"proxy": self.proxy.pid, **self.others}


class Peer(Protocol):
    """A server and a way to give it certificates."""

    @property
    def name(self) -> str:
        """For tables."""
        ...

    @property
    def lazy(self) -> bool:
        """Whether a certificate is loaded when the name is asked for: then first touches differ from later ones."""
        ...

    def missing(self) -> str | None:
        """Returns what to install, as a sentence with the command, or None when everything is there."""
        ...

    def running(self, material: Material, directory: Path) -> AbstractAsyncContextManager[Running]:
        """Starts it, for all names of `material`; `directory` is there and empty."""
        ...
