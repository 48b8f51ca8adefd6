"""When a certificate is renewed, as long as its CA does not say (RFC 9773)."""

from datetime import datetime, timedelta

from controlplane.core.jitter import fraction

SHORT_LIVED = timedelta(days=10)
# The part of the lifetime over which renewals are spread, before the latest moment.
SPREAD = 0.05


def renew_time(not_before: datetime, not_after: datetime, name: str) -> datetime:
    """Returns when to renew: with a third of the lifetime left, or half of a lifetime under ten days, or a little earlier.

    How much earlier follows from the name, up to a twentieth of the lifetime: domains that were onboarded in a burst are not
    renewed in one.
    """
    lifetime = not_after - not_before
    left = lifetime / 2 if lifetime < SHORT_LIVED else lifetime / 3
    return not_after - left - lifetime * (SPREAD * fraction("renewal", name))
