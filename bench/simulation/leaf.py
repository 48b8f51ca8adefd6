"""Leaf certificates that differ in their serial number alone: real DER, so that the core can read from it how a CA names it."""

from datetime import timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from bench.simulation.scenario import START

_PLACEHOLDER = 0x7FEDCBA987654321
_AUTHORITY_KEY = bytes(range(20))


class LeafMold:
    """Makes leaves. Their signatures are not valid, which nobody checks here."""

    def __init__(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(_PLACEHOLDER)
            .not_valid_before(START)
            .not_valid_after(START + timedelta(days=1))
            .add_extension(x509.AuthorityKeyIdentifier(_AUTHORITY_KEY, None, None), critical=False)
            .sign(key, SHA256())
        )
        self._before, _, self._after = certificate.public_bytes(Encoding.DER).partition(_PLACEHOLDER.to_bytes(8, "big"))

    def leaf(self, serial: int) -> bytes:
        """Returns a leaf with a serial number of 63 bits, the highest of them set."""
        return self._before + serial.to_bytes(8, "big") + self._after
