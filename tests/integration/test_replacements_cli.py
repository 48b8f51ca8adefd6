"""`certplane replacements` against a running API."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import structlog
from click.testing import CliRunner, Result

from controlplane.cli import replacements as command
from controlplane.core.managed_domain import Actor, Problem, RenewalWindow
from controlplane.core.names import DomainName
from controlplane.usecases import replacement_steps
from controlplane.usecases.replacements import COUNTING_SECONDS
from tests.fakes.management_api import ManagementApi, management_api

Run = Callable[..., Coroutine[Any, Any, Result]]


@pytest.fixture
async def api() -> AsyncIterator[ManagementApi]:
    """The API over seven domains with certificates; its log goes nowhere."""
    with structlog.testing.capture_logs():
        async with management_api() as running:
            for number in range(7):
                await running.issue(f"d{number}.example.com")
            yield running


@pytest.fixture
def run(api: ManagementApi) -> Run:
    """Runs the command in a thread beside the server's loop; fails when it shows a traceback or raises something of its own."""

    async def run(*arguments: str) -> Result:
        result = await asyncio.to_thread(
            CliRunner().invoke, command.replacements, list(arguments), env={"CERTPLANE_API_ADDRESS": api.address}
        )
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert "Traceback" not in result.output
        return result

    return run


def properties(result: Result) -> dict[str, str]:
    """What is said of a replacement, by label; its id under an empty one."""
    assert result.exit_code == 0, result.output
    first, *lines = result.stdout.splitlines()
    parts = (line.strip().partition("  ") for line in lines)
    return {"": first} | {label: value.strip() for label, _, value in parts}


async def test_from_end_to_end(api: ManagementApi, run: Run) -> None:
    """A replacement is created, looked at while it goes on, and stopped."""
    created = properties(await run("create", "--filter", "tenant = acme", "--over", "20h", "--reason", "a key was lost"))
    assert {
        "": created[""],
        "state": "asking domains to renew",
        "domains": "7 with a certificate meet the filter",
        "asked": "0",
        "not yet replaced": "0, of which 0 fail",
        "filter": "tenant = acme",
        "reason": "a key was lost",
        "spread over": "20:00:00",
        "the CA's limits take": "0:07:00",
        "created": "2026-11-24 12:00:00 UTC",
        "expected to end": "2026-11-25 08:00:00 UTC",
    } == created
    await api.job().work()
    domain = await api.domains.get(DomainName("d3.example.com"))
    assert domain is not None
    problem = Problem("urn:x", "it fails", Actor.CUSTOMER, api.clock())
    await api.domains.put_status("d3.example.com", replace(domain.status, last_error=problem))
    await api.issue("d4.example.com")
    api.clock.advance(minutes=2)
    await api.job().work()
    shown = properties(await run("get", created[""]))
    assert ("7", "6, of which 1 fail") == (shown["asked"], shown["not yet replaced"])
    stopped = properties(await run("stop", f"replacements/{created['']}"))
    assert ("stopped: what was not begun does not take place", "2026-11-24 12:02:00 UTC") == (stopped["state"], stopped["stopped"])
    lines = [line.split() for line in (await run("list")).stdout.splitlines()]
    assert ["REPLACEMENT", "STATE", "CREATED", "MATCHED", "ASKED", "LEFT", "FAILING", "FILTER"] == lines[0]
    assert [[created[""], "stopped", "2026-11-24", "12:00:00", "UTC", "7", "7", "6", "1", "tenant", "=", "acme"]] == lines[1:]
    listed = json.loads((await run("list", "--output", "json")).stdout)["replacements"]
    assert [f"replacements/{created['']}"] == [replacement["name"] for replacement in listed]


async def test_dry_run(api: ManagementApi, run: Run) -> None:
    """It says how many domains and how long, and asks nobody."""
    shown = properties(await run("create", "--filter", "", "--dry-run"))
    assert ("dry run", "counted, nobody is asked", "all domains", "0:07:00", "2026-11-24 12:07:00 UTC") == (
        shown[""],
        shown["state"],
        shown["filter"],
        shown["the CA's limits take"],
        shown["would end"],
    )
    assert "asked" not in shown
    assert "no replacements\n" == (await run("list")).stderr
    counted = json.loads((await run("create", "--filter", "", "--dry-run", "--output", "json")).stdout)
    assert ("7", "420s") == (counted["matchedCount"], counted["estimatedDuration"])


async def test_dry_run_tells_who_is_exempt(api: ManagementApi, run: Run) -> None:
    """Domains whose renewal window is open are told of by themselves, and make it faster."""
    now = api.clock()
    for number in (2, 5):
        domain = await api.domains.get(DomainName(f"d{number}.example.com"))
        assert domain is not None
        window = RenewalWindow(domain.status.certificate_id, now - timedelta(days=1), now + timedelta(days=1), now, now)
        await api.domains.put_status(str(domain.spec.fqdn), replace(domain.status, renewal_window=window))
    shown = properties(await run("create", "--filter", "", "--dry-run"))
    assert ("2, exempt from limits where the CA says so", "0:05:02") == (shown["in renewal window"], shown["the CA's limits take"])
    counted = json.loads((await run("create", "--filter", "", "--dry-run", "--output", "json")).stdout)
    assert ("7", "2", "302s") == (counted["matchedCount"], counted["inWindowCount"], counted["estimatedDuration"])


async def test_long_dry_run_is_waited_for(api: ManagementApi, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the count goes on in the background the command follows it to its end."""
    monkeypatch.setattr(replacement_steps, "PAGE", 5)
    monkeypatch.setattr(command, "_POLL_SECONDS", 0.01)
    api.counting_step = COUNTING_SECONDS * 0.6
    running = asyncio.create_task(run("create", "--filter", "", "--dry-run"))
    async with asyncio.timeout(20):
        while not await api.replacements.list_all():
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        await api.job().work()
        result = await running
    assert "5 domains counted so far\n" in result.stderr
    assert "7 with a certificate meet the filter" == properties(result)["domains"]


async def test_all_domains_are_meant_only_when_said(run: Run) -> None:
    """Without a filter nothing begins: the empty one has to be given."""
    assert 2 == (await run("create", "--over", "20h")).exit_code


async def test_failures_are_told(run: Run) -> None:
    """A bad filter, an unknown replacement and a bad id are a message and exit status 1."""
    for arguments, words in (
        (("create", "--filter", "tenant acme"), "filter: position 8"),
        (("get", "0" * 12), f"NOT_FOUND: replacements/{'0' * 12} does not exist"),
        (("stop", "xyz"), "name: is not a resource name of a replacement"),
    ):
        result = await run(*arguments)
        assert (1, True) == (result.exit_code, words in result.stderr), result.stderr
