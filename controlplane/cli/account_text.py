"""Accounts as a person reads them, and as JSON."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from controlplane.core.ports import AccountRecord, UnreadableRecord


def as_json(record: AccountRecord, name: str = "") -> Mapping[str, Any]:
    """Returns what is known of an account; keys only by the SHA-256 of what is public of them."""
    shown: dict[str, Any] = {"directory": record.directory_url}
    if name:
        shown["certificateAuthority"] = name
    shown |= {
        "accountUrl": record.account_url,
        "status": record.status.name,
        "contact": list(record.contact),
        "termsOfService": record.terms_of_service,
        "externalAccountKeyId": record.external_account_key_id,
        "keySha256": record.spki_digest.hex(),
        "successorKeySha256": record.successor.spki_digest.hex() if record.successor else "",
        "createTime": _time(record.create_time),
        "keyChangeTime": _time(record.key_change_time) if record.key_change_time else "",
        "sealedTo": record.sealed_account_key.recipient_key_id,
    }
    return shown


def unreadable_as_json(record: UnreadableRecord) -> Mapping[str, Any]:
    """Returns what is known of a record that cannot be believed."""
    return {"record": record.owner, "problem": record.reason}


def as_table(records: Iterable[AccountRecord]) -> str:
    """Returns one line an account, under a heading."""
    rows = [("DIRECTORY", "STATUS", "ACCOUNT", "KEY SINCE", "KEY SHA-256", "CONTACT")]
    for record in records:
        status = "ROLLOVER PENDING" if record.successor else record.status.name if record.account_url else "NOT REGISTERED"
        since = _time(record.key_change_time or record.create_time)
        contact, digest = ", ".join(record.contact) or "-", record.spki_digest.hex()[:16]
        rows.append((record.directory_url, status, record.account_url or "-", since, digest, contact))
    return _aligned(rows)


def as_lines(shown: Mapping[str, Any]) -> str:
    """Returns one line a field, those without content left out."""
    rows = [(_words(field), ", ".join(value) if isinstance(value, list) else str(value)) for field, value in shown.items() if value]
    return _aligned(rows)


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    # Some of it is what a CA said: nothing that a terminal would obey.
    rows = [["".join(letter if letter.isprintable() else "?" for letter in cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


def _words(field: str) -> str:
    return (
        "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in field).replace("sha256", "SHA-256").replace("url", "URL")
    )


def _time(time: datetime) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%SZ}"
