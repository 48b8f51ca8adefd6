"""HTTP-01 answers through Envoy's external authorization (envoy.service.auth.v3.Authorization/Check).

Envoy asks about requests; a request for a challenge is "denied" with the response that the CA wants to see, any other is allowed.
Requests are decoded with mirror messages, as a stranger's HTTP request decides their content, and so are answers made: a mirror is a
hundredth of Envoy's API, which would have to be loaded otherwise.
"""

from functools import cache

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from google.rpc import code_pb2
from prometheus_client import Counter

from controlplane.api.certplane.wire.v1 import ext_authz_pb2 as wire
from controlplane.usecases.challenges import ChallengeReply, Challenges

_Context = grpc.aio.ServicerContext[bytes, bytes]

_MALFORMED = Counter("certplane_challenge_decode_failures_total", "Checks that could not be decoded.")

_OVERWRITE_OR_ADD = 2

_CONTENT_TYPE = "application/octet-stream"
"""What RFC 8555 section 8.3 shows; no browser makes anything of it."""

_ALLOWED: bytes = wire.CheckResponse(ok_response=wire.CheckResponse.OkHttpResponse()).SerializeToString()


def add_ext_authz(server: grpc.aio.Server, challenges: Challenges) -> None:
    """Adds the Authorization service to a server that is not started yet."""

    async def check(data: bytes, context: _Context) -> bytes:
        try:
            http = wire.CheckRequest.FromString(data).attributes.request.http
        except DecodeError:
            _MALFORMED.inc()
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "not a CheckRequest")
            raise
        reply = await challenges.reply(http.method, http.host, http.path)
        return _ALLOWED if reply is None else reply.encoded(_denied)

    handler = grpc.method_handlers_generic_handler(
        "envoy.service.auth.v3.Authorization", {"Check": grpc.unary_unary_rpc_method_handler(check)}
    )
    server.add_generic_rpc_handlers((handler,))


def _denied(reply: ChallengeReply) -> bytes:
    """Returns a CheckResponse with this HTTP response. Envoy uses a denied response only when the status is not OK, even for a 200."""
    response = wire.CheckResponse()
    response.CopyFrom(_without_body(reply.status))
    response.denied_response.body = reply.body
    serialised: bytes = response.SerializeToString()
    return serialised


@cache
def _without_body(status: int) -> wire.CheckResponse:
    """Returns what all answers with a status have in common."""
    response = wire.CheckResponse()
    response.status.code = code_pb2.PERMISSION_DENIED
    response.denied_response.status.code = status
    header = response.denied_response.headers.add(append_action=_OVERWRITE_OR_ADD)
    header.header.key, header.header.value = "content-type", _CONTENT_TYPE
    return response
