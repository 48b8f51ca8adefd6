"""The public key in certificates and private keys, read without loading them, and the check that the two belong together."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from controlplane.core.errors import SealingError
from controlplane.core.leaf_spki import certificate_spki, p256_key_spki
from controlplane.core.redacted import SecretBytes
from controlplane.usecases.tls_material import private_key_pem
from tests.fakes.certificates import issue

KEYS = {
    "P-256": ec.generate_private_key(ec.SECP256R1()),
    "P-384": ec.generate_private_key(ec.SECP384R1()),
    "RSA-2048": rsa.generate_private_key(65537, 2048),
    "Ed25519": ed25519.Ed25519PrivateKey.generate(),
}


def _certificate(key, subject: str = "") -> bytes:
    """A self-signed certificate, DER."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)] if subject else [])
    start = datetime(2026, 1, 1, tzinfo=UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=90))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(f"n{number}.example") for number in range(25)]), critical=True)
    )
    return builder.sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else SHA256()).public_bytes(Encoding.DER)


def _spki(key) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _pkcs8(key) -> bytes:
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize("kind", KEYS)
@pytest.mark.parametrize("subject", ["", "a common name of a length that needs no more than one byte"])
def test_the_public_key_of_a_certificate_is_found(kind, subject):
    """The same bytes as the library gives, whatever stands before them."""
    certificate = _certificate(KEYS[kind], subject)
    assert _spki(KEYS[kind]) == certificate_spki(certificate)


def test_a_p256_key_says_its_public_key():
    """In the bytes of a SubjectPublicKeyInfo."""
    assert _spki(KEYS["P-256"]) == p256_key_spki(_pkcs8(KEYS["P-256"]))


@pytest.mark.parametrize("kind", ["P-384", "RSA-2048", "Ed25519"])
def test_other_keys_are_left_to_the_library(kind):
    """Nothing is guessed about them."""
    assert p256_key_spki(_pkcs8(KEYS[kind])) is None


def test_a_p256_key_without_its_public_half_is_left_to_the_library():
    """RFC 5915 leaves it out at will."""
    point = _pkcs8(KEYS["P-256"])[73:]
    assert p256_key_spki(_pkcs8(KEYS["P-256"]).removesuffix(bytes.fromhex("a144034200") + point)) is None


@given(st.binary(max_size=200))
def test_junk_is_no_p256_key(junk):
    """Any bytes are safe."""
    assert p256_key_spki(junk) is None


@given(st.integers(0, 1000), st.binary(max_size=3))
def test_damaged_certificates_give_an_error_or_other_bytes(position, junk):
    """Never an error of another kind."""
    whole = _certificate(KEYS["P-256"])
    damaged = whole[:position] + junk + whole[position + len(junk) :][: len(whole) // 2]
    try:
        assert isinstance(certificate_spki(damaged), bytes)
    except ValueError:
        pass


@pytest.mark.parametrize("kind", KEYS)
def test_a_key_is_served_with_its_own_certificate_only(kind):
    """Of whatever type: its own passes, and another of the same type does not, whatever the record says of its digest."""
    record, _ = issue("a.example")
    own = replace(record, leaf=_certificate(KEYS[kind]))
    pem = private_key_pem(own, SecretBytes(_pkcs8(KEYS[kind]))).reveal()
    assert pem == KEYS[kind].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    other = ed25519.Ed25519PrivateKey.generate() if kind == "Ed25519" else ec.generate_private_key(ec.SECP256R1())
    with pytest.raises(SealingError, match="not the key of the leaf certificate"):
        private_key_pem(own, SecretBytes(_pkcs8(other)))


def test_a_certificate_that_cannot_be_read_is_an_error_without_its_bytes():
    """A client would refuse it."""
    record, leaf_key = issue("a.example")
    with pytest.raises(SealingError, match="cannot be read") as raised:
        private_key_pem(replace(record, leaf=record.leaf[:40]), leaf_key)
    assert raised.value.__cause__ is None
