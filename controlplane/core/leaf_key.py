"""A leaf key that was just made, on its way to being sealed."""

from dataclasses import dataclass

from controlplane.core.redacted import SecretBytes


@dataclass(frozen=True, slots=True)
class LeafKey:
    """A leaf key and the CSR made with it.

    `private_key` is DER PKCS#8; `csr` is DER and holds no secret; `spki_digest` is SHA-256 over the key's SubjectPublicKeyInfo.
    """

    private_key: SecretBytes
    csr: bytes
    spki_digest: bytes
