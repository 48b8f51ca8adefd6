"""Certificates as text for people."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from controlplane.api.certplane.v1 import certificate_pb2
from controlplane.cli.domain_text import printable

_Reason: Final = certificate_pb2.RevocationReason
_STATES: Final = {
    certificate_pb2.Certificate.State.Value("STATE_IN_FORCE"): "in force",
    certificate_pb2.Certificate.State.Value("STATE_PREVIOUS"): "replaced: it was in force before the present one",
}
_HEADINGS: Final = ("DOMAIN", "EXPIRES", "TENANT", "AUTHORITY", "CERTIFICATE")
_LEAST_WIDTHS: Final = (32, 10, 8, 12, 0)


def describe(certificate: certificate_pb2.Certificate) -> str:
    """Returns the whole certificate, one aligned line a property; properties without a value are left out. The chain is not shown."""
    properties = [(label, value) for label, value in _properties(certificate) if value]
    width = max(len(label) for label, _ in properties)
    lines = (f"  {label:<{width}}  {printable(value)}" for label, value in properties)
    return "\n".join((certificate.name.removeprefix("certificates/"), *lines))


def table(pages: Iterable[Sequence[certificate_pb2.Certificate]]) -> Iterator[str]:
    """Returns the lines of a table, from pages. The first page sets the widths, so that pages are shown as they come."""
    widths: list[int] = []
    for page in pages:
        cells = [_cells(certificate) for certificate in page]
        if not widths:
            widths = [max(map(len, column)) for column in zip(_HEADINGS, *cells, strict=True)]
            widths = [max(pair) for pair in zip(widths, _LEAST_WIDTHS, strict=True)]
            yield _line(_HEADINGS, widths)
        yield from (_line(row, widths) for row in cells)


def _properties(certificate: certificate_pb2.Certificate) -> Iterator[tuple[str, str]]:
    yield "state", _STATES.get(certificate.state, "unknown")
    yield "revocation", _revocation_words(certificate)
    yield "domain", certificate.domain.removeprefix("domains/")
    yield "names", ", ".join(certificate.dns_names)
    yield "tenant", certificate.tenant
    yield "serial number", certificate.serial_number
    yield "SHA-256", certificate.sha256_fingerprint
    yield "issuer", certificate.issuer
    yield "authority", certificate.certificate_authority
    yield "directory", certificate.directory_url
    yield "account", certificate.account_url
    yield "profile", certificate.profile
    yield "valid from", _time(certificate.not_before_time)
    yield "expires", _time(certificate.expire_time)
    yield "stored", _time(certificate.issue_time)
    yield "before it", certificate.previous_certificate.removeprefix("certificates/")


def _revocation_words(certificate: certificate_pb2.Certificate) -> str:
    if not certificate.HasField("revocation"):
        return ""
    asked = certificate.revocation
    reason = _reason_word(asked.reason)
    return f"{'done' if asked.done else 'pending'}; asked for at {_time(asked.request_time)}, reason {reason}"


def _reason_word(reason: certificate_pb2.RevocationReason) -> str:
    return _Reason.Name(reason).removeprefix("REVOCATION_REASON_").lower().replace("_", "-")


def _cells(certificate: certificate_pb2.Certificate) -> tuple[str, ...]:
    return (
        certificate.domain.removeprefix("domains/"),
        _time(certificate.expire_time)[:10],
        printable(certificate.tenant),
        printable(certificate.certificate_authority),
        certificate.name.removeprefix("certificates/"),
    )


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip()


def _time(moment: Timestamp) -> str:
    return f"{moment.ToDatetime(UTC):%Y-%m-%d %H:%M:%S} UTC"
