"""Readiness: named checks that say whether this process can do its work now."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import structlog

Check = Callable[[], Awaitable[object]]
"""Raises when what it checks is not as it should be; its result is ignored."""

CHECK_TIMEOUT: Final = 2.0
"""Seconds for all checks together."""

_log = structlog.get_logger(__name__)


class Readiness:
    """The checks of this process. Names are short and fixed, such as `store`. Without checks it is always ready."""

    def __init__(self, checks: Mapping[str, Check], timeout: float = CHECK_TIMEOUT) -> None:
        self._checks = dict(checks)
        self._timeout = timeout
        self._failing_before: tuple[str, ...] = ()

    async def failing(self) -> tuple[str, ...]:
        """Runs all checks at the same time and returns the names of those that failed or took too long, in the order given."""
        results = await asyncio.gather(*(self._passes(check) for check in self._checks.values()))
        failing = tuple(name for name, passed in zip(self._checks, results, strict=True) if not passed)
        if failing != self._failing_before:
            self._failing_before = failing
            _log.warning("readiness changed", ready=not failing, failing=failing)
        return failing

    async def _passes(self, check: Check) -> bool:
        try:
            async with asyncio.timeout(self._timeout):
                await check()
        except Exception:
            return False
        return True
