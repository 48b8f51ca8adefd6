"""Metrics of issuing: how attempts end, and where their time goes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

from prometheus_client import Counter, Histogram


class Outcome(StrEnum):
    """How an attempt ended."""

    ISSUED = "issued"
    ISSUED_IN_PART = "issued_in_part"
    NOTHING_TO_DO = "nothing_to_do"
    DELAYED = "delayed"
    WAITING = "waiting"
    HELD = "held"
    """Put off by the CA's limits, or since the CA is out of order."""
    FAILED_CUSTOMER = "failed_customer"
    FAILED_OPERATOR = "failed_operator"
    FAILED_CA = "failed_ca"
    FAILED_NOBODY = "failed_nobody"
    LEASE_LOST = "lease_lost"
    STORE_UNAVAILABLE = "store_unavailable"
    """The store went away in the middle."""


ISSUANCES = Counter("certplane_issuances_total", "Attempts to issue, by how they ended.", ["outcome"])
_STEP_SECONDS = Histogram(
    "certplane_issuance_step_seconds",
    "How long each step of an issuance took, waiting included.",
    ["step"],
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300),
)


@contextmanager
def timed(step: str) -> Iterator[None]:
    """Measures one step, however it ends."""
    begun = time.monotonic()
    try:
        yield
    finally:
        _STEP_SECONDS.labels(step).observe(time.monotonic() - begun)
