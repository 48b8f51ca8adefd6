"""A table of bad names and bad requests: each is refused with its exact status code, on the right field, with a sentence that helps."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2

from controlplane.api.certplane.v1 import domain_pb2
from controlplane.api.certplane.v1 import domain_service_pb2 as pb
from tests.fakes.domain_api import RunningApi, connected, detail, failure_of, running_api, violations

GOOD = "shop.example.com"


@pytest.fixture
async def api() -> AsyncIterator[RunningApi]:
    """The API with nothing in it."""
    async with running_api() as running:
        yield running


def create(domain_id: str = GOOD, request_id: str = "", **fields: Any) -> pb.CreateDomainRequest:
    """A CreateDomain request."""
    return pb.CreateDomainRequest(domain_id=domain_id, domain=domain_pb2.Domain(**fields), request_id=request_id)


BAD_NAMES = [
    ("", "is empty"),
    (".", "DNS root"),
    ("com", "single label"),
    ("co.uk", "public suffix"),
    ("github.io", "public suffix"),
    ("localhost", "localhost"),
    ("shop.localhost", "localhost"),
    ("printer.local", "local"),
    ("host.internal", "internal"),
    ("hidden.onion", "onion"),
    ("1.0.0.10.in-addr.arpa", "arpa"),
    ("a.invalid", "invalid"),
    ("*.example.com", "wildcard"),
    ("shop.*.example.com", "wildcard"),
    ("192.0.2.1", "IP address"),
    ("2001:db8::1", "IP address"),
    ("[2001:db8::1]", "IP address"),
    ("0x7f.1", "IP"),
    ("shop_1.example.com", "underscore"),
    ("-shop.example.com", "hyphen"),
    ("shop-.example.com", "hyphen"),
    ("shop..example.com", "label"),
    (".shop.example.com", "label"),
    ("shop.example.com..", "label"),
    ("shop .example.com", "space"),
    (" shop.example.com", "white space"),
    ("shop.example.com\n", "white space"),
    ("shop\x00.example.com", "U+0000"),
    ("shop\u200b.example.com", "U+200B"),
    ("\u202eshop.example.com", "U+202E"),
    ("https://shop.example.com", "URL"),
    ("shop.example.com/path", "path"),
    ("shop.example.com:443", "port"),
    ("me@example.com", "e-mail"),
    ("domains/shop.example.com", "path"),
    ("a" * 64 + ".example.com", "63"),
    (".".join(["a" * 60] * 5) + ".com", "253"),
    ("a" * 5_000, "253"),
    ("xn--zz--.example.com", "xn--"),
    ("\u2488.example.com", "IDNA 2008"),
]


@pytest.mark.parametrize(("text", "says"), BAD_NAMES, ids=[ascii(text[:30]) for text, _ in BAD_NAMES])
async def test_bad_names(api: RunningApi, text: str, says: str) -> None:
    """A bad name is INVALID_ARGUMENT wherever a name is taken, and the violation is on the field that it came in."""
    async with connected(api.address) as stub:
        calls = {
            "domain_id": lambda: stub.CreateDomain(create(text)),
            "domain.additional_names[0]": lambda: stub.CreateDomain(create(additional_names=[text])),
            "name": lambda: stub.GetDomain(pb.GetDomainRequest(name=f"domains/{text}")),
            "names[0]": lambda: stub.WatchDomains(pb.WatchDomainsRequest(names=[f"domains/{text}"])).read(),
        }
        for field, call in calls.items():
            error = await failure_of(call())
            assert error.code() == grpc.StatusCode.INVALID_ARGUMENT, field
            assert list(violations(error)) == [field]
            assert says.lower() in violations(error)[field].lower()
        assert not (await stub.ListDomains(pb.ListDomainsRequest())).domains


BAD_REQUESTS = [
    ("CreateDomain", create(tenant="Acme"), "domain.tenant", "a to z"),
    ("CreateDomain", create(tenant="a" * 64), "domain.tenant", "63"),
    ("CreateDomain", create(tenant="a_b"), "domain.tenant", "hyphen"),
    ("CreateDomain", create(tenant="acme\n"), "domain.tenant", "a to z"),
    ("CreateDomain", create(tenant="\u0430cme"), "domain.tenant", "a to z"),
    ("CreateDomain", create(request_id="r" * 65), "request_id", "64"),
    ("CreateDomain", create(request_id="r\n"), "request_id", "printable"),
    ("CreateDomain", create(request_id="\u00e9"), "request_id", "ASCII"),
    ("CreateDomain", create(labels={"": "v"}), "domain.labels['']", "key"),
    ("CreateDomain", create(labels={"Tier": "v"}), "domain.labels['Tier']", "key"),
    ("CreateDomain", create(labels={"k" * 64: "v"}), f"domain.labels['{'k' * 63}']", "63"),
    ("CreateDomain", create(labels={"tier": "v" * 64}), "domain.labels['tier']", "value"),
    ("CreateDomain", create(labels={"tier": "a\x1bb"}), "domain.labels['tier']", "printable"),
    ("CreateDomain", create(labels={f"k{index}": "" for index in range(33)}), "domain.labels", "32"),
    ("CreateDomain", create(additional_names=[f"a{i}.example.com" for i in range(25)]), "domain.additional_names", "24"),
    ("CreateDomain", create(additional_names=[GOOD]), "domain.additional_names[0]", "own name"),
    ("CreateDomain", create(additional_names=["a.example.com", "A.example.com."]), "domain.additional_names[1]", "once"),
    ("GetDomain", pb.GetDomainRequest(), "name", "domains/{fqdn}"),
    ("GetDomain", pb.GetDomainRequest(name=GOOD), "name", "domains/{fqdn}"),
    ("GetDomain", pb.GetDomainRequest(name=f"certificates/{GOOD}"), "name", "domains/{fqdn}"),
    ("GetDomain", pb.GetDomainRequest(name=f"Domains/{GOOD}"), "name", "domains/{fqdn}"),
    ("GetDomain", pb.GetDomainRequest(name=f"domains/{GOOD}/extra"), "name", ""),
    ("DeleteDomain", pb.DeleteDomainRequest(), "name", "domains/{fqdn}"),
    ("DeleteDomain", pb.DeleteDomainRequest(name=f"domains/{GOOD}", etag="e" * 129), "etag", "128"),
    ("RenewDomain", pb.RenewDomainRequest(name="domains/-"), "name", ""),
    ("ListDomains", pb.ListDomainsRequest(page_size=-1), "page_size", "negative"),
    ("ListDomains", pb.ListDomainsRequest(page_token="x"), "page_token", "leave it empty"),
    ("ListDomains", pb.ListDomainsRequest(page_token="AAAAAAAAAAAAAAAAAAAA"), "page_token", "leave it empty"),
    ("ListDomains", pb.ListDomainsRequest(page_token="\u00e9\u00e9\u00e9\u00e9"), "page_token", "leave it empty"),
    ("ListDomains", pb.ListDomainsRequest(page_token="after:a"), "page_token", "leave it empty"),
    ("ListDomains", pb.ListDomainsRequest(filter="owner = acme"), "filter", "position 1"),
    ("ListDomains", pb.ListDomainsRequest(filter="state = RUNNING"), "filter", "position 9"),
    ("ListDomains", pb.ListDomainsRequest(filter='expire_time < "tomorrow"'), "filter", "RFC 3339"),
    ("ListDomains", pb.ListDomainsRequest(filter="tenant = a OR tenant = b"), "filter", "AND"),
    ("ListDomains", pb.ListDomainsRequest(filter="x" * 2_001), "filter", "2000"),
    ("WatchDomains", pb.WatchDomainsRequest(names=[GOOD]), "names[0]", "domains/{fqdn}"),
    ("WatchDomains", pb.WatchDomainsRequest(names=[f"domains/{GOOD}"] * 1_001), "names", "1000"),
    ("WatchDomains", pb.WatchDomainsRequest(resume_token="x"), "resume_token", "leave it empty"),
]


@pytest.mark.parametrize(("method", "request_message", "field", "says"), BAD_REQUESTS)
async def test_bad_requests(api: RunningApi, method: str, request_message: Any, field: str, says: str) -> None:
    """A bad request is INVALID_ARGUMENT with the one field that is wrong, and nothing is written."""
    async with connected(api.address) as stub:
        call = getattr(stub, method)(request_message)
        error = await failure_of(call.read() if method == "WatchDomains" else call)
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert list(violations(error)) == [field]
        assert says in violations(error)[field]
        assert not (await stub.ListDomains(pb.ListDomainsRequest())).domains


@pytest.mark.parametrize("page_token_kind", ["a watch's token", "a damaged token"])
async def test_tokens_from_elsewhere(api: RunningApi, page_token_kind: str) -> None:
    """Neither a resume token nor a page token with one character changed is taken for a page token."""
    async with connected(api.address) as stub:
        for name in ("a.example.com", "b.example.com"):
            await stub.CreateDomain(create(name))
        if page_token_kind == "a damaged token":
            token = (await stub.ListDomains(pb.ListDomainsRequest(page_size=1))).next_page_token
            token = token[:20] + ("A" if token[20] != "A" else "B") + token[21:]
        else:
            responses = [response async for response in _snapshot(stub)]
            token = responses[-1].resume_token
        error = await failure_of(stub.ListDomains(pb.ListDomainsRequest(page_token=token)))
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert list(violations(error)) == ["page_token"]


async def _snapshot(stub: Any) -> AsyncIterator[pb.WatchDomainsResponse]:
    call = stub.WatchDomains(pb.WatchDomainsRequest())
    async for response in call:
        yield response
        if response.resume_token:
            break
    call.cancel()


@pytest.mark.parametrize(
    "raw",
    [b"\x0a\x02\xff\xfe", b"\x0a\xff", b"\xff\xff\xff\xff", b"\x12\x03\x12\x01\xff"],
    ids=["domain_id is not UTF-8", "truncated", "no tag", "tenant is not UTF-8"],
)
@pytest.mark.parametrize("method", ["CreateDomain", "WatchDomains"])
async def test_requests_that_are_no_protobuf(api: RunningApi, raw: bytes, method: str) -> None:
    """Bytes that are not the request's message are INVALID_ARGUMENT, and the answer has no words of the parser."""
    async with grpc.aio.insecure_channel(api.address) as channel:
        path = f"/certplane.v1.DomainService/{method}"
        call = channel.unary_stream(path)(raw).read() if method == "WatchDomains" else channel.unary_unary(path)(raw)
        error = await failure_of(call)
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert detail(error, error_details_pb2.ErrorInfo).reason == "MALFORMED_REQUEST"
    assert "Error" not in str(error.details())


@pytest.mark.parametrize(
    ("path", "raw", "code"),
    [
        ("/certplane.v1.DomainService/UpdateDomain", b"", grpc.StatusCode.UNIMPLEMENTED),
        ("/certplane.v2.DomainService/GetDomain", b"", grpc.StatusCode.UNIMPLEMENTED),
        ("/certplane.v1.DomainService/GetDomain", b"\x0a" + b"\x80\x80\x80\x03" + b"a" * 6_291_456, grpc.StatusCode.RESOURCE_EXHAUSTED),
    ],
    ids=["unknown method", "unknown service", "6 MiB request"],
)
async def test_calls_that_grpc_refuses(api: RunningApi, path: str, raw: bytes, code: grpc.StatusCode) -> None:
    """Unknown methods and requests above the limit are refused before any handler, and the server goes on."""
    async with grpc.aio.insecure_channel(api.address) as channel:
        assert code == (await failure_of(channel.unary_unary(path)(raw))).code()
    async with connected(api.address) as stub:
        await stub.CreateDomain(create())


async def test_two_dozen_bad_names_fit_one_answer(api: RunningApi) -> None:
    """A request whose every name is bad and long is still INVALID_ARGUMENT with violations, within gRPC's limit on trailers."""
    names = ["\u00fc" * 900 + f"{index}.example.com" for index in range(24)]
    async with connected(api.address) as stub:
        error = await failure_of(stub.CreateDomain(create(additional_names=names)))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert len(violations(error)) > 5
