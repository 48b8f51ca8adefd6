"""ACME Renewal Information (ARI, RFC 9773): what a CA's renewal window means for one certificate.

A window belongs to one certificate, by its identifier, and to no other: the window of the certificate before says nothing about its
successor, however its times compare with the successor's (CAs date `notBefore` back, so times do not tell whose window it is).

What is stored in place of a window while the CA gives none has no width: start and end are the same, which a CA's window never is
(section 4.2). It keeps when to ask again, and suggests nothing. `window_of` tells the two apart.
"""

import base64
from collections.abc import Collection
from datetime import datetime

from cryptography import x509

from controlplane.core.ari_polls import first_poll, usual_wait, wait_after_reply
from controlplane.core.certificate import CertificateRecord
from controlplane.core.errors import CertplaneError
from controlplane.core.managed_domain import DomainState, DomainStatus, RenewalWindow
from controlplane.core.ports import RenewalInfo
from controlplane.core.renewal import is_before_backstop, latest_renewal, renew_time, soonest_renewal

_LONGEST_URL = 1000


class InvalidWindow(CertplaneError):
    """The CA's window ends before it begins, or as it begins; it counts as no answer (RFC 9773 section 4.2).

    `retry_after` is what came with it, in seconds.
    """

    def __init__(self, retry_after: float | None) -> None:
        super().__init__("the renewal window ends before it begins")
        self.retry_after = retry_after


class NoIdentifier(CertplaneError):
    """The certificate has no authority key identifier, and so no name that a CA would know it by."""


def ari_certificate_id(leaf_der: bytes) -> str:
    """Returns how a CA names a certificate (RFC 9773 section 4.1).

    That is the key identifier of its Authority Key Identifier and the content octets of its DER serial number, both in base64url without
    padding, with a period between.

    Args:
        leaf_der: the certificate, DER.

    Raises:
        NoIdentifier: it has no such key identifier, or is no certificate.
    """
    try:
        leaf = x509.load_der_x509_certificate(leaf_der)
        authority = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    except x509.ExtensionNotFound as error:
        raise NoIdentifier("the certificate has no authority key identifier") from error
    except ValueError as error:
        raise NoIdentifier("the certificate cannot be read") from error
    if authority is None:
        raise NoIdentifier("the authority key identifier of the certificate has no key identifier")
    serial = leaf.serial_number
    # An INTEGER's first bit is its sign, so a serial number whose highest bit is set begins with a zero octet.
    return f"{_base64url(authority)}.{_base64url(serial.to_bytes(serial.bit_length() // 8 + 1, 'big'))}"


def window_of(window: RenewalWindow | None, certificate: CertificateRecord) -> RenewalWindow | None:
    """Returns the window if it is one that a CA gave for this very certificate, else None."""
    return window if window is not None and window.certificate_id == certificate.id and window.start < window.end else None


def window_from(
    info: RenewalInfo, previous: RenewalWindow | None, certificate: CertificateRecord, now: datetime, random_fraction: float
) -> RenewalWindow:
    """Returns the window to store after a CA's answer.

    The moment to renew at is chosen at random in the window once, and kept while the window stays as it is; a window that changes is
    chosen from anew. A moment that has passed becomes `now` (section 4.2).

    A CA whose every window has passed would have us issue without end. So when the certificate was issued because of the window of the
    one before it, its own window counts no sooner than an ordinary poll interval after the issue. `previous` has to be kept over a
    renewal for that.

    Args:
        info: the answer.
        previous: the window as stored, of this certificate or of the one before; None without one.
        certificate: the certificate in force.
        now: the time.
        random_fraction: in [0, 1).

    Raises:
        InvalidWindow: the window has no width.
    """
    if info.end <= info.start:
        raise InvalidWindow(info.retry_after)
    known = window_of(previous, certificate)
    if known is not None and (known.start, known.end) == (info.start, info.end):
        selected = known.selected_time
    else:
        chosen = info.start + (info.end - info.start) * random_fraction
        selected = max(chosen, now, _not_sooner_than(previous, certificate))
    poll_time = now + wait_after_reply(certificate, now, info.retry_after)
    return RenewalWindow(certificate.id, info.start, info.end, selected, poll_time, _shown(info.explanation_url))


def without_window(previous: RenewalWindow | None, certificate: CertificateRecord, poll_time: datetime) -> RenewalWindow:
    """Returns what to store after a poll that brought no window: the one that the CA gave before, if any, and when to ask again."""
    known = window_of(previous, certificate)
    if known is not None:
        return RenewalWindow(known.certificate_id, known.start, known.end, known.selected_time, poll_time, known.explanation_url)
    return no_window(certificate, poll_time)


def no_window(certificate: CertificateRecord, poll_time: datetime) -> RenewalWindow:
    """Returns what is stored for a certificate of which the CA has said nothing: no width, and when to ask."""
    planned = renew_time(certificate.not_before, certificate.not_after, certificate.fqdn)
    return RenewalWindow(certificate.id, planned, planned, planned, poll_time)


def renewal_from(window: RenewalWindow | None, certificate: CertificateRecord, name: str) -> datetime:
    """Returns when to renew: at the moment chosen in the CA's window for this certificate, else by the lifetime.

    Never later than the backstop of `latest_renewal`, whatever the CA says: a window that is too late, by a CA's mistake or an answer
    that somebody forged, must not let a certificate expire. It may be as early as the CA wants, since a certificate that is going to be
    revoked is worth nothing.
    """
    own, not_before, not_after = window_of(window, certificate), certificate.not_before, certificate.not_after
    if own is not None and is_before_backstop(own.selected_time, not_before, not_after):
        return own.selected_time
    soonest = soonest_renewal(not_before, not_after, certificate.issue_time)
    planned = own.selected_time if own is not None else max(renew_time(not_before, not_after, name), soonest)
    return min(planned, max(latest_renewal(not_before, not_after, name), soonest))


def next_poll(status: DomainStatus, certificate: CertificateRecord | None, now: datetime) -> datetime | None:
    """Returns when the CA is to be asked for the renewal window, which may be in the past; None for never.

    Nothing is asked for without a certificate, for one that has expired (section 4.3), and while the domain is paused. A certificate that
    was replaced is not in force any more, so the question is never about it.
    """
    if certificate is None or certificate.not_after <= now or status.state is DomainState.PAUSED:
        return None
    stored = status.renewal_window
    due = stored.poll_time if stored is not None and stored.certificate_id == certificate.id else first_poll(certificate)
    return due if due < certificate.not_after else None


def replaces_for(
    certificate: CertificateRecord | None,
    window: RenewalWindow | None,
    *,
    directory_url: str,
    account_url: str,
    names: Collection[str],
    now: datetime,
) -> str:
    """Returns what an order replaces, as `replaces` of newOrder says it (RFC 9773 section 5); empty for nothing.

    A CA refuses an order that replaces what it may not. So the certificate must be from the same CA and the same account, share a name
    with the order, be valid, and be one that the CA has given a window for. That it was not replaced before follows from its being in
    force; what only the CA knows, it answers with `alreadyReplaced`. It need not be inside its window: a renewal that somebody asked for
    replaces its certificate just as well, but is not exempt from limits (`is_exempt`).

    Args:
        certificate: in force, or None.
        window: as stored.
        directory_url: of the CA that the order goes to.
        account_url: that it is placed with.
        names: that it is for.
        now: the time.
    """
    if certificate is None or window_of(window, certificate) is None or certificate.not_after <= now:
        return ""
    same_ca = certificate.directory_url == directory_url and bool(account_url) and certificate.account_url == account_url
    if not same_ca or not set(certificate.names) & set(names):
        return ""
    try:
        return ari_certificate_id(certificate.leaf)
    except NoIdentifier:
        return ""


def is_exempt(replaces: str, window: RenewalWindow | None, now: datetime) -> bool:
    """Returns whether an order is exempt from a CA's limits, as Let's Encrypt has it.

    It must replace a certificate, and be placed inside the window: neither before nor after. So an order for a window that has passed,
    which is how Let's Encrypt announces a revocation, counts like any other.

    Args:
        replaces: what `replaces_for` said of the order, or what its record says.
        window: of the certificate that it replaces.
        now: the time.
    """
    return bool(replaces) and window is not None and window.start <= now < window.end


def _not_sooner_than(previous: RenewalWindow | None, certificate: CertificateRecord) -> datetime:
    if previous is None or previous.start >= previous.end:
        return certificate.issue_time
    if previous.certificate_id == certificate.id:
        # A moment after its window was put off, or had come already: windows that have passed too do not bring it forward.
        return previous.selected_time if previous.selected_time >= previous.end else certificate.issue_time
    followed = previous.selected_time <= certificate.issue_time
    return certificate.issue_time + usual_wait(certificate) if followed else certificate.issue_time


def _shown(url: str) -> str:
    # It is stored with the domain and shown to people: a link, or nothing.
    return url if url and url.startswith(("https://", "http://")) and url.isprintable() and len(url) <= _LONGEST_URL else ""


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
