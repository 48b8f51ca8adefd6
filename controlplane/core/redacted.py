"""A holder for secrets whose `repr`, `str` and pickling give nothing away."""

from typing import Never


class SecretBytes:
    """Secret bytes that do not show themselves.

    `reveal` is the only way to the content, so that every use can be found by name. Equality is by identity: secrets are
    not compared here.
    """

    __slots__ = ("_content",)

    def __init__(self, content: bytes) -> None:
        self._content = content

    def reveal(self) -> bytes:
        """Returns the secret. Keep the result in a local variable and hand it on at once."""
        return self._content

    def __repr__(self) -> str:
        return "SecretBytes(redacted)"

    def __reduce__(self) -> Never:
        raise TypeError("a secret is not pickled")
