"""Account keys: made, sealed at once, and opened."""

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat, load_der_private_key
from josepy.jwk import JWK, JWKEC

from controlplane.core.errors import SealingError
from controlplane.core.failure import ACCOUNT_UNUSABLE
from controlplane.core.ports import AccountRecord, AcmeError, AcmeProblem, Opener, SealedAccountKey, Sealer
from controlplane.core.redacted import SecretBytes
from controlplane.core.sealing import KeyClass, SealContext, spki_digest


class AccountKeys:
    """Makes and opens the account keys for one directory."""

    def __init__(self, directory_url: str, sealer: Sealer, opener: Opener) -> None:
        self._directory_url = directory_url
        self._sealer = sealer
        self._opener = opener

    def make(self) -> SealedAccountKey:
        """Returns a new P-256 key, sealed.

        Raises:
            SealingError: there is no key to seal to.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        digest = spki_digest(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
        secret = SecretBytes(key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))
        return SealedAccountKey(self._sealer.seal(secret, self._context(digest)), digest)

    def open(self, sealed: SealedAccountKey) -> JWK:
        """Returns a key for signing; it stays inside the adapter.

        Raises:
            AcmeError: it does not open (`accountUnusable`).
        """
        try:
            secret = self._opener.open(sealed.envelope, self._context(sealed.spki_digest))
        except SealingError as error:
            raise unusable(f"the stored account key cannot be used: {error}") from error
        return JWKEC(key=load_der_private_key(secret.reveal(), None))

    def open_account_key(self, record: AccountRecord) -> JWK:
        """`open` for the account key of a record."""
        return self.open(SealedAccountKey(record.sealed_account_key, record.spki_digest))

    def _context(self, digest: bytes) -> SealContext:
        return SealContext(KeyClass.ACCOUNT, digest, (self._directory_url,))


def unusable(detail: str) -> AcmeError:
    """Returns the error that says that the account cannot be used, and that an operator must act."""
    return AcmeError(AcmeProblem(ACCOUNT_UNUSABLE, detail))
