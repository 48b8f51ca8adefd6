"""What integration tests share."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fakes.issuer import Issuer, running_issuer


@pytest.fixture
async def issuer(tmp_path: Path) -> AsyncIterator[Issuer]:
    """An issuer on a fresh Pebble."""
    async with running_issuer(tmp_path) as running:
        yield running
