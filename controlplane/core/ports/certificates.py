"""Finding a certificate of which only the identifier is known."""

from collections.abc import AsyncIterator
from typing import Protocol

from controlplane.core.names import DomainName


class CertificateSearch(Protocol):
    """A search through all domains: there is no index, see `docs/decisions/0018-certificates-and-revocation.md`."""

    def candidates(self, certificate_id: str) -> AsyncIterator[DomainName]:
        """Yields domains that may have the certificate, in force or before that; those that do are among them.

        `certificate_id` is 32 hexadecimal digits in lower case. Each domain is to be read to see whether it has it.
        """
        ...
