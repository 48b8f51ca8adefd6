"""What binds an ACME account to an account that one has with the CA already (RFC 8555 section 7.3.4)."""

from dataclasses import dataclass, field
from enum import StrEnum

from controlplane.core.redacted import SecretBytes


class MacAlgorithm(StrEnum):
    """MACs of RFC 7518 section 3.2, which RFC 8555 section 7.3.4 allows."""

    HS256 = "HS256"
    HS384 = "HS384"
    HS512 = "HS512"


@dataclass(frozen=True, slots=True, eq=False)
class ExternalAccount:
    """The external account: its key identifier, and the MAC key that the CA gave with it."""

    key_id: str
    mac_key: SecretBytes = field(repr=False)
    algorithm: MacAlgorithm = MacAlgorithm.HS256
