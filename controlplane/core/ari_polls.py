"""When a CA is asked for a renewal window again (RFC 9773 section 4.3).

| after                          | the next poll                                                                   |
|--------------------------------|---------------------------------------------------------------------------------|
| the issue                      | within an hour                                                                  |
| a window                       | as Retry-After says, but within a minute to a day; else six hours               |
| "we have no renewal windows"   | a day                                                                           |
| a refusal (4xx)                | six hours                                                                       |
| any other failure              | as long as the CA has been failing: at least ten minutes, at most six hours     |

Ten minutes and six hours are less for certificates that live less than six days. All waits are longer by up to a fifth, by a hash of the
certificate and the second: polls that came together once, after an outage say, drift apart.
"""

from datetime import datetime, timedelta
from functools import lru_cache

from controlplane.core.certificate import CertificateRecord
from controlplane.core.jitter import fraction

SHORTEST, LONGEST = timedelta(minutes=1), timedelta(days=1)
"""Section 4.3.2: what a CA's Retry-After is limited to."""
USUAL = timedelta(hours=6)
"""Section 4.3.3 has this for errors that last; Let's Encrypt's Retry-After is the same."""
FIRST = timedelta(hours=1)
FIRST_RETRY = timedelta(minutes=10)
JITTER = 0.2

_USUAL_PART = 24
_LONG_LIFETIME = USUAL * _USUAL_PART


def first_poll(certificate: CertificateRecord) -> datetime:
    """Returns when to ask about a new certificate: within an hour. A burst of onboardings is no burst of polls."""
    return certificate.issue_time + min(FIRST, usual_wait(certificate)) * fraction("first poll", certificate.id)


def usual_wait(certificate: CertificateRecord) -> timedelta:
    """Returns how long to wait where nobody says: six hours, or a twenty-fourth of a lifetime under six days, but a minute at least."""
    lifetime = certificate.not_after - certificate.not_before
    # Nearly all live so long, and a division of times is slow.
    return USUAL if lifetime >= _LONG_LIFETIME else max(SHORTEST, lifetime / _USUAL_PART)


def wait_after_reply(certificate: CertificateRecord, now: datetime, retry_after: float | None) -> timedelta:
    """Returns how long to wait after a window; `retry_after` is what the CA asked for, in seconds."""
    return _spread(usual_wait(certificate) if retry_after is None else _limited(retry_after), certificate, now)


def wait_without_ari(certificate: CertificateRecord, now: datetime) -> timedelta:
    """Returns how long to wait when the CA's directory has no `renewalInfo`; it may get one."""
    return _spread(LONGEST, certificate, now)


def wait_after_failure(
    certificate: CertificateRecord, now: datetime, *, failing_since: datetime | None, retry_after: float | None
) -> timedelta:
    """Returns how long to wait after a poll that failed.

    The wait doubles from failure to failure, since each is as long as all before it together. So it needs no count for each certificate,
    and after an outage of an hour nobody waits for six.

    Args:
        certificate: the one asked about.
        now: the time.
        failing_since: since when the CA has answered no poll at all; None when it did answer, with a refusal.
        retry_after: what the CA asked for, in seconds; the wait is not shorter.
    """
    wait = usual = usual_wait(certificate)
    if failing_since is not None:
        wait = min(max(now - failing_since, FIRST_RETRY), usual)
    if retry_after is not None:
        wait = max(wait, _limited(retry_after))
    return _spread(wait, certificate, now)


# A CA says the same to nearly everybody.
@lru_cache(maxsize=64)
def _limited(seconds: float) -> timedelta:
    return min(max(timedelta(seconds=seconds), SHORTEST), LONGEST)


def _spread(wait: timedelta, certificate: CertificateRecord, now: datetime) -> timedelta:
    return wait * (1 + JITTER * fraction("poll", certificate.id, str(int(now.timestamp()))))
