"""Sealing and opening: RFC 9180 vectors, vectors of our own that must open for ever, and everything that must not open."""

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from controlplane.adapters.envelope_sealer import EnvelopeOpener, EnvelopeSealer
from controlplane.adapters.hpke_keys import HpkePrivateKey, PrivateComponent
from controlplane.adapters.key_file_format import PrivateKeyFile, parse_key_file
from controlplane.adapters.recipient_keys import RecipientPrivateKey, generate_recipient_key
from controlplane.adapters.rsa_keys import RsaPrivateKey
from controlplane.core.errors import ConfigurationError, SealingError
from controlplane.core.redacted import SecretBytes
from controlplane.core.sealing import Envelope, KeyClass, Scheme, SealContext
from tests.unit import rfc9180

VECTORS = Path(__file__).parent / "vectors"
PLAINTEXT = SecretBytes(bytes(range(138)))
CONTEXT = SealContext(KeyClass.LEAF, b"\x07" * 32, ("shop.example.com", "www.shop.example.com"))
RSA_BITS = 2048
ENC_LENGTH = {
    Scheme.HPKE_X25519: 32,
    Scheme.HPKE_MLKEM768_X25519: 1120,
    Scheme.HPKE_P256: 65,
    Scheme.RSA_OAEP_AES256GCM: RSA_BITS // 8 + 12,
}
"""Bytes before the AEAD ciphertext."""

schemes = pytest.mark.parametrize("scheme", Scheme, ids=lambda scheme: scheme.name)


def pair(scheme: Scheme) -> tuple[RecipientPrivateKey, EnvelopeSealer, EnvelopeOpener]:
    """A new leaf key with its sealer and opener."""
    key = generate_recipient_key(scheme, RSA_BITS)
    return key, EnvelopeSealer({KeyClass.LEAF: key.public}), EnvelopeOpener([(KeyClass.LEAF, key)])


def components(key: RecipientPrivateKey) -> tuple[PrivateComponent, ...]:
    """The component keys of an HPKE key."""
    assert isinstance(key, HpkePrivateKey)
    return key.components


def vector(name: str) -> Any:
    """A stored vector."""
    return json.loads((VECTORS / f"{name}.json").read_text())


def test_the_reference_agrees_with_the_vector_of_the_rfc() -> None:
    """The written-out HPKE opens the official vector for X25519, HKDF-SHA256 and AES-256-GCM, so it may judge the sealer."""
    known = {name: bytes.fromhex(value) for name, value in vector("rfc9180_x25519_aes256gcm").items() if name != "note"}
    private_key = X25519PrivateKey.from_private_bytes(known["skRm"])
    shared_secret = rfc9180.x25519_decap(known["enc"], private_key)
    assert known["pkRm"] == private_key.public_key().public_bytes_raw()
    assert known["pt"] == rfc9180.open_with(rfc9180.KEM_X25519, shared_secret, known["info"], known["ct"], known["aad"])


def test_the_reference_opens_what_the_x25519_sealer_seals() -> None:
    """An HPKE_X25519 envelope is enc and ciphertext exactly as RFC 9180 has them, with the context as info and no AAD."""
    key, sealer, _ = pair(Scheme.HPKE_X25519)
    ciphertext = sealer.seal(PLAINTEXT, CONTEXT).ciphertext
    (x25519,) = components(key)
    assert isinstance(x25519, X25519PrivateKey)
    shared_secret = rfc9180.x25519_decap(ciphertext[:32], x25519)
    assert PLAINTEXT.reveal() == rfc9180.open_with(rfc9180.KEM_X25519, shared_secret, CONTEXT.info(), ciphertext[32:])


def test_the_x25519_opener_opens_what_the_reference_seals() -> None:
    """What another implementation of RFC 9180 seals to a recipient key opens here."""
    key, _, opener = pair(Scheme.HPKE_X25519)
    (x25519,) = components(key)
    assert isinstance(x25519, X25519PrivateKey)
    shared_secret, enc = rfc9180.x25519_encap(X25519PrivateKey.generate(), x25519.public_key())
    sealed = rfc9180.seal_with(rfc9180.KEM_X25519, shared_secret, CONTEXT.info(), PLAINTEXT.reveal())
    envelope = Envelope(key.public.key_id, Scheme.HPKE_X25519, enc + sealed)
    assert PLAINTEXT.reveal() == opener.open(envelope, CONTEXT).reveal()


def test_the_reference_opens_what_the_hybrid_sealer_seals() -> None:
    """An HPKE_MLKEM768_X25519 envelope is HPKE over X-Wing: both component keys are needed, in the order of the draft."""
    key, sealer, _ = pair(Scheme.HPKE_MLKEM768_X25519)
    mlkem, x25519 = components(key)
    assert isinstance(mlkem, MLKEM768PrivateKey)
    assert isinstance(x25519, X25519PrivateKey)
    ciphertext = sealer.seal(PLAINTEXT, CONTEXT).ciphertext
    shared_secret = rfc9180.xwing_decap(ciphertext[:1120], mlkem, x25519)
    opened = rfc9180.open_with(rfc9180.KEM_MLKEM768_X25519, shared_secret, CONTEXT.info(), ciphertext[1120:])
    assert PLAINTEXT.reveal() == opened


def test_the_reference_agrees_with_the_p256_vector_of_the_rfc() -> None:
    """The written-out KEM gets the shared secret of the official vector for P-256, so it may judge the sealer."""
    known = {name: bytes.fromhex(value) for name, value in vector("rfc9180_p256_aes128gcm").items() if name != "note"}
    private_key = ec.derive_private_key(int.from_bytes(known["skRm"], "big"), ec.SECP256R1())
    assert known["pkRm"] == private_key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    assert known["shared_secret"] == rfc9180.p256_decap(known["enc"], private_key)
    assert known["pt"] == AESGCM(known["key"]).decrypt(known["base_nonce"], known["ct"], known["aad"])


def test_the_reference_opens_what_the_p256_sealer_seals() -> None:
    """An HPKE_P256 envelope is enc and ciphertext exactly as RFC 9180 has them, with the context as info and no AAD."""
    key, sealer, _ = pair(Scheme.HPKE_P256)
    (p256,) = components(key)
    assert isinstance(p256, ec.EllipticCurvePrivateKey)
    ciphertext = sealer.seal(PLAINTEXT, CONTEXT).ciphertext
    shared_secret = rfc9180.p256_decap(ciphertext[:65], p256)
    assert PLAINTEXT.reveal() == rfc9180.open_with(rfc9180.KEM_P256, shared_secret, CONTEXT.info(), ciphertext[65:])


def test_an_rsa_envelope_is_a_wrapped_key_a_nonce_and_gcm() -> None:
    """An RSA_OAEP_AES256GCM envelope opens with nothing but RSA-OAEP with SHA-256 and AES-GCM, the context as AAD."""
    key, sealer, _ = pair(Scheme.RSA_OAEP_AES256GCM)
    assert isinstance(key, RsaPrivateKey)
    ciphertext = sealer.seal(PLAINTEXT, CONTEXT).ciphertext
    oaep = padding.OAEP(padding.MGF1(SHA256()), SHA256(), None)
    aes_key = key.rsa_key.decrypt(ciphertext[:256], oaep)
    assert PLAINTEXT.reveal() == AESGCM(aes_key).decrypt(ciphertext[256:268], ciphertext[268:], CONTEXT.info())


@pytest.mark.parametrize("bits", [2048, 3072, 4096])
def test_rsa_keys_of_all_sizes_open(bits: int) -> None:
    """Keys of each size that older systems used seal and open."""
    key = generate_recipient_key(Scheme.RSA_OAEP_AES256GCM, bits)
    envelope = EnvelopeSealer({KeyClass.LEAF: key.public}).seal(PLAINTEXT, CONTEXT)
    assert PLAINTEXT.reveal() == EnvelopeOpener([(KeyClass.LEAF, key)]).open(envelope, CONTEXT).reveal()


def test_a_short_rsa_key_is_refused() -> None:
    """An RSA key of a size that is not safe is neither made nor read."""
    with pytest.raises(ConfigurationError, match="2048, 3072, 4096 bits, not 1024"):
        generate_recipient_key(Scheme.RSA_OAEP_AES256GCM, 1024)


@pytest.mark.parametrize("name", ["hpke_x25519_v1", "hpke_mlkem768_x25519_v1", "hpke_p256_v1", "rsa_oaep_aes256gcm_v1"])
def test_stored_envelopes_open_for_ever(name: str) -> None:
    """Envelopes and key files of version 1, made once, still load and open."""
    stored = vector(name)
    file = parse_key_file(SecretBytes("\n".join([*stored["key_file"], ""]).encode()))
    assert isinstance(file, PrivateKeyFile)
    context = SealContext(
        KeyClass(stored["context"]["key_class"]),
        bytes.fromhex(stored["context"]["spki_digest"]),
        tuple(stored["context"]["names"]),
    )
    envelope = Envelope(
        stored["envelope"]["recipient_key_id"],
        Scheme(stored["envelope"]["scheme"]),
        bytes.fromhex(stored["envelope"]["ciphertext"]),
    )
    opener = EnvelopeOpener([(file.about.key_class, file.key)])
    assert bytes.fromhex(stored["plaintext"]) == opener.open(envelope, context).reveal()


@schemes
@pytest.mark.parametrize("length", [0, 1, 138, 4096])
def test_an_envelope_opens_to_what_was_sealed(scheme: Scheme, length: int) -> None:
    """A round trip gives the plaintext back, whatever its length; the envelope names key and scheme."""
    key, sealer, opener = pair(scheme)
    plaintext = SecretBytes(b"\xa5" * length)
    envelope = sealer.seal(plaintext, CONTEXT)
    assert plaintext.reveal() == opener.open(envelope, CONTEXT).reveal()
    assert (key.public.key_id, scheme, ENC_LENGTH[scheme] + length + 16) == (
        envelope.recipient_key_id,
        envelope.scheme,
        len(envelope.ciphertext),
    )


@schemes
def test_two_seals_of_the_same_secret_differ(scheme: Scheme) -> None:
    """Sealing is randomised: equal secrets cannot be told from their envelopes."""
    _, sealer, _ = pair(scheme)
    first, second = sealer.seal(PLAINTEXT, CONTEXT), sealer.seal(PLAINTEXT, CONTEXT)
    assert first.ciphertext != second.ciphertext
    assert first.ciphertext[: ENC_LENGTH[scheme]] != second.ciphertext[: ENC_LENGTH[scheme]]


OTHER_CONTEXTS: dict[str, Callable[[SealContext], SealContext]] = {
    "another SPKI digest": lambda c: replace(c, spki_digest=b"\x08" * 32),
    "a shorter SPKI digest": lambda c: replace(c, spki_digest=c.spki_digest[:-1]),
    "another name": lambda c: replace(c, names=("shop.example.net", *c.names[1:])),
    "a name fewer": lambda c: replace(c, names=c.names[:1]),
    "a name more": lambda c: replace(c, names=(*c.names, "evil.example.com")),
    "names in another order": lambda c: replace(c, names=c.names[::-1]),
    "names run together": lambda c: replace(c, names=("".join(c.names),)),
    "no name": lambda c: replace(c, names=()),
}


@schemes
@pytest.mark.parametrize("change", OTHER_CONTEXTS.values(), ids=OTHER_CONTEXTS)
def test_an_envelope_does_not_open_in_another_context(scheme: Scheme, change: Callable[[SealContext], SealContext]) -> None:
    """An envelope moved to another record does not open: every field of the context is bound."""
    _, sealer, opener = pair(scheme)
    envelope = sealer.seal(PLAINTEXT, CONTEXT)
    with pytest.raises(SealingError, match="damaged or was sealed for another record"):
        opener.open(envelope, change(CONTEXT))


def test_the_class_is_bound_even_under_the_same_key() -> None:
    """A key that was wrongly put in both classes still does not open a leaf envelope as an account's."""
    key = generate_recipient_key(Scheme.HPKE_X25519)
    envelope = EnvelopeSealer({KeyClass.LEAF: key.public}).seal(PLAINTEXT, CONTEXT)
    with pytest.raises(SealingError, match="damaged or was sealed for another record"):
        EnvelopeOpener([(KeyClass.ACCOUNT, key)]).open(envelope, replace(CONTEXT, key_class=KeyClass.ACCOUNT))


def test_a_key_opens_for_its_own_class_only() -> None:
    """A leaf key is not tried on what is asked for as an account key."""
    _, sealer, opener = pair(Scheme.HPKE_X25519)
    envelope = sealer.seal(PLAINTEXT, CONTEXT)
    with pytest.raises(SealingError, match="class or scheme"):
        opener.open(envelope, replace(CONTEXT, key_class=KeyClass.ACCOUNT))


@schemes
def test_another_key_does_not_open(scheme: Scheme) -> None:
    """An envelope whose key id was rewritten to a key that is held does not open with it."""
    _, sealer, _ = pair(scheme)
    other, _, opener = pair(scheme)
    envelope = replace(sealer.seal(PLAINTEXT, CONTEXT), recipient_key_id=other.public.key_id)
    with pytest.raises(SealingError, match="damaged or was sealed for another record"):
        opener.open(envelope, CONTEXT)


def test_an_unknown_key_id_is_named() -> None:
    """An envelope for a key that is not held says which key is missing."""
    key, sealer, _ = pair(Scheme.HPKE_X25519)
    _, _, opener = pair(Scheme.HPKE_X25519)
    with pytest.raises(SealingError, match=key.public.key_id):
        opener.open(sealer.seal(PLAINTEXT, CONTEXT), CONTEXT)


@pytest.mark.parametrize("key_id", ["", "x" * 5000, "0123456789abcde\n", "../../etc/passwd"])
def test_a_malformed_key_id_is_not_repeated(key_id: str) -> None:
    """A key id that a writer to the store made up does not reach the error text."""
    _, sealer, opener = pair(Scheme.HPKE_X25519)
    envelope = replace(sealer.seal(PLAINTEXT, CONTEXT), recipient_key_id=key_id)
    with pytest.raises(SealingError, match="with a malformed id") as caught:
        opener.open(envelope, CONTEXT)
    assert not key_id or key_id not in str(caught.value)


def test_a_scheme_that_policy_forbids_does_not_open() -> None:
    """An envelope that is sound but of a scheme outside the policy is refused before any key is used."""
    key = generate_recipient_key(Scheme.HPKE_X25519)
    envelope = EnvelopeSealer({KeyClass.LEAF: key.public}).seal(PLAINTEXT, CONTEXT)
    opener = EnvelopeOpener([(KeyClass.LEAF, key)], frozenset({Scheme.HPKE_MLKEM768_X25519}))
    with pytest.raises(SealingError, match="not one that policy allows"):
        opener.open(envelope, CONTEXT)


def test_an_unknown_scheme_does_not_open() -> None:
    """A scheme number that no version defines is refused."""
    _, sealer, opener = pair(Scheme.HPKE_X25519)
    envelope = replace(sealer.seal(PLAINTEXT, CONTEXT), scheme=99)  # type: ignore[arg-type]
    with pytest.raises(SealingError, match="number 99"):
        opener.open(envelope, CONTEXT)


def test_a_scheme_that_is_not_the_keys_does_not_open() -> None:
    """An envelope cannot talk a key into another scheme."""
    _, sealer, opener = pair(Scheme.HPKE_X25519)
    envelope = replace(sealer.seal(PLAINTEXT, CONTEXT), scheme=Scheme.HPKE_MLKEM768_X25519)
    with pytest.raises(SealingError, match="class or scheme"):
        opener.open(envelope, CONTEXT)


@schemes
def test_no_header_byte_can_be_changed(scheme: Scheme) -> None:
    """An envelope with any one byte of the encapsulated key changed, even a bit that X25519 ignores, does not open."""
    _, sealer, opener = pair(scheme)
    envelope = sealer.seal(PLAINTEXT, CONTEXT)
    for position in range(ENC_LENGTH[scheme]):
        damaged = bytearray(envelope.ciphertext)
        damaged[position] ^= 0x80
        with pytest.raises(SealingError, match="damaged"):
            opener.open(replace(envelope, ciphertext=bytes(damaged)), CONTEXT)


def test_no_byte_of_content_or_tag_can_be_changed() -> None:
    """An envelope with any one byte of the AEAD ciphertext or its tag changed does not open."""
    _, sealer, opener = pair(Scheme.HPKE_X25519)
    envelope = sealer.seal(PLAINTEXT, CONTEXT)
    for position in range(32, len(envelope.ciphertext)):
        damaged = bytearray(envelope.ciphertext)
        damaged[position] ^= 0x01
        with pytest.raises(SealingError, match="damaged"):
            opener.open(replace(envelope, ciphertext=bytes(damaged)), CONTEXT)


@schemes
def test_a_truncated_or_prolonged_envelope_does_not_open(scheme: Scheme) -> None:
    """An envelope of any other length does not open, and an empty one is no special case."""
    _, sealer, opener = pair(scheme)
    envelope = sealer.seal(PLAINTEXT, CONTEXT)
    enc = ENC_LENGTH[scheme]
    whole = envelope.ciphertext
    for ciphertext in (b"", whole[:1], whole[: enc - 1], whole[:enc], whole[: enc + 15], whole[:-1], whole + b"\x00", bytes(enc + 16)):
        with pytest.raises(SealingError, match="damaged"):
            opener.open(replace(envelope, ciphertext=ciphertext), CONTEXT)


def test_sealing_needs_an_active_key_of_the_class() -> None:
    """A sealer without a key of the context's class says which class is missing."""
    _, sealer, _ = pair(Scheme.HPKE_X25519)
    with pytest.raises(SealingError, match="no ACTIVE `account` recipient key"):
        sealer.seal(PLAINTEXT, replace(CONTEXT, key_class=KeyClass.ACCOUNT))


@schemes
def test_nothing_shows_a_key(scheme: Scheme) -> None:
    """No repr, error text, error chain or pickle has key material or plaintext in it."""
    key, sealer, opener = pair(scheme)
    damaged = replace(sealer.seal(PLAINTEXT, CONTEXT), ciphertext=bytes(2000))
    with pytest.raises(SealingError) as caught:
        opener.open(damaged, CONTEXT)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    content = key.to_pem().reveal()
    body = b"".join(content.splitlines()[1:-1])
    secrets = [content, body, body[-40:]]
    for shown in (repr(key), str(key), repr(sealer), repr(opener), repr(opener.open), str(caught.value), repr(caught.value)):
        assert not any(secret.hex() in shown or secret.decode() in shown for secret in secrets)
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(key)
