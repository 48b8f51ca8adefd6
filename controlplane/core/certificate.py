"""The certificate record, and the checks that a chain must pass before it is stored.

Certificates are DER bytes; times are aware datetimes in UTC.
"""

from dataclasses import dataclass
from datetime import datetime

from controlplane.core.sealing import Envelope, KeyClass, SealContext


@dataclass(frozen=True, slots=True)
class CertificateRecord:
    """A certificate in force with its sealed leaf key.

    `intermediates` are the DER certificates above the leaf, in chain order; the store keeps each once for all domains.
    `generation` grows with every certificate that a shard of the store takes.
    """

    id: str
    fqdn: str
    generation: int
    names: tuple[str, ...]
    leaf: bytes
    intermediates: tuple[bytes, ...]
    sealed_leaf_key: Envelope
    spki_digest: bytes
    not_before: datetime
    not_after: datetime
    issue_time: datetime

    @property
    def version(self) -> str:
        """The xDS version: follows from the served chain only, so that re-sealing the key pushes nothing."""
        return self.id

    @property
    def seal_context(self) -> SealContext:
        """What the sealed leaf key is bound to."""
        return leaf_seal_context(self.spki_digest, self.names)


def leaf_seal_context(spki_digest: bytes, names: tuple[str, ...]) -> SealContext:
    """Returns what the leaf key for `names` is bound to when it is sealed; the names are sorted."""
    return SealContext(KeyClass.LEAF, spki_digest, tuple(sorted(names)))
