"""A `RecipientKeyProvider` on a hardware token, over PKCS#11 (OASIS PKCS #11 3.1): recipient keys are wrapped under an AES key of its.

The AES key is made on the token as sensitive and not extractable: it can be used there by whoever knows the PIN, and read by nobody.
Wrapping is CKM_AES_GCM with a nonce of 12 random bytes and a tag of 16; what is wrapped is nonce, ciphertext and tag.

The library of the token runs in this process, so the module must be one that the operator trusts.
"""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from controlplane.core.errors import ConfigurationError
from controlplane.core.redacted import SecretBytes

_NONCE_BYTES: Final = 12
_TAG_BITS: Final = 128
_KEY_BITS: Final = 256


class Pkcs11Token:
    """A token, found by its label; `key_label` names the AES key on it. Opens a session for each call and closes it again."""

    def __init__(self, module: Path, token_label: str, pin: SecretBytes, key_label: str) -> None:
        self._module = module
        self._token_label = token_label
        self._pin = pin
        self._key_label = key_label

    def make_key(self) -> bool:
        """Makes the wrapping key, unless the token has it already; returns whether it was made.

        Raises:
            ConfigurationError: the token is not there or refuses.
        """
        import pkcs11

        with self._session(writing=True) as session:
            if self._find(session) is not None:
                return False
            session.generate_key(
                pkcs11.KeyType.AES,
                _KEY_BITS,
                label=self._key_label,
                store=True,
                capabilities=pkcs11.MechanismFlag.ENCRYPT | pkcs11.MechanismFlag.DECRYPT,
                template={pkcs11.Attribute.SENSITIVE: True, pkcs11.Attribute.EXTRACTABLE: False},
            )
            return True

    def wrap(self, content: SecretBytes, bound_to: bytes) -> bytes:
        """Returns nonce, ciphertext and tag; see `RecipientKeyProvider.wrap`."""
        import pkcs11

        nonce = secrets.token_bytes(_NONCE_BYTES)
        with self._session() as session:
            parameters = pkcs11.GCMParams(nonce, bound_to, _TAG_BITS)
            return nonce + bytes(
                self._key(session).encrypt(content.reveal(), mechanism=pkcs11.Mechanism.AES_GCM, mechanism_param=parameters)
            )

    def unwrap(self, wrapped: bytes, bound_to: bytes) -> SecretBytes:
        """Returns the content; see `RecipientKeyProvider.unwrap`."""
        import pkcs11

        with self._session() as session:
            key = self._key(session)
            parameters = pkcs11.GCMParams(wrapped[:_NONCE_BYTES], bound_to, _TAG_BITS)
            try:
                content = key.decrypt(wrapped[_NONCE_BYTES:], mechanism=pkcs11.Mechanism.AES_GCM, mechanism_param=parameters)
            except pkcs11.PKCS11Error:
                # Tokens have several words for a tag that does not fit.
                raise ValueError("is wrapped under another key of the token, or is damaged") from None
        return SecretBytes(bytes(content))

    def _key(self, session: Any) -> Any:
        key = self._find(session)
        if key is None:
            raise ConfigurationError(
                f"the token {self._token_label!r} has no AES key {self._key_label!r}: make it with `certplane keys prepare-token`"
            )
        return key

    def _find(self, session: Any) -> Any:
        import pkcs11

        # By iteration, since the library's own look-up of one key raises in two ways for "none" and "several".
        found = session.get_objects({pkcs11.Attribute.CLASS: pkcs11.ObjectClass.SECRET_KEY, pkcs11.Attribute.LABEL: self._key_label})
        return next(iter(list(found)), None)

    @contextmanager
    def _session(self, *, writing: bool = False) -> Iterator[Any]:
        try:
            import pkcs11
        except ImportError as error:
            raise ConfigurationError("a hardware token needs the package python-pkcs11: install certplane[pkcs11]") from error
        try:
            library = pkcs11.lib(str(self._module))
            token = library.get_token(token_label=self._token_label)
        except (pkcs11.PKCS11Error, RuntimeError, OSError) as error:
            raise ConfigurationError(
                f"the token {self._token_label!r} is not found through {self._module} ({type(error).__name__}):"
                " check --token-module and --token-label, and that the token is there and initialised"
            ) from None
        try:
            session = token.open(user_pin=self._pin.reveal().decode(), rw=writing)
        except (pkcs11.PinIncorrect, pkcs11.PinInvalid, pkcs11.PinLenRange, pkcs11.PinLocked) as error:
            # Not tried again: a token locks itself after a few wrong PINs.
            raise ConfigurationError(f"the token {self._token_label!r} refuses the PIN ({type(error).__name__})") from None
        except pkcs11.PKCS11Error as error:
            raise ConfigurationError(f"the token {self._token_label!r} cannot be used ({type(error).__name__})") from None
        try:
            with session:
                yield session
        except pkcs11.PKCS11Error as error:
            # A token that is pulled out in the middle: a process that has its keys already goes on with them.
            raise ConfigurationError(f"the token {self._token_label!r} refuses ({type(error).__name__})") from None

    def __repr__(self) -> str:
        return f"Pkcs11Token({self._token_label!r}, {self._key_label!r}, redacted)"
