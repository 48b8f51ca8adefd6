"""Mass replacements: the methods of certplane.v1.FleetService, with the job behind them."""

from collections.abc import AsyncIterator
from datetime import UTC, timedelta
from typing import Any

import grpc
import pytest
import structlog
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2

from controlplane.api.certplane.v1 import fleet_service_pb2 as pb
from controlplane.api.certplane.v1 import fleet_service_pb2_grpc, replacement_pb2
from controlplane.core.due import without_stopped_renewal
from controlplane.core.names import DomainName
from controlplane.usecases import replacement_steps
from controlplane.usecases.replacements import COUNTING_SECONDS
from tests.fakes.domain_api import detail, failure_of, violations
from tests.fakes.management_api import ManagementApi, management_api
from tests.fakes.nodes import NOW

State = replacement_pb2.Replacement.State
SIZE = 12


@pytest.fixture
async def api(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ManagementApi]:
    """Twelve domains with certificates, in pages of five; the log goes nowhere."""
    monkeypatch.setattr(replacement_steps, "PAGE", 5)
    with structlog.testing.capture_logs():
        async with management_api() as running:
            for number in range(SIZE):
                await running.issue(f"d{number:02}.example.com", tenant="acme" if number % 3 else "other")
            yield running


@pytest.fixture
async def stub(api: ManagementApi) -> AsyncIterator[Any]:
    """A client of the API."""
    async with grpc.aio.insecure_channel(api.address) as channel:
        yield fleet_service_pb2_grpc.FleetServiceStub(channel)


def state(replacement: replacement_pb2.Replacement) -> str:
    return State.Name(replacement.state).removeprefix("STATE_")


def begin(over: timedelta = timedelta(), **fields: Any) -> pb.ReplaceCertificatesRequest:
    duration = Duration()
    duration.FromTimedelta(over)
    return pb.ReplaceCertificatesRequest(over=duration, **fields)


async def asked(api: ManagementApi) -> set[str]:
    """The domains whose renewal is asked for and counts."""
    stopped = await api.replacements.current()
    page = await api.domains.list_page(100, "")
    return {str(domain.spec.fqdn) for domain in page.domains if without_stopped_renewal(domain, stopped).renewal_requested}


async def test_dry_run(api: ManagementApi, stub: Any) -> None:
    """Domains are counted and the time is told; nobody is asked, and nothing is kept."""
    counted = await stub.ReplaceCertificates(begin(filter="tenant = acme", dry_run=True))
    assert ("", "DONE", 8, 0) == (counted.name, state(counted), counted.matched_count, counted.asked_count)
    assert timedelta(minutes=8) == counted.estimated_duration.ToTimedelta()
    assert NOW + timedelta(minutes=8) == counted.estimated_complete_time.ToDatetime(UTC)
    await api.job().work()
    assert set() == await asked(api)
    assert [] == list((await stub.ListReplacements(pb.ListReplacementsRequest())).replacements)


async def test_dry_run_over_a_time(stub: Any) -> None:
    """A time longer than the CA's limits take is when it would end."""
    counted = await stub.ReplaceCertificates(begin(timedelta(hours=20), dry_run=True))
    assert NOW + timedelta(hours=20) == counted.estimated_complete_time.ToDatetime(UTC)


async def test_replacement_from_end_to_end(api: ManagementApi, stub: Any) -> None:
    """It is counted in the call, carried on by the job, and done when all domains have new certificates."""
    begun = await stub.ReplaceCertificates(begin(timedelta(hours=2), filter="tenant = acme", reason="the key ceremony was on video"))
    assert ("ASKING", 8, 0) == (state(begun), begun.matched_count, begun.asked_count)
    assert "the key ceremony was on video" == begun.reason
    await api.job().work()
    shown = await stub.GetReplacement(pb.GetReplacementRequest(name=begun.name))
    assert ("REPLACING", 8, 8, 0) == (state(shown), shown.asked_count, shown.pending_count, shown.skipped_count)
    assert NOW + timedelta(hours=2) == shown.estimated_complete_time.ToDatetime(UTC)
    names = await asked(api)
    assert {f"d{number:02}.example.com" for number in range(SIZE) if number % 3} == names
    for name in names:
        await api.issue(name)
    api.clock.advance(minutes=2)
    await api.job().work()
    shown = await stub.GetReplacement(pb.GetReplacementRequest(name=begun.name))
    assert ("DONE", 0, NOW + timedelta(minutes=2)) == (state(shown), shown.pending_count, shown.complete_time.ToDatetime(UTC))
    assert [shown] == list((await stub.ListReplacements(pb.ListReplacementsRequest())).replacements)


@pytest.mark.parametrize("dry_run", [True, False])
async def test_long_count_goes_on_in_the_background(api: ManagementApi, stub: Any, dry_run: bool) -> None:
    """A call returns after some seconds, whatever the size of the fleet; the job counts the rest."""
    api.counting_step = COUNTING_SECONDS * 0.6
    begun = await stub.ReplaceCertificates(begin(dry_run=dry_run))
    assert ("COUNTING", 5) == (state(begun), begun.matched_count)
    await api.job().work()
    shown = await stub.GetReplacement(pb.GetReplacementRequest(name=begun.name))
    assert ("DONE" if dry_run else "REPLACING", SIZE) == (state(shown), shown.matched_count)
    assert (0 if dry_run else SIZE) == len(await asked(api))


async def test_stop(api: ManagementApi, stub: Any) -> None:
    """What a replacement asked for does not count any more, but a request by hand does; stopping again changes nothing."""
    begun = await stub.ReplaceCertificates(begin())
    await api.job().work()
    await api.domains.request_renewal(DomainName("d03.example.com"), NOW)
    assert SIZE == len(await asked(api))
    api.clock.advance(minutes=1)
    stopped = await stub.StopReplacement(pb.StopReplacementRequest(name=begun.name))
    assert ("STOPPED", NOW + timedelta(minutes=1)) == (state(stopped), stopped.stop_time.ToDatetime(UTC))
    assert {"d03.example.com"} == await asked(api)
    api.clock.advance(minutes=1)
    assert stopped == await stub.StopReplacement(pb.StopReplacementRequest(name=begun.name))
    await api.job().work()
    assert stopped == await stub.GetReplacement(pb.GetReplacementRequest(name=begun.name))


async def test_one_that_is_done_is_not_stopped(api: ManagementApi, stub: Any) -> None:
    """Nothing is left to stop."""
    done = await stub.ReplaceCertificates(begin(filter="tenant = nobody"))
    assert ("DONE", 0) == (state(done), done.matched_count)
    assert done == await stub.StopReplacement(pb.StopReplacementRequest(name=done.name))


async def test_repeat_returns_the_first(api: ManagementApi, stub: Any) -> None:
    """A retry with the same request_id makes no second replacement; with other content it is ALREADY_EXISTS."""
    begun = await stub.ReplaceCertificates(begin(request_id="r"))
    await api.job().work()
    again = await stub.ReplaceCertificates(begin(request_id="r"))
    assert (begun.name, "REPLACING") == (again.name, state(again))
    assert 1 == len((await stub.ListReplacements(pb.ListReplacementsRequest())).replacements)
    error = await failure_of(stub.ReplaceCertificates(begin(request_id="r", filter="tenant = acme")))
    info = detail(error, error_details_pb2.ResourceInfo)
    assert (grpc.StatusCode.ALREADY_EXISTS, "certplane.v1.Replacement", begun.name) == (
        error.code(),
        info.resource_type,
        info.resource_name,
    )
    other = await stub.ReplaceCertificates(begin(request_id="s"))
    assert begun.name != other.name


async def test_pages(api: ManagementApi, stub: Any) -> None:
    """The list is the newest first, page by page."""
    names = []
    for _ in range(5):
        api.clock.advance(seconds=1)
        names.append((await stub.ReplaceCertificates(begin())).name)
    found, token = [], ""
    while True:
        page = await stub.ListReplacements(pb.ListReplacementsRequest(page_size=2, page_token=token))
        assert len(page.replacements) <= 2
        found += [replacement.name for replacement in page.replacements]
        token = page.next_page_token
        if not token:
            break
    assert names[::-1] == found


@pytest.mark.parametrize(
    ("request_", "fields"),
    [
        (begin(filter="tenant acme"), {"filter"}),
        (begin(timedelta(days=91)), {"over"}),
        (begin(-timedelta(seconds=1)), {"over"}),
        (pb.ReplaceCertificatesRequest(over=Duration(seconds=10**13)), {"over"}),
        (begin(reason="x" * 501, request_id="x" * 65), {"reason", "request_id"}),
        (pb.GetReplacementRequest(name="replacements/x"), {"name"}),
        (pb.StopReplacementRequest(name="a" * 12), {"name"}),
        (pb.ListReplacementsRequest(page_size=-1), {"page_size"}),
        (pb.ListReplacementsRequest(page_token="x"), {"page_token"}),
    ],
)
async def test_bad_request(stub: Any, request_: Any, fields: set[str]) -> None:
    """What is wrong with a request is said by field."""
    error = await failure_of(getattr(stub, type(request_).__name__.removesuffix("Request"))(request_))
    assert (grpc.StatusCode.INVALID_ARGUMENT, fields) == (error.code(), set(violations(error)))


async def test_what_is_not_there(api: ManagementApi, stub: Any) -> None:
    """An unknown replacement is NOT_FOUND; an absent store UNAVAILABLE."""
    for request in (pb.GetReplacementRequest(name=f"replacements/{'0' * 12}"), pb.StopReplacementRequest(name=f"replacements/{'0' * 12}")):
        error = await failure_of(getattr(stub, type(request).__name__.removesuffix("Request"))(request))
        assert (grpc.StatusCode.NOT_FOUND, "certplane.v1.Replacement") == (
            error.code(),
            detail(error, error_details_pb2.ResourceInfo).resource_type,
        )
    api.replacements.away = True
    assert grpc.StatusCode.UNAVAILABLE == (await failure_of(stub.ListReplacements(pb.ListReplacementsRequest()))).code()
