"""What the store says, judged against what was seen before: what is served, what is kept, and who must be told.

Only a deletion takes a certificate away from who holds it. A record that cannot be read, is older than one seen before, or is suddenly
missing is `UNCERTAIN`: holders keep what they have, operators are told, and the next comparison tries again.
"""

from collections.abc import Mapping, Sequence

from controlplane.core.certificate import CertificateHead, ServableCertificate
from controlplane.core.ports import NoCertificate
from controlplane.usecases.generations import Generations
from controlplane.usecases.held_names import HeldNames, Seen
from controlplane.usecases.known_secrets import Known, KnownSecret, KnownSecrets, KnownVersion
from controlplane.usecases.lookups import Finding
from controlplane.usecases.lost_certificates import Loss, LostCertificates
from controlplane.usecases.unknown_names import UnknownNames
from controlplane.xds.subscription import Absence


class Findings:
    """Takes the store's answers. Nothing here waits: what an answer means is settled before anything else happens."""

    def __init__(
        self, held: HeldNames, generations: Generations, kept: KnownSecrets, unknown: UnknownNames, lost: LostCertificates
    ) -> None:
        self._held = held
        self._generations = generations
        self._kept = kept
        self._unknown = unknown
        self._lost = lost

    def take(self, findings: Sequence[Finding[ServableCertificate | NoCertificate]]) -> Mapping[str, Known]:
        """Remembers what was seen, keeps what will be served, and tells holders what changed; returns what is known of each name."""
        known: dict[str, Known] = {}
        changed = []
        for finding in findings:
            key, found = finding.key, self._judge(finding.key, finding.found)
            judged = Absence.UNCERTAIN if isinstance(found, Loss) else found
            seen = self._held.see(key, judged, retry=not finding.wanted)
            if seen is Seen.CHANGED:
                changed.append(key)
            if isinstance(judged, Absence):
                known[key] = judged
                if judged is Absence.GONE:
                    self._kept.drop(key)
                if seen is not Seen.KEPT and found is not Loss.OLDER:
                    self._unknown.put(key, judged, rejected=found is Loss.REJECTED)
            else:
                known[key] = secret = KnownSecret(key, judged)
                self._unknown.drop((key,))
                if finding.wanted or seen is Seen.CHANGED:
                    self._kept.put(secret)
            if isinstance(found, Loss) and (seen is Seen.KEPT or found is Loss.OLDER):
                self._lost.note(found, key)
        self._lost.tell()
        self._held.notify(changed)
        return known

    def _judge(self, key: str, found: ServableCertificate | NoCertificate) -> ServableCertificate | Absence | Loss:
        """Returns the certificate to serve, or `GONE`, or why nothing is certain."""
        if isinstance(found, ServableCertificate):
            return found if self._is_newest(key, found) else Loss.OLDER
        if found is NoCertificate.DELETED:
            self._generations.forget(key)
            return Absence.GONE
        if found is NoCertificate.REJECTED:
            return Loss.REJECTED
        return Absence.GONE if self._held.is_deleted(key) else Loss.MISSING

    def _is_newest(self, key: str, found: ServableCertificate | CertificateHead) -> bool:
        fqdn = found.fqdn
        if not self._generations.see(fqdn, found.generation, keep=self._held.holds_domain(fqdn)):
            return False
        if self._held.belongs_to(key, fqdn):
            self._generations.see(fqdn, found.generation, keep=True)
        return True

    def compare(self, findings: Sequence[Finding[CertificateHead | None]]) -> Mapping[str, KnownVersion | None]:
        """Returns for each name the version in force, or None when the whole record must be read to know.

        That is so when there is none, when it is not the one seen before, or when that could not be served: what changed is judged, and
        told, by `take` only.
        """
        known: dict[str, KnownVersion | None] = {}
        for finding in findings:
            key, head = finding.key, finding.found
            if head is None or not self._is_newest(key, head):
                known[key] = None
                continue
            if self._held.is_unresolved(key):
                self._held.see(key, head, retry=False)
            current = self._held.current(key)
            if key not in self._held:
                current = KnownVersion(head.version, head.tenant)
            known[key] = current if current is not None and current.version == head.version else None
        return known
