"""HTTP-01 answers over gRPC, as Envoy's external authorization sees them."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import grpc
import pytest
from envoy.service.auth.v3 import external_auth_pb2, external_auth_pb2_grpc
from google.rpc import code_pb2

from controlplane.api.certplane.wire.v1 import ext_authz_pb2 as wire
from controlplane.core.ports import TokenRecord
from controlplane.core.redacted import SecretBytes
from controlplane.endpoints.ext_authz import add_ext_authz
from controlplane.usecases.challenges import Challenges
from tests.fakes.tokens import InMemoryTokens

NOW = datetime(2026, 11, 1, tzinfo=UTC)
CHECK = "/envoy.service.auth.v3.Authorization/Check"


@dataclass
class Served:
    """A running server with its tokens."""

    tokens: InMemoryTokens
    channel: grpc.aio.Channel

    async def check(self, path: str, host: str = "a.example", method: str = "GET") -> external_auth_pb2.CheckResponse:
        """Sends a CheckRequest as Envoy does."""
        request = external_auth_pb2.CheckRequest()
        request.attributes.request.http.method = method
        request.attributes.request.http.host = host
        request.attributes.request.http.path = path
        request.attributes.source.address.socket_address.address = "192.0.2.1"
        return await external_auth_pb2_grpc.AuthorizationStub(self.channel).Check(request, timeout=10)


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    """A server over a store with one token."""
    tokens = InMemoryTokens(lambda: NOW)
    await tokens.plant(TokenRecord("token", SecretBytes(b"token.thumbprint"), ("a.example",), NOW + timedelta(minutes=5)))
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    add_ext_authz(server, Challenges(tokens, lambda: NOW))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Served(tokens, channel)
    await server.stop(0)


async def test_a_challenge_is_denied_with_its_answer(served):
    """Envoy sends a denied response on when the status is not OK: 200, the key authorization as the whole body, no HTML."""
    answer = await served.check("/.well-known/acme-challenge/token?x", "A.example.:80")
    assert code_pb2.OK != answer.status.code
    assert (200, "token.thumbprint") == (answer.denied_response.status.code, answer.denied_response.body)
    headers = {option.header.key: option.header.value for option in answer.denied_response.headers}
    assert {"content-type": "application/octet-stream"} == headers


@pytest.mark.parametrize(("path", "host"), [("unknown", "a.example"), ("token", "b.example"), ("a/b", "a.example"), ("", "a.example")])
async def test_an_unknown_challenge_is_denied_with_404(served, path, host):
    """An unknown token, or a known one for another host, never reaches the site behind Envoy."""
    answer = await served.check(f"/.well-known/acme-challenge/{path}", host)
    assert code_pb2.OK != answer.status.code
    assert 404 == answer.denied_response.status.code


async def test_a_store_that_is_away_denies_challenges_only(served):
    """Challenges get 503, the site's own requests go on."""
    served.tokens.away = True
    assert 503 == (await served.check("/.well-known/acme-challenge/token")).denied_response.status.code
    assert "ok_response" == (await served.check("/")).WhichOneof("http_response")


@pytest.mark.parametrize("path", ["/", "/shop?x=/.well-known/acme-challenge/token", "/.well-known/security.txt"])
async def test_any_other_request_is_allowed(served, path):
    """The status is OK and nothing is changed."""
    answer = await served.check(path)
    assert (code_pb2.OK, "ok_response") == (answer.status.code, answer.WhichOneof("http_response"))


async def test_a_request_with_any_bytes_is_answered(served):
    """Bytes that are not UTF-8, from a stranger's request, do not make a check fail."""
    http = wire.AttributeContext.HttpRequest(method=b"GET", host=b"\xff", path=b"/.well-known/acme-challenge/\xff\0")
    request = wire.CheckRequest(attributes=wire.AttributeContext(request=wire.AttributeContext.Request(http=http)))
    check = served.channel.unary_unary(CHECK, response_deserializer=external_auth_pb2.CheckResponse.FromString)
    assert 404 == (await check(request.SerializeToString(), timeout=10)).denied_response.status.code


async def test_bytes_that_are_no_check_are_refused(served):
    """Undecodable bytes give INVALID_ARGUMENT."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await served.channel.unary_unary(CHECK)(b"\xff\xff", timeout=10)
    assert grpc.StatusCode.INVALID_ARGUMENT == refused.value.code()
