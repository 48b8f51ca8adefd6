"""Makes domains with certificates, fast: one leaf key, one certificate, one sealed envelope each, all of them real."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from bench.fill_store import StoredDomain, stored_domain
from bench.million.authority import LeafTemplate
from controlplane.core.certificate import leaf_seal_context
from controlplane.core.chain import CheckedChain, chain_id, check_chain
from controlplane.core.ports import Sealer
from controlplane.core.redacted import SecretBytes
from controlplane.core.sealing import spki_digest

_CHECKED = 20
"""One of how many is checked as the worker checks every chain that a CA sends."""


class Maker:
    """Makes domains of one template."""

    def __init__(self, template: LeafTemplate, sealer: Sealer) -> None:
        self._signer = template.signer()
        self._sealer = sealer
        self._intermediate = template.intermediate
        leaf = x509.load_der_x509_certificate(template.leaf)
        self._not_before, self._not_after = leaf.not_valid_before_utc, leaf.not_valid_after_utc
        self._made = 0

    def make(self, names: Iterable[str]) -> Iterator[StoredDomain]:
        """Returns a domain with a certificate for each name, with its own new leaf key."""
        for name in names:
            now = datetime.now(UTC)
            private_key, spki = new_leaf_key()
            leaf, serial = self._signer.sign(name, spki)
            digest = spki_digest(spki)
            sealed = self._sealer.seal(private_key, leaf_seal_context(digest, (name,)))
            yield stored_domain(name, self._chain(leaf, serial, name, digest, now), sealed, digest, now)

    def _chain(self, leaf: bytes, serial: int, name: str, digest: bytes, now: datetime) -> CheckedChain:
        """Returns the chain of a leaf. A part of them is checked as a worker checks every one, the rest is built alike."""
        chain = (leaf, self._intermediate)
        self._made += 1
        made = CheckedChain(chain_id(chain), leaf, chain[1:], f"{serial:x}", self._not_before, self._not_after)
        if self._made % _CHECKED == 0 and check_chain(chain, (name,), digest, now) != made:
            raise AssertionError(f"the certificate for {name} is not what it should be")
        return made


def new_leaf_key() -> tuple[SecretBytes, bytes]:
    """Returns what `make_leaf_key` makes, without a CSR: the key as DER PKCS#8, and its SubjectPublicKeyInfo."""
    key = ec.generate_private_key(ec.SECP256R1())
    private = SecretBytes(key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))
    return private, key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
