"""A domain as text for people: what the CA suggests, and why work is suspended."""

from datetime import UTC, datetime

import pytest

from controlplane.api.certplane.v1 import domain_pb2
from controlplane.cli.domain_text import describe, state_words
from controlplane.endpoints.timestamps import timestamp

NOW = datetime(2027, 1, 1, 12, tzinfo=UTC)


def lines_of(domain: domain_pb2.Domain) -> dict[str, str]:
    """The properties by label."""
    pairs = (line.strip().partition("  ") for line in describe(domain).splitlines()[1:])
    return {label: value.strip() for label, _, value in pairs}


def test_the_renewal_window_is_shown() -> None:
    """Operators see the CA's name, its window, the moment chosen in it, and where it says why."""
    domain = domain_pb2.Domain(
        name="domains/shop.example.com",
        state="STATE_ACTIVE",
        certificate_authority="letsencrypt",
        renewal_window=domain_pb2.RenewalWindow(
            start=timestamp(datetime(2027, 3, 1, 6, tzinfo=UTC)),
            end=timestamp(datetime(2027, 3, 2, 18, tzinfo=UTC)),
            selected_time=timestamp(datetime(2027, 3, 1, 21, 4, 5, tzinfo=UTC)),
            explanation_url="https://ca.example/incident",
        ),
    )
    shown = lines_of(domain)
    assert "letsencrypt" == shown["issued by"]
    assert "from 2027-03-01 06:00:00 UTC to 2027-03-02 18:00:00 UTC" == shown["CA suggests renewal"]
    assert "2027-03-01 21:04:05 UTC" == shown["moment chosen in it"]
    assert "https://ca.example/incident" == shown["CA explains it at"]


@pytest.mark.parametrize(
    "window",
    [None, domain_pb2.RenewalWindow(start=timestamp(NOW), end=timestamp(NOW), selected_time=timestamp(NOW))],
)
def test_without_a_window_nothing_is_shown_of_it(window: domain_pb2.RenewalWindow | None) -> None:
    """No window, and what stands in the record for none, make no line."""
    shown = lines_of(domain_pb2.Domain(name="domains/shop.example.com", state="STATE_ACTIVE", renewal_window=window))
    assert {"state"} == shown.keys()


def test_a_domain_that_points_elsewhere_says_since_when() -> None:
    """The time since when it points elsewhere is shown before it is paused already."""
    domain = domain_pb2.Domain(name="domains/shop.example.com", state="STATE_ACTIVE", departed_time=timestamp(NOW))
    assert "since 2027-01-01 12:00:00 UTC" == lines_of(domain)["points elsewhere"]


@pytest.mark.parametrize(
    ("state", "reason", "words"),
    [
        ("STATE_PAUSED", "PAUSE_REASON_DEPARTED", "paused: its DNS points elsewhere; it comes back by itself once it points here again"),
        ("STATE_PAUSED", "PAUSE_REASON_REQUESTED", "paused: somebody asked for it; nothing is attempted until somebody resumes it"),
        ("STATE_PAUSED", "PAUSE_REASON_UNSPECIFIED", "paused: nothing is attempted until somebody resumes it"),
        ("STATE_ACTIVE", "PAUSE_REASON_DEPARTED", "active: a valid certificate is served"),
    ],
)
def test_why_work_is_suspended(state: str, reason: str, words: str) -> None:
    """A paused domain says why, and whether anybody has to act."""
    assert words == state_words(domain_pb2.Domain(state=state, pause_reason=reason))


def test_a_cas_text_does_not_drive_the_terminal() -> None:
    """Control characters in what a CA sent are replaced."""
    domain = domain_pb2.Domain(name="domains/shop.example.com", certificate_authority="ca\x1b[2J")
    assert "\x1b" not in describe(domain)
