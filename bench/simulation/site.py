"""A domain of the simulation: the records that decisions are made on, and what is true of it in the simulated world.

Status and certificate have the fields of the core's records, and are changed in place: to make the frozen ones anew for each issuance takes
as long as the decisions themselves. Where a decision answers with a new status, that takes its place.
"""

from dataclasses import MISSING, field, fields, make_dataclass
from datetime import datetime
from enum import IntEnum
from typing import Any

from bench.simulation.virtual_ca import Issued, Order
from controlplane.core.certificate import CertificateRecord
from controlplane.core.lane import Lane
from controlplane.core.managed_domain import Domain, DomainSpec, DomainStatus, Problem
from controlplane.core.names import DomainName
from controlplane.core.order import OrderRecord
from controlplane.core.ports import PreflightVerdict, Work


def _in_place(name: str, of: type) -> Any:
    """Returns a class with the fields of a frozen record whose fields can be set."""
    described: list[Any] = [
        (each.name, each.type) if each.default is MISSING else (each.name, each.type, field(default=each.default)) for each in fields(of)
    ]
    return make_dataclass(name, described, slots=True, kw_only=True)


LiveStatus: Any = _in_place("LiveStatus", DomainStatus)
LiveCertificate: Any = _in_place("LiveCertificate", CertificateRecord)


class Truth(IntEnum):
    """What is true of a domain, whatever anybody has found out."""

    WELL = 0
    ELSEWHERE = 1
    """Its DNS points to somebody else's server, or nowhere: never here yet, or not any more."""
    CAA_FORBIDS = 2
    UNSEEN = 3
    """The CA's own view of it fails, and ours does not."""


class Site:
    """See the module.

    What else decisions are asked with (`domain`, `work`, `verdict`) is made when it is asked for, which is seldom: a million domains would
    fill the memory with it.

    `due` is when it is due next, None for never; an entry of the schedule with another time is out of date. `well_since` is None when
    it always was well. `wanted_since` is since when a first certificate could be had. `asleep` is whether attempts are left out.
    `counted` is whether the limiter has ever counted a failed authorization of the name, `in_line` whether it waits for the account's
    limit. `planned` is when the certificate in force was going to be renewed, `revocation` the mass revocation that it is part of.
    """

    __slots__ = (
        "_spec", "asleep", "certificate", "check_due", "counted", "created", "due", "gone", "in_line", "issued", "lane", "name",
        "open_order", "order", "planned", "revocation", "status", "truth", "wanted_since", "well_since",
    )  # fmt: skip

    def __init__(self, name: str, created: datetime, status: Any) -> None:
        self.name = name
        self.created = created
        self.status = status
        self._spec: DomainSpec | None = None
        self.certificate: Any = None
        self.due: datetime | None = None
        self.check_due: datetime | None = None
        self.lane = Lane.NEW
        self.counted = self.asleep = False
        self.truth = Truth.WELL
        self.well_since: datetime | None = None
        self.wanted_since: datetime | None = None
        self.issued: Issued | None = None
        self.order: OrderRecord | None = None
        self.open_order: Order | None = None
        self.planned: datetime | None = None
        self.revocation: Any = None
        self.in_line = False
        self.gone = False

    @property
    def domain(self) -> Domain:
        """The domain as stored."""
        if self._spec is None:
            self._spec = DomainSpec(DomainName(self.name), "", self.created)
        return Domain(self._spec, self.status, 1)

    @property
    def work(self) -> Work:
        """What a worker reads under its lease."""
        return Work(self.domain, self.order, self.certificate)

    def verdict(self, problem: Problem | None) -> PreflightVerdict:
        """Returns the verdict of a check that has found this."""
        return PreflightVerdict(DomainName(self.name), problem, conclusive=True)
