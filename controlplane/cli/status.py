"""`certplane status`: replicas, totals, the workers' lanes and their CAs at the command line."""

import click

from controlplane.api.certplane.v1 import fleet_service_pb2
from controlplane.cli.api_client import CALL_SECONDS, ApiSettings, api_command
from controlplane.cli.authority_text import authority_lines
from controlplane.cli.fleet_client import fleet_connected
from controlplane.cli.lane_text import lane_table
from controlplane.cli.options import option
from controlplane.cli.printing import as_json


@click.command()
@option("--json", "as_json_only", is_flag=True, help="The same as --output json.")
@api_command
def status(settings: ApiSettings, as_json_only: bool) -> None:
    """Show how the fleet is: replicas of serve, what is connected to them, what waits for a worker, and the CAs."""
    with fleet_connected(settings) as stub:
        found = stub.GetFleetStatus(fleet_service_pb2.GetFleetStatusRequest(), timeout=CALL_SECONDS)
    if settings.json or as_json_only:
        click.echo(as_json(found))
        return
    click.echo(f"replicas         {len(found.replicas)}")
    click.echo(f"connected nodes  {found.connected_nodes}")
    click.echo(f"secrets held     {found.secrets_held}")
    click.echo(f"refused secrets  {found.refused_secrets}")
    click.echo("")
    for line in lane_table(found.lanes):
        click.echo(line)
    click.echo("")
    for line in authority_lines(found.certificate_authorities):
        click.echo(line)
