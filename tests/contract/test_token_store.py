"""The contract of TokenStore."""

from dataclasses import replace
from datetime import timedelta

from controlplane.core.ports import TokenRecord, TokenStore
from controlplane.core.redacted import SecretBytes
from tests.fakes import samples


async def test_token_answers_until_it_is_withdrawn_or_ends(token_store: TokenStore) -> None:
    """A planted token is found with its names; after withdrawal, or after its time, it is not."""
    record = TokenRecord("tok", SecretBytes(b"tok.thumb"), ("a.example.com",), samples.now() + timedelta(minutes=5))
    await token_store.plant(record)
    found = await token_store.find("tok")
    assert found is not None
    assert (b"tok.thumb", ("a.example.com",), record.expire_time) == (found.key_authorization.reveal(), found.names, found.expire_time)
    await token_store.withdraw(["tok", "other"])
    assert await token_store.find("tok") is None
    await token_store.plant(replace(record, expire_time=samples.now() - timedelta(seconds=1)))
    assert await token_store.find("tok") is None
