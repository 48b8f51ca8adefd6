"""Authenticates stored records with HMAC-SHA256 (RFC 2104) under record keys that the store never has.

The MAC is over length-prefixed fields: a version label, the record's kind, its key in the store, and its payload. So an
authentic record that somebody copies to another key, or passes off as another kind, is rejected like a forged one. A replayed
older record of the same key is not: generations are for that.
"""

import hmac
import re
from collections.abc import Mapping
from functools import cache

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from google.protobuf.message import DecodeError

from controlplane.api.certplane.store.v1.envelope_pb2 import AuthenticatedRecord
from controlplane.core.errors import RecordRejected
from controlplane.core.redacted import SecretBytes

RECORD_KEY_BYTES = 32

_RECORD_LABEL = b"certplane/record/v1"
_KEY_ID_LABEL = b"certplane/record-key-id/v1"
_KEY_ID = re.compile(r"[0-9a-f]{16}")


def record_key_id(record_key: SecretBytes) -> str:
    """Returns the id of a record key, 16 hexadecimal digits: a MAC under the key, so it tells nothing about the key."""
    return hmac.digest(record_key.reveal(), _KEY_ID_LABEL, "sha256").hex()[:16]


class RecordHmac:
    """A `RecordAuthenticator`: writes with one record key, believes any that it has."""

    def __init__(self, record_keys: Mapping[str, SecretBytes], writing_key_id: str) -> None:
        """Takes record keys by id; `writing_key_id` is one of them."""
        # To copy one that has taken the key in is half the work of beginning anew.
        self._keys = {key_id: HMAC(record_key.reveal(), SHA256()) for key_id, record_key in record_keys.items()}
        self._writing_key_id = writing_key_id
        self._writing_key = self._keys[writing_key_id]

    def wrap(self, kind: str, key: str, payload: bytes) -> bytes:
        """Returns a serialised AuthenticatedRecord; see `core.ports.RecordAuthenticator`."""
        mac = _mac(self._writing_key, kind, key, payload)
        return AuthenticatedRecord(payload=payload, record_key_id=self._writing_key_id, mac=mac).SerializeToString()

    def unwrap(self, kind: str, key: str, data: bytes) -> bytes:
        """Returns the payload; see `core.ports.RecordAuthenticator`."""
        try:
            record = AuthenticatedRecord.FromString(data)
        except DecodeError:
            raise RecordRejected(f"a stored {kind} record is damaged") from None
        record_key = self._keys.get(record.record_key_id)
        if record_key is None:
            shown = record.record_key_id if _KEY_ID.fullmatch(record.record_key_id) else "with no id or a malformed one"
            raise RecordRejected(f"a stored {kind} record was written under a record key {shown}, which is not held here")
        payload = record.payload
        if not hmac.compare_digest(_mac(record_key, kind, key, payload), record.mac):
            raise RecordRejected(f"a stored {kind} record is not authentic, or was moved from another key")
        return payload

    def key_id_of(self, data: bytes) -> str:
        """Returns the id of the record key; see `core.ports.RecordAuthenticator`."""
        try:
            return AuthenticatedRecord.FromString(data).record_key_id
        except DecodeError:
            raise RecordRejected("a stored record is damaged") from None

    def __repr__(self) -> str:
        return f"RecordHmac({len(self._keys)} record keys, writing with {self._writing_key_id})"


def _mac(record_key: HMAC, kind: str, key: str, payload: bytes) -> bytes:
    name = key.encode()
    mac = record_key.copy()
    mac.update(b"%b%b%b%b%b" % (_label(kind), len(name).to_bytes(8, "big"), name, len(payload).to_bytes(8, "big"), payload))
    return mac.finalize()


@cache
def _label(kind: str) -> bytes:
    """Returns the first two fields, which are the same for all records of a kind; the code has a handful of kinds."""
    return b"".join(len(field).to_bytes(8, "big") + field for field in (_RECORD_LABEL, kind.encode()))
