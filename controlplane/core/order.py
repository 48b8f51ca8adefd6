"""The ACME order in progress."""

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum

from controlplane.core.sealing import Envelope


class Phase(IntEnum):
    """How far work on an order has come, as persisted before the step that it names."""

    PREPARED = 1
    """Leaf key sealed and CSR made; newOrder is about to be sent."""
    PLACED = 2
    """The order's URL is known; challenges are being answered."""
    FINALIZING = 3
    """The CSR is about to be sent, or was."""


@dataclass(frozen=True, slots=True)
class OrderRecord:
    """An ACME order in progress (RFC 8555 section 7.1.3), kept with its domain so that any worker can go on with it.

    `replaces` is the certificate that it replaces as the CA names it (RFC 9773 section 4.1), empty for none; `profile` the one asked for,
    empty for the CA's default.
    """

    phase: Phase
    names: tuple[str, ...]
    csr: bytes
    sealed_leaf_key: Envelope
    directory_url: str
    start_time: datetime
    order_url: str = ""
    finalize_url: str = ""
    authorization_urls: tuple[str, ...] = ()
    expire_time: datetime | None = None
    tokens: tuple[str, ...] = ()
    account_url: str = ""
    replaces: str = ""
    profile: str = ""
