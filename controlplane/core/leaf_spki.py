"""The public key in a certificate and in a private key, as bytes: enough to see whether the two belong together.

To load a private key costs fifty times as much, since the library multiplies a point of the curve to check it.
"""

_SEQUENCE, _VERSION = 0x30, 0xA0

# PKCS#8 (RFC 5958) with ECPrivateKey (RFC 5915) for secp256r1, as OpenSSL writes it: these bytes, the scalar, these bytes, the point.
_P256_BEFORE_SCALAR = bytes.fromhex("308187020100301306072a8648ce3d020106082a8648ce3d030107046d306b0201010420")
_P256_BEFORE_POINT = bytes.fromhex("a144034200")
_P256_SPKI_BEFORE_POINT = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200")
_SCALAR_BYTES, _POINT_BYTES = 32, 65
_SCALAR_END = len(_P256_BEFORE_SCALAR) + _SCALAR_BYTES
_POINT_START = _SCALAR_END + len(_P256_BEFORE_POINT)


def certificate_spki(certificate: bytes) -> bytes:
    """Returns the SubjectPublicKeyInfo of a DER certificate (RFC 5280 section 4.1).

    Raises:
        ValueError: `certificate` has no such field where it should be.
    """
    try:
        position = _content(certificate, _content(certificate, 0))
        # serialNumber, signature, issuer, validity, subject; most have a version before these.
        position = _skip(certificate, position, 6 if certificate[position] == _VERSION else 5)
        spki = certificate[position : _skip(certificate, position, 1)]
    except IndexError:
        raise ValueError("the certificate is cut off") from None
    if not spki or spki[0] != _SEQUENCE:
        raise ValueError("the certificate has no public key where it should be")
    return spki


def p256_key_spki(private_key: bytes) -> bytes | None:
    """Returns the SubjectPublicKeyInfo (DER) that belongs to a P-256 key, DER PKCS#8 as OpenSSL writes it; None for any other key.

    It is the public key that stands in the PKCS#8 beside the private one; that the two are a pair is believed.
    """
    if (
        len(private_key) == _POINT_START + _POINT_BYTES
        and private_key.startswith(_P256_BEFORE_SCALAR)
        and private_key[_SCALAR_END:_POINT_START] == _P256_BEFORE_POINT
    ):
        return _P256_SPKI_BEFORE_POINT + private_key[_POINT_START:]
    return None


def _content(data: bytes, position: int) -> int:
    """Returns where the content of the DER element at `position` begins."""
    length = data[position + 1]
    return position + 2 if length < 0x80 else position + 2 + (length & 0x7F)


def _skip(data: bytes, position: int, elements: int) -> int:
    """Returns where so many DER elements end, the first of which begins at `position`."""
    for _ in range(elements):
        length = data[position + 1]
        position += 2
        if length >= 0x80:
            content = position + (length & 0x7F)
            length, position = int.from_bytes(data[position:content]), content
        position += length
    return position
