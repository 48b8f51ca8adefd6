"""What handlers ask of gRPC about a call, typed."""

from typing import Never

import grpc
import grpc.aio

Context = grpc.aio.ServicerContext[bytes, bytes]
"""The context of a call whose messages are bytes."""


def peer_identities(context: Context) -> tuple[str, ...]:
    """Returns the subject alternative names of the client's certificate, which mutual TLS has verified; none without TLS."""
    names = context.auth_context().get("x509_subject_alternative_name", ())
    return tuple(name.decode("utf-8", "backslashreplace") for name in names)


async def end_stream(context: Context, code: grpc.StatusCode, detail: str) -> None:
    """Ends a call with a status, after what the client has not read yet; return from the handler after it."""
    try:
        await context.abort(code, detail)
    except grpc.aio.InternalError:
        pass  # the client has gone without reading it
    except grpc.aio.AbortError:
        pass  # gRPC remembers it


async def abort(context: Context, code: grpc.StatusCode, detail: str) -> Never:
    """Ends a call with a status; never returns."""
    await context.abort(code, detail)
    raise AssertionError("abort raises")
