"""FetchSecrets, the unary method of the secret discovery service: one request, one answer."""

from collections.abc import Awaitable, Callable, Sequence
from typing import cast

import grpc
import grpc.aio

from controlplane.core.access import AccessPolicy
from controlplane.endpoints.granted_secrets import granted
from controlplane.endpoints.grpc_calls import Context, abort, peer_identities
from controlplane.endpoints.stream_reports import FetchReports
from controlplane.endpoints.wire_codec import encode_sotw_response, sotw_field
from controlplane.endpoints.wire_requests import decode_sotw_request
from controlplane.usecases.known_secrets import Known, KnownSecret, KnownVersion
from controlplane.usecases.secrets import SecretDirectory
from controlplane.xds.messages import MalformedRequest, Node, Response
from controlplane.xds.sotw import SotwSubscription
from controlplane.xds.subscription import Versioned
from controlplane.xds.type_urls import SECRET

_NAMES_PER_STEP = 1024


def fetch_secrets(directory: SecretDirectory, access: AccessPolicy, reports: FetchReports) -> Callable[[bytes, Context], Awaitable[bytes]]:
    """Returns the handler of FetchSecrets, which answers with those of the names that exist and that the client may have."""

    def fields(names: Sequence[bytes], secrets: Sequence[Versioned]) -> Sequence[bytes | None]:
        return directory.fields(sotw_field, names, cast("Sequence[KnownSecret | KnownVersion]", secrets))

    async def fetch(data: bytes, context: Context) -> bytes:
        try:
            request = decode_sotw_request(data)
        except MalformedRequest as error:
            reports.malformed(str(error))
            await abort(context, grpc.StatusCode.INVALID_ARGUMENT, str(error))
        node = request.node or Node()
        grant = access.grant(peer_identities(context), node.id, node.cluster)
        subscription = SotwSubscription(SECRET)
        subscription.receive(request)
        responses: list[Response] = []
        while subscription.has_work:
            claims = subscription.take(_NAMES_PER_STEP)
            found: dict[str, Known] = dict(await directory.resolve(claims.keys))
            if any(key not in found for key in claims.keys):
                await abort(context, grpc.StatusCode.UNAVAILABLE, "the store does not answer")
            known, denied = granted(found, grant)
            if denied:
                reports.denied(denied)
            responses += subscription.answers(claims, known, fields)
            if len(responses) > 1:
                await abort(context, grpc.StatusCode.RESOURCE_EXHAUSTED, "too many secrets for one answer: ask for fewer names")
        response = responses[0] if responses else Response(SECRET, "", "")
        reports.sent(len(response.fields))
        return encode_sotw_response(response)

    return fetch
