"""What many tests share: a real Valkey, and record keys."""

import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from controlplane.adapters.record_hmac import RecordHmac, record_key_id
from controlplane.core.redacted import SecretBytes
from controlplane.embedded.valkey import start_valkey


@pytest.fixture
async def valkey_url(tmp_path: Path) -> AsyncIterator[str]:
    """A fresh Valkey's URL."""
    valkey = await start_valkey(tmp_path)
    yield valkey.url
    await valkey.stop()


@pytest.fixture
def authenticator() -> RecordHmac:
    """A record authenticator with one random key."""
    key = SecretBytes(secrets.token_bytes(32))
    return RecordHmac({record_key_id(key): key}, record_key_id(key))
