"""The certificate record, what of it is needed to serve, and the few words of it that are enough to compare.

Certificates are DER bytes; times are aware datetimes in UTC.
"""

from dataclasses import dataclass
from datetime import datetime

from controlplane.core.sealing import Envelope, KeyClass, SealContext


@dataclass(frozen=True, slots=True)
class ServableCertificate:
    """What of a certificate and its sealed leaf key is needed to serve it.

    `intermediates` are the DER certificates above the leaf, in chain order; the store keeps each once for all domains.
    `generation` grows with every certificate that a shard of the store takes. `tenant` is whose the domain was when the certificate
    was issued; it is empty in records of versions that did not write it.
    """

    id: str
    fqdn: str
    generation: int
    names: tuple[str, ...]
    leaf: bytes
    intermediates: tuple[bytes, ...]
    sealed_leaf_key: Envelope
    spki_digest: bytes
    tenant: str = ""

    @property
    def version(self) -> str:
        """The xDS version: follows from the served chain only, so that re-sealing the key pushes nothing."""
        return self.id

    @property
    def seal_context(self) -> SealContext:
        """What the sealed leaf key is bound to."""
        return leaf_seal_context(self.spki_digest, self.names)


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateRecord(ServableCertificate):
    """All that is stored of a certificate.

    `directory_url` and `account_url` say which CA issued it to which ACME account, `profile` as what (empty: the CA's default).
    All three are empty in records of versions that did not write them.
    """

    not_before: datetime
    not_after: datetime
    issue_time: datetime
    directory_url: str = ""
    account_url: str = ""
    profile: str = ""

    def is_valid_at(self, time: datetime) -> bool:
        """Returns whether `time` lies in the validity period (RFC 5280 section 4.1.2.5: both ends included)."""
        return self.not_before <= time <= self.not_after


@dataclass(frozen=True, slots=True)
class CertificateHead:
    """Which certificate of the domain `fqdn` is in force: enough to see whether somebody has the newest, and nothing to serve."""

    fqdn: str
    version: str
    generation: int
    tenant: str = ""


def leaf_seal_context(spki_digest: bytes, names: tuple[str, ...]) -> SealContext:
    """Returns what the leaf key for `names` is bound to when it is sealed; the names are sorted."""
    return SealContext(KeyClass.LEAF, spki_digest, tuple(sorted(names)))
