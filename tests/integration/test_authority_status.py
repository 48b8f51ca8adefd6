"""From a worker's gates over a real Valkey to those who never talk to a CA: the API, the command line, and estimates."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, timedelta
from typing import Any

import grpc
import pytest
import structlog
from click.testing import CliRunner, Result

from controlplane.adapters.redis_authority_reports import RedisAuthorityReports
from controlplane.adapters.redis_client import connect
from controlplane.api.certplane.v1 import fleet_pb2, fleet_service_pb2_grpc
from controlplane.api.certplane.v1 import fleet_service_pb2 as pb
from controlplane.cli.main import main
from controlplane.core.replacement import Replacement, ReplacementState
from controlplane.usecases.authority_estimate import AuthorityEstimate
from controlplane.usecases.replacement_steps import ReplacementSteps
from tests.fakes.authority_reports import NOW
from tests.fakes.management_api import ManagementApi
from tests.fakes.nodes import RunningFleet, running_fleet
from tests.fakes.watched_authorities import ACCOUNT, FREE, LIMITED, Workers

STATE = fleet_pb2.CertificateAuthority.BreakerState


@pytest.fixture
async def reports(valkey_url: str) -> AsyncIterator[RedisAuthorityReports]:
    """What workers and `serve` share."""
    client = connect(valkey_url)
    yield RedisAuthorityReports(client)
    await client.aclose()


@pytest.fixture
async def fleet(reports: RedisAuthorityReports) -> AsyncIterator[RunningFleet]:
    """The API."""
    with structlog.testing.capture_logs():
        async with running_fleet(reports) as running:
            yield running


@pytest.fixture
async def stub(fleet: RunningFleet) -> AsyncIterator[Any]:
    """A client of the API."""
    async with grpc.aio.insecure_channel(fleet.address) as channel:
        yield fleet_service_pb2_grpc.FleetServiceStub(channel)


async def status(fleet: RunningFleet, *arguments: str) -> Result:
    """Runs the command in a thread beside the server's loop."""
    return await asyncio.to_thread(CliRunner().invoke, main, ["status", *arguments], env={"CERTPLANE_API_ADDRESS": fleet.address})


async def test_api_shows_what_workers_see(reports: RedisAuthorityReports, stub: Any) -> None:
    """Without a worker there is no CA; then each is there, with its breaker and its limits as they stand."""
    assert not (await stub.GetFleetStatus(pb.GetFleetStatusRequest())).certificate_authorities
    workers = Workers()
    await workers.order(12)
    await workers.gates()[1].faulty(retry_after=600)
    await workers.watch(reports).check()
    limited, free = (await stub.GetFleetStatus(pb.GetFleetStatusRequest())).certificate_authorities
    assert ("limited", LIMITED, ACCOUNT, STATE.BREAKER_STATE_CLOSED, False) == (
        limited.name,
        limited.directory_url,
        limited.account_url,
        limited.breaker_state,
        limited.HasField("breaker_until_time"),
    )
    assert (288, timedelta(seconds=36), NOW) == (
        limited.new_orders_allowed,
        limited.order_interval.ToTimedelta(),
        limited.report_time.ToDatetime(UTC),
    )
    orders, *_ = limited.limits
    assert ("new-orders-per-account", 288, 300, NOW + timedelta(seconds=432), False) == (
        orders.name,
        orders.available,
        orders.capacity,
        orders.full_time.ToDatetime(UTC),
        orders.HasField("blocked_until_time"),
    )
    assert ("free", FREE, STATE.BREAKER_STATE_OPEN, False, False, 0) == (
        free.name,
        free.directory_url,
        free.breaker_state,
        free.HasField("new_orders_allowed"),
        free.HasField("order_interval"),
        len(free.limits),
    )
    assert free.breaker_until_time.ToDatetime(UTC) >= NOW + timedelta(seconds=600)


async def test_command_shows_them_on_one_screen(reports: RedisAuthorityReports, fleet: RunningFleet) -> None:
    """Replicas, nodes, lanes, CAs and limits fit on a screen of 24 lines and 100 columns."""
    workers = Workers()
    await workers.order(12)
    await workers.watch(reports).check()
    result = await status(fleet)
    assert 0 == result.exit_code, result.output
    lines = result.stdout.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 100
    assert "LANE" == lines[5].split()[0]
    assert [
        "CERTIFICATE AUTHORITY  BREAKER  NEW ORDERS LEFT  THEN ONE IN",
        "limited                closed   288              36s",
        "free                   closed   any number",
        "",
        "CERTIFICATE AUTHORITY  LIMIT                         AVAILABLE   ALL AVAILABLE",
        "limited                new-orders-per-account        288 of 300  2026-11-24 12:07:12 UTC",
        "limited                registrations-per-address     10 of 10    now",
        "limited                registrations-per-ipv6-range  500 of 500  now",
    ] == lines[11:]


async def test_command_without_workers(fleet: RunningFleet) -> None:
    """That no CA is known is said, since it is not the same as none."""
    assert "no worker has reported them within the last minute" in (await status(fleet)).stdout


@pytest.mark.parametrize("arguments", [("--json",), ("--output", "json")])
async def test_json_is_that_of_the_api(reports: RedisAuthorityReports, fleet: RunningFleet, arguments: tuple[str, ...]) -> None:
    """The response is printed as the API has it."""
    await Workers().watch(reports).check()
    limited, free = json.loads((await status(fleet, *arguments)).stdout)["certificateAuthorities"]
    assert ("BREAKER_STATE_CLOSED", "300", "36s") == (limited["breakerState"], limited["newOrdersAllowed"], limited["orderInterval"])
    assert {
        "name": "free",
        "directoryUrl": FREE,
        "accountUrl": ACCOUNT,
        "breakerState": "BREAKER_STATE_CLOSED",
        "reportTime": "2026-11-24T12:00:00Z",
    } == free


async def test_api_that_is_away_is_said() -> None:
    """Without the API the exit status is 1, and one line says where nobody answers."""
    result = await asyncio.to_thread(CliRunner().invoke, main, ["status", "--api-address", "127.0.0.1:1"])
    assert 1 == result.exit_code
    assert "" == result.stdout
    assert result.stderr.startswith("Error: no answer from the API at 127.0.0.1:1 ")
    assert 1 == len(result.stderr.splitlines())


async def test_replacement_takes_as_long_as_the_limits_make_it(reports: RedisAuthorityReports) -> None:
    """The estimate of a mass replacement comes from what workers report: here two orders more than there is room for."""
    workers, api = Workers(), ManagementApi()
    await workers.order(290)
    await workers.watch(reports).check()
    for number in range(12):
        await api.issue(f"d{number:02}.example.com")
    steps = ReplacementSteps(api.domains, AuthorityEstimate(reports, lambda: NOW).estimate, api.clock)
    counted = await steps.step(Replacement("a" * 12, "", NOW, dry_run=True), frozenset())
    assert (ReplacementState.DONE, 12, timedelta(seconds=72)) == (counted.state, counted.matched, counted.estimate)
