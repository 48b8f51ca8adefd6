"""How commands reach FleetService."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from controlplane.api.certplane.v1 import fleet_pb2, fleet_service_pb2, fleet_service_pb2_grpc
from controlplane.cli.api_client import CALL_SECONDS, ApiSettings, open_channel

PREFIX: Final = "nodes/"
_NAMES_AT_ONCE: Final = 1_000


@contextmanager
def fleet_connected(settings: ApiSettings) -> Iterator[Any]:
    """Gives a stub of FleetService.

    Raises:
        click.ClickException: a TLS file cannot be read.
    """
    # gRPC's own lines on standard error say less than the message that the command gives.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    with open_channel(settings) as channel:
        stub: Any = fleet_service_pb2_grpc.FleetServiceStub
        yield stub(channel)


def node_secrets(stub: Any, name: str, count: int | None = None) -> Iterator[fleet_pb2.NodeSecret]:
    """Returns the secrets of a node, the busiest first: all of them, or `count` at most."""
    token, left = "", count
    while left is None or left > 0:
        size = _NAMES_AT_ONCE if left is None else min(left, _NAMES_AT_ONCE)
        request = fleet_service_pb2.ListNodeSecretsRequest(parent=name, page_size=size, page_token=token)
        response = stub.ListNodeSecrets(request, timeout=CALL_SECONDS)
        yield from response.secrets
        left = None if left is None else left - size
        token = response.next_page_token
        if not token:
            return
