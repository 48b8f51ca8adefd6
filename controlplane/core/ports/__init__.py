"""Ports: what the use cases need from the world. The docstrings are contracts; one contract suite runs against each implementation.

Unless said otherwise, every coroutine raises `Unavailable` when what is behind it does not answer, and every time is an aware
datetime in UTC.
"""

from controlplane.core.ports.accounts import AccountRecord, AccountStatus, AccountStore, SealedAccountKey
from controlplane.core.ports.authority import (
    AcmeError,
    AcmeProblem,
    AcmeUnreachable,
    CertificateAuthority,
    RemoteAuthorization,
    RemoteOrder,
    RenewalInfo,
)
from controlplane.core.ports.changes import ALL_KINDS, ChangeFeed, ChangeKind, ChangesLost, DomainChanged
from controlplane.core.ports.clock import Clock
from controlplane.core.ports.domains import DomainStore, Page
from controlplane.core.ports.lanes import LaneBacklog, LaneStore
from controlplane.core.ports.limits import BreakerStore, BucketLevels, RateLimits, StoredBreaker
from controlplane.core.ports.preflight import Preflight, PreflightVerdict
from controlplane.core.ports.rotation import (
    EnvelopeCounts,
    EnvelopeStore,
    ReplicaReports,
    SealedPage,
    SealedRecord,
    UnreadableRecord,
    WorkUnderWay,
)
from controlplane.core.ports.sealing import Opener, PrivateKeyClasses, RecordAuthenticator, Sealer
from controlplane.core.ports.serving import CertificateStore, Expiries, NoCertificate, TokenRecord, TokenStore
from controlplane.core.ports.work import DueDomains, Lease, Work, WorkStore

__all__ = [
    "ALL_KINDS",
    "AccountRecord",
    "AccountStatus",
    "AccountStore",
    "AcmeError",
    "AcmeProblem",
    "AcmeUnreachable",
    "BreakerStore",
    "BucketLevels",
    "CertificateAuthority",
    "CertificateStore",
    "ChangeFeed",
    "ChangeKind",
    "ChangesLost",
    "Clock",
    "DomainChanged",
    "DomainStore",
    "DueDomains",
    "EnvelopeCounts",
    "EnvelopeStore",
    "Expiries",
    "LaneBacklog",
    "LaneStore",
    "Lease",
    "NoCertificate",
    "Opener",
    "Page",
    "Preflight",
    "PreflightVerdict",
    "PrivateKeyClasses",
    "RateLimits",
    "RecordAuthenticator",
    "RemoteAuthorization",
    "RemoteOrder",
    "RenewalInfo",
    "ReplicaReports",
    "SealedAccountKey",
    "SealedPage",
    "SealedRecord",
    "Sealer",
    "StoredBreaker",
    "TokenRecord",
    "TokenStore",
    "UnreadableRecord",
    "Work",
    "WorkStore",
    "WorkUnderWay",
]
