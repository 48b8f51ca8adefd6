"""certplane.v1.DomainService, called over gRPC."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
import structlog
from google.rpc import error_details_pb2

from controlplane.api.certplane.v1 import domain_pb2
from controlplane.api.certplane.v1 import domain_service_pb2 as pb
from controlplane.core.managed_domain import Actor, DomainSpec, DomainState, DomainStatus, Problem
from controlplane.core.names import DomainName
from tests.fakes.domain_api import DEADLINE, NOW, RunningApi, connected, detail, failure_of, rich_status, running_api, violations

State = domain_pb2.Domain.State
SHOP = "shop.example.com"


@pytest.fixture
async def api() -> AsyncIterator[RunningApi]:
    """The API with nothing in it."""
    async with running_api() as running:
        yield running


@pytest.fixture
async def stub(api: RunningApi) -> AsyncIterator[Any]:
    """A client of it."""
    async with connected(api.address) as connection:
        yield connection


def create(domain_id: str = SHOP, request_id: str = "", **fields: Any) -> pb.CreateDomainRequest:
    """A CreateDomain request."""
    return pb.CreateDomainRequest(domain_id=domain_id, domain=domain_pb2.Domain(**fields), request_id=request_id)


def active(expire_time: datetime) -> DomainStatus:
    """The status of a domain with a certificate."""
    return DomainStatus(state=DomainState.ACTIVE, certificate_id="c1", serial_number="0a", issue_time=NOW, expire_time=expire_time)


# ---- CreateDomain, GetDomain ----


async def test_create(stub: Any) -> None:
    """A created domain is PENDING, due now, and has the canonical name and everything that was asked for."""
    request = create("Shop.Example.COM.", tenant="acme", additional_names=["www.shop.example.com"], labels={"team/tier": "gold"})
    domain = await stub.CreateDomain(request)
    assert domain.name == "domains/shop.example.com"
    assert domain.tenant == "acme"
    assert list(domain.additional_names) == ["www.shop.example.com"]
    assert dict(domain.labels) == {"team/tier": "gold"}
    assert domain.state == State.Value("STATE_PENDING")
    assert domain.create_time.ToDatetime(UTC) == NOW
    assert domain.next_attempt_time.ToDatetime(UTC) == NOW
    assert domain.etag
    assert domain == await stub.GetDomain(pb.GetDomainRequest(name=domain.name))


async def test_create_without_settings(stub: Any) -> None:
    """`domain` may be left out: everything in it has a default."""
    domain = await stub.CreateDomain(pb.CreateDomainRequest(domain_id=SHOP))
    assert domain.tenant == ""


async def test_create_ignores_output_only_fields(stub: Any) -> None:
    """Output-only fields in a create are ignored, `name` among them (AIP-203)."""
    request = create(name="domains/other.example.com", state=State.Value("STATE_ACTIVE"), etag="e", serial_number="ff", attempt_count=9)
    domain = await stub.CreateDomain(request)
    assert domain.name == f"domains/{SHOP}"
    assert domain.state == State.Value("STATE_PENDING")
    assert domain.serial_number == ""
    assert domain.attempt_count == 0
    assert domain.etag != "e"


async def test_create_repeated_by_request_id(stub: Any) -> None:
    """The same request_id with the same domain_id returns the domain that it made, unchanged."""
    first = await stub.CreateDomain(create(request_id="r-1", tenant="acme"))
    assert first == await stub.CreateDomain(create(request_id="r-1", tenant="other"))


async def test_create_repeated_by_content(stub: Any) -> None:
    """Equal content returns the existing domain, in whatever order and case the additional names come."""
    names = ["a.shop.example.com", "b.shop.example.com"]
    first = await stub.CreateDomain(create(request_id="r-1", tenant="acme", additional_names=names, labels={"k": "v"}))
    again = create(
        "SHOP.example.com", request_id="r-2", tenant="acme", additional_names=["B.shop.example.com", names[0]], labels={"k": "v"}
    )
    assert first == await stub.CreateDomain(again)


async def test_create_at_the_same_time(api: RunningApi, stub: Any) -> None:
    """Equal creates at the same time all get the one domain, and one change is published."""
    domains = await asyncio.gather(*(stub.CreateDomain(create(tenant="acme")) for _ in range(20)))
    assert {domain.etag for domain in domains} == {domains[0].etag}
    assert await api.domains.position() == "e1:1"


@pytest.mark.parametrize("fields", [{"tenant": "other"}, {"labels": {"k": "w"}}, {"additional_names": ["x.shop.example.com"]}])
async def test_create_with_other_content(stub: Any, fields: dict[str, Any]) -> None:
    """Other content under an existing name is refused, and the refusal names the resource."""
    await stub.CreateDomain(create(request_id="r-1", tenant="acme"))
    error = await failure_of(stub.CreateDomain(create(request_id="r-2", **{"tenant": "acme", **fields})))
    assert error.code() == grpc.StatusCode.ALREADY_EXISTS
    assert detail(error, error_details_pb2.ResourceInfo).resource_name == f"domains/{SHOP}"


async def test_empty_request_ids_are_not_equal(stub: Any) -> None:
    """An empty request_id is no identifier: it does not make two creates the same."""
    await stub.CreateDomain(create(tenant="acme"))
    assert (await failure_of(stub.CreateDomain(create(tenant="other")))).code() == grpc.StatusCode.ALREADY_EXISTS


@pytest.mark.parametrize(
    ("domain_id", "additional", "owner"),
    [
        ("www.shop.example.com", [], SHOP),
        ("other.example.com", ["www.shop.example.com"], SHOP),
        ("other.example.com", [SHOP], SHOP),
    ],
)
async def test_claimed_names(stub: Any, domain_id: str, additional: list[str], owner: str) -> None:
    """A name that belongs to another domain, as its own or as an additional one, is refused; the refusal names the owner."""
    await stub.CreateDomain(create(additional_names=["www.shop.example.com"]))
    error = await failure_of(stub.CreateDomain(create(domain_id, additional_names=additional)))
    assert error.code() == grpc.StatusCode.ALREADY_EXISTS
    assert detail(error, error_details_pb2.ResourceInfo).resource_name == f"domains/{owner}"


async def test_every_violation_at_once(stub: Any) -> None:
    """A request with several faults hears of all of them in one answer."""
    request = create("*.example.com", request_id="x" * 65, tenant="A", labels={"K": "v"})
    assert set(violations(await failure_of(stub.CreateDomain(request)))) == {
        "domain_id",
        "request_id",
        "domain.tenant",
        "domain.labels['K']",
    }


async def test_get_shows_the_status(api: RunningApi, stub: Any) -> None:
    """Everything that the worker notes is on the resource."""
    await stub.CreateDomain(create(additional_names=["www.shop.example.com"]))
    problem = Problem("urn:ietf:params:acme:error:dns", "no address", Actor.CUSTOMER, NOW, "www.shop.example.com")
    status = replace(
        active(NOW + timedelta(days=90)),
        state=DomainState.DEGRADED,
        reconciling=True,
        current_step="challenge",
        renew_time=NOW + timedelta(days=60),
        attempt_count=3,
        last_error=problem,
        omitted_names=(DomainName("www.shop.example.com"),),
    )
    await api.domains.put_status(SHOP, status)
    domain = await stub.GetDomain(pb.GetDomainRequest(name=f"domains/{SHOP}"))
    assert domain.state == State.Value("STATE_DEGRADED")
    assert domain.reconciling
    assert domain.current_step == "challenge"
    assert domain.certificate == "certificates/c1"
    assert domain.expire_time.ToDatetime(UTC) == NOW + timedelta(days=90)
    assert domain.attempt_count == 3
    assert domain.last_error.must_act == domain_pb2.DomainError.Actor.Value("ACTOR_CUSTOMER")
    assert domain.last_error.failed_name == "www.shop.example.com"
    assert list(domain.omitted_names) == ["www.shop.example.com"]


async def test_get_missing(stub: Any) -> None:
    """A domain that is not there, or is another's additional name, is NOT_FOUND with its resource name."""
    await stub.CreateDomain(create(additional_names=["www.shop.example.com"]))
    for name in ("domains/none.example.com", "domains/www.shop.example.com"):
        error = await failure_of(stub.GetDomain(pb.GetDomainRequest(name=name)))
        assert error.code() == grpc.StatusCode.NOT_FOUND
        assert detail(error, error_details_pb2.ResourceInfo).resource_name == name


# ---- ListDomains ----


async def fill(stub: Any, count: int, **fields: Any) -> list[str]:
    """Creates domains and returns their resource names in the order of listings."""
    names = [f"d{number:04}.example.com" for number in range(count)]
    await asyncio.gather(*(stub.CreateDomain(create(name, **fields)) for name in names))
    return [f"domains/{name}" for name in names]


async def list_all(stub: Any, page_size: int, text: str = "") -> list[list[str]]:
    """Returns the names on each page."""
    pages: list[list[str]] = []
    token = ""
    while True:
        response = await stub.ListDomains(pb.ListDomainsRequest(page_size=page_size, page_token=token, filter=text))
        pages.append([domain.name for domain in response.domains])
        token = response.next_page_token
        if not token:
            return pages


async def test_list_nothing(stub: Any) -> None:
    """Without domains there is one empty page."""
    assert await list_all(stub, 10) == [[]]


@pytest.mark.parametrize(("page_size", "sizes"), [(1, [1] * 5), (2, [2, 2, 1]), (5, [5]), (0, [5]), (1000, [5])])
async def test_list_pages(stub: Any, page_size: int, sizes: list[int]) -> None:
    """Pages have the size asked for and together hold each domain once."""
    names = await fill(stub, 5)
    pages = await list_all(stub, page_size)
    assert sizes == [len(page) for page in pages]
    assert names == [name for page in pages for name in page]


async def test_list_default_and_greatest_size(api: RunningApi, stub: Any) -> None:
    """A page has 100 domains by default, and a size above 1,000 is taken as 1,000 (AIP-158)."""
    await stub.ListDomains(pb.ListDomainsRequest())
    await stub.ListDomains(pb.ListDomainsRequest(page_size=2_000_000_000))
    assert api.domains.list_sizes == [100, 1000]


@pytest.mark.parametrize("page_size", [1, 2, 3, 7, 100])
async def test_list_filtered_pages(stub: Any, page_size: int) -> None:
    """With a filter, pages together hold each domain that meets it once, and none has more than asked for."""
    await fill(stub, 40)
    for number in range(0, 40, 3):
        await stub.CreateDomain(create(f"t{number:04}.example.com", tenant="acme"))
        await stub.CreateDomain(create(f"d{number:04}a.example.com", tenant="acme"))
    pages = await list_all(stub, page_size, 'tenant = "acme"')
    found = [name for page in pages for name in page]
    expected = sorted(
        f"domains/{letter}{number:04}{end}.example.com" for number in range(0, 40, 3) for letter, end in (("t", ""), ("d", "a"))
    )
    assert expected == sorted(found)
    assert all(len(page) <= page_size for page in pages)


async def test_list_by_state_and_expiry(api: RunningApi, stub: Any) -> None:
    """State and expiry are filtered as they stand."""
    await fill(stub, 4)
    await api.domains.put_status("d0001.example.com", active(NOW + timedelta(days=5)))
    await api.domains.put_status("d0002.example.com", active(NOW + timedelta(days=50)))
    soon = (NOW + timedelta(days=30)).isoformat()
    assert await list_all(stub, 10, f'state = ACTIVE AND expire_time < "{soon}"') == [["domains/d0001.example.com"]]
    assert await list_all(stub, 10, "state != ACTIVE") == [["domains/d0000.example.com", "domains/d0003.example.com"]]


async def test_list_scans_boundedly(api: RunningApi, stub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A filter that nothing meets ends a page after the scan limit, empty and with a token; the token goes on behind."""
    monkeypatch.setattr("controlplane.usecases.domain_listing.SCAN_LIMIT", 20)
    monkeypatch.setattr("controlplane.usecases.domain_listing.CHUNK", 10)
    await fill(stub, 45)
    await stub.CreateDomain(create("z.example.com", tenant="acme"))
    assert await list_all(stub, 5, 'tenant = "acme"') == [[], [], ["domains/z.example.com"]]
    assert max(api.domains.list_sizes) == 10


async def test_list_stays_within_a_message(api: RunningApi, stub: Any) -> None:
    """A page of domains with as many and as long names as allowed stays under what a client receives by default, 4 MiB."""
    label = "a" * 50
    labels = {f"{'k' * 60}{index}": "ü" * 63 for index in range(32)}
    count = 600
    for number in range(count):
        fqdn = f"d{number:04}.example.com"
        names = tuple(DomainName(f"x{index}.{label}.{label}.{label}.{label}.{fqdn}") for index in range(24))
        await api.domains.create(DomainSpec(DomainName(fqdn), "0" * 32, NOW, "acme", names, labels), DomainStatus())
    for text in ("", "tenant = acme"):
        pages = await list_all(stub, 1000, text)
        assert len(pages) > 1
        assert count == len({name for page in pages for name in page}) == sum(len(page) for page in pages)


async def test_list_token_of_another_filter(stub: Any) -> None:
    """A page token with another filter is refused; with the same filter written otherwise it is good."""
    await fill(stub, 3, tenant="acme")
    first = await stub.ListDomains(pb.ListDomainsRequest(page_size=1, filter='tenant = "acme"'))
    token = first.next_page_token
    for text in ("", 'tenant = "other"', 'tenant = "acme" AND state = ACTIVE'):
        error = await failure_of(stub.ListDomains(pb.ListDomainsRequest(page_size=1, page_token=token, filter=text)))
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert "page_token" in violations(error)
    assert (await stub.ListDomains(pb.ListDomainsRequest(page_size=5, page_token=token, filter="tenant=acme"))).domains


# ---- DeleteDomain, RenewDomain ----


async def test_delete(stub: Any) -> None:
    """A deleted domain is gone and frees all its names; deleting it again is NOT_FOUND."""
    await stub.CreateDomain(create(additional_names=["www.shop.example.com"]))
    await stub.DeleteDomain(pb.DeleteDomainRequest(name=f"domains/{SHOP}"))
    assert (await failure_of(stub.GetDomain(pb.GetDomainRequest(name=f"domains/{SHOP}")))).code() == grpc.StatusCode.NOT_FOUND
    assert (await failure_of(stub.DeleteDomain(pb.DeleteDomainRequest(name=f"domains/{SHOP}")))).code() == grpc.StatusCode.NOT_FOUND
    await stub.CreateDomain(create("www.shop.example.com"))


async def test_delete_with_etag(api: RunningApi, stub: Any) -> None:
    """A stale etag refuses the deletion with ABORTED and a reason; the current one deletes."""
    stale = await stub.CreateDomain(create())
    await api.domains.put_status(SHOP, active(NOW + timedelta(days=90)))
    error = await failure_of(stub.DeleteDomain(pb.DeleteDomainRequest(name=stale.name, etag=stale.etag)))
    assert error.code() == grpc.StatusCode.ABORTED
    assert detail(error, error_details_pb2.ErrorInfo).reason == "STALE_ETAG"
    current = await stub.GetDomain(pb.GetDomainRequest(name=stale.name))
    await stub.DeleteDomain(pb.DeleteDomainRequest(name=current.name, etag=current.etag))


async def test_etag_of_an_earlier_life(stub: Any) -> None:
    """An etag from before a deletion does not delete the domain that was created anew."""
    before = await stub.CreateDomain(create())
    await stub.DeleteDomain(pb.DeleteDomainRequest(name=before.name))
    await stub.CreateDomain(create())
    error = await failure_of(stub.DeleteDomain(pb.DeleteDomainRequest(name=before.name, etag=before.etag)))
    assert error.code() == grpc.StatusCode.ABORTED


async def test_renew(api: RunningApi, stub: Any) -> None:
    """Asking for a renewal writes the intent and changes the etag."""
    created = await stub.CreateDomain(create())
    renewed = await stub.RenewDomain(pb.RenewDomainRequest(name=created.name))
    assert renewed.etag != created.etag
    stored = await api.domains.get(DomainName(SHOP))
    assert stored is not None
    assert stored.renewal_requested


async def test_renew_missing(stub: Any) -> None:
    """A renewal of a domain that is not there is NOT_FOUND."""
    assert (await failure_of(stub.RenewDomain(pb.RenewDomainRequest(name=f"domains/{SHOP}")))).code() == grpc.StatusCode.NOT_FOUND


# ---- errors that are nobody's argument ----


async def test_internals_stay_inside(api: RunningApi, stub: Any) -> None:
    """An unexpected error in the store is INTERNAL, and its text reaches neither the caller nor the log."""
    api.domains.broken = RuntimeError("secret-xyz")
    with structlog.testing.capture_logs() as logs:
        errors = [
            await failure_of(stub.GetDomain(pb.GetDomainRequest(name=f"domains/{SHOP}"))),
            await failure_of(stub.CreateDomain(create())),
            await failure_of(stub.WatchDomains(pb.WatchDomainsRequest()).read()),
        ]
    for error in errors:
        assert error.code() == grpc.StatusCode.INTERNAL
        assert detail(error, error_details_pb2.ErrorInfo).reason == "INTERNAL"
        assert "secret-xyz" not in f"{error}{rich_status(error)}{error.trailing_metadata()}"
    assert "secret-xyz" not in str(logs)
    assert len([entry for entry in logs if entry["log_level"] == "error"]) == len(errors)


async def test_store_away(api: RunningApi, stub: Any) -> None:
    """When the store is away every method is UNAVAILABLE with the time after which to retry, and without the store's address."""
    api.domains.away = True
    name = f"domains/{SHOP}"
    for call in (
        stub.CreateDomain(create()),
        stub.GetDomain(pb.GetDomainRequest(name=name)),
        stub.ListDomains(pb.ListDomainsRequest()),
        stub.DeleteDomain(pb.DeleteDomainRequest(name=name)),
        stub.RenewDomain(pb.RenewDomainRequest(name=name)),
        stub.WatchDomains(pb.WatchDomainsRequest()).read(),
    ):
        error = await failure_of(call)
        assert error.code() == grpc.StatusCode.UNAVAILABLE
        assert detail(error, error_details_pb2.RetryInfo).retry_delay.ToMilliseconds() == 2500
        assert "10.0.0.7" not in f"{error}{rich_status(error)}"


async def test_requests_are_not_logged(stub: Any) -> None:
    """The log has method and code of a call, and nothing that the caller sent in a refused request."""
    with structlog.testing.capture_logs() as logs:
        await failure_of(stub.CreateDomain(create(tenant="PRIVATE", labels={"Private-Key": "PRIVATE"}, request_id="é PRIVATE")))
    assert any(entry.get("code") == "INVALID_ARGUMENT" and entry["method"].endswith("/CreateDomain") for entry in logs)
    assert "private" not in str(logs).lower()


# ---- WatchDomains ----


class Watch:
    """An open watch, read with a deadline."""

    def __init__(self, stub: Any, names: tuple[str, ...] = (), resume_token: str = "") -> None:
        self.call = stub.WatchDomains(pb.WatchDomainsRequest(names=names, resume_token=resume_token))

    async def next(self) -> pb.WatchDomainsResponse:
        """Returns the next response."""
        async with asyncio.timeout(DEADLINE):
            response = await self.call.read()
        assert isinstance(response, pb.WatchDomainsResponse), "the watch ended"
        return response

    async def snapshot(self) -> tuple[list[str], str]:
        """Reads a snapshot; returns the names in it and the resume token at its end."""
        names = []
        while True:
            response = await self.next()
            assert response.snapshot
            if response.WhichOneof("event") == "snapshot_complete":
                return names, response.resume_token
            assert response.resume_token == ""
            names.append(response.domain.name)


async def test_watch(api: RunningApi, stub: Any) -> None:
    """A watch gives a snapshot, its end, and then creations, changes and deletions, each with a resume token."""
    await fill(stub, 2)
    watch = Watch(stub)
    names, token = await watch.snapshot()
    assert names == ["domains/d0000.example.com", "domains/d0001.example.com"]
    assert token
    await stub.CreateDomain(create())
    created = await watch.next()
    assert (created.domain.name, created.snapshot) == (f"domains/{SHOP}", False)
    await api.domains.put_status(SHOP, active(NOW + timedelta(days=90)))
    assert (await watch.next()).domain.state == State.Value("STATE_ACTIVE")
    await stub.DeleteDomain(pb.DeleteDomainRequest(name=f"domains/{SHOP}"))
    deleted = await watch.next()
    assert deleted.deleted == f"domains/{SHOP}"
    assert deleted.resume_token


async def test_watch_resumes(stub: Any) -> None:
    """A resumed watch has no snapshot and gives what changed since the token, and then what changes."""
    watch = Watch(stub)
    _, token = await watch.snapshot()
    watch.call.cancel()
    names = await fill(stub, 3)
    resumed = Watch(stub, resume_token=token)
    seen = [await resumed.next() for _ in names]
    assert set(names) == {response.domain.name for response in seen}
    assert not any(response.snapshot for response in seen)
    again = Watch(stub, resume_token=seen[-1].resume_token)
    await stub.CreateDomain(create())
    assert (await again.next()).domain.name == f"domains/{SHOP}"


async def test_watch_resumes_from_every_token(stub: Any) -> None:
    """Whichever token was the last that a caller read, resuming from it gives every change that came later."""
    watch = Watch(stub)
    await watch.snapshot()
    await fill(stub, 6)
    seen = [await watch.next() for _ in range(6)]
    for index, response in enumerate(seen[:-1]):
        resumed = Watch(stub, resume_token=response.resume_token)
        missing = {later.domain.name for later in seen[index + 1 :]}
        while missing:
            missing.discard((await resumed.next()).domain.name)
        resumed.call.cancel()


async def test_watch_with_an_old_token(api: RunningApi, stub: Any) -> None:
    """A token whose changes are forgotten is answered with a snapshot, then changes go on."""
    await fill(stub, 2)
    _, token = await Watch(stub).snapshot()
    await api.domains.trim()
    resumed = Watch(stub, resume_token=token)
    names, _ = await resumed.snapshot()
    assert names == ["domains/d0000.example.com", "domains/d0001.example.com"]
    await stub.CreateDomain(create())
    assert (await resumed.next()).domain.name == f"domains/{SHOP}"


async def test_watch_of_names(stub: Any) -> None:
    """A watch of names gives those only; a name that does not exist yet is seen when it comes."""
    await fill(stub, 3)
    watch = Watch(stub, names=("domains/d0001.example.com", f"domains/{SHOP}"))
    names, _ = await watch.snapshot()
    assert names == ["domains/d0001.example.com"]
    await stub.RenewDomain(pb.RenewDomainRequest(name="domains/d0000.example.com"))
    await stub.CreateDomain(create())
    assert (await watch.next()).domain.name == f"domains/{SHOP}"


async def test_watch_token_of_other_names(stub: Any) -> None:
    """A resume token with other names is refused: what they hold was never sent."""
    _, token = await Watch(stub, names=(f"domains/{SHOP}",)).snapshot()
    error = await failure_of(stub.WatchDomains(pb.WatchDomainsRequest(resume_token=token)).read())
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "resume_token" in violations(error)


async def test_watch_ends_when_the_server_stops(api: RunningApi, stub: Any) -> None:
    """An open watch ends with UNAVAILABLE once the server is told to stop."""
    watch = Watch(stub)
    await watch.snapshot()
    api.stopping.set()
    async with asyncio.timeout(DEADLINE):
        error = await failure_of(watch.call.read())
    assert error.code() == grpc.StatusCode.UNAVAILABLE


def watching() -> bool:
    """Whether a watch runs in this process."""
    return any("DomainWatch" in str(task.get_coro()) for task in asyncio.all_tasks())


async def test_watch_that_is_left_is_ended(api: RunningApi, stub: Any) -> None:
    """When a caller goes, its watch stops following the changes."""
    watch = Watch(stub)
    await watch.snapshot()
    assert watching()
    watch.call.cancel()
    async with asyncio.timeout(DEADLINE):
        while watching():
            await asyncio.sleep(0.01)
