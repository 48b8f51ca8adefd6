"""A rotation as an operator does it: the commands of `certplane keys`, each tried again while running processes have not caught up yet."""

import asyncio
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.e2e.installation import Installation, certplane

CATCH_UP_SECONDS = 30.0
"""Processes look at their key directories every five."""


@dataclass(frozen=True, slots=True)
class Resealed:
    """What `certplane keys reseal` said, and how long the whole command took."""

    resealed: int
    left: int
    seconds: float
    text: str


class KeyCommands:
    """The commands, on the directories and the store of one installation; `options` unlock its keys."""

    def __init__(self, made: Installation, options: Sequence[str] = ()) -> None:
        self._options = options
        self._serve, self._worker = f"--serve-dir={made.serve_keys}", f"--worker-dir={made.worker_keys}"
        self._redis = f"--redis-url={made.valkey.url}"
        self._both = (self._serve, self._worker, self._redis)

    async def run(self, *arguments: str) -> tuple[int, str]:
        """Runs `certplane keys`; returns exit status and all that it said."""
        process = await asyncio.create_subprocess_exec(
            *certplane("keys", *arguments, *self._options), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        said, _ = await process.communicate()
        return await process.wait(), said.decode()

    async def generate(self, kind: str, *options: str) -> str:
        """Adds a PREPARED key; returns its id."""
        text = await self._done("generate", f"--add={kind}", self._serve, self._worker, *options)
        (key_id,) = set(re.findall(rf"/{kind}-([0-9a-f]+)\.", text))
        return key_id

    async def activate(self, key_id: str) -> None:
        """Makes a key ACTIVE as soon as all that must open with it can."""
        await self._accepted(r"is not known to", "activate", key_id, *self._both)

    async def reseal(self, rate: float, key_class: str = "leaf") -> Resealed:
        """Seals everything of a class anew."""
        begun = time.monotonic()
        directory = self._serve if key_class == "leaf" else self._worker
        text = await self._done("reseal", f"--class={key_class}", f"--rate={rate}", directory, self._redis)
        seconds = time.monotonic() - begun
        return Resealed(_number(r"sealed anew: (\d+)", text), _number(r"left: (\d+)", text), seconds, text)

    async def retire(self, key_id: str) -> bool:
        """Retires a key and deletes its files as soon as nobody writes with it; returns False when stored records still need it."""
        text = await self._accepted(r"still writes with", "retire", key_id, "--delete", *self._both, may_fail=r"records still refer")
        return not text

    async def _accepted(self, not_yet: str, *arguments: str, may_fail: str = r"\Z.") -> str:
        """Tries until the command succeeds, and returns nothing; or until it fails as it may, and returns what it said."""
        async with asyncio.timeout(CATCH_UP_SECONDS):
            while True:
                status, text = await self.run(*arguments)
                if not status or re.search(may_fail, text):
                    return text if status else ""
                assert re.search(not_yet, text), text
                await asyncio.sleep(0.2)

    async def _done(self, *arguments: str) -> str:
        status, text = await self.run(*arguments)
        assert 0 == status, text
        return text


def _number(pattern: str, text: str) -> int:
    match: Any = re.search(pattern, text)
    assert match, text
    return int(match[1])
