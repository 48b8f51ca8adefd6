"""Whether the certificate of a domain can be served, for an operator who asks why it is not.

A domain's status is what its worker wrote. Somebody who writes to the store leaves it as it is, and damages the record beside it; so the
record is read as it would be for a handshake, and its key opened and thrown away.
"""

from controlplane.core.certificate import CertificateRecord
from controlplane.core.errors import SealingError
from controlplane.core.failure import OWN
from controlplane.core.managed_domain import Actor, Domain, Problem
from controlplane.core.ports import CertificateStore, Clock, NoCertificate, Opener
from controlplane.usecases.tls_material import private_key_pem

RECORD_REJECTED = OWN + "recordRejected"
RECORD_MISSING = OWN + "recordMissing"
RECORD_REPLACED = OWN + "recordReplaced"
KEY_NOT_OPENED = OWN + "keyNotOpened"
EXPIRED = OWN + "certificateExpired"


class ServingCheck:
    """The check."""

    def __init__(self, certificates: CertificateStore, opener: Opener, clock: Clock) -> None:
        self._certificates = certificates
        self._opener = opener
        self._clock = clock

    async def problem(self, domain: Domain) -> Problem | None:
        """Returns why the certificate in force cannot be served; None when it can, or when there is none.

        Raises:
            Unavailable: the store does not answer.
        """
        if not domain.status.certificate_id:
            return None
        fqdn = domain.spec.fqdn.value
        found = (await self._certificates.lookup([fqdn]))[fqdn]
        fault = self._fault(found, domain.status.certificate_id)
        return None if fault is None else Problem(fault[0], fault[1], Actor.OPERATOR, self._clock())

    def _fault(self, found: CertificateRecord | NoCertificate, certificate_id: str) -> tuple[str, str] | None:
        if found is NoCertificate.REJECTED:
            return RECORD_REJECTED, (
                "the stored certificate cannot be read or is not authentic: somebody else writes to the store, or a record key is missing"
                " here; renew the domain"
            )
        if isinstance(found, NoCertificate):
            return RECORD_MISSING, "the certificate is not in the store any more; renew the domain"
        if found.id != certificate_id:
            return RECORD_REPLACED, "another certificate is stored than the one that was put in force last; renew the domain"
        if found.not_after <= self._clock():
            return EXPIRED, "the certificate has expired"
        try:
            private_key_pem(found, self._opener.open(found.sealed_leaf_key, found.seal_context))
        except SealingError as error:
            return KEY_NOT_OPENED, f"{error}; renew the domain, or give this replica the recipient key"
        return None
