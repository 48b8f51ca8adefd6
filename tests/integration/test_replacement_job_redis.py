"""The job of replacements on a real Valkey, in several replicas at once."""

import asyncio
import itertools
from datetime import timedelta

import pytest
import structlog

from controlplane.adapters.redis_client import connect
from controlplane.adapters.redis_domains import RedisDomainStore
from controlplane.adapters.redis_replacements import RedisReplacementStore
from controlplane.core.managed_domain import DomainState, DomainStatus
from controlplane.core.replacement import Replacement, ReplacementState
from controlplane.usecases import replacement_job, replacement_steps
from controlplane.usecases.replacement_job import ReplacementJob
from controlplane.usecases.replacement_steps import ReplacementSteps
from tests.fakes import samples

SIZE = 120
NAME = "a" * 12


async def no_time(_orders: int, _exempt: int) -> timedelta:
    """A CA without limits."""
    return timedelta()


async def test_replicas_that_come_and_go_ask_each_domain_once(valkey_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three replicas, of which the one at work is ended again and again: every domain is asked exactly once, within the time."""
    monkeypatch.setattr(replacement_steps, "PAGE", 10)
    monkeypatch.setattr(replacement_job, "IDLE_SECONDS", 0.01)
    monkeypatch.setattr(replacement_job, "TTL", timedelta(milliseconds=200))
    client = connect(valkey_url)
    domains, store, now = RedisDomainStore(client), RedisReplacementStore(client), samples.now()
    status = DomainStatus(
        DomainState.ACTIVE, certificate_id="c" * 32, issue_time=now - timedelta(days=30), expire_time=now + timedelta(days=60)
    )
    await asyncio.gather(*(domains.create(samples.spec(f"d{number}.example.com"), status) for number in range(SIZE)))
    await store.create(Replacement(NAME, "tenant = acme", now, over=timedelta(hours=20)))

    numbers = itertools.count()

    def start() -> asyncio.Task[None]:
        job = ReplacementJob(store, ReplacementSteps(domains, no_time, samples.now), samples.now, f"replica-{next(numbers)}")
        return asyncio.create_task(job.run())

    with structlog.testing.capture_logs():
        running = [start() for _ in range(3)]
        async with asyncio.timeout(30):
            while (shown := await store.get(NAME)) is not None and shown.state is not ReplacementState.REPLACING:
                await asyncio.sleep(0.02)
                running.pop(0).cancel()
                running.append(start())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    page = await domains.list_page(1000, "")
    assert {(2, NAME)} == {(domain.revision, domain.spec.renewal_replacement) for domain in page.domains}
    times = [domain.requested_renewal_time for domain in page.domains if domain.requested_renewal_time is not None]
    assert (SIZE, True) == (len(times), now <= min(times) < max(times) <= samples.now() + timedelta(hours=20))
    assert shown is not None
    assert (SIZE, SIZE, 0) == (shown.matched, shown.asked, shown.skipped)
    await client.aclose()
