"""Resource names of certificates, `certificates/{id}`."""

import re
from typing import Final

from controlplane.core.errors import FieldViolation, InvalidArgument

_PREFIX: Final = "certificates/"
_ID: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)


def certificate_resource_name(certificate_id: str) -> str:
    """Returns the resource name; empty for no certificate."""
    return certificate_id and _PREFIX + certificate_id


def parse_certificate_resource(text: str, *, field: str) -> str:
    """Returns the identifier in a resource name: the first 32 hexadecimal digits of SHA-256 over the certificate, in lower case.

    Raises:
        InvalidArgument: not the resource name of a certificate.
    """
    identifier = text.removeprefix(_PREFIX)
    if not text.startswith(_PREFIX) or not _ID.fullmatch(identifier):
        raise InvalidArgument(
            FieldViolation(
                field,
                "is not a resource name of a certificate; send certificates/{id}, where id is the first 32 hexadecimal digits of the "
                "certificate's SHA-256 fingerprint, in lower case",
            )
        )
    return identifier
