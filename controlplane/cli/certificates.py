"""`certplane certificates`: certificates without their keys, and revocation, at the command line."""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import click

from controlplane.api.certplane.v1 import (
    certificate_pb2,
    certificate_service_pb2,
    certificate_service_pb2_grpc,
    domain_service_pb2,
    domain_service_pb2_grpc,
)
from controlplane.cli.api_client import CALL_SECONDS, ApiSettings, api_command, api_options, open_channel
from controlplane.cli.certificate_text import describe, table
from controlplane.cli.options import option
from controlplane.cli.printing import as_json, show_list

_PREFIX: Final = "certificates/"
_DOMAIN_PREFIX: Final = "domains/"
_ID_DIGITS: Final = 32
_FINGERPRINT: Final = re.compile(r"[0-9a-f]{32,64}", re.ASCII)
_REASONS: Final[dict[str, Any]] = {
    "unspecified": certificate_pb2.RevocationReason.Value("REVOCATION_REASON_UNSPECIFIED"),
    "key-compromise": certificate_pb2.RevocationReason.Value("REVOCATION_REASON_KEY_COMPROMISE"),
    "superseded": certificate_pb2.RevocationReason.Value("REVOCATION_REASON_SUPERSEDED"),
    "cessation-of-operation": certificate_pb2.RevocationReason.Value("REVOCATION_REASON_CESSATION_OF_OPERATION"),
}
_SEARCH_SECONDS: Final = 120.0
"""A certificate whose domain is not known is searched for in all domains."""


@click.group()
@api_options
def certificates(**_values: Any) -> None:
    """See the certificates that are in force, and revoke."""


@certificates.command()
@click.argument("certificate")
@option("--domain", default="", show_default=False, help="The domain that it belongs to, if known: spares a search.")
@option("--pem", is_flag=True, help="Print the chain in PEM, nothing else.")
@api_command
def get(settings: ApiSettings, certificate: str, domain: str, pem: bool) -> None:
    """Show CERTIFICATE: its id, its SHA-256 fingerprint, or a domain, which means the certificate in force."""
    with _connected(settings) as channel:
        name, domain = _resolved(channel, certificate, domain)
        request = certificate_service_pb2.GetCertificateRequest(name=name, domain=domain)
        found = _stub(channel).GetCertificate(request, timeout=_SEARCH_SECONDS)
    if pem:
        click.echo(found.pem_chain, nl=False)
    else:
        _show(settings, found)


@certificates.command("list")
@option(
    "--filter", "filter_text", default="", show_default=False, help='For example: tenant = "acme" AND certificate_authority = letsencrypt.'
)
@option("--page-size", type=click.IntRange(1, 200), default=100, help="Certificates asked for in one call.")
@api_command
def list_certificates(settings: ApiSettings, filter_text: str, page_size: int) -> None:
    """List the certificates in force, all pages."""
    with _connected(settings) as channel:
        pages = _pages(_stub(channel), filter_text, page_size)
        show_list("certificates", pages, json=settings.json, table=table, none="no such certificates" if filter_text else "no certificates")


@certificates.command()
@click.argument("certificate")
@option("--domain", default="", show_default=False, help="The domain that it belongs to, if known: spares a search.")
@option(
    "--reason",
    type=click.Choice(list(_REASONS)),
    required=True,
    help="key-compromise and cessation-of-operation revoke at once; the others after a new certificate is in force.",
)
@api_command
def revoke(settings: ApiSettings, certificate: str, domain: str, reason: str) -> None:
    """Have CERTIFICATE revoked: its id, its SHA-256 fingerprint, or a domain, which means the certificate in force.

    A worker carries it out, and the domain gets a new certificate with a new key. Repeating the command has it tried again at once.
    """
    with _connected(settings) as channel:
        name, domain = _resolved(channel, certificate, domain)
        request = certificate_service_pb2.RevokeCertificateRequest(name=name, domain=domain, reason=_REASONS[reason])
        _show(settings, _stub(channel).RevokeCertificate(request, timeout=_SEARCH_SECONDS))


@contextmanager
def _connected(settings: ApiSettings) -> Iterator[Any]:
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    with open_channel(settings) as channel:
        yield channel


def _stub(channel: Any) -> Any:
    stub: Any = certificate_service_pb2_grpc.CertificateServiceStub
    return stub(channel)


def _resolved(channel: Any, certificate: str, domain: str) -> tuple[str, str]:
    """Returns the resource names of a certificate and, if that is known, of its domain, for what a person typed.

    Raises:
        click.ClickException: the domain has no certificate.
    """
    if domain:
        domain = _DOMAIN_PREFIX + domain.removeprefix(_DOMAIN_PREFIX)
    # As `openssl x509 -fingerprint` prints it, too.
    digits = certificate.removeprefix(_PREFIX).replace(":", "").lower()
    if _FINGERPRINT.fullmatch(digits):
        return _PREFIX + digits[:_ID_DIGITS], domain
    stub: Any = domain_service_pb2_grpc.DomainServiceStub
    name = _DOMAIN_PREFIX + certificate.removeprefix(_DOMAIN_PREFIX)
    found = stub(channel).GetDomain(domain_service_pb2.GetDomainRequest(name=name), timeout=CALL_SECONDS)
    if not found.certificate:
        raise click.ClickException(f"{certificate} has no certificate")
    return found.certificate, found.name


def _pages(stub: Any, filter_text: str, page_size: int) -> Iterator[Sequence[certificate_pb2.Certificate]]:
    token = ""
    while True:
        request = certificate_service_pb2.ListCertificatesRequest(filter=filter_text, page_size=page_size, page_token=token)
        response = stub.ListCertificates(request, timeout=CALL_SECONDS)
        yield response.certificates
        token = response.next_page_token
        if not token:
            return


def _show(settings: ApiSettings, certificate: certificate_pb2.Certificate) -> None:
    click.echo(as_json(certificate) if settings.json else describe(certificate))
