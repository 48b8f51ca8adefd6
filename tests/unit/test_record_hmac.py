"""Authenticated records: what is believed, and everything that is not."""

import json
from pathlib import Path

import pytest

from controlplane.adapters.key_file_format import RecordKeyFile, parse_key_file
from controlplane.adapters.record_hmac import RecordHmac, record_key_id
from controlplane.api.certplane.store.v1.envelope_pb2 import AuthenticatedRecord
from controlplane.core.errors import RecordRejected
from controlplane.core.redacted import SecretBytes

KIND, KEY, PAYLOAD = "certificate", "{s07}:certificate:shop.example.com", b"a serialised record"
OLD, NEW = SecretBytes(b"\x01" * 32), SecretBytes(b"\x02" * 32)
OLD_ID, NEW_ID = record_key_id(OLD), record_key_id(NEW)


@pytest.fixture
def records() -> RecordHmac:
    """An authenticator that knows two keys and writes with the newer."""
    return RecordHmac({OLD_ID: OLD, NEW_ID: NEW}, NEW_ID)


@pytest.mark.parametrize("payload", [b"", PAYLOAD, bytes(100_000)], ids=["empty", "small", "large"])
def test_a_record_is_believed_where_it_was_written(records: RecordHmac, payload: bytes) -> None:
    """What was wrapped comes back when kind and key are the same."""
    assert payload == records.unwrap(KIND, KEY, records.wrap(KIND, KEY, payload))


def test_a_new_record_names_the_writing_key(records: RecordHmac) -> None:
    """A record carries payload, key id and a MAC of 32 bytes in the message of the store's schema."""
    record = AuthenticatedRecord.FromString(records.wrap(KIND, KEY, PAYLOAD))
    assert (PAYLOAD, NEW_ID, 32) == (record.payload, record.record_key_id, len(record.mac))


def test_a_record_under_an_older_known_key_is_believed(records: RecordHmac) -> None:
    """Rotation does not unsettle what is stored: every key that is held verifies."""
    assert PAYLOAD == records.unwrap(KIND, KEY, RecordHmac({OLD_ID: OLD}, OLD_ID).wrap(KIND, KEY, PAYLOAD))


def test_a_record_under_an_unknown_key_is_rejected(records: RecordHmac) -> None:
    """A key that is not held is named, so that the operator can find it."""
    with pytest.raises(RecordRejected, match=NEW_ID):
        RecordHmac({OLD_ID: OLD}, OLD_ID).unwrap(KIND, KEY, records.wrap(KIND, KEY, PAYLOAD))


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        ("token", KEY),
        ("", KEY),
        (KIND, "{s07}:certificate:shop.example.net"),
        (KIND, ""),
        ("certificate{", KEY[1:]),
        ("certificat", "e" + KEY),
    ],
)
def test_a_moved_record_is_rejected(records: RecordHmac, kind: str, key: str) -> None:
    """A record copied to another key or passed off as another kind is rejected; fields cannot lend each other bytes."""
    with pytest.raises(RecordRejected, match="not authentic"):
        records.unwrap(kind, key, records.wrap(KIND, KEY, PAYLOAD))


def test_no_byte_of_a_record_can_be_changed(records: RecordHmac) -> None:
    """Whatever byte of the stored bytes is changed, the record is rejected."""
    data = records.wrap(KIND, KEY, PAYLOAD)
    for position in range(len(data)):
        for flip in (0x01, 0x80):
            damaged = bytearray(data)
            damaged[position] ^= flip
            with pytest.raises(RecordRejected):
                records.unwrap(KIND, KEY, bytes(damaged))


def test_a_truncated_record_is_rejected(records: RecordHmac) -> None:
    """A record cut anywhere is rejected, down to nothing at all."""
    data = records.wrap(KIND, KEY, PAYLOAD)
    for length in range(len(data)):
        with pytest.raises(RecordRejected):
            records.unwrap(KIND, KEY, data[:length])


def test_a_plain_record_is_rejected(records: RecordHmac) -> None:
    """A writer to the store that leaves MAC and key id away, or cuts the MAC short, is not believed."""
    genuine = AuthenticatedRecord.FromString(records.wrap(KIND, KEY, PAYLOAD))
    forged = [
        AuthenticatedRecord(payload=PAYLOAD),
        AuthenticatedRecord(payload=PAYLOAD, record_key_id=NEW_ID),
        AuthenticatedRecord(payload=PAYLOAD, record_key_id=NEW_ID, mac=genuine.mac[:16]),
        AuthenticatedRecord(payload=PAYLOAD, record_key_id=OLD_ID, mac=genuine.mac),
        AuthenticatedRecord(payload=PAYLOAD, record_key_id="x" * 4000, mac=genuine.mac),
    ]
    for record in forged:
        with pytest.raises(RecordRejected):
            records.unwrap(KIND, KEY, record.SerializeToString())


def test_the_writing_key_must_be_known() -> None:
    """An authenticator cannot be made to write with a key that it does not have."""
    with pytest.raises(KeyError):
        RecordHmac({OLD_ID: OLD}, NEW_ID)


def test_stored_records_are_believed_for_ever() -> None:
    """A record and a record key file of version 1, made once, still load and verify."""
    stored = json.loads((Path(__file__).parent / "vectors" / "record_hmac_v1.json").read_text())
    file = parse_key_file(SecretBytes("\n".join([*stored["key_file"], ""]).encode()))
    assert isinstance(file, RecordKeyFile)
    records = RecordHmac({file.about.key_id: file.key}, file.about.key_id)
    assert bytes.fromhex(stored["payload"]) == records.unwrap(stored["kind"], stored["key"], bytes.fromhex(stored["record"]))


def test_nothing_shows_a_record_key(records: RecordHmac) -> None:
    """Neither the repr nor an error text has a record key, a payload or a foreign key id in it."""
    bad = AuthenticatedRecord(payload=b"payload-text", record_key_id="x" * 40, mac=b"m" * 32).SerializeToString()
    with pytest.raises(RecordRejected) as caught:
        records.unwrap(KIND, KEY, bad)
    for shown in (repr(records), str(caught.value)):
        assert not any(text in shown for text in (repr(NEW.reveal()), NEW.reveal().hex(), "x" * 40, "payload-text"))
