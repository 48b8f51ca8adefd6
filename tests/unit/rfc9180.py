"""HPKE base mode written out from RFC 9180, to check the implementation in use against: HKDF-SHA256 and AES-256-GCM only.

Slow and for tests; it shares only the primitives (X25519, ML-KEM, AES-GCM) with what it checks.
"""

import hashlib
import hmac

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

KEM_P256 = 0x0010
KEM_X25519 = 0x0020
KEM_MLKEM768_X25519 = 0x647A


def labeled_extract(suite_id: bytes, salt: bytes, label: bytes, ikm: bytes) -> bytes:
    """LabeledExtract, section 4."""
    return hmac.digest(salt or bytes(32), b"HPKE-v1" + suite_id + label + ikm, "sha256")


def labeled_expand(suite_id: bytes, prk: bytes, label: bytes, info: bytes, length: int) -> bytes:
    """LabeledExpand, section 4; no more than one block of output is ever needed here."""
    assert length <= 32
    message = length.to_bytes(2, "big") + b"HPKE-v1" + suite_id + label + info
    return hmac.digest(prk, message + b"\x01", "sha256")[:length]


def x25519_decap(enc: bytes, private_key: X25519PrivateKey) -> bytes:
    """Decap of DHKEM(X25519, HKDF-SHA256), section 4.1."""
    suite_id = b"KEM" + KEM_X25519.to_bytes(2, "big")
    dh = private_key.exchange(X25519PublicKey.from_public_bytes(enc))
    return _shared_secret(suite_id, dh, enc + private_key.public_key().public_bytes_raw())


def x25519_encap(ephemeral: X25519PrivateKey, public_key: X25519PublicKey) -> tuple[bytes, bytes]:
    """Encap of DHKEM(X25519, HKDF-SHA256), section 4.1: returns shared secret and enc."""
    suite_id = b"KEM" + KEM_X25519.to_bytes(2, "big")
    enc = ephemeral.public_key().public_bytes_raw()
    return _shared_secret(suite_id, ephemeral.exchange(public_key), enc + public_key.public_bytes_raw()), enc


def p256_decap(enc: bytes, private_key: ec.EllipticCurvePrivateKey) -> bytes:
    """Decap of DHKEM(P-256, HKDF-SHA256), section 4.1; `enc` is an uncompressed point."""
    suite_id = b"KEM" + KEM_P256.to_bytes(2, "big")
    dh = private_key.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), enc))
    recipient = private_key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return _shared_secret(suite_id, dh, enc + recipient)


def _shared_secret(suite_id: bytes, dh: bytes, kem_context: bytes) -> bytes:
    eae_prk = labeled_extract(suite_id, b"", b"eae_prk", dh)
    return labeled_expand(suite_id, eae_prk, b"shared_secret", kem_context, 32)


def xwing_decap(enc: bytes, mlkem: MLKEM768PrivateKey, x25519: X25519PrivateKey) -> bytes:
    """Decapsulate of X-Wing, draft-connolly-cfrg-xwing-kem section 5.5."""
    ct_m, ct_x = enc[:1088], enc[1088:1120]
    shared = mlkem.decapsulate(ct_m) + x25519.exchange(X25519PublicKey.from_public_bytes(ct_x))
    return hashlib.sha3_256(shared + ct_x + x25519.public_key().public_bytes_raw() + b"\\.//^\\").digest()


def key_and_nonce(kem_id: int, shared_secret: bytes, info: bytes) -> tuple[bytes, bytes]:
    """KeySchedule of mode_base, section 5.1, for the first message."""
    suite_id = b"HPKE" + kem_id.to_bytes(2, "big") + b"\x00\x01" + b"\x00\x02"
    psk_id_hash = labeled_extract(suite_id, b"", b"psk_id_hash", b"")
    info_hash = labeled_extract(suite_id, b"", b"info_hash", info)
    context = b"\x00" + psk_id_hash + info_hash
    secret = labeled_extract(suite_id, shared_secret, b"secret", b"")
    return labeled_expand(suite_id, secret, b"key", context, 32), labeled_expand(suite_id, secret, b"base_nonce", context, 12)


def open_with(kem_id: int, shared_secret: bytes, info: bytes, ciphertext: bytes, aad: bytes = b"") -> bytes:
    """ContextR.Open, section 5.2, of the first message."""
    key, nonce = key_and_nonce(kem_id, shared_secret, info)
    return AESGCM(key).decrypt(nonce, ciphertext, aad)


def seal_with(kem_id: int, shared_secret: bytes, info: bytes, plaintext: bytes) -> bytes:
    """ContextS.Seal, section 5.2, of the first message, without AAD."""
    key, nonce = key_and_nonce(kem_id, shared_secret, info)
    return AESGCM(key).encrypt(nonce, plaintext, b"")
