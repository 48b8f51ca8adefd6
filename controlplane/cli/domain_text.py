"""Domains as text for people: where each stands, and who must act, in plain words."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from controlplane.api.certplane.v1 import domain_pb2

_State: Final = domain_pb2.Domain.State
_Actor: Final = domain_pb2.DomainError.Actor
_PauseReason: Final = domain_pb2.Domain.PauseReason

_STATES: Final = {
    _State.Value("STATE_PENDING"): "pending: no certificate yet, work goes on",
    _State.Value("STATE_ACTIVE"): "active: a valid certificate is served",
    _State.Value("STATE_DEGRADED"): "degraded: a certificate is served, but something needs care",
    _State.Value("STATE_FAILED"): "failed: there is no certificate to serve",
    _State.Value("STATE_PAUSED"): "paused: nothing is attempted until somebody resumes it",
}
_PAUSE_REASONS: Final = {
    _PauseReason.Value("PAUSE_REASON_DEPARTED"): "its DNS points elsewhere; it comes back by itself once it points here again",
    _PauseReason.Value("PAUSE_REASON_REQUESTED"): "somebody asked for it; nothing is attempted until somebody resumes it",
}
_ACTORS: Final = {
    _Actor.Value("ACTOR_CUSTOMER"): "the owner of the domain must act (DNS, CAA or a firewall)",
    _Actor.Value("ACTOR_OPERATOR"): "you, the operator of Certplane, must act",
    _Actor.Value("ACTOR_CA"): "the certificate authority must act",
    _Actor.Value("ACTOR_NOBODY"): "nobody needs to act: the next attempt is expected to succeed",
}
_HEADINGS: Final = ("NAME", "STATE", "EXPIRES", "TENANT", "WHO MUST ACT")
_LEAST_WIDTHS: Final = (32, 8, 10, 8, 0)
_SHORT_ACTORS: Final = {
    _Actor.Value("ACTOR_CUSTOMER"): "owner of the domain",
    _Actor.Value("ACTOR_OPERATOR"): "operator",
    _Actor.Value("ACTOR_CA"): "certificate authority",
    _Actor.Value("ACTOR_NOBODY"): "nobody",
}


def printable(text: str) -> str:
    """Returns the text without characters that a terminal would obey: what hosts and CAs answer is quoted in errors."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def short_name(domain: domain_pb2.Domain) -> str:
    """Returns the DNS name."""
    return domain.name.removeprefix("domains/")


def state_words(domain: domain_pb2.Domain) -> str:
    """Returns where the domain stands, in words, with the step that the worker is at."""
    words = _STATES.get(domain.state, "unknown")
    if domain.state == _State.Value("STATE_PAUSED") and domain.pause_reason in _PAUSE_REASONS:
        words = f"paused: {_PAUSE_REASONS[domain.pause_reason]}"
    if domain.reconciling:
        words += ", a newer one is on its way"
    return f"{words} (at the step {domain.current_step})" if domain.current_step else words


def problem_words(domain: domain_pb2.Domain) -> str:
    """Returns why the last attempt failed and who must act; empty when it did not fail."""
    if not domain.HasField("last_error"):
        return ""
    error = domain.last_error
    about = f"{error.failed_name}: " if error.failed_name else ""
    return printable(f"{about}{error.detail}; {_ACTORS.get(error.must_act, 'it is not known who must act')}")


def describe(domain: domain_pb2.Domain) -> str:
    """Returns the whole domain, one aligned line a property; properties without a value are left out."""
    properties = [(label, value) for label, value in _properties(domain) if value]
    width = max(len(label) for label, _ in properties)
    return "\n".join((short_name(domain), *(f"  {label:<{width}}  {printable(value)}" for label, value in properties)))


def table(rows: Iterable[Sequence[domain_pb2.Domain]]) -> Iterator[str]:
    """Returns the lines of a table, from pages of domains. The first page sets the widths, so that pages are shown as they come."""
    widths: list[int] = []
    for page in rows:
        cells = [_cells(domain) for domain in page]
        if not widths:
            widths = [max(map(len, column)) for column in zip(_HEADINGS, *cells, strict=True)]
            widths = [max(pair) for pair in zip(widths, _LEAST_WIDTHS, strict=True)]
            yield _line(_HEADINGS, widths)
        yield from (_line(row, widths) for row in cells)


def _properties(domain: domain_pb2.Domain) -> Iterator[tuple[str, str]]:
    yield "state", state_words(domain)
    if domain.HasField("last_error"):
        error = domain.last_error
        yield "last error", f"{error.failed_name + ': ' if error.failed_name else ''}{error.detail}"
        yield "error type", error.type
        yield "who must act", _ACTORS.get(error.must_act, "it is not known who must act")
    if domain.HasField("serving_error"):
        yield "not served", domain.serving_error.detail
        yield "who must act", _ACTORS.get(domain.serving_error.must_act, "it is not known who must act")
    yield "points elsewhere", f"since {_time(domain, 'departed_time')}" if domain.HasField("departed_time") else ""
    yield "failures", f"{domain.attempt_count} since the last success" if domain.attempt_count else ""
    yield "next attempt", _time(domain, "next_attempt_time")
    yield "also for", ", ".join(domain.additional_names)
    yield "left out", ", ".join(domain.omitted_names)
    yield "certificate", domain.certificate.removeprefix("certificates/")
    yield "serial number", domain.serial_number
    yield "issued by", domain.certificate_authority
    yield "issued", _time(domain, "issue_time")
    yield "expires", _time(domain, "expire_time")
    yield "renewal", _time(domain, "renew_time")
    yield from _window(domain)
    yield "renewal asked for", _time(domain, "requested_renewal_time")
    yield "sealed by", domain.sealing_scheme
    yield "tenant", domain.tenant
    yield "labels", ", ".join(f"{key}={value}" for key, value in sorted(domain.labels.items()))
    yield "created", _time(domain, "create_time")
    yield "etag", domain.etag


def _window(domain: domain_pb2.Domain) -> Iterator[tuple[str, str]]:
    window = domain.renewal_window
    if window.start == window.end:
        # None, or what stands for none: a CA's window has a width.
        return
    yield "CA suggests renewal", f"from {_time(window, 'start')} to {_time(window, 'end')}"
    yield "moment chosen in it", _time(window, "selected_time")
    yield "CA explains it at", window.explanation_url


def _cells(domain: domain_pb2.Domain) -> tuple[str, ...]:
    actor = _SHORT_ACTORS.get(domain.last_error.must_act, "") if domain.HasField("last_error") else ""
    state = _State.Name(domain.state).removeprefix("STATE_").lower()
    return short_name(domain), state, _time(domain, "expire_time")[:10], printable(domain.tenant), actor


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip()


def _time(message: domain_pb2.Domain | domain_pb2.RenewalWindow, field: str) -> str:
    if not message.HasField(field):
        return ""
    moment: Timestamp = getattr(message, field)
    return f"{moment.ToDatetime(UTC):%Y-%m-%d %H:%M:%S} UTC"
