"""Renewal windows (RFC 9773): identifiers, the chosen moment, the time of renewal, and what an order replaces."""

import base64
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from controlplane.core.ari import (
    InvalidWindow,
    NoIdentifier,
    ari_certificate_id,
    is_exempt,
    next_poll,
    no_window,
    renewal_from,
    replaces_for,
    window_from,
    window_of,
    without_window,
)
from controlplane.core.managed_domain import DomainState, DomainStatus, RenewalWindow
from controlplane.core.ports import RenewalInfo
from controlplane.core.renewal import latest_renewal, renew_time
from tests.fakes import samples
from tests.fakes.ari import ACCOUNT, DIRECTORY, EXAMPLE_ID, EXAMPLE_LEAF, certificate

NOW = datetime(2027, 1, 1, 12, tzinfo=UTC)
SHOP = "shop.example.com"
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
FIRST = certificate(NOW)
SECOND = certificate(NOW + 60 * DAY, id="second")
SUGGESTED = RenewalInfo(NOW + 58 * DAY, NOW + 60 * DAY, "https://ca.example/why", 21600.0)


def window(info: RenewalInfo = SUGGESTED, *, now: datetime = NOW, fraction: float = 0.5, previous: RenewalWindow | None = None):
    return window_from(info, previous, FIRST, now, fraction)


def leaf(serial: int, key_identifier: bytes | None) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(x509.Name([]))
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(NOW)
        .not_valid_after(NOW + DAY)
    )
    if key_identifier is None:
        issuer = [x509.DirectoryName(x509.Name([]))]
        builder = builder.add_extension(x509.AuthorityKeyIdentifier(None, issuer, 1), critical=False)
    else:
        builder = builder.add_extension(x509.AuthorityKeyIdentifier(key_identifier, None, None), critical=False)
    return builder.sign(key, SHA256()).public_bytes(Encoding.DER)


def test_the_example_of_the_rfc() -> None:
    """The certificate of appendix A has the identifier of section 4.1: the serial number with its leading zero octet, no padding."""
    assert EXAMPLE_ID == ari_certificate_id(EXAMPLE_LEAF)


@pytest.mark.parametrize(
    ("serial", "octets"),
    [(1, "01"), (0x7F, "7f"), (0x80, "0080"), (0xFF, "00ff"), (0x0100, "0100"), (0x7FFF, "7fff"), ((1 << 159) - 1, "7f" + 19 * "ff")],
)
def test_serial_numbers_keep_their_sign_octet(serial: int, octets: str) -> None:
    """The serial number is written as the content octets of its DER INTEGER: a zero octet in front where its highest bit is set."""
    authority, _, number = ari_certificate_id(leaf(serial, b"\xfb\xff\xfe")).partition(".")
    assert "-__-" == authority
    assert octets == base64.urlsafe_b64decode(number + "=" * (-len(number) % 4)).hex()


@pytest.mark.parametrize("given_leaf", [samples.certificate(SHOP).leaf, leaf(1, None), b"", b"no certificate", EXAMPLE_LEAF[:-20]])
def test_what_a_ca_cannot_know_has_no_identifier(given_leaf: bytes) -> None:
    """Without an authority key identifier, or a key identifier in it, or a certificate at all, there is nothing to ask about."""
    with pytest.raises(NoIdentifier):
        ari_certificate_id(given_leaf)


@pytest.mark.parametrize(("fraction", "after"), [(0.0, 0 * DAY), (0.25, 12 * HOUR), (0.5, DAY)])
def test_the_moment_is_chosen_in_the_window(fraction: float, after: timedelta) -> None:
    """The random number says where in the window the moment lies; link and window are kept with it."""
    chosen = window(fraction=fraction)
    assert NOW + 58 * DAY + after == chosen.selected_time
    assert ("first", SUGGESTED.start, SUGGESTED.end) == (chosen.certificate_id, chosen.start, chosen.end)
    assert "https://ca.example/why" == chosen.explanation_url


def test_the_moment_is_kept_while_the_window_stays() -> None:
    """Later polls with the same window change the time of the next poll and nothing else, whatever the random numbers."""
    chosen = window(fraction=0.1)
    again = window(now=NOW + DAY, fraction=0.9, previous=chosen)
    assert replace(chosen, poll_time=again.poll_time) == again
    assert again.poll_time > NOW + DAY


def test_the_moment_is_kept_once_it_has_come() -> None:
    """A poll after the chosen moment does not choose another one in what is left of the window."""
    chosen = window(fraction=0.1)
    assert chosen.selected_time == window(now=NOW + 59 * DAY, fraction=0.9, previous=chosen).selected_time


def test_a_window_that_moves_is_chosen_from_anew() -> None:
    """Another window is another choice, earlier or later."""
    moved = replace(SUGGESTED, start=NOW + DAY, end=NOW + 2 * DAY)
    assert NOW + 1.5 * DAY == window(moved, previous=window(fraction=0.1)).selected_time
    assert window().selected_time == window(previous=window(moved)).selected_time


@pytest.mark.parametrize(("start", "end"), [(-3 * DAY, -2 * DAY), (-HOUR, -HOUR / 2), (-DAY, DAY / 2)])
def test_a_moment_that_has_passed_is_now(start: timedelta, end: timedelta) -> None:
    """A window, or the chosen part of one, that has passed means now."""
    later = NOW + DAY
    assert later == window(RenewalInfo(later + start, later + end), now=later, fraction=0.3, previous=window()).selected_time


@pytest.mark.parametrize("width", [timedelta(0), -timedelta(microseconds=1), -DAY])
def test_a_window_without_width_is_no_answer(width: timedelta) -> None:
    """A window that ends as it begins, or before, is refused."""
    with pytest.raises(InvalidWindow):
        window(RenewalInfo(NOW, NOW + width))


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://ca.example/a", True),
        ("http://ca.example/a", True),
        ("javascript:alert(1)", False),
        ("https://ca.example/\x1b[2J", False),
        ("https://ca.example/" + 1000 * "a", False),
        ("", False),
    ],
)
def test_only_links_are_kept_as_explanation(url: str, kept: bool) -> None:
    """What is stored and shown as the CA's explanation is a link of bounded length, or nothing."""
    assert (url if kept else "") == window(replace(SUGGESTED, explanation_url=url)).explanation_url


def test_a_window_is_of_one_certificate_only() -> None:
    """The window of the certificate before says nothing about its successor, although it lies after the successor's notBefore."""
    stale = window(fraction=0.999)
    assert stale.selected_time > SECOND.not_before
    assert window_of(stale, SECOND) is None
    assert renew_time(SECOND.not_before, SECOND.not_after, SHOP) == renewal_from(stale, SECOND, SHOP)
    assert "" == replaces_for(SECOND, stale, directory_url=DIRECTORY, account_url=ACCOUNT, names=[SHOP], now=SECOND.issue_time)


def test_the_moment_of_the_certificate_before_is_not_kept() -> None:
    """A successor whose window happens to be the same is chosen for anew."""
    successor = certificate(NOW + HOUR, id="second")
    assert NOW + 59.5 * DAY == window_from(SUGGESTED, window(fraction=0.1), successor, NOW + HOUR, 0.75).selected_time


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (window(), NOW + 59 * DAY),
        (None, renew_time(FIRST.not_before, FIRST.not_after, SHOP)),
        (no_window(FIRST, NOW), renew_time(FIRST.not_before, FIRST.not_after, SHOP)),
        (window(RenewalInfo(NOW - 2 * DAY, NOW - DAY)), NOW),
        (window(RenewalInfo(FIRST.not_after - HOUR, FIRST.not_after)), latest_renewal(FIRST.not_before, FIRST.not_after, SHOP)),
        (window(RenewalInfo(NOW + 3650 * DAY, NOW + 3651 * DAY)), latest_renewal(FIRST.not_before, FIRST.not_after, SHOP)),
    ],
)
def test_when_to_renew(chosen: RenewalWindow | None, expected: datetime) -> None:
    """At the chosen moment, else by the lifetime, and never later than the backstop."""
    assert expected == renewal_from(chosen, FIRST, SHOP)


def test_a_failed_poll_keeps_the_window() -> None:
    """After a failure only the next poll has another time; without a window before there is still none."""
    chosen = window()
    assert replace(chosen, poll_time=NOW + HOUR) == without_window(chosen, FIRST, NOW + HOUR)
    for previous in (None, no_window(FIRST, NOW), chosen):
        missing = without_window(previous, SECOND if previous is chosen else FIRST, NOW + HOUR)
        assert window_of(missing, FIRST) is window_of(missing, SECOND) is None
        assert NOW + HOUR == missing.poll_time


times = st.timedeltas(-400 * DAY, 400 * DAY)
answers = st.lists(st.tuples(times, times, st.floats(0, 1, exclude_max=True), st.timedeltas(timedelta(minutes=1), 2 * DAY)), max_size=30)


@given(answers, st.sampled_from([90 * DAY, 64 * DAY, 45 * DAY, timedelta(hours=160), 6 * DAY]))
def test_whatever_a_ca_says_a_certificate_is_renewed_once_and_in_time(
    answers: list[tuple[timedelta, timedelta, float, timedelta]], lifetime: timedelta
) -> None:
    """For any sequence of answers each certificate is replaced at most once, no later than its backstop, and never before it is polled."""
    held, known, now, renewed = certificate(NOW, lifetime, id="0"), None, NOW, [""]
    for start, end, fraction, pause in answers:
        try:
            known = window_from(RenewalInfo(now + start, now + end), known, held, now, fraction)
        except InvalidWindow:
            known = without_window(known, held, now)
        assert known.certificate_id == held.id
        due = renewal_from(known, held, SHOP)
        assert due <= latest_renewal(held.not_before, held.not_after, SHOP)
        if due > now + pause:
            now += pause
            continue
        now = max(due, now)
        renewed.append(held.id)
        # The window of the certificate before is kept, as a record that is copied would.
        held = certificate(now, lifetime, id=str(len(renewed)))
        assert renewal_from(known, held, SHOP) == renewal_from(None, held, SHOP) > now
    assert len(set(renewed)) == len(renewed)


@pytest.mark.parametrize("past", [timedelta(minutes=30), timedelta(0)])
def test_a_ca_whose_every_window_has_passed_gets_four_orders_a_day(past: timedelta) -> None:
    """Windows that lie in the past for each new certificate, moving with the clock, do not make us issue without end."""
    held, known, now, issued = FIRST, None, NOW + timedelta(minutes=1), 0
    while now < NOW + 2 * DAY:
        known = window_from(RenewalInfo(now - HOUR, now - past + timedelta(seconds=1)), known, held, now, 0.5)
        if renewal_from(known, held, SHOP) <= now:
            issued += 1
            held = certificate(now, id=f"next {issued}")
        now += timedelta(minutes=1)
    assert 8 <= issued <= 9


def test_an_early_revocation_is_obeyed_although_the_one_before_was_too() -> None:
    """A certificate that was issued because of a window, and whose own window then moves into the past, is renewed at once."""
    before = window(RenewalInfo(NOW - 2 * DAY, NOW - DAY))
    renewed = certificate(NOW + HOUR, id="second")
    quiet = window_from(SUGGESTED, before, renewed, NOW + HOUR, 0.5)
    assert NOW + 59 * DAY == quiet.selected_time
    assert NOW + 2 * HOUR == window_from(RenewalInfo(NOW, NOW + HOUR), quiet, renewed, NOW + 2 * HOUR, 0.5).selected_time


@pytest.mark.parametrize(
    ("changes", "replaces"),
    [
        ({}, EXAMPLE_ID),
        ({"names": ["www.shop.example.com", SHOP]}, EXAMPLE_ID),
        ({"names": ["other.example.com"]}, ""),
        ({"directory_url": "https://other.example/dir"}, ""),
        ({"account_url": "https://ca.example/acct/2"}, ""),
        ({"account_url": ""}, ""),
        ({"now": FIRST.not_after}, ""),
        ({"window": None}, ""),
        ({"window": no_window(FIRST, NOW)}, ""),
        ({"window": window_from(SUGGESTED, None, SECOND, NOW, 0.5)}, ""),
        ({"certificate": None}, ""),
        ({"certificate": replace(FIRST, account_url=""), "account_url": ""}, ""),
        ({"certificate": replace(FIRST, leaf=b"damaged")}, ""),
    ],
)
def test_what_an_order_replaces(changes: dict[str, object], replaces: str) -> None:
    """The certificate in force, if it is valid, of the same CA and account, shares a name, and the CA has given a window for it."""
    arguments = {
        "certificate": FIRST,
        "window": window(),
        "directory_url": DIRECTORY,
        "account_url": ACCOUNT,
        "names": [SHOP],
        "now": NOW,
    } | changes
    assert replaces == replaces_for(arguments.pop("certificate"), arguments.pop("window"), **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("replaces", "chosen", "now", "exempt"),
    [
        (EXAMPLE_ID, window(), NOW + 58 * DAY, True),
        (EXAMPLE_ID, window(), NOW + 59 * DAY, True),
        (EXAMPLE_ID, window(), NOW + 58 * DAY - timedelta(seconds=1), False),
        (EXAMPLE_ID, window(), NOW + 60 * DAY, False),
        ("", window(), NOW + 59 * DAY, False),
        (EXAMPLE_ID, None, NOW, False),
        (EXAMPLE_ID, no_window(FIRST, NOW), renew_time(FIRST.not_before, FIRST.not_after, SHOP), False),
    ],
)
def test_which_orders_are_exempt_from_limits(replaces: str, chosen: RenewalWindow | None, now: datetime, exempt: bool) -> None:
    """Those that replace a certificate inside its window, and no others."""
    assert exempt is is_exempt(replaces, chosen, now)


def test_a_new_certificate_is_asked_about_within_an_hour() -> None:
    """The first poll follows the issue within an hour, however stale the window in the status is."""
    for status in (DomainStatus(), DomainStatus(renewal_window=window())):
        due = next_poll(status, SECOND, SECOND.issue_time)
        assert due is not None
        assert timedelta(0) <= due - SECOND.issue_time < timedelta(hours=1)


def test_the_next_poll_is_the_one_that_was_planned() -> None:
    """The stored window says when, in the past too."""
    status = DomainStatus(renewal_window=replace(window(), poll_time=NOW + HOUR))
    assert NOW + HOUR == next_poll(status, FIRST, NOW) == next_poll(status, FIRST, NOW + DAY)


@pytest.mark.parametrize(
    ("status", "held", "now"),
    [
        (DomainStatus(), None, NOW),
        (DomainStatus(), FIRST, FIRST.not_after),
        (DomainStatus(state=DomainState.PAUSED), FIRST, NOW),
        (DomainStatus(renewal_window=replace(window(), poll_time=FIRST.not_after)), FIRST, NOW),
    ],
)
def test_when_nothing_is_asked(status: DomainStatus, held: object, now: datetime) -> None:
    """Polls end with the certificate, and there are none without one or for a paused domain."""
    assert next_poll(status, held, now) is None  # type: ignore[arg-type]
