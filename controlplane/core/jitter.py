"""Spreading that needs no randomness: the same name always gets the same place, different names get different ones."""

from hashlib import sha256
from struct import Struct

_FIRST_8 = Struct(">Q").unpack_from


def fraction(*parts: str) -> float:
    """Returns a number in [0, 1) that follows from `parts` only and is evenly spread over different parts."""
    first: int = _FIRST_8(sha256("\0".join(parts).encode()).digest())[0]
    # As many bits as a float holds exactly.
    return (first >> 16) / 2**48
