"""`certplane status` against a running API."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
import structlog
from click.testing import CliRunner, Result

from controlplane.cli.main import main
from controlplane.core.lane import Lane
from tests.fakes import samples
from tests.fakes.nodes import RunningFleet, running_fleet


@pytest.fixture
async def fleet() -> AsyncIterator[RunningFleet]:
    """The API with a node, and three domains that have waited for a little more than two hours."""
    with structlog.testing.capture_logs():
        async with running_fleet() as running:
            running.here.connect("edge-1", "a", "b")
            for name in ("a", "b", "c"):
                await running.here.work.add(samples.spec(f"{name}.example.com"))
            running.clock.advance(hours=2, minutes=3, seconds=5)
            yield running


async def status(fleet: RunningFleet, *arguments: str) -> Result:
    """Runs the command in a thread beside the server's loop."""
    return await asyncio.to_thread(CliRunner().invoke, main, ["status", *arguments], env={"CERTPLANE_API_ADDRESS": fleet.address})


async def test_totals_and_lanes_are_shown(fleet: RunningFleet) -> None:
    """Totals, then a table with a line for each lane."""
    result = await status(fleet)
    assert 0 == result.exit_code, result.output
    lines = [line.split("  ") for line in result.stdout.splitlines()]
    cells = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    assert [["replicas", "1"], ["connected nodes", "1"], ["secrets held", "2"], ["refused secrets", "0"], []] == cells[:5]
    assert ["LANE", "DUE", "OLDEST WAIT", "ESTIMATED WAIT", "DUE WITHIN AN HOUR"] == cells[5]
    assert ["new", "3", "2h 3m", "unknown", "3"] == cells[8]
    assert ["sick", "0", "0s", "0s", "0"] == cells[9]


async def test_estimate_is_shown_once_there_is_one(fleet: RunningFleet) -> None:
    """When something of the lane has ended lately, the wait is estimated."""
    await fleet.here.work.add_completed(fleet.clock(), {Lane.NEW: 3})
    fleet.clock.advance(seconds=55)
    assert "new      3    2h 4m        1m" in (await status(fleet)).stdout


async def test_json_is_that_of_the_api(fleet: RunningFleet) -> None:
    """With --output json the response is printed as the API has it."""
    found = json.loads((await status(fleet, "--output", "json")).stdout)
    assert {"name": "new", "due": 3, "oldestWait": "7385s", "dueWithinHour": 3} == found["lanes"][2]


async def test_service_that_is_away_is_said(fleet: RunningFleet) -> None:
    """Without the API there is one line of error."""
    result = await asyncio.to_thread(CliRunner().invoke, main, ["status", "--api-address", "127.0.0.1:1"])
    assert 1 == result.exit_code
    assert "Traceback" not in result.output
