"""`certplane replacements`: mass replacement of certificates at the command line."""

import time
import uuid
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any, Final

import click

from controlplane.api.certplane.v1 import fleet_service_pb2, replacement_pb2
from controlplane.cli.api_client import CALL_SECONDS, ApiSettings, api_command, api_options
from controlplane.cli.fleet_client import fleet_connected
from controlplane.cli.options import Duration, option
from controlplane.cli.printing import as_json, print_list
from controlplane.cli.replacement_text import describe, table

_PREFIX: Final = "replacements/"
_COUNTING: Final = replacement_pb2.Replacement.State.Value("STATE_COUNTING")
_POLL_SECONDS: Final = 1.0
_PAGE: Final = 200


@click.group()
@api_options
def replacements(**_values: Any) -> None:
    """Replace the certificates of many domains, see how far it is, and stop it."""


@replacements.command()
@option(
    "--filter", "filter_text", required=True, help='Which domains: certificate_authority = letsencrypt, for example; "" is all of them.'
)
@option(
    "--over",
    type=Duration(),
    default=timedelta(),
    show_default=False,
    help="Spread over so much time, as 20h; else as fast as the CA allows.",
)
@option("--dry-run", is_flag=True, help="Count the domains and say how long it would take; ask nobody.")
@option("--reason", default="", show_default=False, help="Why, for those who read the list later.")
@option("--request-id", default="", show_default=False, help="Makes a retry return the replacement that the first try made.")
@api_command
def create(settings: ApiSettings, filter_text: str, over: timedelta, dry_run: bool, reason: str, request_id: str) -> None:
    """Ask all domains that meet the filter to renew, the most urgent first. The work goes on by itself; nothing need stay running here."""
    request = fleet_service_pb2.ReplaceCertificatesRequest(
        filter=filter_text, dry_run=dry_run, reason=reason, request_id=request_id or uuid.uuid4().hex
    )
    request.over.FromTimedelta(over)
    with fleet_connected(settings) as stub:
        created = stub.ReplaceCertificates(request, timeout=CALL_SECONDS)
        while dry_run and created.state == _COUNTING:
            click.echo(f"{created.matched_count} domains counted so far", err=True)
            time.sleep(_POLL_SECONDS)
            created = stub.GetReplacement(fleet_service_pb2.GetReplacementRequest(name=created.name), timeout=CALL_SECONDS)
    _show(settings, created)


@replacements.command("list")
@api_command
def list_replacements(settings: ApiSettings) -> None:
    """List replacements, the newest first."""
    with fleet_connected(settings) as stub:
        pages = _pages(stub)
        if settings.json:
            print_list("replacements", pages)
            return
        found = [each for page in pages for each in page]
    if not found:
        click.echo("no replacements", err=True)
        return
    for line in table(found):
        click.echo(line)


@replacements.command()
@click.argument("replacement")
@api_command
def get(settings: ApiSettings, replacement: str) -> None:
    """Show how far REPLACEMENT is."""
    with fleet_connected(settings) as stub:
        request = fleet_service_pb2.GetReplacementRequest(name=_resource(replacement))
        _show(settings, stub.GetReplacement(request, timeout=CALL_SECONDS))


@replacements.command()
@click.argument("replacement")
@api_command
def stop(settings: ApiSettings, replacement: str) -> None:
    """Stop REPLACEMENT: renewals that it asked for and that have not begun do not take place. It does not go on again."""
    with fleet_connected(settings) as stub:
        request = fleet_service_pb2.StopReplacementRequest(name=_resource(replacement))
        _show(settings, stub.StopReplacement(request, timeout=CALL_SECONDS))


def _pages(stub: Any) -> Iterator[Sequence[replacement_pb2.Replacement]]:
    token = ""
    while True:
        request = fleet_service_pb2.ListReplacementsRequest(page_size=_PAGE, page_token=token)
        response = stub.ListReplacements(request, timeout=CALL_SECONDS)
        yield response.replacements
        token = response.next_page_token
        if not token:
            return


def _show(settings: ApiSettings, replacement: replacement_pb2.Replacement) -> None:
    click.echo(as_json(replacement) if settings.json else describe(replacement))


def _resource(name: str) -> str:
    return _PREFIX + name.removeprefix(_PREFIX)
