"""Clients that do not read, in every variant of the protocol: real gRPC clients with HTTP/2 flow control, over an in-memory store."""

from collections.abc import Callable

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from controlplane.xds.messages import MAX_RESPONSE_BYTES
from tests.fakes.eventually import eventually
from tests.fakes.secret_streams import Served, Stream, connected, names_held, sample, secrets_of, serving
from tests.integration.test_sds_flow_control import put_large

NAMES = [f"n{number}.example" for number in range(40)]
"""Of 40 kB each: more than a client's window of 64 KiB, and than a few answers may hold."""
VARIANTS = {"delta_ads": Served.delta_ads, "delta_sds": Served.delta_sds, "sotw_ads": Served.sotw_ads, "sotw_sds": Served.sotw_sds}


async def ask(stream: Stream, label: str, *names: str) -> None:
    """Asks for names, at first."""
    await (stream.delta if label.startswith("delta") else stream.sotw)(*names)


@pytest.mark.parametrize(("label", "open_stream"), VARIANTS.items())
async def test_a_client_that_does_not_read_is_left(label: str, open_stream: Callable[[Served], Stream]) -> None:
    """After the deadline its stream ends with DEADLINE_EXCEEDED and its names are released; who reads is served all that time."""
    async with serving(write_seconds=0.4) as served:
        for name in NAMES:
            await put_large(served, name)
        held, left = names_held(), sample("certplane_xds_held_up_streams_total", label)
        async with connected(served.address, http2_bdp_probe=0) as channel:
            unread = open_stream(Served(served.store, served.directory, served.sds, served.address, channel))
            await ask(unread, label, *NAMES)
            await eventually(lambda: names_held() == held + len(NAMES))
            reader = open_stream(served)
            await ask(reader, label, NAMES[0])
            assert {NAMES[0]} == set(secrets_of(await reader.read()))
            await eventually(lambda: left + 1 == sample("certplane_xds_held_up_streams_total", label))
            await eventually(lambda: names_held() == held + 1)
            said = await unread.read()
            while not isinstance(said, grpc.StatusCode):
                said = await unread.read()
            assert grpc.StatusCode.DEADLINE_EXCEEDED == said


@pytest.mark.parametrize(("label", "open_stream"), VARIANTS.items())
async def test_changes_meanwhile_are_told_once(label: str, open_stream: Callable[[Served], Stream]) -> None:
    """However often secrets are renewed while a client does not read, it ends with the newest of each, after a few answers."""
    async with serving(write_seconds=60) as served:
        for name in NAMES:
            await put_large(served, name)
        async with connected(served.address, http2_bdp_probe=0) as channel:
            stream = open_stream(Served(served.store, served.directory, served.sds, served.address, channel))
            await ask(stream, label, *NAMES)
            newest: dict[str, bytes] = {}
            for _ in range(20):
                for name in NAMES:
                    record = await put_large(served, name, publish=True)
                    newest[name] = record.leaf
            has: dict[str, bytes] = {}
            answers = 0
            while {name: has.get(name) for name in NAMES} != newest:
                answer = await stream.read()
                answers += 1
                assert answer.ByteSize() <= MAX_RESPONSE_BYTES
                for name, secret in secrets_of(answer).items():
                    has[name] = leaf_of(secret.tls_certificate.certificate_chain.inline_bytes)
            # What was written before it did not read, what was on its way, and once all that changed: not twenty times as much.
            assert answers <= 15


def leaf_of(chain: bytes) -> bytes:
    """The first certificate of a chain in PEM, as DER."""
    return x509.load_pem_x509_certificate(chain).public_bytes(Encoding.DER)
