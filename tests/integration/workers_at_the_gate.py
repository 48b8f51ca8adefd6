"""A worker that asks a CA's gate for orders or requests, as a process of its own: see test_shared_limits."""

import asyncio
import json
import sys
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

from redis.asyncio import Redis

from controlplane.adapters.redis_breaker import RedisBreakerStore
from controlplane.adapters.redis_client import connect
from controlplane.adapters.redis_limits import RedisRateLimits
from controlplane.core.ca_profile import CaProfile, parse_ca_profile
from controlplane.usecases.ca_gate import Admitted, CaGate

CA = "https://ca.example/directory"


def clock() -> datetime:
    """The time."""
    return datetime.now(UTC)


class CountedLimits(RedisRateLimits):
    """Counts how often the store is asked."""

    calls = 0

    async def take(self, *args):
        """See `RateLimits.take`."""
        self.calls += 1
        return await super().take(*args)


def gate_of(client: Redis, profile: CaProfile, *, ahead: float = 0.0) -> CaGate:
    """A gate with a clock that is so many seconds ahead."""
    return CaGate(
        profile,
        CA,
        limits=RedisRateLimits(client),
        breakers=RedisBreakerStore(client),
        clock=lambda: clock() + timedelta(seconds=ahead),
    )


async def orders(gate: CaGate, number: int, count: int) -> dict:
    """Asks for so many orders at once, for names of twelve registered domains."""
    names = [f"n{index}-{number}.d{index % 12}.example" for index in range(count)]
    found = await asyncio.gather(*(gate.admit([name], profile="", replacing=False, account_url="account") for name in names))
    admitted = [name for name, each in zip(names, found, strict=True) if isinstance(each, Admitted)]
    return {"admitted": admitted, "held": Counter(each.scope.value for each in found if not isinstance(each, Admitted))}


async def requests(gate: CaGate, limits: CountedLimits, seconds: float) -> dict:
    """Sends requests from four tasks for so many seconds."""
    begin, sent = time.time(), 0

    async def send() -> None:
        nonlocal sent
        while time.time() < begin + seconds:
            await gate.pace("order")
            sent += 1

    await asyncio.gather(*(send() for _ in range(4)))
    return {"begin": begin, "end": time.time(), "sent": sent, "calls": limits.calls}


async def main(url: str, profile_path: str, what: str, number: str, argument: str, begin: str) -> None:
    """Waits for the common start, works, and prints what happened."""
    client = connect(url)
    limits = CountedLimits(client)
    profile = parse_ca_profile(Path(profile_path).read_text(encoding="utf-8"), "narrow")
    gate = CaGate(profile, CA, limits=limits, breakers=RedisBreakerStore(client), clock=clock)
    await asyncio.sleep(max(0.0, float(begin) - time.time()))
    said = await (orders(gate, int(number), int(argument)) if what == "orders" else requests(gate, limits, float(argument)))
    print(json.dumps(said))
    await client.aclose()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
