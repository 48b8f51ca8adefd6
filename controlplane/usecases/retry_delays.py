"""Delays between attempts at something that does not answer."""

import random


class RetryDelays:
    """Doubling delays, in seconds, each made up to a half shorter at random, so that replicas and streams do not come back together."""

    def __init__(self, first: float, longest: float) -> None:
        self._first = first
        self._longest = longest
        self._delay = first

    def next(self) -> float:
        """Returns how long to wait before the next attempt."""
        delay = self._delay * random.uniform(0.5, 1.0)  # noqa: S311 (spreads load, keeps no secret)
        self._delay = min(2 * self._delay, self._longest)
        return delay

    def reset(self) -> None:
        """Starts again from the first delay: an attempt succeeded."""
        self._delay = self._first
