"""Everything that was ever written to an embedded store, from its append-only file, opened with the keys of both roles."""

from collections.abc import Iterator
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_private_key

from controlplane.adapters.hpke_keys import HpkePrivateKey
from controlplane.adapters.key_file_format import PrivateKeyFile, RecordKeyFile
from controlplane.adapters.key_files import load_key_directory
from controlplane.adapters.recipient_keys import RecipientPrivateKey
from controlplane.adapters.record_codec import decode_account, decode_envelope, decode_order, decode_token
from controlplane.adapters.rsa_keys import RsaPrivateKey
from controlplane.api.certplane.store.v1.certificate_pb2 import CertificateRecord
from controlplane.core.certificate import leaf_seal_context
from controlplane.core.chain import csr_spki_digest
from controlplane.core.key_protection import NOTHING, Unlock
from controlplane.core.sealing import KeyClass, SealContext
from tests.e2e.installation import Installation
from tests.e2e.secret_search import Secret


class StoreHistory:
    """The history of an installation's store up to now. `files` are the append-only files themselves."""

    def __init__(self, made: Installation, unlock: Unlock = NOTHING) -> None:
        self._serve, self._worker = load_key_directory(made.serve_keys, unlock), load_key_directory(made.worker_keys, unlock)
        self._directory_url = made.pebble.directory_url
        self.files = sorted((made.directory / "valkey" / "appendonlydir").iterdir())
        (appended,) = (path for path in self.files if path.name.endswith(".incr.aof"))
        self._commands = list(appended_commands(appended))

    def leaf_keys(self) -> list[Secret]:
        """Every leaf key that was ever sealed: of certificates in force, of those before them, and of orders, failed ones too."""
        opener, authenticator = self._serve.opener(), self._serve.authenticator()
        found: dict[bytes, Secret] = {}
        for key, field, value in self._hash_writes():
            fqdn = key.partition(":domain:")[2]
            if field == "order":
                order = decode_order(authenticator.unwrap("order", fqdn, value))
                envelope, context = order.sealed_leaf_key, leaf_seal_context(csr_spki_digest(order.csr), order.names)
            elif field == "certificate":
                message = CertificateRecord.FromString(authenticator.unwrap("certificate", fqdn, value))
                envelope = decode_envelope(message.sealed_leaf_key)
                context = leaf_seal_context(message.spki_digest, tuple(message.names))
            else:
                continue
            number = scalar(private_key(opener.open(envelope, context).reveal()))
            found.setdefault(number, Secret(f"leaf key {len(found)}, of {fqdn}", number))
        return list(found.values())

    def account_key(self) -> ec.EllipticCurvePrivateKey:
        """The key of the ACME account."""
        data = next(value for key, value in self._string_writes() if key.startswith("cp:account:"))
        account = decode_account(self._worker.authenticator().unwrap("account", self._directory_url, data))
        context = SealContext(KeyClass.ACCOUNT, account.spki_digest, (account.directory_url,))
        return private_key(self._worker.opener().open(account.sealed_account_key, context).reveal())

    def key_authorizations(self) -> dict[str, tuple[str, ...]]:
        """The body of every token that was ever planted, those of pre-flight probes too, with the names that it answered for."""
        authenticator = self._serve.authenticator()
        found = {}
        for key, value in self._string_writes():
            _, mark, token = key.partition(":token:")
            if mark:
                record = decode_token(authenticator.unwrap("token", token, value))
                found[record.key_authorization.reveal().decode()] = record.names
        return found

    def recipient_keys(self) -> list[Secret]:
        """The private recipient keys of both roles."""
        files = (*self._serve.files, *self._worker.files)
        return [Secret(path.name, part) for path, file in files if isinstance(file, PrivateKeyFile) for part in private_parts(file.key)]

    def record_keys(self) -> list[Secret]:
        """The record keys of both roles."""
        files = (*self._serve.files, *self._worker.files)
        return [Secret(path.name, file.key.reveal()) for path, file in files if isinstance(file, RecordKeyFile)]

    def _string_writes(self) -> Iterator[tuple[str, bytes]]:
        for command in self._commands:
            if command[0].upper() == b"SET":
                yield command[1].decode(), command[2]

    def _hash_writes(self) -> Iterator[tuple[str, str, bytes]]:
        for command in self._commands:
            if command[0].upper() in (b"HSET", b"HMSET"):
                for field, value in zip(command[2::2], command[3::2], strict=True):
                    yield command[1].decode(), field.decode(), value


def private_parts(key: RecipientPrivateKey) -> list[bytes]:
    """What is secret in a recipient key, one a component; every way of writing the key down contains it."""
    if isinstance(key, RsaPrivateKey):
        numbers = key.rsa_key.private_numbers()
        return [prime.to_bytes(key.rsa_key.key_size // 16, "big") for prime in (numbers.p, numbers.q)]
    assert isinstance(key, HpkePrivateKey)
    return [scalar(part) if isinstance(part, ec.EllipticCurvePrivateKey) else part.private_bytes_raw() for part in key.components]


def appended_commands(path: Path) -> Iterator[list[bytes]]:
    """Reads an append-only file: commands as words (RESP arrays of bulk strings)."""
    data, at = path.read_bytes(), 0

    def line() -> bytes:
        nonlocal at
        end = data.index(b"\r\n", at)
        found, at = data[at:end], end + 2
        return found

    while at < len(data):
        words = []
        for _ in range(int(line().removeprefix(b"*"))):
            length = int(line().removeprefix(b"$"))
            words.append(data[at : at + length])
            at += length + 2
        yield words


def private_key(der: bytes) -> ec.EllipticCurvePrivateKey:
    """Reads a PKCS#8 key."""
    key = load_der_private_key(der, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def scalar(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The secret number of a P-256 key, which every way of writing the key down contains."""
    return key.private_numbers().private_value.to_bytes(32, "big")
