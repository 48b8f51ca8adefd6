"""Asks the CA when to renew (ARI, RFC 9773), as part of an attempt at a domain."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

import structlog
from prometheus_client import Counter

from controlplane.core.ari import (
    InvalidWindow,
    NoIdentifier,
    ari_certificate_id,
    next_poll,
    no_window,
    renewal_from,
    window_from,
    window_of,
    without_window,
)
from controlplane.core.ari_polls import wait_after_failure, wait_without_ari
from controlplane.core.certificate import CertificateRecord
from controlplane.core.line_limit import LineLimit
from controlplane.core.managed_domain import DomainStatus, RenewalWindow
from controlplane.core.ports import AcmeError, AcmeUnreachable, CertificateAuthority, Clock

_log = structlog.get_logger(__name__)

_POLLS = Counter("certplane_renewal_info_polls_total", "Questions to CAs for a renewal window (ARI), by what came of them.", ["outcome"])
_MOVED = Counter("certplane_renewal_windows_moved_total", "Renewal windows that a CA moved, by direction.", ["direction"])

_LOG_SECONDS = 3600.0

# So that workers that were started together do not choose alike.
_random_fraction = random.SystemRandom().random


@dataclass(slots=True)
class _Trouble:
    """What is known of a CA that fails: since when no poll was answered, and how often that is logged."""

    failing_since: datetime | None = None
    lines: LineLimit = field(default_factory=lambda: LineLimit(_LOG_SECONDS))


class RenewalInfoRound:
    """Keeps domains' renewal windows; one a worker, since it remembers which CA fails. It writes nothing to the store."""

    def __init__(self, clock: Clock, *, random_fraction: Callable[[], float] = _random_fraction) -> None:
        """Takes the time, and what chooses the moment in a window: a number in [0, 1)."""
        self._clock = clock
        self._random_fraction = random_fraction
        self._troubles: dict[str, _Trouble] = {}

    async def refresh(self, authority: CertificateAuthority | None, certificate: CertificateRecord, status: DomainStatus) -> DomainStatus:
        """Asks for the renewal window if it is time to, or none was asked for yet.

        Nothing is raised when the CA fails: the window that it gave before stays, and only the time of the next poll changes.

        Args:
            authority: the CA that issued the certificate; None when it is not configured any more: then there is nobody to ask.
            certificate: in force.
            status: of its domain; its renewal window may be that of the certificate before.

        Returns:
            The status with the window, and with the time of renewal that follows from it.
        """
        due = next_poll(status, certificate, self._clock())
        asked = status.renewal_window is not None and status.renewal_window.certificate_id == certificate.id
        if due is None or (asked and due > self._clock()):
            return status
        window = await self._ask(authority, certificate, status.renewal_window)
        return replace(status, renewal_window=window, renew_time=renewal_from(window, certificate, certificate.fqdn))

    async def _ask(
        self, authority: CertificateAuthority | None, certificate: CertificateRecord, previous: RenewalWindow | None
    ) -> RenewalWindow:
        if authority is None:
            now = self._clock()
            return without_window(previous, certificate, now + wait_without_ari(certificate, now))
        if certificate.directory_url not in {"", authority.directory_url}:
            return self._none(certificate)
        try:
            info = await authority.renewal_info(ari_certificate_id(certificate.leaf))
            if info is None:
                return self._none(certificate)
            window = window_from(info, previous, certificate, self._clock(), self._random_fraction())
        except NoIdentifier:
            return self._none(certificate)
        except AcmeError as error:
            answered = 400 <= error.problem.status < 500
            return self._failed(authority, certificate, previous, str(error), error.problem.retry_after, answered=answered)
        except (AcmeUnreachable, InvalidWindow) as error:
            return self._failed(authority, certificate, previous, str(error), error.retry_after, answered=False)
        if authority.directory_url in self._troubles:
            self._troubles[authority.directory_url].failing_since = None
        _POLLS.labels("window").inc()
        _tell_if_moved(window_of(previous, certificate), window, certificate)
        return window

    def _none(self, certificate: CertificateRecord) -> RenewalWindow:
        _POLLS.labels("not_offered").inc()
        now = self._clock()
        return no_window(certificate, now + wait_without_ari(certificate, now))

    def _failed(
        self,
        authority: CertificateAuthority,
        certificate: CertificateRecord,
        previous: RenewalWindow | None,
        reason: str,
        retry_after: float | None,
        *,
        answered: bool,
    ) -> RenewalWindow:
        _POLLS.labels("refused" if answered else "failed").inc()
        now = self._clock()
        trouble = self._troubles.setdefault(authority.directory_url, _Trouble())
        trouble.failing_since = None if answered else trouble.failing_since or now
        if failures := trouble.lines.due(now.timestamp()):
            _log.warning("renewal info not to be had", directory_url=authority.directory_url, reason=reason, failures=failures)
        wait = wait_after_failure(certificate, now, failing_since=trouble.failing_since, retry_after=retry_after)
        return without_window(previous, certificate, now + wait)


def _tell_if_moved(known: RenewalWindow | None, window: RenewalWindow, certificate: CertificateRecord) -> None:
    if known is None or known.start == window.start:
        return
    if window.start > known.start:
        _MOVED.labels("later").inc()
        return
    _MOVED.labels("earlier").inc()
    _log.warning(
        "renewal window moved earlier",
        domain=certificate.fqdn,
        window_start=window.start.isoformat(),
        window_end=window.end.isoformat(),
        selected_time=window.selected_time.isoformat(),
        explanation_url=window.explanation_url,
    )


def ask_now(status: DomainStatus, now: datetime) -> DomainStatus:
    """Returns the status with its next question to the CA due now."""
    window = status.renewal_window
    return status if window is None else replace(status, renewal_window=replace(window, poll_time=min(window.poll_time, now)))
