"""How the processes of a deployment share the number of requests a second that a CA allows.

A process takes tokens from the shared bucket in small batches, so that it asks the store seldom, and uses them within a short time: what
it does not use by then is void. A token that is used late comes on top of what others take in the meantime; so the shared bucket is
smaller than the CA's burst by just what can be under way. In any time t, all processes together send at most burst + rate × t.
"""

from dataclasses import dataclass

from controlplane.core.ca_profile import RequestRate
from controlplane.core.token_bucket import SECOND, Bucket

_LASTS = 0.1
"""Seconds for which a batch lasts at most."""


@dataclass(frozen=True, slots=True)
class Pacing:
    """The shared bucket, for how many seconds tokens of a batch last, and how many tokens a batch has at most.

    With `lasts` at 0 every token is used at once.
    """

    bucket: Bucket
    lasts: float
    most: int


def pacing(rate: RequestRate, group: str) -> Pacing:
    """Returns how requests that are counted under one word are shared."""
    under_way = int(min(rate.per_second * _LASTS, rate.burst / 2))
    # Rounded up: a token later than the CA's, never earlier.
    interval = -int(-SECOND // rate.per_second)
    return Pacing(Bucket(f"requests:{group}", rate.burst - under_way, interval), under_way / rate.per_second, max(1, under_way))


def batch_size(asked: int, got: int, used: int, most: int) -> int:
    """Returns how many tokens to ask for next.

    Args:
        asked: how many were asked for last.
        got: how many of them there were.
        used: how many were used before the rest was void.
        most: of a batch.
    """
    if used < got:
        return max(1, used)
    # Fewer than asked for: it is the CA that is slow, and there is still use for as many.
    return min(2 * asked, most) if got >= asked else asked


def patience(shared: Pacing, size: int, wait: int) -> float:
    """Returns how many seconds to wait after a refusal, by the microseconds until one token is there.

    Who has use for many waits for some: else a busy process would ask for every single token as soon as it comes.
    """
    return (wait + (min(size, max(1, shared.most // 2)) - 1) * shared.bucket.interval) / SECOND
