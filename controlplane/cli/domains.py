"""`certplane domains`: the management API at the command line."""

import json
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import FrameType
from typing import Any, Final

import click
import grpc

from controlplane.api.certplane.v1 import domain_pb2, domain_service_pb2
from controlplane.cli.api_client import CALL_SECONDS, ApiSettings, api_command, api_options, connected
from controlplane.cli.check_text import describe_check, is_conclusive_problem
from controlplane.cli.domain_text import describe, problem_words, short_name, state_words, table
from controlplane.cli.options import Duration, option
from controlplane.cli.printing import as_json, show_list

_PREFIX: Final = "domains/"
_RENEWED_PAGE: Final = 1000
_SETTLED: Final = frozenset(map(domain_pb2.Domain.State.Value, ("STATE_ACTIVE", "STATE_DEGRADED", "STATE_FAILED", "STATE_PAUSED")))
_SERVED: Final = frozenset(map(domain_pb2.Domain.State.Value, ("STATE_ACTIVE", "STATE_DEGRADED")))


@click.group()
@api_options
def domains(**_values: Any) -> None:
    """Onboard domains, and see where they stand."""


@domains.command()
@click.argument("name")
@option("--tenant", default="", show_default=False, help="The tenant that the domain belongs to.")
@option("--additional-name", "additional_names", multiple=True, metavar="NAME", help="A further name on the certificate; repeatable.")
@option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="A label of your own; repeatable.")
@option("--request-id", default="", show_default=False, help="Makes a retry return the domain that the first try made.")
@option("--wait", is_flag=True, help="Wait until there is a certificate; exit status 1 if the first attempt fails.")
@option("--wait-timeout", type=click.FloatRange(min=1), default=300.0, metavar="SECONDS", help="How long --wait waits.")
@api_command
def create(
    settings: ApiSettings,
    name: str,
    tenant: str,
    additional_names: Sequence[str],
    labels: Sequence[str],
    request_id: str,
    wait: bool,
    wait_timeout: float,
) -> None:
    """Onboard the domain NAME. Repeating it is harmless."""
    domain = domain_pb2.Domain(tenant=tenant, additional_names=additional_names, labels=_labels(labels))
    request = domain_service_pb2.CreateDomainRequest(domain_id=name.removeprefix(_PREFIX), domain=domain, request_id=request_id)
    with connected(settings) as stub:
        created = stub.CreateDomain(request, timeout=CALL_SECONDS)
        if wait:
            created = _wait(stub, created, wait_timeout)
    _show(settings, created)
    if wait and created.state not in _SERVED:
        raise click.ClickException(f"{short_name(created)} is {state_words(created)}")


@domains.command()
@click.argument("name")
@api_command
def get(settings: ApiSettings, name: str) -> None:
    """Show the domain NAME."""
    with connected(settings) as stub:
        _show(settings, stub.GetDomain(domain_service_pb2.GetDomainRequest(name=_resource(name)), timeout=CALL_SECONDS))


@domains.command("list")
@option("--filter", "filter_text", default="", show_default=False, help='For example: state = FAILED AND tenant = "acme".')
@option("--page-size", type=click.IntRange(1, 1000), default=100, help="Domains asked for in one call.")
@api_command
def list_domains(settings: ApiSettings, filter_text: str, page_size: int) -> None:
    """List domains, all pages."""
    with connected(settings) as stub:
        pages = _pages(stub, filter_text, page_size)
        show_list("domains", pages, json=settings.json, table=table, none="no such domains" if filter_text else "no domains")


@domains.command()
@click.argument("name")
@option("--etag", default="", show_default=False, help="Delete only if this is still the domain's etag.")
@api_command
def delete(settings: ApiSettings, name: str, etag: str) -> None:
    """Remove the domain NAME, its certificate and its key."""
    request = domain_service_pb2.DeleteDomainRequest(name=_resource(name), etag=etag)
    with connected(settings) as stub:
        stub.DeleteDomain(request, timeout=CALL_SECONDS)
    click.echo("{}" if settings.json else f"deleted {request.name.removeprefix(_PREFIX)}")


@domains.command()
@click.argument("name", default="")
@option("--filter", "filter_text", default="", show_default=False, help="Renew all domains that meet this, in place of NAME.")
@option("--over", type=Duration(), default=timedelta(), show_default=False, help="Spread the renewals evenly over so much time, as 14d.")
@api_command
def renew(settings: ApiSettings, name: str, filter_text: str, over: timedelta) -> None:
    """Ask for a new certificate for the domain NAME, or for many; the old one is served until the new one is there.

    Workers take the renewals up when their time has come: nothing need stay running here. Renewals that are planned for earlier stay as
    they are planned.
    """
    if bool(name) == bool(filter_text):
        raise click.UsageError("give either NAME or --filter")
    with connected(settings) as stub:
        if name:
            _show(settings, stub.RenewDomain(domain_service_pb2.RenewDomainRequest(name=_resource(name)), timeout=CALL_SECONDS))
            return
        # All first: a domain that is renewed meanwhile may not meet the filter any more, and pages would shift.
        names = [domain.name for page in _pages(stub, filter_text, _RENEWED_PAGE) for domain in page]
        start = datetime.now(UTC)
        with click.progressbar(names, label="ask for renewals", file=sys.stderr) as bar:
            for index, each in enumerate(bar):
                request = domain_service_pb2.RenewDomainRequest(name=each)
                request.not_before.FromDatetime(start + over * (index / len(names)))
                stub.RenewDomain(request, timeout=CALL_SECONDS)
    click.echo(json.dumps({"renewals": len(names)}) if settings.json else f"{len(names)} renewals asked for")


@domains.command()
@click.argument("name")
@option("--tenant", default="", show_default=False, help="For a domain that is not onboarded: the tenant, which may decide on the CA.")
@option("--additional-name", "additional_names", multiple=True, metavar="NAME", help="For a domain that is not onboarded; repeatable.")
@click.option("--json", "shown_as_json", is_flag=True, help="The same as --output json.")
@api_command
def check(settings: ApiSettings, name: str, tenant: str, additional_names: Sequence[str], shown_as_json: bool) -> None:
    """Check whether a CA would reach this service at the domain NAME, which need not be onboarded. No order is placed.

    The exit status is 1 when a CA would not issue for one of the names.
    """
    domain = domain_pb2.Domain(tenant=tenant, additional_names=additional_names)
    new = domain_service_pb2.CheckDomainRequest(domain_id=name.removeprefix(_PREFIX), domain=domain)
    with connected(settings) as stub:
        known = None if additional_names else _check_known(stub, name)
        response = known or stub.CheckDomain(new, timeout=CALL_SECONDS)
    click.echo(as_json(response) if settings.json or shown_as_json else describe_check(response))
    if any(map(is_conclusive_problem, response.verdicts)):
        raise SystemExit(1)


@domains.command()
@click.argument("names", metavar="[NAME]...", nargs=-1)
@option("--resume-token", default="", show_default=False, help="Go on behind the response that carried this token, without a snapshot.")
@api_command
def watch(settings: ApiSettings, names: Sequence[str], resume_token: str) -> None:
    """Show domains, all or those named, and then every change, until interrupted. JSON is one response a line."""
    request = domain_service_pb2.WatchDomainsRequest(names=[_resource(name) for name in names], resume_token=resume_token)
    with connected(settings) as stub:
        call = stub.WatchDomains(request)
        with _cancelled_by_interrupt(call) as interrupted:
            for response in call:
                click.echo(as_json(response, indent=None) if settings.json else _watch_line(response))
        if interrupted:
            raise SystemExit(130)


@contextmanager
def _cancelled_by_interrupt(call: Any) -> Iterator[list[int]]:
    """Has an interrupt cancel the call; gives a list that then has the signal in it.

    An exception out of the blue, as Python makes of an interrupt otherwise, may leave gRPC's locks behind, and the process never ends.
    """
    interrupted: list[int] = []

    def interrupt(number: int, _frame: FrameType | None) -> None:
        interrupted.append(number)
        call.cancel()

    before = signal.signal(signal.SIGINT, interrupt) if threading.current_thread() is threading.main_thread() else None
    try:
        yield interrupted
    except grpc.RpcError:
        if not interrupted:
            raise
    finally:
        if before is not None:
            signal.signal(signal.SIGINT, before)


def _wait(stub: Any, domain: domain_pb2.Domain, seconds: float) -> domain_pb2.Domain:
    """Follows the domain until it is settled; says on standard error what goes on.

    Raises:
        click.ClickException: the time is over, or the domain was deleted.
    """
    told = ""
    call = stub.WatchDomains(domain_service_pb2.WatchDomainsRequest(names=[domain.name]), timeout=seconds)
    try:
        for response in call:
            match response.WhichOneof("event"):
                case "domain":
                    domain = response.domain
                case "deleted":
                    raise click.ClickException(f"{short_name(domain)} was deleted")
            words = "; ".join(filter(None, (state_words(domain), problem_words(domain))))
            if words != told:
                click.echo(f"{short_name(domain)}: {words}", err=True)
                told = words
            if domain.state in _SETTLED:
                break
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
            raise
        raise click.ClickException(f"after {seconds:g} seconds {short_name(domain)} is {state_words(domain)}; work goes on") from None
    finally:
        call.cancel()
    return domain


def _check_known(stub: Any, name: str) -> domain_service_pb2.CheckDomainResponse | None:
    """Has all names of a domain checked; None when it is not onboarded."""
    try:
        request = domain_service_pb2.CheckDomainRequest(name=_resource(name))
        response: domain_service_pb2.CheckDomainResponse = stub.CheckDomain(request, timeout=CALL_SECONDS)
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.NOT_FOUND:
            raise
        return None
    return response


def _pages(stub: Any, filter_text: str, page_size: int) -> Iterator[Sequence[domain_pb2.Domain]]:
    token = ""
    while True:
        request = domain_service_pb2.ListDomainsRequest(filter=filter_text, page_size=page_size, page_token=token)
        response = stub.ListDomains(request, timeout=CALL_SECONDS)
        yield response.domains
        token = response.next_page_token
        if not token:
            return


def _show(settings: ApiSettings, domain: domain_pb2.Domain) -> None:
    click.echo(as_json(domain) if settings.json else describe(domain))


def _watch_line(response: domain_service_pb2.WatchDomainsResponse) -> str:
    match response.WhichOneof("event"):
        case "domain":
            return "; ".join(
                filter(None, (f"{short_name(response.domain)}: {state_words(response.domain)}", problem_words(response.domain)))
            )
        case "deleted":
            return f"{response.deleted.removeprefix(_PREFIX)}: deleted"
        case _:
            return "-- that is all there is now; changes follow --"


def _resource(name: str) -> str:
    return name if name.startswith(_PREFIX) else _PREFIX + name


def _labels(texts: Sequence[str]) -> dict[str, str]:
    labels: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise click.UsageError(f"--label {text!r} is not KEY=VALUE")
        if key in labels:
            raise click.UsageError(f"--label {key} is given twice")
        labels[key] = value
    return labels
