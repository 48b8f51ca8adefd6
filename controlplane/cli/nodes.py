"""`certplane nodes`: the Envoys of the fleet at the command line."""

import json
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote

import click
from google.protobuf.json_format import MessageToDict

from controlplane.api.certplane.v1 import fleet_pb2, fleet_service_pb2
from controlplane.cli.api_client import CALL_SECONDS, ApiSettings, api_command, api_options
from controlplane.cli.fleet_client import PREFIX, fleet_connected, node_secrets
from controlplane.cli.node_text import describe, table
from controlplane.cli.options import option
from controlplane.cli.printing import as_json, show_list


@click.group()
@api_options
def nodes(**_values: Any) -> None:
    """See which Envoys are connected, and what they hold."""


@nodes.command("list")
@option("--page-size", type=click.IntRange(1, 200), default=100, help="Nodes asked for in one call.")
@api_command
def list_nodes(settings: ApiSettings, page_size: int) -> None:
    """List nodes, all pages, those included that were seen in the last week."""
    with fleet_connected(settings) as stub:
        pages = _pages(stub, page_size)
        show_list("nodes", pages, json=settings.json, table=table, none="no nodes")


@nodes.command()
@click.argument("node")
@api_command
def get(settings: ApiSettings, node: str) -> None:
    """Show the node NODE: its id, or its resource name."""
    with fleet_connected(settings) as stub:
        found = stub.GetNode(fleet_service_pb2.GetNodeRequest(name=resource_name(node)), timeout=CALL_SECONDS)
    click.echo(as_json(found) if settings.json else describe(found))


@nodes.command()
@click.argument("node")
@option("--count", type=click.IntRange(min=1), help="How many at most; all by default.")
@api_command
def secrets(settings: ApiSettings, node: str, count: int | None) -> None:
    """List the names that the node NODE holds or held lately, the busiest first."""
    with fleet_connected(settings) as stub:
        found = list(node_secrets(stub, resource_name(node), count))
    if settings.json:
        click.echo(json.dumps({"secrets": [MessageToDict(secret) for secret in found]}, indent=2))
        return
    for secret in found:
        click.echo(secret.secret)


def resource_name(node: str) -> str:
    """Returns the resource name for what a person typed: an id, or a resource name already."""
    return node if node.startswith(PREFIX) else PREFIX + quote(node, safe="")


def _pages(stub: Any, page_size: int) -> Iterator[Sequence[fleet_pb2.Node]]:
    token = ""
    while True:
        response = stub.ListNodes(fleet_service_pb2.ListNodesRequest(page_size=page_size, page_token=token), timeout=CALL_SECONDS)
        yield response.nodes
        token = response.next_page_token
        if not token:
            return
