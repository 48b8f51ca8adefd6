"""From certificates to the messages of certplane.v1. Sealed keys stay where they are."""

import hashlib
from typing import Final, cast

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from controlplane.api.certplane.v1 import certificate_pb2
from controlplane.core.certificate_names import certificate_resource_name
from controlplane.core.names import domain_resource_name
from controlplane.endpoints.timestamps import timestamp
from controlplane.usecases.certificates import CertificateView

_IN_FORCE: Final = cast("certificate_pb2.Certificate.State", certificate_pb2.Certificate.State.Value("STATE_IN_FORCE"))
_PREVIOUS: Final = cast("certificate_pb2.Certificate.State", certificate_pb2.Certificate.State.Value("STATE_PREVIOUS"))


def certificate_message(view: CertificateView, *, whole: bool = True) -> certificate_pb2.Certificate:
    """Returns a certificate as clients see it; `whole` with what only one that is asked for by itself has."""
    record = view.record
    leaf = x509.load_der_x509_certificate(record.leaf)
    return certificate_pb2.Certificate(
        name=certificate_resource_name(record.id),
        domain=domain_resource_name(view.domain.spec.fqdn),
        tenant=record.tenant,
        dns_names=record.names,
        state=_IN_FORCE if view.in_force else _PREVIOUS,
        serial_number=f"{leaf.serial_number:x}",
        issuer=leaf.issuer.rfc4514_string(),
        sha256_fingerprint=hashlib.sha256(record.leaf).hexdigest(),
        not_before_time=timestamp(record.not_before),
        expire_time=timestamp(record.not_after),
        issue_time=timestamp(record.issue_time),
        certificate_authority=view.certificate_authority,
        directory_url=record.directory_url,
        account_url=record.account_url,
        profile=record.profile,
        previous_certificate=certificate_resource_name(view.previous_id) if whole else "",
        pem_chain=_pem((record.leaf, *record.intermediates)) if whole else "",
        revocation=_revocation_message(view),
    )


def _pem(chain: tuple[bytes, ...]) -> str:
    return "".join(x509.load_der_x509_certificate(each).public_bytes(Encoding.PEM).decode("ascii") for each in chain)


def _revocation_message(view: CertificateView) -> certificate_pb2.CertificateRevocation | None:
    asked = view.revocation
    if asked is None:
        return None
    return certificate_pb2.CertificateRevocation(
        reason=cast("certificate_pb2.RevocationReason", asked.reason),
        request_time=timestamp(asked.request_time),
        done=view.revocation_done,
    )
