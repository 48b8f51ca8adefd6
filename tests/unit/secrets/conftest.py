"""A running directory of secrets over an in-memory store with real certificates."""

from collections.abc import AsyncIterator

import pytest

from controlplane.usecases.secrets import SecretDirectory
from tests.fakes.certificates import InMemoryCertificates, InMemorySealing
from tests.fakes.secret_holders import Time, running, serialise


@pytest.fixture
def store() -> InMemoryCertificates:
    """An empty store."""
    return InMemoryCertificates(InMemorySealing())


@pytest.fixture
def time() -> Time:
    """A clock."""
    return Time()


@pytest.fixture
async def directory(store: InMemoryCertificates, time: Time) -> AsyncIterator[SecretDirectory]:
    """A directory that runs."""
    async with running(SecretDirectory(store, store.sealing, store, serialise, reconcile_seconds=3600, monotonic=time)) as made:
        yield made
